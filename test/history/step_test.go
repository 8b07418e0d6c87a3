package history

import (
	"fmt"
	"strconv"
	"time"

	"pgregory.net/rapid"
)

// act is one thing that happens.
type act string

const (
	ask          act = "ask"
	approve      act = "approve"
	revoke       act = "revoke"
	finish       act = "finish"
	pass         act = "pass"
	passToEnd    act = "pass to the end of grant"
	crashNode    act = "kill instance"
	crashReplica act = "kill mayflyd"
	crashAll     act = "kill every mayflyd"
	reboot       act = "start the machine of mayflyd again"
	cut          act = "cut"          // both ends notice
	hold         act = "hold"         // nothing arrives, nobody notices
	heal         act = "heal"         // what was held arrives
	double       act = "double"       // the next message to the instance
	swap         act = "swap"         // the next two
	move         act = "move"         // to the other mayflyd
	jump         act = "move clock"   // the wall clock of mayflyd
	wait         act = "wait"         // before its next transaction begins
	keep         act = "keep lock"    // of the head row, before the commit
	lose         act = "lose answer"  // of a commit
	goOn         act = "go on"        // whatever waits
	lag          act = "read the old" // state from now on
	catchUp      act = "catch up"
	prune        act = "prune" // what changed: who is behind takes a snapshot
	sweep        act = "sweep"
)

// step is an act, on the who-th of its kind; what and by say more.
type step struct {
	Do   act
	Who  int
	What int
	By   time.Duration
}

func (s step) String() string {
	switch s.Do {
	case ask:
		return fmt.Sprintf("%s %d for %s (kind %d)", s.Do, s.Who, s.By, s.What)
	case approve, revoke, finish:
		return fmt.Sprintf("%s %d by %d", s.Do, s.Who, s.What)
	case pass, jump:
		return fmt.Sprintf("%s %s", s.Do, s.By)
	case passToEnd:
		return fmt.Sprintf("%s %d at instance %d, %s", s.Do, s.Who, s.What, s.By)
	case crashAll, reboot, prune:
		return string(s.Do)
	case hold:
		return fmt.Sprintf("%s %d (direction %d)", s.Do, s.Who, s.What)
	default:
		return fmt.Sprintf("%s %d", s.Do, s.Who)
	}
}

// GoString is how rapid prints it.
func (s step) GoString() string { return strconv.Quote(s.String()) }

// often weighs the acts: a history without grants says nothing.
var often = []struct {
	act
	weight int
}{
	{ask, 10}, {approve, 6}, {revoke, 8}, {finish, 2}, {pass, 8}, {passToEnd, 5},
	{crashNode, 2}, {crashReplica, 1}, {crashAll, 1}, {reboot, 1}, {cut, 2}, {hold, 2}, {heal, 3}, {double, 2}, {swap, 1}, {move, 2},
	{jump, 3}, {wait, 4}, {keep, 1}, {lose, 1}, {goOn, 3}, {lag, 1}, {catchUp, 2}, {prune, 1}, {sweep, 2},
}

func acts() []act {
	var out []act
	for _, o := range often {
		for range o.weight {
			out = append(out, o.act)
		}
	}
	return out
}

var (
	passes = []time.Duration{time.Millisecond, 60 * time.Millisecond, 150 * time.Millisecond, 700 * time.Millisecond, 1100 * time.Millisecond, 2500 * time.Millisecond, staleAfter - time.Millisecond, staleAfter}
	jumps  = []time.Duration{-time.Hour, time.Hour, -4 * time.Second, 2 * time.Second, 3 * time.Second, 20 * time.Second}
	terms  = []time.Duration{time.Second, 3 * time.Second, 10 * time.Second, time.Minute}
	aims   = []time.Duration{-time.Microsecond, 0, 0, time.Microsecond, endSlack}
)

const mostSteps = 24

// histories draws one.
func histories() *rapid.Generator[[]step] {
	one := rapid.Custom(func(r *rapid.T) step {
		s := step{Do: rapid.SampledFrom(acts()).Draw(r, "do")}
		if s.Do != crashAll && s.Do != reboot && s.Do != prune && s.Do != jump && s.Do != pass {
			s.Who = rapid.IntRange(0, 3).Draw(r, "who")
		}
		switch s.Do {
		case ask:
			s.What, s.By = rapid.IntRange(0, 7).Draw(r, "what"), rapid.SampledFrom(terms).Draw(r, "term")
		case approve, revoke, finish:
			s.What = rapid.IntRange(0, len(people)-1).Draw(r, "by")
		case passToEnd:
			s.What, s.By = rapid.IntRange(0, 1).Draw(r, "at"), rapid.SampledFrom(aims).Draw(r, "aim")
		case hold:
			s.What = rapid.IntRange(0, 2).Draw(r, "direction")
		case pass:
			s.By = rapid.SampledFrom(passes).Draw(r, "pass")
		case jump:
			s.By = rapid.SampledFrom(jumps).Draw(r, "jump")
		}
		return s
	})
	return rapid.SliceOfN(one, 6, mostSteps)
}
