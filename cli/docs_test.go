package cli_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestEveryCommandOfThePolicyPageIsRun: what docs/policy.md shows of mayfly policy is in a
// script that runs it, or in the section that test/docs_walk_test.go types.
func TestEveryCommandOfThePolicyPageIsRun(t *testing.T) {
	page, err := os.ReadFile("../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	_, walk, _ := strings.Cut(string(page), "## From an empty repository\n")
	walk, _, _ = strings.Cut(walk, "\n## ")
	ran := walk
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		ran += regexp.MustCompile(`(?m)^exits \d `).ReplaceAllString(string(b), "mayfly ")
	}
	shown := regexp.MustCompile(`(?m)^mayfly policy (\w+)(.*)$`).FindAllStringSubmatch(string(page), -1)
	if len(shown) < 8 {
		t.Fatalf("the page shows %d commands only", len(shown))
	}
	for _, c := range shown {
		if !strings.Contains(ran, "mayfly policy "+c[1]+" ") && !strings.Contains(ran, "mayfly policy "+c[1]+"\n") {
			t.Errorf("nothing runs mayfly policy %s", c[1])
		}
		for _, flag := range regexp.MustCompile(`--[a-z-]+`).FindAllString(c[2], -1) {
			if !regexp.MustCompile(`(?m)^mayfly policy ` + c[1] + ` .*` + flag).MatchString(ran) {
				t.Errorf("nothing runs mayfly policy %s with %s", c[1], flag)
			}
		}
	}
}
