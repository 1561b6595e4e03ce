package display

import (
	"fmt"
	"io"
	"sync"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	"github.com/hbohlen/hdeploy/deploy/event"
)

const (
	framesPerSecond = 10
	// closeWait bounds how long the end of a run waits for the terminal.
	closeWait = 2 * time.Second
)

// terminal redraws the story in place. Events only change the story under a
// lock and never wait for the screen: the frames come from a tick.
type terminal struct {
	settings Settings
	program  *tea.Program
	ended    <-chan struct{} // closed when the program has left the terminal

	mu     sync.Mutex
	story  *story
	answer answer
}

func newTerminal(s Settings) *terminal {
	t := &terminal{
		settings: s,
		story:    newStory(s.Hosts),
		answer:   newAnswer(s.Hosts),
	}
	t.start()
	return t
}

func (t *terminal) start() {
	// No input reader: it would swallow what the user types for the next
	// command. No signal handler: the command line owns the signals.
	program := tea.NewProgram(frame{terminal: t, width: t.settings.width()},
		tea.WithInput(nil), tea.WithOutput(t.settings.ErrOut), tea.WithoutSignalHandler(),
		tea.WithoutBracketedPaste(), tea.WithFPS(framesPerSecond))
	ended := make(chan struct{})
	t.program, t.ended = program, ended
	go func() {
		defer close(ended)
		// A broken terminal must not stop a deployment; the answer follows on
		// standard output in any case.
		_, _ = program.Run()
	}()
}

// Pause takes the live view down, so that a question can be asked.
func (t *terminal) Pause() { t.stop() }

// Resume draws it again, below what was asked.
func (t *terminal) Resume() { t.start() }

func (t *terminal) Event(e event.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.story.apply(e)
	t.answer.add(e)
}

// Close takes the live view down, leaves the story in the scrollback and
// prints the answer.
func (t *terminal) Close() error {
	t.stop()
	t.mu.Lock()
	defer t.mu.Unlock()
	_, _ = io.WriteString(t.settings.ErrOut, t.story.epilogue(t.screen(time.Now(), t.settings.width(), 0)))
	return t.answer.print(t.settings)
}

func (t *terminal) stop() {
	program := t.program
	go program.Send(closing{}) // waits for a program that has not started yet
	select {
	case <-t.ended:
		return
	case <-time.After(closeWait):
		program.Kill()
	}
	select {
	case <-t.ended:
	case <-time.After(closeWait):
		fmt.Fprint(t.settings.ErrOut, ShowCursor)
	}
}

func (t *terminal) screen(now time.Time, width, height int) screen {
	return screen{now: now, width: width, height: height, st: style{color: t.settings.Color}}
}

// ShowCursor is what a terminal needs to hear when the program leaves without
// closing the terminal display.
const ShowCursor = "\x1b[?25h"

// closing asks the program to clear its view and to leave.
type closing struct{}

type tick time.Time

// frame is the program's model: the size of the window and whether to draw.
type frame struct {
	*terminal
	width, height int
	closed        bool
}

func (f frame) Init() tea.Cmd { return nextTick() }

func nextTick() tea.Cmd {
	return tea.Tick(time.Second/framesPerSecond, func(t time.Time) tea.Msg { return tick(t) })
}

func (f frame) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tick:
		return f, nextTick()
	case tea.WindowSizeMsg:
		f.width, f.height = msg.Width, msg.Height
	case closing:
		f.closed = true
		return f, tea.Quit
	}
	return f, nil
}

func (f frame) View() string {
	if f.closed {
		return ""
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.story.live(f.screen(time.Now(), f.width, f.height))
}
