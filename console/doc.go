// Package console is what people see of mayflyd: the pages of its public door,
// rendered on the server, usable without a script, under a policy that lets the
// browser load nothing from elsewhere. It calls the same verbs of access as the
// API and reads no store. Login, logout and the API belong to package server,
// which has console render its choice of providers and its problems.
//
// Whoever calls is known by the console session's cookie alone. No GET changes
// anything; forms are taken from the console's own pages only.
package console
