// Package proxy owns the sidecar's decision: its memory (clock, lease,
// generations and the table of apps and grants that the feed fills), and Check,
// which asks it.
//
// Every answer comes from that memory, and every doubt is a no: never filled, not
// heard from recently enough, a clock that went back, a grant that is not
// understood. It fetches nothing, stores no grant on disk, and trusts no clock
// but the control plane's, carried on by CLOCK_BOOTTIME (contracts §1 and §2).
// What a grant permits is grant's rule; how the control plane is reached is
// feed's; executing with a credential, writing intents and running Envoy are the
// packages below this one.
package proxy
