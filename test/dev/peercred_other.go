//go:build !linux

package dev

import (
	"errors"
	"net"
)

func peerUID(*net.UnixConn) (uint32, error) {
	return 0, errors.New("the development Workload API needs Linux: no SO_PEERCRED here")
}
