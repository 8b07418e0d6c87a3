package integration

import (
	"flag"
	"path/filepath"
	"testing"

	"github.com/mayflyproxy/mayfly/test/browser"
)

// maxPicture is the longest file of a picture, in bytes.
const maxPicture = 150 << 10

var screenshots = flag.String("screenshots", "", "folder that pictures of the pages are written to: make screenshots")

// picture is one page as docs/img shows it.
type picture struct {
	name  string // of its file, without .png
	width int    // of the window, in CSS pixels
	// open brings a person to the page, with things on it to be seen.
	open func(testing.TB, *product) *browser.Tab
}

// pictures is what make screenshots takes, in this order.
func pictures() []picture { return nil }

// TestScreenshots writes the pictures. It is no check of the pages: other tests are.
func TestScreenshots(t *testing.T) {
	if *screenshots == "" {
		t.Skip("only with -screenshots: make screenshots")
	}
	p := theProduct(t)
	for _, shot := range pictures() {
		t.Run(shot.name, func(t *testing.T) {
			tab := shot.open(t, p)
			browser.SaveScreenshot(t, filepath.Join(*screenshots, shot.name+".png"), tab.Screenshot(shot.width), maxPicture)
		})
	}
}
