package server

import (
	"net/http"

	"github.com/mayflyproxy/mayfly/api"
)

// document answers with the OpenAPI document, to everybody: it tells of no one.
func (s *Server) document(w http.ResponseWriter, r *http.Request) error {
	sendBytes(w, "application/json", api.Document())
	return nil
}
