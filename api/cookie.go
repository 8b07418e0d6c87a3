package api

// ConsoleCookie carries the session of a browser on mayflyd's own host. The JSON
// API never reads it.
const ConsoleCookie = "__Host-mayfly-console"
