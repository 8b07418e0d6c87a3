// Package web is the kind for apps that Mayfly knows nothing about but HTTP: the
// operations are the methods, the one resource is the path.
//
// A WebSocket is an operation of its own, http.websocket, and writes: what is said in it
// is not seen. Gateways take one only to apps whose streams are guarded.
//
// Its attributes are path and host. The query is not part of the path and no
// constraint reaches it; an app that acts on its query alone needs a kind that
// knows it. An http.post may be whatever the app takes by POST: a body that names
// another method (Rails' _method) is the app's, and policy that allows http.post
// allows it.
//
// It does not reach the app and has no credential: such apps are direct.
package web
