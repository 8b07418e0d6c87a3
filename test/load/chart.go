package main

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"time"
)

// chart is latency over time.
type chart struct {
	title  string
	points []point
	marks  []mark
}

// point is one latency of something that was meant to begin at a time.
type point struct {
	at   time.Duration // since the run began
	took time.Duration
}

// mark is a moment worth a line.
type mark struct {
	at   time.Duration
	text string
}

const (
	chartWidth, chartHeight = 960.0, 420.0
	chartLeft, chartBottom  = 70.0, 50.0
	chartTop, chartRight    = 40.0, 20.0
)

// svg draws the chart; latency is logarithmic.
func (c chart) svg() []byte {
	var b bytes.Buffer
	end, low, high := c.extent()
	x := func(at time.Duration) float64 {
		return chartLeft + (chartWidth-chartLeft-chartRight)*at.Seconds()/end.Seconds()
	}
	y := func(took time.Duration) float64 {
		part := (math.Log10(float64(max(took, time.Microsecond))) - low) / (high - low)
		return chartHeight - chartBottom - part*(chartHeight-chartBottom-chartTop)
	}
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" font-family="sans-serif" font-size="12">`+"\n", chartWidth, chartHeight)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="#fff"/><text x="%g" y="22" font-size="15">%s</text>`+"\n", chartLeft, html.EscapeString(c.title))
	for e := low; e <= high; e++ {
		took := time.Duration(math.Pow(10, e))
		fmt.Fprintf(&b, `<path d="M%g %.1fH%g" stroke="#ddd"/><text x="%g" y="%.1f" text-anchor="end">%s</text>`+"\n", chartLeft, y(took), chartWidth-chartRight, chartLeft-6, y(took)+4, took.Round(time.Microsecond))
	}
	for part := range 6 {
		at := end * time.Duration(part) / 5
		fmt.Fprintf(&b, `<text x="%.1f" y="%g" text-anchor="middle">%.1f s</text>`+"\n", x(at), chartHeight-chartBottom+18, at.Seconds())
	}
	for _, m := range c.marks {
		fmt.Fprintf(&b, `<path d="M%.1f %gV%g" stroke="#c33" stroke-dasharray="3 3"/><text x="%.1f" y="%g" fill="#c33">%s</text>`+"\n", x(m.at), chartTop, chartHeight-chartBottom, x(m.at)+4, chartTop+10, html.EscapeString(m.text))
	}
	for _, p := range c.points {
		fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="2" fill="#247"/>`+"\n", x(p.at), y(p.took))
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// extent returns the end of the run, and the powers of ten around its latencies.
func (c chart) extent() (end time.Duration, low, high float64) {
	end, low, high = time.Second, math.Inf(1), math.Inf(-1)
	for _, p := range c.points {
		e := math.Log10(float64(max(p.took, time.Microsecond)))
		end, low, high = max(end, p.at), min(low, math.Floor(e)), max(high, math.Ceil(e))
	}
	for _, m := range c.marks {
		end = max(end, m.at)
	}
	if low >= high {
		return end, 6, 9
	}
	return end, low, high
}
