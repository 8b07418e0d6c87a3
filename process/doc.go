// Package process is what the processes that run for long share before they are
// anything of their own: how a command line ends, and how the one YAML file is read.
package process
