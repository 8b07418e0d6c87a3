package console

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:embed static templates
var embedded embed.FS

// asset is one static file under a name that changes with its bytes.
type asset struct {
	kind string
	body []byte
}

// assets are the static files by the last part of their path.
type assets struct {
	byPath map[string]asset
	paths  map[string]string // app.css to /assets/app.<hash>.css
}

func readAssets() (assets, error) {
	out := assets{byPath: map[string]asset{}, paths: map[string]string{}}
	files, err := fs.ReadDir(embedded, "static")
	if err != nil {
		return out, err
	}
	kinds := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	for _, f := range files {
		body, err := fs.ReadFile(embedded, "static/"+f.Name())
		if err != nil {
			return out, err
		}
		ext := path.Ext(f.Name())
		sum := sha256.Sum256(body)
		name := strings.TrimSuffix(f.Name(), ext) + "." + hex.EncodeToString(sum[:8]) + ext
		out.byPath[name] = asset{kinds[ext], body}
		out.paths[f.Name()] = "/assets/" + name
	}
	return out, nil
}

// asset serves a static file; its name stands for its bytes, for good.
func (c *Console) asset(w http.ResponseWriter, r *http.Request) {
	a, ok := c.assets.byPath[r.PathValue("name")]
	if !ok {
		c.refuse(w, r, nil, noRoute())
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Content-Type", a.kind)
	h.Set("Content-Length", strconv.Itoa(len(a.body)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(a.body)
	}
}
