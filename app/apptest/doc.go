// Package apptest is the conformance run of every kind of app: raw requests in
// text files with the operation, or the refusal, that each must give. A new kind
// is one folder, such files under its testdata, and one call of Run.
//
// A file holds cases. Lines before the first case are a comment. The body, if
// any, stands between the blank line and "-- want --"; the line breaks around it
// are not part of it, and a body that begins with a double quote is a Go string.
//
//	=== a refund of a part
//	POST /v1/refunds
//	Host: stripe.acme.example
//	Content-Type: application/x-www-form-urlencoded
//
//	charge=ch_1&amount=4200
//	-- want --
//	operation: refunds.create
//	class: money
//	resource: ch_1
//	- charge: string ch_1
//	- amount: minor_units 4200
//
// All attributes are listed. A refusal is written "reason: malformed", with
// "sentence: …" for words that it must contain.
//
// It knows nothing of any kind, and it is for tests only.
package apptest
