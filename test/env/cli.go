package env

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/mayflyproxy/mayfly/test/dev"
)

// Ran is what one command did.
type Ran struct {
	Args   []string
	Stdout string
	Stderr string
	Exit   int
}

// Text returns both outputs, as a person would have seen them.
func (r Ran) Text() string { return strings.TrimSpace(r.Stdout + r.Stderr) }

// CLI runs mayfly as a person who has logged in (see Login), or, if who is the
// name of a Workload API socket such as refunder, as that workload.
func (e *Env) CLI(ctx context.Context, who string, args ...string) (Ran, error) {
	cmd := e.Command(ctx, who, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return Ran{}, fmt.Errorf("mayfly %s: %w", strings.Join(args, " "), err)
	}
	return Ran{Args: args, Stdout: stdout.String(), Stderr: stderr.String(), Exit: cmd.ProcessState.ExitCode()}, nil
}

// Command is a run of mayfly as CLI makes it, to be started by the caller.
func (e *Env) Command(ctx context.Context, who string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(e.Bin, "mayfly"), args...)
	cmd.Env = append(plainEnviron(), e.Environment(who)...)
	cmd.Dir = e.Dir
	return cmd
}

// Environment returns the variables under which mayfly speaks for who.
func (e *Env) Environment(who string) []string {
	if _, err := os.Stat(e.path(who + ".sock")); err == nil {
		return []string{
			"MAYFLY_SERVER=" + e.workloads, "MAYFLY_SERVER_ID=" + ControlID, "MAYFLY_SVID=1",
			"SPIFFE_ENDPOINT_SOCKET=" + dev.Address(e.path(who+".sock")),
		}
	}
	return []string{"MAYFLY_SERVER=" + e.Public, "MAYFLY_CA=" + e.caFile, "MAYFLY_CONFIG_DIR=" + e.path("home-"+who)}
}

// plainEnviron is our environment without what would make mayfly speak for
// somebody else.
func plainEnviron() []string {
	var out []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "MAYFLY_") && !strings.HasPrefix(v, "SPIFFE_") {
			out = append(out, v)
		}
	}
	return out
}

// Login runs mayfly login and does in the browser what the person would do.
func (e *Env) Login(ctx context.Context, who string) (Ran, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(e.Bin, "mayfly"), "login")
	cmd.Env = append(plainEnviron(), e.Environment(who)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return Ran{}, err
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		return Ran{}, err
	}
	lines := bufio.NewReader(out)
	said, berr := e.browse(ctx, who, lines)
	if berr != nil {
		_ = cmd.Process.Kill() // it would wait for a browser that does not come
	}
	rest, rerr := io.ReadAll(lines)
	werr := cmd.Wait()
	ran := Ran{Args: []string{"login"}, Stdout: said + string(rest), Stderr: stderr.String(), Exit: cmd.ProcessState.ExitCode()}
	if err := errors.Join(berr, rerr, werr); err != nil {
		return ran, fmt.Errorf("login as %s: %w: %s", who, err, ran.Text())
	}
	return ran, nil
}

// browse opens the address that login prints and logs in there.
func (e *Env) browse(ctx context.Context, who string, lines *bufio.Reader) (said string, err error) {
	for {
		line, err := lines.ReadString('\n')
		said += line
		if err != nil {
			return said, err
		}
		if !strings.HasPrefix(strings.TrimSpace(line), "https://") {
			continue
		}
		jar, err := cookiejar.New(nil)
		if err != nil {
			return said, err
		}
		client := &http.Client{Jar: jar, Transport: &http.Transport{TLSClientConfig: e.publicTLS()}}
		return said, dev.LoginCommand(ctx, client, said, who)
	}
}
