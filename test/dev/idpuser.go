package dev

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// User is somebody who can log in at the IdP.
type User struct {
	Name          string // typed at the login page
	Subject       string // sub; "" means Name
	Email         string
	EmailVerified bool
	Groups        []string
	ACR           string // how strong the login is said to be; "" means "1"
}

// The subjects of alice, bob and carol: opaque, as a provider's are.
const (
	AliceSubject = "3f1c7a52"
	BobSubject   = "8b0e41d9"
	CarolSubject = "c2d9f6e3"
)

// People returns alice, bob and carol of acme.example with the groups given by
// name, in that order.
func People(groups map[string][]string) []User {
	var out []User
	for _, p := range [][2]string{{"alice", AliceSubject}, {"bob", BobSubject}, {"carol", CarolSubject}} {
		out = append(out, User{Name: p[0], Subject: p[1], Email: p[0] + "@acme.example", EmailVerified: true, Groups: groups[p[0]]})
	}
	return out
}

// SetUser adds u, or replaces the user of that name: groups change for the next
// login or refresh.
func (p *IdP) SetUser(u User) error {
	if u.Name == "" {
		return fmt.Errorf("development IdP: user without a name")
	}
	if u.Subject == "" {
		u.Subject = u.Name
	}
	if u.ACR == "" {
		u.ACR = "1"
	}
	if u.Groups == nil {
		u.Groups = []string{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users = slices.DeleteFunc(p.users, func(o User) bool { return o.Name == u.Name })
	p.users = append(p.users, u)
	return nil
}

// RemoveUser disables a user: no login, no refresh, no userinfo. ID tokens that
// are issued run out by themselves, and no client is told; Logout tells them.
func (p *IdP) RemoveUser(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users = slices.DeleteFunc(p.users, func(o User) bool { return o.Name == name })
}

// user needs mu.
func (p *IdP) user(name string) (User, bool) {
	i := slices.IndexFunc(p.users, func(u User) bool { return u.Name == name })
	if i < 0 {
		return User{}, false
	}
	return p.users[i], true
}

func (u User) claims() map[string]any {
	return map[string]any{
		"sub": u.Subject, "name": u.Name, "preferred_username": u.Name,
		"email": u.Email, "email_verified": u.EmailVerified, "groups": u.Groups,
	}
}

func (p *IdP) tellUser(w http.ResponseWriter, r *http.Request) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	p.mu.Lock()
	name, live := p.access.get(token, p.now())
	user, known := p.user(name)
	p.mu.Unlock()
	if !ok || !live || !known {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		writeJSON(w, http.StatusUnauthorized, map[string]string{"error": "invalid_token"})
		return
	}
	writeJSON(w, http.StatusOK, user.claims())
}
