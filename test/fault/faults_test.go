package fault

import (
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"

	_ "modernc.org/sqlite" // the driver named sqlite

	"github.com/mayflyproxy/mayfly/test/env"
)

// faults are those of the driver.
func faults() []fault {
	again := 4
	if long() {
		again = 12
	}
	all := func(code string) map[string]string {
		return map[string]string{"read": code, "write": code, "money": code}
	}
	return []fault{
		{name: "kill Envoy", quick: true, again: again, inject: (*driver).killEnvoy, heal: nothing},
		{name: "kill mayflyd", deaf: true, again: again, inject: (*driver).killControl, heal: (*driver).startControl},
		{name: "kill the sidecar", again: again, inject: (*driver).killSidecar, heal: (*driver).startSidecar},
		{
			name: "kill all", again: 1,
			inject: func(d *driver) { d.killEnvoy(); d.killControl(); d.killSidecar() },
			heal:   func(d *driver) { d.startControl(); d.startSidecar() },
		},
		{name: "stop Envoy", quick: true, inject: (*driver).stopEnvoy, heal: nothing},
		{name: "stop mayflyd", deaf: true, inject: func(d *driver) { d.freeze(d.Control) }, heal: (*driver).thaw, shows: all("stale")},
		{name: "stop the sidecar", inject: func(d *driver) { d.freeze(d.gw.Process) }, heal: (*driver).thaw, shows: all("internal")},
		{name: "partition", deaf: true, inject: func(d *driver) { d.relay.Hold() }, heal: (*driver).healNetwork, shows: all("stale")},
		{name: "partition one way", deaf: true, inject: func(d *driver) { d.relay.HoldBack() }, heal: (*driver).healNetwork, shows: all("stale")},
		{name: "black hole", deaf: true, inject: func(d *driver) { d.relay.Swallow() }, heal: (*driver).healNetwork, shows: all("stale")},
		{
			name: "gateway's disk full", needs: hasDisk, deaf: true, shows: all("record_unavailable"),
			inject: func(d *driver) { d.gateway.fill(d) }, heal: func(d *driver) { d.gateway.free(d) },
		},
		{
			name: "mayflyd's disk full", needs: hasDisk, deaf: true, shows: all("stale"),
			inject: func(d *driver) { d.control.fill(d) }, heal: func(d *driver) { d.control.free(d) },
		},
		{name: "gateway syncs slowly", needs: hasStrace, deaf: true, inject: tampering(gateways, "delay_enter=300000"), heal: (*driver).release, shows: all("")},
		{name: "mayflyd syncs slowly", needs: hasStrace, deaf: true, inject: tampering(controls, "delay_enter=300000"), heal: (*driver).release, shows: all("")},
		{
			name: "gateway's syncs hang", needs: hasStrace, deaf: true, inject: tampering(gateways, "delay_enter=60000000"), heal: (*driver).release,
			atOnce: true, shows: map[string]string{"write": "record_unavailable", "money": "record_unavailable"},
		},
		{
			name: "gateway's syncs fail", needs: hasStrace, deaf: true, shows: all("record_unavailable"),
			inject: tampering(gateways, "error=EIO"), heal: func(d *driver) { d.release(); d.restartSidecar() },
		},
		{name: "mayflyd's syncs fail", needs: hasStrace, deaf: true, inject: tampering(controls, "error=EIO"), heal: (*driver).release, shows: all("stale")},
		{name: "database locked", deaf: true, inject: (*driver).lockDatabase, heal: (*driver).release, shows: all("stale")},
		{name: "older database", deaf: true, inject: (*driver).olderDatabase, heal: (*driver).release, shows: all("stale")},
	}
}

func nothing(*driver) {}

// release undoes what the fault began.
func (d *driver) release() { d.undo() }

func (d *driver) killEnvoy() { d.signalEnvoy(syscall.SIGKILL) }

// stopEnvoy leaves it to the sidecar to notice.
func (d *driver) stopEnvoy() { d.signalEnvoy(syscall.SIGSTOP) }

