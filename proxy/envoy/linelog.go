package envoy

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
)

// logFormat starts each line of Envoy's log with its level and component.
const logFormat = "%l %n: %v"

const maxLine = 4 << 10 // bytes of one log line that are kept

// lineLog turns what Envoy writes into log lines of ours.
type lineLog struct {
	log *slog.Logger

	mu   sync.Mutex
	rest []byte
}

// Write never fails, so that Envoy never blocks on its own log.
func (l *lineLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(p)
	for {
		line, after, ok := bytes.Cut(p, []byte("\n"))
		if room := maxLine - len(l.rest); room > 0 {
			l.rest = append(l.rest, line[:min(room, len(line))]...)
		}
		if !ok {
			return n, nil
		}
		l.emit()
		p = after
	}
}

func (l *lineLog) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.emit()
}

func (l *lineLog) emit() {
	text := strings.ToValidUTF8(strings.TrimSpace(string(l.rest)), "?")
	l.rest = l.rest[:0]
	if text == "" {
		return
	}
	level, rest, _ := strings.Cut(text, " ")
	switch level {
	case "info", "debug", "trace":
		l.log.Info("envoy", "line", rest)
	case "warning":
		l.log.Warn("envoy", "line", rest)
	case "error", "critical":
		l.log.Error("envoy", "line", rest)
	default:
		l.log.Warn("envoy", "line", text)
	}
}
