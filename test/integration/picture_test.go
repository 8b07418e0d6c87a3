package integration

import (
	"flag"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/mayflyproxy/mayfly/test/browser"
)

// maxPicture is the longest file of a picture, in bytes.
const maxPicture = 150 << 10

var screenshots = flag.String("screenshots", "", "folder that pictures of the pages are written to: make screenshots")

// TestScreenshots writes the pictures. It is no check of the pages: TestBrowserPages
// opens the same ones and is.
func TestScreenshots(t *testing.T) {
	if *screenshots == "" {
		t.Skip("only with -screenshots: make screenshots")
	}
	s := newStage(t)
	for _, one := range stagePages() {
		tab := one.open(s)
		for _, text := range one.says {
			tab.WaitText(text)
		}
		schemes := []string{""}
		if one.dark {
			schemes = append(schemes, "-dark")
		}
		for _, scheme := range schemes {
			tab.Dark(scheme != "")
			for _, width := range []int{390, 1280} {
				name := fmt.Sprintf("%s%s-%d.png", one.name, scheme, width)
				browser.SaveScreenshot(t, filepath.Join(*screenshots, name), tab.Screenshot(width), maxPicture)
			}
		}
		tab.Dark(false)
	}
}
