package metrics

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Registry is all that one process tells.
type Registry struct {
	all *prometheus.Registry
}

// New returns a Registry that tells of the process itself: its memory, its
// goroutines, and the version of the binary.
func New(version string) *Registry {
	r := &Registry{all: prometheus.NewRegistry()}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "mayfly_build_info", Help: "Always 1; the label tells the version of the binary.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	r.all.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), build)
	return r
}

// Gauge has value asked for name each time that somebody looks. A name that is
// already there panics: it is a mistake in the program.
func (r *Registry) Gauge(name, help string, value func() float64) {
	if r == nil {
		return
	}
	r.all.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
}

// Counter is as Gauge, for a value that never falls while the process lives.
func (r *Registry) Counter(name, help string, value func() float64) {
	if r == nil {
		return
	}
	r.all.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, value))
}

// Handler answers a look in the Prometheus text format. It is for a loopback door:
// it asks nobody who they are.
func (r *Registry) Handler() http.Handler {
	if r == nil {
		return http.NotFoundHandler()
	}
	return promhttp.HandlerFor(r.all, promhttp.HandlerOpts{})
}
