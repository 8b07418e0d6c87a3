package stripe

import (
	"bytes"
	"errors"
	"io"
	"mime/multipart"
	"strings"
)

// uploadType is how files.create has its fields.
const uploadType = "multipart/form-data"

// readUpload reads the fields of an upload, in the one spelling that the known
// clients use. The content of the file is not looked at; it is the one part with
// a file name.
func readUpload(media string, params map[string]string, body []byte) (*formValue, error) {
	boundary := params["boundary"]
	if media != uploadType || len(params) != 1 || boundary == "" {
		return nil, malformed("an upload is %s with a boundary and nothing else", uploadType)
	}
	if !bytes.HasPrefix(body, []byte("--"+boundary+"\r\n")) || !bytes.HasSuffix(body, []byte("\r\n--"+boundary+"--\r\n")) {
		return nil, malformed("the upload has bytes before its first part or after its last")
	}
	root := &formValue{}
	reader := multipart.NewReader(bytes.NewReader(body), boundary)
	for {
		part, err := reader.NextRawPart()
		if errors.Is(err, io.EOF) {
			return root, nil
		}
		if err != nil {
			return nil, malformed("the parts of the upload cannot be read").Because(err)
		}
		if err := root.putPart(part); err != nil {
			return nil, err
		}
	}
}

func (v *formValue) putPart(part *multipart.Part) error {
	for name, values := range part.Header {
		if name != "Content-Disposition" && name != "Content-Type" || len(values) != 1 {
			return malformed("a part of the upload has the header %.64q", name)
		}
	}
	key, hasFile, ok := disposition(part.Header.Get("Content-Disposition"))
	if !ok || hasFile != (key == "file") {
		return malformed("a part of the upload has no plain name, or has a file name and is not file")
	}
	value, err := io.ReadAll(part)
	if err != nil {
		return malformed("a part of the upload cannot be read").Because(err)
	}
	if hasFile {
		value = nil
	}
	path, err := bracketPath(key)
	if err != nil {
		return err
	}
	if err := v.put(path, string(value)); err != nil {
		return malformed("the field %.64q is %s", key, err.Error())
	}
	return nil
}

// disposition reads form-data; name="…" with a file name or without one, and no
// other spelling of it (RFC 7578 §4.2 has several, which parsers read differently).
func disposition(s string) (name string, hasFile, ok bool) {
	if strings.ContainsAny(s, "\\%*") {
		return "", false, false
	}
	parts := strings.Split(s, `"`)
	switch {
	case len(parts) == 3 && parts[0] == "form-data; name=" && parts[2] == "":
		return parts[1], false, true
	case len(parts) == 5 && parts[0] == "form-data; name=" && parts[2] == "; filename=" && parts[4] == "":
		return parts[1], true, true
	default:
		return "", false, false
	}
}
