package cli

import (
	"fmt"

	"github.com/mayflyproxy/mayfly/api"
)

// showObserved prints, in capitals, a line for each app on which nobody is denied.
func (a *app) showObserved(list []api.ObservedApp) {
	for _, o := range list {
		fmt.Fprintln(a.c.Stdout, plain(fmt.Sprintf("OBSERVE MODE: nobody is denied on %s %s (%s)", o.App, untilWords(o), o.Owner)))
	}
}

func untilWords(o api.ObservedApp) string {
	if o.Until == "" {
		return "and no end is set"
	}
	return "until " + clock(o.Until)
}
