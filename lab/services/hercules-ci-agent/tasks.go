package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// How often the agent looks for work: in the place of the socket on which the service gives it.
const askForWork = 100 * time.Millisecond

// A push is a file NAME.json in the queue of the work directory. The agent moves it to tasks/NAME/push.json and starts a worker
// of its own program for it, which leaves there what the dashboard would show: the file output, and status.json at the end. A
// task whose worker was killed has no status.json and is not begun again, as with the real agent.

// takeTasks gives work to workers until ctx ends. The workers are in the agent's control group, and whoever stops the unit
// stops them too: they are not waited for.
func (a *agent) takeTasks(ctx context.Context) {
	places := make(chan struct{}, max(a.ConcurrentTasks, 1))
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(askForWork):
		}
		for _, push := range a.queued() {
			select {
			case <-ctx.Done():
				return
			case places <- struct{}{}:
			}
			go func() {
				defer func() { <-places }()
				a.perform(push)
			}()
		}
	}
}

// queued moves what is in the queue to directories of its own, and lists these.
func (a *agent) queued() []string {
	files, _ := filepath.Glob(filepath.Join(a.WorkDirectory, "queue", "*.json")) // the pattern is no bad one
	var tasks []string
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		task := filepath.Join(a.WorkDirectory, "tasks", name)
		err := errors.Join(os.MkdirAll(filepath.Dir(task), 0o700), os.Mkdir(task, 0o700), os.Rename(file, filepath.Join(task, "push.json")))
		switch {
		case err == nil:
			tasks = append(tasks, task)
		case errors.Is(err, fs.ErrExist):
			a.log("Error", "Hercules/Agent.hs:188:9", "A task of this name was there before: "+name)
			_ = os.Remove(file)
		default:
			a.log("Error", "Hercules/Agent.hs:190:9", fmt.Sprintf("Exception in task: %v", err))
		}
	}
	return tasks
}

func (a *agent) perform(task string) {
	a.log("Info", "Hercules/Agent.hs:201:5", "Starting task")
	err := a.work(task)
	var exit *exec.ExitError
	switch {
	case err == nil:
		a.log("Info", "Hercules/Agent.hs:214:7", "Completed task successfully")
	case errors.As(err, &exit) && exit.ExitCode() == effectFailed:
		a.log("Info", "Hercules/Agent.hs:216:7", "Completed failed task")
	default:
		a.log("Error", "Hercules/Agent.hs:219:7", fmt.Sprintf("Exceptional status in task: Worker failed: %v", err))
	}
}

// effectFailed is the exit code of a worker whose effect failed.
const effectFailed = 3

// work runs the program beside the agent's own that makes the sandbox.
func (a *agent) work(task string) error {
	own, err := os.Executable()
	if err != nil {
		return err
	}
	// Without a context: what ends it is what ends the unit.
	worker := exec.Command(own+"-worker", task, a.SecretsJSONPath, a.APIBaseURL)
	worker.Dir, worker.Stdout, worker.Stderr = task, os.Stderr, os.Stderr
	return worker.Run()
}
