package env

import (
	"context"
	"io"
	"net/http"
	"time"
)

// Metrics returns what mayflyd tells a scraper on its health port.
func (e *Env) Metrics(ctx context.Context) (string, error) { return scrape(ctx, e.health) }

// Metrics returns what the sidecar tells a scraper on its health port.
func (g *Gateway) Metrics(ctx context.Context) (string, error) { return scrape(ctx, g.health) }

func scrape(ctx context.Context, address string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}
