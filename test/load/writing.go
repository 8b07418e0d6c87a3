package main

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mayflyproxy/mayfly/audit"
	"github.com/mayflyproxy/mayfly/feed"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/proxy"
)

// writers is how many instances ship action records.
const writers = 10

// writing ships action records as spools do: half intents, half outcomes, each
// instance a segment at a time. What falls behind is shipped as fast as it goes.
type writing struct {
	stop     context.CancelFunc
	running  sync.WaitGroup
	accepted atomic.Int64
	began    time.Duration
}

func (f *instances) write(ctx context.Context, rate int, grants []string) *writing {
	ctx, stop := context.WithCancel(ctx)
	w := &writing{stop: stop, began: proxy.BootNow()}
	some := f.all[:min(writers, len(f.all))]
	for n, i := range some {
		w.running.Go(func() { w.ship(ctx, i, rate/len(some), float64(n)/float64(len(some)), grants[n%len(grants):]) })
	}
	return w
}

// end stops and returns how many records a second were accepted.
func (w *writing) end() float64 {
	took := proxy.BootNow() - w.began
	w.stop()
	w.running.Wait()
	return float64(w.accepted.Load()) / took.Seconds()
}

// ship ships segments at a rate of records a second, the first one after a part of the
// time that one takes to fill: spools are not filled in step.
func (w *writing) ship(ctx context.Context, i *instance, rate int, part float64, grants []string) {
	minter := grant.NewMinter()
	now := time.Now()
	s := &spooled{id: minter.NewSpoolID(now).String(), minter: minter, grants: grants, next: 1, node: i.name}
	size := max(2, min(rate/4, audit.MaxSegmentRecords)) &^ 1
	for sent := 0; ctx.Err() == nil; sent += size {
		at := w.began + time.Duration((float64(sent)+part*float64(size))/float64(max(rate, 1))*float64(time.Second))
		if until(ctx, at) != nil {
			return
		}
		seg, err := s.segment(size)
		if err != nil {
			i.log.Error("no segment is made", "error", err)
			return
		}
		if err := w.deliver(ctx, i, seg); err != nil {
			return
		}
		w.accepted.Add(int64(size))
	}
}

// deliver tries until the segment is accepted.
func (w *writing) deliver(ctx context.Context, i *instance, seg audit.Segment) error {
	for {
		limited, cancel := context.WithTimeout(ctx, 10*time.Second)
		out, err := i.client.Ingest(limited, &feed.IngestRequest{
			Spool: seg.Spool, First: seg.First, Last: seg.Last, Frames: seg.Frames, Root: seg.Root[:], ChainHead: seg.ChainHead[:],
		})
		cancel()
		if err == nil && out.GetNextSeq() == seg.Last+1 {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		i.log.Warn("segment not taken", "error", err)
	}
}

// spooled makes the records of one spool.
type spooled struct {
	id, node string
	minter   *grant.Minter
	grants   []string
	next     uint64
	head     audit.Hash

	intents, outcomes form
}

func (s *spooled) segment(records int) (audit.Segment, error) {
	prev, first := s.head, s.next
	var frames []byte
	for range records / 2 {
		now := time.Now()
		action := s.minter.NewActionID(now).String()
		grant := s.grants[int(s.next)%len(s.grants)]
		for _, form := range []*form{&s.intents, &s.outcomes} {
			record, err := form.fill(s, now, action, grant)
			if err != nil {
				return audit.Segment{}, err
			}
			if frames, s.head, err = audit.AppendFrame(frames, s.head, record); err != nil {
				return audit.Segment{}, err
			}
			s.next++
		}
	}
	return audit.NewSegment(s.id, prev, first, frames)
}

// form is an encoded record, cut where records differ. To encode each anew would cost
// this program what the product is to be measured by.
type form []string // text, then what it is filled with, and so on; the last is text

const (
	formAction = "act_00000000000000000000000000"
	formGrant  = "grt_00000000000000000000000000"
	formRecord = "rec_00000000000000000000000000"
	formSeq    = 9999999999
)

var (
	formTime  = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	formHoles = regexp.MustCompile(strings.Join([]string{formAction, formGrant, formRecord, strconv.Itoa(formSeq), audit.Stamp(formTime)}, "|"))
)

func (f *form) fill(s *spooled, now time.Time, action, grant string) ([]byte, error) {
	if *f == nil {
		if err := f.make(s); err != nil {
			return nil, err
		}
	}
	with := map[string]string{
		formAction: action, formGrant: grant, formRecord: s.minter.NewRecordID(now).String(),
		strconv.Itoa(formSeq): strconv.FormatUint(s.next, 10), audit.Stamp(formTime): audit.Stamp(now),
	}
	var out []byte
	for i, piece := range *f {
		if i%2 == 1 {
			piece = with[piece]
		}
		out = append(out, piece...)
	}
	return out, nil
}

func (f *form) make(s *spooled) error {
	kind, body := audit.TypeActionOutcome, any(audit.Outcome{Action: formAction, Result: audit.ResultSent, Status: 200, Bytes: 512})
	if f == &s.intents {
		kind, body = audit.TypeActionIntent, s.intent()
	}
	text, err := audit.Encode(audit.Record{ID: formRecord, Type: kind, Time: formTime, Node: s.node, Seq: formSeq, Subject: formAction, Body: body})
	if err != nil {
		return err
	}
	at := 0
	for _, hole := range formHoles.FindAllIndex(text, -1) {
		*f = append(*f, string(text[at:hole[0]]), string(text[hole[0]:hole[1]]))
		at = hole[1]
	}
	*f = append(*f, string(text[at:]))
	return nil
}

func (s *spooled) intent() audit.Intent {
	return audit.Intent{Grant: formGrant, Try: audit.Try{
		Action: formAction, App: "reports", Operation: "http.get", Class: "read", FreshnessMS: 400, Epoch: 1, Revision: formSeq,
		Ask:        audit.Ask{Method: "GET", Authority: "reports.acme.example", Path: audit.SHA256([]byte(s.id))},
		Attributes: map[string]audit.Attr{"path": {Value: fmt.Sprintf("/daily/%d", formSeq)}},
	}}
}
