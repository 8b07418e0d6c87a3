package proof

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/gowebpki/jcs"
)

// leaf is the record grant.created as far as it is held against the grant.
type leaf struct {
	V    int    `json:"v"`
	Type string `json:"type"`
	Seq  string `json:"seq"`
	Body struct {
		Grant       string `json:"grant"`
		Request     string `json:"request"`
		NotBefore   string `json:"not_before"`
		NotAfter    string `json:"not_after"`
		Entitlement string `json:"entitlement"`
		App         string `json:"app"`
		Class       string `json:"class"`
		Catalogue   string `json:"catalogue"`
		Offer       string `json:"offer"`
	} `json:"body"`
}

const leafType = "grant.created"

// readLeaf reads a record in its one canonical form (contracts §5), so that the
// record's own readers see the same in it.
func readLeaf(b []byte, index int64) (leaf, error) {
	var l leaf
	canonical, err := jcs.Transform(b)
	if err != nil || !bytes.Equal(canonical, b) || exactNames(b) != nil {
		return l, errors.New("its leaf of the record is no grant.created in canonical JSON")
	}
	if json.Unmarshal(b, &l) != nil || l.V != 1 || l.Type != leafType || l.Seq != strconv.FormatInt(index, 10) {
		return l, errors.New("its leaf of the record is no grant.created")
	}
	return l, nil
}

func stamp(t time.Time) string { return t.UTC().Format(stampLayout) }
