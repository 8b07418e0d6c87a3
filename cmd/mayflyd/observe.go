package main

import (
	"context"
	"time"
)

const sayObservedEvery = time.Hour

// sayObserved tells operators, at the start and each hour, on which apps nobody is denied.
func (d *daemon) sayObserved(ctx context.Context) error {
	say := func() {
		list, err := d.service.Observations(ctx)
		if err != nil && ctx.Err() == nil {
			d.log.ErrorContext(ctx, "apps in observe mode not known", "error", err)
		}
		for _, o := range list {
			until := "no end is set"
			if !o.Until.IsZero() {
				until = o.Until.Format(time.RFC3339)
			}
			d.log.WarnContext(ctx, "app in observe mode: nobody is denied there", "app", o.App, "until", until, "owner", o.Owner, "exception", o.Exception)
		}
	}
	say()
	return d.each(ctx, sayObservedEvery, say)
}

// observed is how many apps are in observe mode.
func (d *daemon) observed() float64 {
	if d.service == nil {
		return 0
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	list, err := d.service.Observations(ctx)
	if err != nil {
		d.log.ErrorContext(ctx, "apps in observe mode not known", "error", err)
	}
	return float64(len(list))
}
