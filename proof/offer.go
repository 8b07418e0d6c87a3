package proof

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/gowebpki/jcs"

	"github.com/mayflyproxy/mayfly/scope"
)

// offer is what the approvers were shown (contracts §6), as far as it is held
// against the grant.
type offer struct {
	V           int               `json:"v"`
	Request     string            `json:"request"`
	Revision    string            `json:"revision"`
	Requester   party             `json:"requester"`
	Beneficiary party             `json:"beneficiary"`
	Act         []party           `json:"act"`
	Entitlement string            `json:"entitlement"`
	App         string            `json:"app"`
	Params      map[string]string `json:"params"`
	Reason      string            `json:"reason"`
	Operations  []operation       `json:"operations"`
	Limits      struct {
		Class string   `json:"class"`
		Any   []string `json:"any"`
		Idle  string   `json:"idle_after_s"` // mayflyd alone knows of the last use
	} `json:"limits"`
	Duration string `json:"duration_s"`
	StartBy  string `json:"start_by"`
	Policy   struct {
		Commit string `json:"commit"`
		Digest string `json:"digest"`
	} `json:"policy"`
	Catalogue string            `json:"catalogue"`
	Findings  []json.RawMessage `json:"findings"`

	duration time.Duration
	startBy  time.Time
}

type party struct {
	Principal string `json:"principal"`
	Person    string `json:"person"`
	Shown     string `json:"shown"`
}

type operation struct {
	Name  string  `json:"name"`
	Where []where `json:"where"`
}

type where struct {
	Attribute string `json:"attribute"`
	Op        string `json:"op"`
	Value     any    `json:"value"`
	Unit      string `json:"unit"`
	Words     string `json:"words"`
}

const (
	offerVersion = 1
	maxOffer     = 256 << 10
	stampLayout  = "2006-01-02T15:04:05.000000Z"
)

// readOffer reads an Offer in its one canonical form. A member that is not known
// could be a limit, and is an error.
func readOffer(b []byte) (offer, error) {
	var o offer
	if len(b) > maxOffer {
		return o, errors.New("an offer that is too large")
	}
	canonical, err := jcs.Transform(b)
	if err != nil || !bytes.Equal(canonical, b) {
		return o, errors.New("an offer that is not canonical JSON")
	}
	if err := exactNames(b, "params", "findings"); err != nil {
		return o, fmt.Errorf("offer: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&o); err != nil {
		return o, fmt.Errorf("offer: %w", err)
	}
	if o.V != offerVersion {
		return o, fmt.Errorf("an offer of version %d, want %d", o.V, offerVersion)
	}
	n, err := strconv.ParseInt(o.Duration, 10, 64)
	if err != nil || n <= 0 || n > int64(24*time.Hour/time.Second) || strconv.FormatInt(n, 10) != o.Duration {
		return o, fmt.Errorf("an offer for %.20q seconds", o.Duration)
	}
	o.duration = time.Duration(n) * time.Second
	if o.startBy, err = time.Parse(stampLayout, o.StartBy); err != nil {
		return o, errors.New("an offer without start_by")
	}
	return o, nil
}

// shows reports, as nil, that the Offer shows exactly this scope, in words that
// mean it.
func (o offer) shows(s scope.Scope) error {
	rules := s.Canonical().Rules
	if o.App != s.App || len(o.Operations) != len(rules) {
		return errors.New("the offer shows other operations")
	}
	for i, r := range rules {
		shown := o.Operations[i]
		if shown.Name != r.Operation || len(shown.Where) != len(r.Where) {
			return fmt.Errorf("the offer shows other operations than %s", r.Operation)
		}
		for j, c := range r.Where {
			if !shown.Where[j].means(c) {
				return fmt.Errorf("%s: the offer shows another limit than %s", r.Operation, c)
			}
		}
	}
	return nil
}

func (w where) means(c scope.Constraint) bool {
	var texts []string
	unit := ""
	for _, v := range c.Values {
		texts = append(texts, v.String())
		if m, ok := v.Money(); ok {
			unit = m.Currency
		} else if v.Type() == scope.TypeMinorUnits {
			unit = scope.TypeMinorUnits.String()
		} else {
			unit = ""
		}
	}
	if w.Attribute != c.Attribute || w.Op != string(c.Comparison) || w.Unit != unit || w.Words != c.String() {
		return false
	}
	switch shown := w.Value.(type) {
	case string:
		return c.Comparison != scope.In && len(texts) == 1 && shown == texts[0]
	case []any:
		return c.Comparison == scope.In && slices.EqualFunc(shown, texts, func(a any, b string) bool { return a == any(b) })
	default:
		return false
	}
}
