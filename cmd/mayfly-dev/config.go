package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/mayflyproxy/mayfly/test/dev"
)

// entriesFile is the file of ca serve.
type entriesFile struct {
	Entries []struct {
		ID     string        `yaml:"id"`
		Socket string        `yaml:"socket"`
		UID    *uint32       `yaml:"uid"`
		Hint   string        `yaml:"hint"`
		TTL    time.Duration `yaml:"ttl"`
		DNS    []string      `yaml:"dns"`
	} `yaml:"entries"`
}

// usersFile is the file of idp serve.
type usersFile struct {
	Users []struct {
		Name          string   `yaml:"name"`
		Subject       string   `yaml:"subject"`
		Email         string   `yaml:"email"`
		EmailVerified bool     `yaml:"email_verified"`
		Groups        []string `yaml:"groups"`
		ACR           string   `yaml:"acr"`
	} `yaml:"users"`
	Clients []struct {
		ID        string   `yaml:"id"`
		Secret    string   `yaml:"secret"`
		Redirects []string `yaml:"redirects"`
		Alg       string   `yaml:"alg"`
		Logout    string   `yaml:"backchannel_logout"`
	} `yaml:"clients"`
}

const defaultSocket = "workload.sock"

// entriesOf reads the entries; sockets become absolute, relative to dir.
func entriesOf(path, dir string) ([]dev.Entry, error) {
	var f entriesFile
	if err := readYAML(path, &f); err != nil {
		return nil, err
	}
	var out []dev.Entry
	for i, e := range f.Entries {
		id, err := spiffeid.FromString(e.ID)
		if err != nil {
			return nil, fmt.Errorf("%s: entry %d: id %q: %w", path, i+1, e.ID, err)
		}
		if e.Socket == "" {
			e.Socket = defaultSocket
		}
		if !filepath.IsAbs(e.Socket) {
			e.Socket = filepath.Join(dir, e.Socket)
		}
		out = append(out, dev.Entry{Socket: e.Socket, UID: e.UID, ID: id, Hint: e.Hint, TTL: e.TTL, DNS: e.DNS})
	}
	return out, nil
}

func peopleOf(path string) (users []dev.User, clients []dev.Client, err error) {
	var f usersFile
	if err := readYAML(path, &f); err != nil {
		return nil, nil, err
	}
	for _, u := range f.Users {
		users = append(users, dev.User(u))
	}
	for _, c := range f.Clients {
		clients = append(clients, dev.Client{ID: c.ID, Secret: c.Secret, Redirects: c.Redirects, Alg: c.Alg, BackchannelLogout: c.Logout})
	}
	return users, clients, nil
}

// readYAML refuses unknown keys, with line and column.
func readYAML(path string, into any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
