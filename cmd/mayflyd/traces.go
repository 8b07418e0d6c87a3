package main

import (
	"time"

	"github.com/mayflyproxy/mayfly/trace"
)

// tracesConfig is where traces of access requests go; see trace.Settings.
type tracesConfig struct {
	Endpoint    string        `yaml:"endpoint"`
	Protocol    string        `yaml:"protocol"`
	CA          string        `yaml:"ca"`
	Insecure    bool          `yaml:"insecure"`
	HeadersFile string        `yaml:"headers_file"`
	Sample      float64       `yaml:"sample"`
	Timeout     time.Duration `yaml:"timeout"`
	Queue       int           `yaml:"queue"`
}

func (c tracesConfig) settings() trace.Settings { return trace.Settings(c) }