func (d *driver) signalEnvoy(s syscall.Signal) {
	d.Helper()
	var pid int
	eventually(d, "an Envoy", func() (err error) {
		if pid, err = d.gw.Envoy(); err == nil && pid == 0 {
			err = errors.New("none runs")
		}
		return err
	})
	if err := syscall.Kill(pid, s); err != nil {
		d.Fatal(err)
	}
	eventually(d, "it is gone", func() error { return gone(pid) })
}

// gone returns nil once there is no such process.
func gone(pid int) error {
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("process %d: %w", pid, err)
	}
	return nil
}

func (d *driver) killControl() {
	d.Helper()
	if err := d.Control.Kill(); err != nil {
		d.Fatal(err)
	}
}

func (d *driver) startControl() {
	d.Helper()
	if err := d.StartControl(d.Context()); err != nil {
		d.Fatal(err)
	}
}

// killSidecar kills its Envoy too: the child must not outlive it.
func (d *driver) killSidecar() {
	d.Helper()
	pid, _ := d.gw.Envoy()
	if err := d.gw.Process.Kill(); err != nil {
		d.Fatal(err)
	}
	if pid != 0 {
		eventually(d, "Envoy dies with its sidecar", func() error { return gone(pid) })
	}
}

func (d *driver) startSidecar() {
	d.Helper()
	if err := d.RestartGateway(d.Context(), d.gw); err != nil {
		d.Fatal(err)
	}
}

func (d *driver) restartSidecar() {
	d.Helper()
	if err := d.gw.Process.Stop(); err != nil {
		d.Fatal(err)
	}
	d.startSidecar()
}

func (d *driver) freeze(p *env.Process) {
	d.Helper()
	if err := p.Freeze(d.Context()); err != nil {
		d.Fatal(err)
	}
	d.undo = func() {
		if err := p.Signal(syscall.SIGCONT); err != nil {
			d.Fatal(err)
		}
	}
}

func (d *driver) thaw() { d.undo() }

func (d *driver) healNetwork() { d.relay.Heal() }

func hasDisk(d *driver) error { return d.noDisk }

func hasStrace(*driver) error { return straced() }

func gateways(d *driver) *env.Process { return d.gw.Process }

func controls(d *driver) *env.Process { return d.Control }

// tampering has the syncs of a process treated so until release.
func tampering(who func(*driver) *env.Process, how string) func(*driver) {
	return func(d *driver) {
		strace := d.tamper(who(d), how)
		d.undo = func() {
			if err := strace.Stop(); err != nil {
				d.Error(err)
			}
		}
	}
}

// lockDatabase takes the database's one place for a writer, as a backup tool may.
func (d *driver) lockDatabase() {
	d.Helper()
	other := check[*sql.DB](d)(sql.Open("sqlite", "file:"+filepath.Join(d.Dir, "data", "mayfly.db")+"?_pragma=busy_timeout(30000)"))
	other.SetMaxOpenConns(1)
	if _, err := other.ExecContext(d.Context(), "BEGIN IMMEDIATE"); err != nil {
		d.Fatal(err)
	}
	d.undo = func() {
		_, err := other.ExecContext(d.Context(), "ROLLBACK")
		if err := errors.Join(err, other.Close()); err != nil {
			d.Error(err)
		}
	}
}

// olderDatabase puts back a copy that lacks what was acknowledged since: mayflyd
// must not serve it. Release puts the right one back.
func (d *driver) olderDatabase() {
	d.Helper()
	data, older, newer := filepath.Join(d.Dir, "data"), d.TempDir(), d.TempDir()
	d.killControl()
	database(d, data, older)
	d.startControl()
	made := d.mayRead(d, d.world.reporter, "/monthly/lost", 10*endTerm)
	if _, err := d.world.reporter.Finish(d.Context(), made.ID); err != nil {
		d.Fatal(err)
	}
	d.acknowledged(&d.finished, made.ID)
	check[[]byte](d)(d.bob.Checkpoint(d.Context()))
	d.killControl()
	database(d, data, newer)
	database(d, older, data)
	if err := d.StartControl(d.Context()); err == nil || !strings.Contains(err.Error(), "pin") {
		d.Fatalf("mayflyd on an older copy of its database: %v", err)
	}
	d.undo = func() {
		database(d, newer, data)
		d.startControl()
	}
}
