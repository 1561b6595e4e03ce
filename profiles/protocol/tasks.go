package protocol

import (
	"os"
	"time"
)

// MethodTasks tells what a CI agent on the host works on: TasksRequest -> TasksResult.
// It only looks.
const MethodTasks = "tasks"

// TasksRequest asks for the tasks of the agent that runs as Unit.
type TasksRequest struct {
	Unit string `json:"unit"`
	// Asker is the process that asks, where it may run as one of the tasks itself;
	// the zero one does not.
	Asker Asker `json:"asker,omitzero"`
}

// Asker is a process as it knows itself. In a sandbox its number is another one than the
// host knows, but the name of its PID namespace is the kernel's, "pid:[4026531836]".
type Asker struct {
	PIDNamespace string `json:"pid_namespace,omitempty"`
	PID          int    `json:"pid,omitempty"`
}

// ThisProcess is the calling one.
func ThisProcess() Asker {
	namespace, _ := os.Readlink("/proc/self/ns/pid")
	return Asker{PIDNamespace: namespace, PID: os.Getpid()}
}

// TasksResult are the agent's tasks, oldest first; none where it does not run.
type TasksResult struct {
	Tasks []Task `json:"tasks,omitempty"`
	// Elsewhere says that the asker is no process of this host: of a container, those of
	// the machine around it, and of its other containers, are none.
	Elsewhere bool `json:"elsewhere,omitempty"`
}

// Task is one worker of the agent.
type Task struct {
	PID int           `json:"pid"`
	Age time.Duration `json:"age"`
	// Own says that the asker runs in it.
	Own bool `json:"own,omitempty"`
}
