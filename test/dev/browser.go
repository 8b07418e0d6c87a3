package dev

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

var pageField = regexp.MustCompile(`name="page" value="([A-Za-z0-9_-]+)"`)

// Login does what a browser would do for the person named user, "" for one who
// presses Cancel: it opens authURL, follows redirects to the IdP's login page and
// answers it. It returns where the IdP sends the browser then, without going
// there. client brings cookies and roots; nil means a plain one.
func Login(ctx context.Context, client *http.Client, authURL, user string) (redirect string, err error) {
	if client == nil {
		client = &http.Client{}
	}
	page, body, err := open(ctx, client, authURL)
	if err != nil {
		return "", err
	}
	found := pageField.FindStringSubmatch(body)
	if found == nil {
		return "", fmt.Errorf("no login page at %s: %.200s", page, body)
	}
	here := *client
	here.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	form := url.Values{"page": {found[1]}, "user": {user}}
	res, err := do(ctx, &here, http.MethodPost, page.ResolveReference(&url.URL{Path: "/login"}).String(), form)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	to, err := res.Location()
	if err != nil {
		return "", fmt.Errorf("login as %q: %s: %w", user, res.Status, err)
	}
	return to.String(), nil
}

// LoginAndFollow is Login that goes where it is sent, to the end of the
// redirects, and returns that address. An answer of 400 or more is an error.
func LoginAndFollow(ctx context.Context, client *http.Client, authURL, user string) (final string, err error) {
	if client == nil {
		client = &http.Client{}
	}
	next, err := Login(ctx, client, authURL, user)
	if err != nil {
		return "", err
	}
	at, _, err := open(ctx, client, next)
	if err != nil {
		return "", err
	}
	return at.String(), nil
}

var (
	confirmField = regexp.MustCompile(`name="token" value="([A-Za-z0-9_-]+)"`)
	confirmCode  = regexp.MustCompile(`[A-Z2-7]{5}-[A-Z2-7]{5}`)
)

// Confirm opens callback, to which the IdP sent the browser of a login of the command,
// and presses Continue on mayflyd's page there, which must show the code that the
// command printed; "" is any. It returns where mayflyd sends the browser then, without
// going there.
func Confirm(ctx context.Context, client *http.Client, callback, code string) (redirect string, err error) {
	return press(ctx, client, callback, code, "continue")
}

// press presses a button of that page.
func press(ctx context.Context, client *http.Client, callback, code, button string) (redirect string, err error) {
	page, body, err := open(ctx, client, callback)
	if err != nil {
		return "", err
	}
	found, shown := confirmField.FindStringSubmatch(body), confirmCode.FindString(body)
	if found == nil {
		return "", fmt.Errorf("no page that asks at %s: %.200s", page, body)
	}
	if code != "" && shown != code {
		return "", fmt.Errorf("the page shows the code %q, the command %q", shown, code)
	}
	here := *client
	here.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	form := url.Values{"token": {found[1]}, "answer": {button}}
	res, err := do(ctx, &here, http.MethodPost, page.ResolveReference(&url.URL{Path: "/login/confirm"}).String(), form)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	to, err := res.Location()
	if err != nil {
		return "", fmt.Errorf("%s: %s: %w", button, res.Status, err)
	}
	return to.String(), nil
}

// LoginCommand does what a person does whose command printed said: it opens the address
// there, logs in, compares the code, continues, and goes where it is sent at last.
func LoginCommand(ctx context.Context, client *http.Client, said, user string) error {
	return answerCommand(ctx, client, said, user, "continue")
}

// CancelCommand is LoginCommand of a person who logs in and presses Cancel then.
func CancelCommand(ctx context.Context, client *http.Client, said, user string) error {
	return answerCommand(ctx, client, said, user, "cancel")
}

func answerCommand(ctx context.Context, client *http.Client, said, user, button string) error {
	address := commandAddress.FindString(said)
	callback, err := Login(ctx, client, address, user)
	if err != nil {
		return err
	}
	code := confirmCode.FindString(commandAddress.ReplaceAllString(said, ""))
	if code == "" {
		return fmt.Errorf("the command prints no code: %s", said)
	}
	to, err := press(ctx, client, callback, code, button)
	if err != nil {
		return err
	}
	_, _, err = open(ctx, client, to)
	return err
}

var commandAddress = regexp.MustCompile(`https://\S+/oauth/authorize\?\S+`)

// open returns where the request ended, and the text there.
func open(ctx context.Context, client *http.Client, address string) (*url.URL, string, error) {
	res, err := do(ctx, client, http.MethodGet, address, nil)
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return nil, "", err
	}
	if res.StatusCode >= http.StatusBadRequest {
		return nil, "", fmt.Errorf("GET %s: %s: %s", res.Request.URL.Path, res.Status, strings.TrimSpace(string(body)))
	}
	return res.Request.URL, string(body), nil
}

func do(ctx context.Context, client *http.Client, method, address string, form url.Values) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", req.URL.Scheme+"://"+req.URL.Host)
	}
	return client.Do(req)
}
