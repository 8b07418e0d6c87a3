package server

import (
	"slices"
	"strconv"
	"strings"

	"github.com/mayflyproxy/mayfly/audit"
)

// sentenceOf says in a few words what a record tells; the rest is in its detail.
func sentenceOf(t audit.Type, d map[string]string) string {
	switch t {
	case audit.TypeRequestCreated:
		return join("asked for", d["entitlement"], "for", d["duration_s"]+" s")
	case audit.TypeOfferMade:
		return join("offer", d["offer"], "revision", d["revision"], "sha256", head(d["digest"]))
	case audit.TypeDecisionMade:
		return join("policy at", d["when"]+":", d["outcome"], d["code"], "by policy", head(d["policy"]))
	case audit.TypeApprovalGiven:
		return join("approved step", d["step"], "on offer sha256", head(d["offer"]))
	case audit.TypeRequestApproved:
		return join("request approved by", d["how"])
	case audit.TypeRequestDenied:
		return join("request denied", d["code"], "by", d["how"])
	case audit.TypeRequestWithdrawn:
		return "request withdrawn"
	case audit.TypeRequestExpired:
		return "nobody decided in time"
	case audit.TypeGrantCreated:
		return join("grant", d["grant"], "of", d["entitlement"], "until", d["not_after"])
	case audit.TypeGrantRevoked, audit.TypeGrantFinished, audit.TypeGrantIdle, audit.TypeGrantEnded:
		return join("grant", d["grant"], strings.TrimPrefix(string(t), "grant.")+":", d["reason"])
	case audit.TypeGrantReceipts:
		return join("every instance has heard of the end, or its lease ran out:", receiptWords(d))
	case audit.TypeBundleBegan:
		return "every grant of the bundle is in force"
	case audit.TypeBundleUndone:
		return join("not all of the bundle was in force, so all of it ends:", missingWords(d))
	case audit.TypeActionReserved:
		return join("acknowledged before the act:", d["class"])
	case audit.TypeActionIntent:
		return join(d["app"], d["operation"], attributes(d), "under", d["grant"])
	case audit.TypeActionObserved:
		would := "would have been allowed under " + d["grant"]
		if d["code"] != "" {
			would = "would have been denied with " + d["code"]
		}
		return join("OBSERVED, not enforced:", d["app"], d["operation"], attributes(d), would)
	case audit.TypeActionRebound:
		return join("the stream goes on under", d["grant"], "after the end of", d["from"])
	case audit.TypeActionDenied:
		return join("denied", d["code"]+":", d["app"], d["operation"], attributes(d), d["denial"])
	case audit.TypeActionOutcome:
		return join(d["result"], "status", d["status"], d["reason"], d["ended_by"])
	default:
		return ""
	}
}

// join puts words together; a label whose value is empty goes with it.
func join(words ...string) string {
	var out []string
	for _, w := range words {
		if w == "" {
			if n := len(out); n > 0 && slices.Contains([]string{"status", "sha256", "until", "by", "under", "for", "revision"}, out[n-1]) {
				out = out[:n-1]
			}
			continue
		}
		out = append(out, w)
	}
	return strings.Join(out, " ")
}

// attributes lists the recorded values of an operation's attributes.
func attributes(d map[string]string) string {
	var out []string
	for key, v := range d {
		name, ok := strings.CutPrefix(key, "attributes.")
		if name, isValue := strings.CutSuffix(name, ".value"); ok && isValue {
			out = append(out, name+"="+v)
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func receiptWords(d map[string]string) string {
	acked, closed := 0, 0
	for key, v := range d {
		if strings.HasPrefix(key, "instances.") && strings.HasSuffix(key, ".how") {
			if v == "acked" {
				acked++
			} else {
				closed++
			}
		}
	}
	return strconv.Itoa(acked) + " acknowledged, " + strconv.Itoa(closed) + " closed"
}

// missingWords says which part of a bundle was missing.
func missingWords(d map[string]string) string {
	var out []string
	for i := 0; d["missing."+strconv.Itoa(i)+".app"] != ""; i++ {
		at := "missing." + strconv.Itoa(i)
		out = append(out, d[at+".app"]+": "+d[at+".why"])
	}
	return strings.Join(out, "; ")
}

// head shortens a digest for people.
func head(digest string) string {
	const shown = 12
	if len(digest) > shown {
		return digest[:shown]
	}
	return digest
}
