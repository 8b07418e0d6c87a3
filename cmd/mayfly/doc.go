// Command mayfly is what people and workloads type: it asks for access, gives it,
// ends it, and shows and checks the record. Its commands are in package cli; here
// is only what is joined to them: the kinds of app, and the terminal.
package main
