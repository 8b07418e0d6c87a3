// Package limit slows down whoever tries too often: each key, an address or a
// principal, has a burst of tries and then one more a period. It guards the doors of
// mayflyd against guessing and floods; it decides nothing about access.
package limit
