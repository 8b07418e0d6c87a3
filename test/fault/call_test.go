package fault

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/mayflyproxy/mayfly/test/env"
)

// answer is what a caller got: allowed, or why not. Code is the reason code of a
// refusal of ours, "cut" when the connection broke, else the status.
type answer struct {
	allowed bool
	code    string
	detail  string
}

// call sends one request and reads the whole answer.
func call(ctx context.Context, c *env.Caller, method, address string, form url.Values) answer {
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return answer{code: "request", detail: err.Error()}
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := c.Do(req)
	if err != nil {
		return answer{code: "cut", detail: err.Error()}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{code: "cut", detail: err.Error()}
	}
	if resp.StatusCode == http.StatusOK {
		return answer{allowed: true}
	}
	return answer{code: codeOf(resp.StatusCode, text), detail: string(text)}
}

// codeOf reads the reason out of problem+json or Stripe's error shape.
func codeOf(status int, body []byte) string {
	var shape struct {
		Code  string `json:"code"`
		Error struct {
			Code string `json:"code"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &shape) == nil {
		if shape.Code != "" {
			return shape.Code
		}
		if code := strings.TrimPrefix(shape.Error.Code, "mayfly_"); code != "" {
			return code
		}
	}
	return strconv.Itoa(status)
}

func read(ctx context.Context, c *env.Caller, path string) answer {
	return call(ctx, c, http.MethodGet, "https://"+env.ReportsHost+path, nil)
}

func write(ctx context.Context, c *env.Caller, path string) answer {
	return call(ctx, c, http.MethodPost, "https://"+env.ReportsHost+path, url.Values{"title": {"today"}})
}

func refund(ctx context.Context, c *env.Caller, charge string, amount int) answer {
	return call(ctx, c, http.MethodPost, "https://"+env.StripeHost+"/v1/refunds", url.Values{"charge": {charge}, "amount": {strconv.Itoa(amount)}})
}

// must turns a refusal into an error.
func (a answer) must(code string) error {
	if (code == "" && a.allowed) || (!a.allowed && a.code == code) {
		return nil
	}
	if code == "" {
		code = "an answer"
	}
	if a.allowed {
		return fmt.Errorf("allowed, want %s", code)
	}
	return fmt.Errorf("%s (%.300s), want %s", a.code, a.detail, code)
}
