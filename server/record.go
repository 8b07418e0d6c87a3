package server

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/mayflyproxy/mayfly/access"
	"github.com/mayflyproxy/mayfly/audit"
)

// checkpoint answers with the newest signed checkpoint. It is public: the more
// people keep it, the better.
func (s *Server) checkpoint(w http.ResponseWriter, r *http.Request) error {
	note, err := s.service.Checkpoint(r.Context())
	if err != nil {
		return err
	}
	sendBytes(w, "text/plain; charset=utf-8", note)
	return nil
}

// tile answers with a tile of the log (C2SP tlog-tiles): hashes to people who are
// logged in, entries to the security group. Entries name persons by pseudonym
// only, but tell everybody's requests and grants.
func (s *Server) tile(w http.ResponseWriter, r *http.Request, c caller) error {
	if p, err := audit.ParseTilePath(r.URL.Path); err == nil && p.Entries {
		if err := s.seesAll(r.Context(), c); err != nil {
			return err
		}
	}
	b, err := s.record.tile(r.Context(), r.URL.Path)
	switch {
	case errors.Is(err, audit.ErrTilePath), errors.Is(err, audit.ErrNoTile):
		return problem(http.StatusNotFound, codeNoRoute, "Not found", err.Error())
	case err != nil:
		return err
	}
	sendBytes(w, "application/octet-stream", b)
	return nil
}

// seesAll lets the security group through, by the rule that lets it see
// everybody's requests.
func (s *Server) seesAll(ctx context.Context, c caller) error {
	_, err := s.service.Requests(ctx, c.Caller, access.ListRequests{Everyone: true, Limit: 1})
	return err
}

func sendBytes(w http.ResponseWriter, kind string, b []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	_, _ = w.Write(b) // a caller who is gone is nobody to tell
}

// export streams the whole record as a tar archive of what audit.Export writes.
// The archive is made whole on disk first: until then a failure is an answer,
// afterwards it cuts the connection.
// It is for the security group.
func (s *Server) export(w http.ResponseWriter, r *http.Request, c caller) error {
	if err := s.seesAll(r.Context(), c); err != nil {
		return err
	}
	select {
	case s.exports <- struct{}{}:
		defer func() { <-s.exports }()
	default:
		return problem(http.StatusServiceUnavailable, codeBusy, "Busy", "other exports are under way: try again in a minute")
	}
	dir, err := os.MkdirTemp(s.c.TempDir, "mayfly-export-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := s.record.export(r.Context(), dir); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/x-tar")
	w.Header().Set("Content-Disposition", `attachment; filename="mayfly-record.tar"`)
	if err := sendFolder(r.Context(), w, dir); err != nil {
		s.c.Log.WarnContext(r.Context(), "export was cut", "cause", err.Error())
		panic(http.ErrAbortHandler)
	}
	return nil
}

// sendFolder writes what is below dir as a tar archive, in the order of names.
func sendFolder(ctx context.Context, w io.Writer, dir string) error {
	out := tar.NewWriter(w)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if name = filepath.ToSlash(name); d.IsDir() {
			return out.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o700, ModTime: time.Unix(0, 0), Format: tar.FormatPAX})
		}
		return sendFile(out, path, name)
	})
	if err != nil {
		return err
	}
	return out.Close()
}

func sendFile(out *tar.Writer, path, name string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: info.Size(), Mode: 0o600, ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
	if err := out.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.Copy(out, f)
	return err
}
