package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// MaxPolicy is the largest body that holds a policy, in bytes: as much as a commit may
// hold, and what JSON adds.
const MaxPolicy = 24 << 20

// PolicyFiles is a policy that somebody asks about: the files by slash path.
type PolicyFiles struct {
	Files map[string]string `json:"files"`
	Since string            `json:"since,omitempty"` // for a replay: from when on
}

// PolicyChange is one thing that a policy says otherwise than another.
type PolicyChange struct {
	Effect     string   `json:"effect"` // gains, loses or differs
	What       string   `json:"what"`
	Who        []string `json:"who,omitempty"`
	Operations []string `json:"operations,omitempty"`
	File       string   `json:"file,omitempty"`
	Line       int      `json:"line,omitempty"`
	Text       string   `json:"text"`
	Widens     bool     `json:"widens"` // somebody could gain something on an app that was there
}

// PolicyReach is which operations somebody gains and loses, each as "app operation".
type PolicyReach struct {
	Who   string   `json:"who"`
	Gains []string `json:"gains,omitempty"`
	Loses []string `json:"loses,omitempty"`
	Known []string `json:"known,omitempty"` // of a group: its members who are logged in
}

// PolicyOverlap is two entitlements under which the same may ask for the same.
type PolicyOverlap struct {
	App        string   `json:"app"`
	Operations []string `json:"operations"`
	Who        []string `json:"who"`
	One        string   `json:"one"`
	Other      string   `json:"other"`
	Stricter   []string `json:"stricter,omitempty"`
}

// PolicyUnreached are operations of an app that no entitlement gives.
type PolicyUnreached struct {
	App        string   `json:"app"`
	Operations []string `json:"operations"`
}

// PolicyDiff is what a policy changes against another.
type PolicyDiff struct {
	First     bool              `json:"first"`  // there was none before
	Widens    bool              `json:"widens"` // somebody could gain something on an app that was there
	Changes   []PolicyChange    `json:"changes"`
	Reach     []PolicyReach     `json:"reach"`
	Overlaps  []PolicyOverlap   `json:"overlaps"`
	Unreached []PolicyUnreached `json:"unreached"`
}

// PolicyPlan is what a policy would do if it were in force now.
type PolicyPlan struct {
	Before  Policy       `json:"before"`        // in force
	Digest  string       `json:"digest"`        // of the policy that is asked about
	Waits   bool         `json:"waits"`         // it would have to settle before it enters into force
	Why     string       `json:"why"`           // it waits, or does not
	Dev     bool         `json:"dev,omitempty"` // this mayflyd is for development, where none waits
	Diff    PolicyDiff   `json:"diff"`
	Ends    []PolicyEnd  `json:"ends"`    // live grants that it would end
	Pending []PolicyFlip `json:"pending"` // requests under way that it would decide otherwise
	// Warnings are what is doubtful about the policy that is asked about, by file and line.
	Warnings []PolicyWarning `json:"warnings"`
}

// PolicyWarning is something that an author may not have meant. It keeps nothing from
// entering into force.
type PolicyWarning struct {
	File    string `json:"file"`
	Line    int    `json:"line"` // from 1
	Column  int    `json:"column"`
	Code    string `json:"code"` // stable
	Message string `json:"message"`
}

// PolicyEnd is a live grant that would end.
type PolicyEnd struct {
	Grant       string `json:"grant"`
	Principal   string `json:"principal"`
	App         string `json:"app"`
	Entitlement string `json:"entitlement"`
	NotAfter    string `json:"not_after"`
}

