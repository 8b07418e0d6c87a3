package console

import (
	"net/http"
	"time"
)

// observedView is what stands above every page while an app is in observe mode: its name
// and end for who is logged in, and for others that there is one. Unknown: it could not be
// asked.
type observedView struct {
	Some, Unknown bool
	Apps          []observedApp
}

type observedApp struct {
	App   string
	Until when // zero: no end
}

// observed is what a page says. That nobody is denied somewhere is no secret from people
// who work here, and an invitation to others.
func (c *Console) observed(r *http.Request, v *visit, now time.Time) observedView {
	list, err := c.service.Observations(r.Context())
	if err != nil {
		if r.Context().Err() == nil {
			c.c.Log.ErrorContext(r.Context(), "apps in observe mode not known", "error", err)
		}
		return observedView{Unknown: true}
	}
	out := observedView{Some: len(list) > 0}
	if v == nil {
		return out
	}
	for _, o := range list {
		one := observedApp{App: o.App}
		if !o.Until.IsZero() {
			one.Until = at(o.Until, now)
		}
		out.Apps = append(out.Apps, one)
	}
	return out
}
