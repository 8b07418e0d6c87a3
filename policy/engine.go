package policy

// EngineVersion names the rules by which this package decides, and the version
// of CEL underneath. It changes whenever the same Set and Input could decide
// differently; a stored decision of another version is reported as "engine
// differs", never as a mismatch.
func EngineVersion() string { return "mayfly-policy/2 cel-go/v0.33.2" }
