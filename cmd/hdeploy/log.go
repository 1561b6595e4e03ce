package main

import (
	"fmt"
	"io"
	"os"

	"github.com/rs/zerolog"

	"github.com/hbohlen/hdeploy/deploy/display"
	"github.com/hbohlen/hdeploy/deploy/event"
)

// openLog returns the log, which is off unless it was asked for. The file is
// private: a log names hosts, paths and what units said.
func openLog(o commonOptions, s streams) (zerolog.Logger, io.Closer, error) {
	if o.logLevel == zerolog.Disabled {
		return zerolog.Nop(), io.NopCloser(nil), nil
	}
	var to io.Writer = terminalSafe{s.ErrOut}
	closer := io.NopCloser(nil)
	if o.logFile != "" {
		file, err := os.OpenFile(o.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return zerolog.Nop(), nil, usageFailure(fmt.Sprintf("open the log: %v", err), "hdeploy help")
		}
		to, closer = file, file
	}
	return zerolog.New(to).Level(o.logLevel).With().Timestamp().Logger(), closer, nil
}

// terminalSafe writes JSON lines to what may be a terminal.
type terminalSafe struct{ io.Writer }

func (w terminalSafe) Write(p []byte) (int, error) {
	if _, err := w.Writer.Write(display.EscapeJSON(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// logEvent keeps an event in the log, so that the log tells the same story as
// the display.
func logEvent(log zerolog.Logger, e event.Event) {
	level := zerolog.InfoLevel
	switch {
	case e.Progress != nil, e.Line != nil:
		level = zerolog.DebugLevel
	case e.Note != nil && e.Note.Level == "warning":
		level = zerolog.WarnLevel
	case e.Step != nil && e.Step.Status == event.Failed:
		level = zerolog.ErrorLevel
	case e.Outcome != nil && e.Outcome.Failure != nil:
		level = zerolog.ErrorLevel
	}
	log.WithLevel(level).Interface("event", e).Msg(e.Type)
}
