package history

import (
	"testing"
	"time"
)

// Whatever is done to mayflyd's wall clock, and whoever is killed around it, a grant
// ends when its time has passed, a live one is permitted once the dust has settled,
// and an instance that lost more than 30 s waits for an operator (contracts §1).
func TestP3_AMovedClockOfMayflydLengthensNoGrant(t *testing.T) {
	db, signer, root := template(t), newSigner(t), folder(t)
	granted := step{Do: ask, Who: 1, What: 2, By: 10 * time.Second}
	forward, back := step{Do: jump, By: time.Hour}, step{Do: jump, By: -time.Hour}
	second := step{Do: pass, By: 1100 * time.Millisecond}
	end := step{Do: passToEnd}
	for name, moved := range map[string][]step{
		"an hour back":                                  {back, second},
		"an hour forward":                               {forward, second},
		"forward, and put right":                        {forward, second, back, second},
		"back, and put right":                           {back, second, forward, second},
		"back, as every mayflyd is started again":       {back, {Do: crashAll}, second},
		"back, as the machine is started again":         {back, {Do: reboot}, second},
		"forward, as every mayflyd is started again":    {forward, {Do: crashAll}, second},
		"forward, told, back, and all started again":    {forward, second, back, {Do: crashAll}, {Do: crashNode, Who: 0}, {Do: crashNode, Who: 1}, second},
		"back, as the gateway is started again":         {back, {Do: crashNode, Who: 0}, {Do: crashNode, Who: 1}, second},
		"forward, while the gateway hears nothing":      {{Do: hold, Who: 0, What: 1}, {Do: hold, Who: 1, What: 1}, forward, second, second, {Do: heal, Who: 0}, {Do: heal, Who: 1}, second},
		"back, while an old Pong is still under way":    {{Do: hold, Who: 0, What: 0}, {Do: hold, Who: 1, What: 0}, second, back, {Do: crashAll}, {Do: heal, Who: 0}, {Do: heal, Who: 1}, second},
		"forward and back between one Ping and another": {forward, back, second},
	} {
		t.Run(name, func(t *testing.T) {
			total := &counts{}
			history := append([]step{granted}, moved...)
			history = append(history, granted, second, end, second)
			if err := once(t, db, signer, root, history, total); err != nil {
				t.Fatal(err)
			}
			if total.grants != 2 || total.allowed == 0 {
				t.Errorf("%+v: nothing was shown", *total)
			}
		})
	}
}

// Cut off just after it heard of a grant that was made by a clock that had been moved
// forward, a gateway permits nothing by the time that it had before.
func TestP3_AGrantOfAMovedClockWaitsForAPong(t *testing.T) {
	db, signer, root := template(t), newSigner(t), folder(t)
	cutOff := step{Do: ask, Who: 1, What: 6, By: 3 * time.Second}
	for name, history := range map[string][]step{
		"forward by 2 s":                     {{Do: jump, By: 2 * time.Second}, cutOff},
		"by 3 s, half a second after a Pong": {{Do: pass, By: 700 * time.Millisecond}, {Do: jump, By: 3 * time.Second}, cutOff},
		"by 2 s, and the grant comes late": {
			{Do: jump, By: 2 * time.Second}, {Do: hold, Who: 0, What: 2}, {Do: hold, Who: 1, What: 2},
			{Do: ask, Who: 1, What: 2, By: 3 * time.Second}, {Do: pass, By: 2500 * time.Millisecond},
			{Do: heal, Who: 0}, {Do: heal, Who: 1}, {Do: hold, Who: 0, What: 2}, {Do: hold, Who: 1, What: 2},
		},
	} {
		t.Run(name, func(t *testing.T) {
			total := &counts{}
			for range 30 {
				history = append(history, step{Do: pass, By: 150 * time.Millisecond})
			}
			if err := once(t, db, signer, root, history, total); err != nil {
				t.Fatal(err)
			}
			if total.grants != 1 || total.denied == 0 {
				t.Errorf("%+v: nothing was shown", *total)
			}
		})
	}
}

// A gateway whose first Pong came late does not end everything early from then on.
func TestP3_ALateFirstPongDoesNotSayTheTime(t *testing.T) {
	db, signer, root, total := template(t), newSigner(t), folder(t), &counts{}
	err := once(t, db, signer, root, []step{
		{Do: pass, By: 60 * time.Millisecond}, {Do: crashNode, Who: 0},
		{Do: keep, Who: 0}, {Do: ask, Who: 0, What: 0, By: time.Second}, // a transaction that stays open
		{Do: pass, By: 9 * time.Second}, {Do: goOn, Who: 0},
		{Do: ask, Who: 1, What: 2, By: 10 * time.Second},
	}, total)
	if err != nil {
		t.Fatal(err)
	}
	if total.grants != 1 || total.allowed == 0 {
		t.Errorf("%+v: nothing was shown", *total)
	}
}

// Whoever revokes is told that a gateway that does not answer is closed when its lease
// is over, not when a wall clock says so.
func TestP4_AMovedClockClosesNoLease(t *testing.T) {
	db, signer, root := template(t), newSigner(t), folder(t)
	granted, revoked := step{Do: ask, Who: 1, What: 2, By: time.Minute}, step{Do: revoke}
	deaf, forward := []step{{Do: hold, Who: 0, What: 2}, {Do: hold, Who: 1, What: 2}}, step{Do: jump, By: 20 * time.Second}
	for name, moved := range map[string][]step{
		"forward, then revoked":      {forward, revoked},
		"revoked, then forward":      {revoked, forward},
		"and all started again":      {revoked, forward, {Do: crashAll}},
		"and the machine, too":       {revoked, forward, {Do: reboot}},
		"forward as all start again": {{Do: crashAll}, forward, {Do: crashAll}, revoked},
	} {
		t.Run(name, func(t *testing.T) {
			total := &counts{}
			history := append(append([]step{granted}, deaf...), moved...)
			for range 12 {
				history = append(history, step{Do: pass, By: 700 * time.Millisecond}, step{Do: sweep})
			}
			if err := once(t, db, signer, root, history, total); err != nil {
				t.Fatal(err)
			}
			if total.ended != 1 || total.allowed == 0 {
				t.Errorf("%+v: nothing was shown", *total)
			}
		})
	}
}
