package browser

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"slices"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// Screenshot returns a PNG of the whole page in a window of that width.
func (b *Tab) Screenshot(width int) []byte {
	b.t.Helper()
	var out []byte
	b.atWidth(width, func(ctx context.Context) error {
		size, err := chromedp.Call(ctx, page.GetLayoutMetrics, struct{}{})
		if err != nil {
			return err
		}
		beyond := true
		shot, err := chromedp.Call(ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{
			Format: page.CaptureScreenshotFormatPng, CaptureBeyondViewport: &beyond,
			Clip: &page.Viewport{Width: float64(width), Height: size.CSSContentSize.Height, Scale: 1},
		})
		out = shot.Data
		return err
	})
	return out
}

// Dark makes the person one who prefers dark pages, or no longer, and in both cases
// one who wants nothing to move: a picture shows no colour on its way to another.
func (b *Tab) Dark(on bool) {
	b.t.Helper()
	scheme := map[bool]string{true: "dark", false: "light"}[on]
	b.do("prefer "+scheme, func(ctx context.Context) error {
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}},
		})
		return err
	})
}

// SaveScreenshot writes a PNG to path in at most limit bytes: with as many colours
// as that allows, of at most 256. The same picture gives the same file.
func SaveScreenshot(t TB, path string, picture []byte, limit int) {
	t.Helper()
	small, err := shrink(picture, limit)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, small, 0o644); err != nil {
		t.Fatal(err)
	}
}

func shrink(picture []byte, limit int) ([]byte, error) {
	img, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		return nil, err
	}
	best := len(picture)
	for colours := 256; colours >= 8; colours /= 2 {
		var out bytes.Buffer
		if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, quantise(img, colours)); err != nil {
			return nil, err
		}
		if best = out.Len(); best <= limit {
			return out.Bytes(), nil
		}
	}
	return nil, fmt.Errorf("%d bytes with 8 colours, want %d: take a smaller picture", best, limit)
}

// pixel is a colour and how often it is there.
type pixel struct {
	c [3]uint8
	n int
}

// quantise draws img with at most that many colours, by median cut. Pages are
// opaque: there is no transparency.
func quantise(img image.Image, colours int) *image.Paletted {
	bounds := img.Bounds()
	counts := map[[3]uint8]int{}
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			counts[at(img, x, y)]++
		}
	}
	all := make([]pixel, 0, len(counts))
	for c, n := range counts {
		all = append(all, pixel{c, n})
	}
	slices.SortFunc(all, func(a, b pixel) int { return slices.Compare(a.c[:], b.c[:]) }) // maps have no order
	boxes := [][]pixel{all}
	for len(boxes) < colours {
		i := widest(boxes)
		if i < 0 {
			break
		}
		a, b := cut(boxes[i])
		boxes[i] = a
		boxes = append(boxes, b)
	}
	index := make(map[[3]uint8]uint8, len(counts))
	palette := make(color.Palette, 0, len(boxes))
	for i, box := range boxes {
		palette = append(palette, mean(box))
		for _, p := range box {
			index[p.c] = uint8(i)
		}
	}
	out := image.NewPaletted(bounds, palette)
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			out.SetColorIndex(x, y, index[at(img, x, y)])
		}
	}
	return out
}

func at(img image.Image, x, y int) [3]uint8 {
	r, g, b, _ := img.At(x, y).RGBA()
	return [3]uint8{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8)}
}

// widest returns the box in which a cut gains most, -1 if none can be cut: the one
// with the longest side, weighed by how much of the picture it is.
func widest(boxes [][]pixel) int {
	best, most := -1, 0
	for i, box := range boxes {
		if len(box) < 2 {
			continue
		}
		_, side := longest(box)
		weight := 0
		for _, p := range box {
			weight += min(p.n, 1000) // a white page must not eat the palette
		}
		if gain := side * side * weight; gain > most {
			best, most = i, gain
		}
	}
	return best
}

// longest returns the channel in which the box reaches farthest, and how far.
func longest(box []pixel) (channel, side int) {
	for c := range 3 {
		low, high := 255, 0
		for _, p := range box {
			low, high = min(low, int(p.c[c])), max(high, int(p.c[c]))
		}
		if high-low > side {
			channel, side = c, high-low
		}
	}
	return channel, side
}

// cut parts a box in the middle of its longest side, so that both halves hold some.
func cut(box []pixel) (a, b []pixel) {
	channel, _ := longest(box)
	slices.SortStableFunc(box, func(p, q pixel) int { return int(p.c[channel]) - int(q.c[channel]) })
	middle := (int(box[0].c[channel]) + int(box[len(box)-1].c[channel])) / 2
	i, _ := slices.BinarySearchFunc(box, middle+1, func(p pixel, m int) int { return int(p.c[channel]) - m })
	i = max(1, min(i, len(box)-1))
	return box[:i:i], box[i:]
}

func mean(box []pixel) color.Color {
	var sum [3]int
	n := 0
	for _, p := range box {
		for c := range 3 {
			sum[c] += int(p.c[c]) * p.n
		}
		n += p.n
	}
	n = max(n, 1)
	return color.RGBA{uint8(sum[0] / n), uint8(sum[1] / n), uint8(sum[2] / n), 255}
}