// PolicyFlip is a request that another policy decides otherwise.
type PolicyFlip struct {
	Request     string   `json:"request"`
	At          string   `json:"at"`
	Requester   string   `json:"requester"`
	Entitlement string   `json:"entitlement"`
	Was         string   `json:"was"`                  // granted, approval or denied
	Now         string   `json:"now"`                  // so
	Text        string   `json:"text"`                 // why, by the other policy
	Grant       string   `json:"grant,omitempty"`      // that came of it
	Actions     int      `json:"actions,omitempty"`    // under the grant, of which
	Refused     int      `json:"refused,omitempty"`    // so many would have been denied
	Unsure      int      `json:"unsure,omitempty"`     // and of so many the record does not hold enough to tell
	Operations  []string `json:"operations,omitempty"` // of the refused ones
}

// PolicyReplay is one line of the answer to a replay: how far it is, a request that
// flips, or at the end the sum.
type PolicyReplay struct {
	Done int              `json:"done,omitempty"` // percent
	Flip *PolicyFlip      `json:"flip,omitempty"`
	Sum  *PolicyReplaySum `json:"sum,omitempty"`
	Fail *Problem         `json:"fail,omitempty"` // it ended early, and there is no sum
}

// PolicyReplaySum is what came of a replay.
type PolicyReplaySum struct {
	Since    string `json:"since"`
	Requests int    `json:"requests"` // decided again
	Flips    int    `json:"flips"`
	Refused  int    `json:"refused"` // actions that would have been denied
	Unsure   int    `json:"unsure"`  // actions of which the record does not hold enough to tell
	Lost     int    `json:"lost"`    // requests whose inputs are erased or cannot be read
	Engines  int    `json:"engines"` // requests that another engine decided: a flip may be the engine's
}

// PolicyLog is how the file of an entitlement came to be what it is.
type PolicyLog struct {
	Entitlement string          `json:"entitlement"`
	Path        string          `json:"path"`
	Versions    []PolicyVersion `json:"versions"` // oldest first
	Lines       []PolicyLine    `json:"lines"`    // of the file as it is
}

// PolicyVersion is one text of the file, from the entry into force that brought it. A text
// that comes back is a version of its own.
type PolicyVersion struct {
	Commit   string   `json:"commit"`
	Digest   string   `json:"digest"`            // of the policy
	Signer   string   `json:"signer,omitempty"`  // the first of signers
	Signers  []string `json:"signers,omitempty"` // persons; none: unsigned (development)
	At       string   `json:"at"`
	How      string   `json:"how"`   // commit, held or released
	There    bool     `json:"there"` // otherwise the file was removed
	Added    int      `json:"added"`
	Removed  int      `json:"removed"`
	Requests int      `json:"requests"` // made while it was in force
	Newest   []string `json:"newest,omitempty"`
}

// PolicyLine is one line of the file, and the version that it is from.
type PolicyLine struct {
	Text    string `json:"text"`
	Version int    `json:"version"` // index into versions
}

// LogPolicy says how the file of an entitlement came to be what it is.
func (c *Client) LogPolicy(ctx context.Context, entitlement string) (PolicyLog, error) {
	return get[PolicyLog](ctx, c, at("policy", "log"), values(map[string]string{"entitlement": entitlement}))
}

// PlanPolicy says what a policy would do if it were in force now.
func (c *Client) PlanPolicy(ctx context.Context, files map[string]string) (PolicyPlan, error) {
	return post[PolicyPlan](ctx, c, at("policy", "plan"), PolicyFiles{Files: files}, "")
}

// ReplayPolicy decides past requests again, and tells each line of the answer.
func (c *Client) ReplayPolicy(ctx context.Context, in PolicyFiles, told func(PolicyReplay) error) error {
	res, err := c.send(ctx, call{method: http.MethodPost, path: at("policy", "replay"), body: in})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	whole := false
	for lines.Scan() {
		var line PolicyReplay
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return fmt.Errorf("replay: a line of the answer is not the JSON that was expected: %w", err)
		}
		if line.Fail != nil {
			return line.Fail
		}
		whole = whole || line.Sum != nil
		if err := told(line); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	if !whole {
		return errors.New("replay: the answer ended early")
	}
	return nil
}
