package cli

import (
	"errors"
	"time"

	"github.com/spf13/pflag"
)

// span is a flag for a length of time that says what one looks like.
type span struct{ to *time.Duration }

var _ pflag.Value = span{}

func (s span) Set(text string) error {
	d, err := time.ParseDuration(text)
	if err != nil {
		return errors.New("want 30m, 2h or 1h30m, or the like")
	}
	*s.to = d
	return nil
}

func (s span) Type() string { return "duration" }

func (s span) String() string {
	if s.to == nil || *s.to == 0 {
		return ""
	}
	return s.to.String()
}
