package envoy

import (
	"bytes"
	"context"
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

	mu    sync.Mutex
	rest  []byte
	level slog.Level // of the newest line that named one
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
	word, rest, _ := strings.Cut(text, " ")
	if level, ok := levelOf(word); ok {
		l.level, text = level, rest
	} // else the line goes on with the entry before it
	l.log.Log(context.Background(), l.level, "envoy", "line", text)
}

// levelOf lowers Envoy's info by one: it lists its hundreds of extensions there.
func levelOf(word string) (slog.Level, bool) {
	switch word {
	case "trace", "debug", "info":
		return slog.LevelDebug, true
	case "warning":
		return slog.LevelWarn, true
	case "error", "critical":
		return slog.LevelError, true
	default:
		return 0, false
	}
}
