package audit

// Type names what a record says. The zero value is no type and is never written.
type Type string

// The types of control-log leaves, written by mayflyd in the transaction of the
// state change that they tell of.
const (
	TypeRequestCreated   Type = "request.created"   // somebody asked for an entitlement
	TypeOfferMade        Type = "offer.made"        // what is shown to whoever decides; its SHA-256
	TypeApprovalGiven    Type = "approval.given"    // a person approved one Offer
	TypeRequestApproved  Type = "request.approved"  // every step of the approval is done
	TypeRequestDenied    Type = "request.denied"    // policy or a person said no
	TypeRequestWithdrawn Type = "request.withdrawn" // the requester took it back
	TypeRequestExpired   Type = "request.expired"   // nobody decided in time
	TypeDecisionMade     Type = "decision.made"     // the decision with its stored inputs
	TypeGrantCreated     Type = "grant.created"     // a grant with its times; body as GrantCreated
	TypeGrantRevoked     Type = "grant.revoked"     // ended by somebody else's will
	TypeGrantFinished    Type = "grant.finished"    // ended by its holder
	TypeGrantIdle        Type = "grant.idle"        // ended because nobody used it
	TypeGrantEnded       Type = "grant.ended"       // its time has passed, written by the sweeper
	TypeGrantReceipts    Type = "grant.receipts"    // how each instance took a revoke
	TypeBundleBegan      Type = "bundle.began"      // each grant of a bundle is in force
	TypeBundleUndone     Type = "bundle.undone"     // one was not in time, so all of them end
	TypeActionReserved   Type = "action.reserved"   // an intent acknowledged before the act; body Reserved
	TypeSegmentAnchored  Type = "segment.anchored"  // a spool's segment accepted; body Anchor
	TypePolicyApplied    Type = "policy.applied"    // a commit entered into force
	TypePolicyRefused    Type = "policy.refused"    // a commit that did not, and why
	TypePolicySettling   Type = "policy.settling"   // somebody gains by a commit, so it waits
	TypePolicyWithdrawn  Type = "policy.withdrawn"  // it waits no more: it left the branch
	TypePolicyHold       Type = "policy.hold"       // somebody wants policy kept at a commit, or a second person has it kept
	TypePolicyReleased   Type = "policy.released"   // a hold, or the wish for one, is over
	TypeLogin            Type = "login"             // a person or workload opened a session
	TypeSessionEnded     Type = "session.ended"     // a session was ended, or left a host of an app by its time
	TypeTokenIssued      Type = "token.issued"      // an access token for a grant; never its text
	TypeTokenRefused     Type = "token.refused"     // somebody was refused one, or several were, counted
	TypeTokenRevoked     Type = "token.revoked"     // its holder revoked it, and its grant is finished with it
	TypeIdentityRefused  Type = "identity.refused"  // a provider no longer stands for an account: all it held ended, and why
	TypeIdentityChanged  Type = "identity.changed"  // a provider told other groups of an account than before
	TypeKeyRotated       Type = "key.rotated"       // another key signs tokens, or the next one was published
	TypeKeyRemoved       Type = "key.removed"       // a key of tokens verifies nothing any more, and why
	TypeAdministration   Type = "administration"    // any other act of an administrator
	TypeRecordRecovered  Type = "record.recovered"  // an operator went on with a database that was set back; the checkpoints that it does not continue
	TypeInstanceStarted  Type = "instance.started"  // a sidecar process was first heard
	TypeInstanceGone     Type = "instance.gone"     // a sidecar process left the list

	TypeInstanceQuarantined Type = "instance.quarantined" // what a sidecar process holds is not what it was told
	TypeInstanceReleased    Type = "instance.released"    // it is again
)

// The types of spool records, written by a sidecar.
const (
	TypeSpoolStarted      Type = "spool.started"       // a process opened the spool; body SpoolStarted
	TypeSpoolAlarm        Type = "spool.alarm"         // what a correct control plane never causes, or an operator's answer to it; body SpoolAlarm
	TypeActionIntent      Type = "action.intent"       // an operation is about to be tried; body Intent
	TypeActionObserved    Type = "action.observed"     // an operation on an app in observe mode is about to be passed on, and nothing was decided; body Observed
	TypeActionOutcome     Type = "action.outcome"      // what came of it; body Outcome
	TypeActionRebound     Type = "action.rebound"      // its stream goes on under another grant; body Rebound
	TypeActionDenied      Type = "action.denied"       // refused; body Denied
	TypeActionDeniedCount Type = "action.denied_count" // refusals of one second, counted; body DeniedCount
)

// Where says where records of a type stand.
type Where uint8

// The values of Where. WhereNone is that of an unknown type: nowhere.
const (
	WhereNone Where = iota
	WhereLeaf
	WhereSpool
)

// Where returns where records of type t stand, WhereNone if t is not known.
func (t Type) Where() Where {
	switch t {
	case TypeRequestCreated, TypeOfferMade, TypeApprovalGiven, TypeRequestApproved,
		TypeRequestDenied, TypeRequestWithdrawn, TypeRequestExpired, TypeDecisionMade,
		TypeGrantCreated, TypeGrantRevoked, TypeGrantFinished, TypeGrantIdle, TypeGrantEnded, TypeGrantReceipts, TypeBundleBegan, TypeBundleUndone,
		TypeActionReserved, TypeSegmentAnchored, TypePolicyApplied, TypePolicyRefused, TypePolicySettling, TypePolicyWithdrawn, TypePolicyHold, TypePolicyReleased,
		TypeLogin, TypeSessionEnded, TypeTokenIssued, TypeTokenRefused, TypeTokenRevoked, TypeIdentityRefused, TypeIdentityChanged, TypeKeyRotated, TypeKeyRemoved, TypeAdministration, TypeRecordRecovered, TypeInstanceStarted, TypeInstanceGone,
		TypeInstanceQuarantined, TypeInstanceReleased:
		return WhereLeaf
	case TypeSpoolStarted, TypeSpoolAlarm, TypeActionIntent, TypeActionObserved, TypeActionOutcome, TypeActionRebound, TypeActionDenied, TypeActionDeniedCount:
		return WhereSpool
	default:
		return WhereNone
	}
}
