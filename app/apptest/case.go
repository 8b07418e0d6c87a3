package apptest

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/mayflyproxy/mayfly/app"
	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/scope"
)

// AppName is the name that every request of a case is classified under.
const AppName = "app"

// Case is one request and what a kind must make of it.
type Case struct {
	Name      string
	Request   app.Request
	Operation scope.Operation // when Reason is empty
	Reason    grant.Reason
	Sentence  string // what the refusal's sentence contains
}

const (
	caseMark = "=== "
	wantMark = "-- want --"

	attributeMark = "- "
)

// Read returns the cases of all .txt files in dir.
func Read(dir string) ([]Case, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		return nil, err
	}
	var cases []Case
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		got, err := parse(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		cases = append(cases, got...)
	}
	if len(cases) == 0 {
		return nil, fmt.Errorf("no cases in %s", dir)
	}
	return cases, nil
}

func parse(text string) ([]Case, error) {
	blocks := strings.Split("\n"+text, "\n"+caseMark)
	var cases []Case
	for _, block := range blocks[1:] {
		name, rest, _ := strings.Cut(block, "\n")
		ask, want, ok := strings.Cut(rest, "\n"+wantMark+"\n")
		if !ok {
			return nil, fmt.Errorf("case %q has no %s", name, wantMark)
		}
		c := Case{Name: name}
		if err := c.readRequest(ask); err != nil {
			return nil, fmt.Errorf("case %q: %w", name, err)
		}
		if err := c.readWant(want); err != nil {
			return nil, fmt.Errorf("case %q: %w", name, err)
		}
		cases = append(cases, c)
	}
	return cases, nil
}

func (c *Case) readRequest(text string) error {
	head, body, hasBody := strings.Cut(text, "\n\n")
	lines := strings.Split(strings.TrimSuffix(head, "\n"), "\n")
	method, path, ok := strings.Cut(lines[0], " ")
	if !ok {
		return fmt.Errorf("request line %q: want a method and a path", lines[0])
	}
	c.Request = app.Request{App: AppName, Method: method, Path: path, Header: http.Header{}}
	for _, line := range lines[1:] {
		name, value, ok := strings.Cut(line, ": ")
		if !ok {
			return fmt.Errorf("header %q: want a name and a value", line)
		}
		if name == "Host" {
			c.Request.Authority = value
			continue
		}
		c.Request.Header.Add(name, value)
	}
	if !hasBody {
		return nil
	}
	if strings.HasPrefix(body, `"`) {
		var err error
		if body, err = strconv.Unquote(strings.TrimSpace(body)); err != nil {
			return fmt.Errorf("body: %w", err)
		}
	}
	c.Request.Body = []byte(body)
	return nil
}

func (c *Case) readWant(text string) error {
	c.Operation = scope.Operation{App: AppName, Attributes: scope.Attributes{}}
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		key, value, ok := strings.Cut(line, ": ")
		if !ok {
			return fmt.Errorf("expectation %q: want a key and a value", line)
		}
		if err := c.readExpectation(key, value); err != nil {
			return err
		}
	}
	if (c.Reason == "") == (c.Operation.Name == "") {
		return fmt.Errorf("want an operation or a reason")
	}
	return nil
}

func (c *Case) readExpectation(key, value string) (err error) {
	switch key {
	case "operation":
		c.Operation.Name = value
	case "resource":
		c.Operation.Resource = value
	case "class":
		c.Operation.Class, err = scope.ParseClass(value)
	case "reason":
		c.Reason = grant.Reason(value)
		if !c.Reason.Known() {
			err = fmt.Errorf("unknown reason %q", value)
		}
	case "sentence":
		c.Sentence = value
	default:
		name, ok := strings.CutPrefix(key, attributeMark)
		if !ok {
			return fmt.Errorf("unknown expectation %q", key)
		}
		word, text, _ := strings.Cut(value, " ")
		typ, parseErr := scope.ParseType(word)
		if parseErr != nil {
			return fmt.Errorf("attribute %s: %w", name, parseErr)
		}
		c.Operation.Attributes[name], err = scope.ParseValue(typ, text)
	}
	return err
}
