package policy

// TestResult is the outcome of one inline test.
type TestResult struct {
	Entitlement string
	File        string
	Line        int
	As          string
	Want, Got   string // outcome, and the code of a denial
	Passed      bool
	Message     string // why it failed, "" if it passed
}

// RunTests runs every inline test of a set, by entitlement and line.
func RunTests(s *Set) []TestResult { return nil }
