// Package browser is a person at a real browser: a headless Chromium that trusts
// the roots it is given, finds only the hosts it is told of, and notes what a
// person at its console would see: errors, what the Content-Security-Policy
// stopped, requests. It clicks, types and reads as a person does, looks for what
// keeps people out, and takes pictures.
//
// Each Browser has a profile of its own: two are two people. It is for tests only;
// what goes wrong in it ends the test and says what the page showed.
package browser
