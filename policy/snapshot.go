package policy

// Inputs is the stored form of an Input: JSON with strings only, no words that
// somebody wrote about themselves (of the justification only whether it was
// given). With the files of Digest and the same Engine it decides the same.
type Inputs struct {
	Policy      string            `json:"policy"` // digest
	Commit      string            `json:"commit"`
	Engine      string            `json:"engine"`
	Catalogue   string            `json:"catalogue"`
	Entitlement string            `json:"entitlement"`
	Params      map[string]string `json:"params"`
	Duration    string            `json:"duration_s"`
	Justified   string            `json:"justified"` // yes or no
	Beneficiary string            `json:"beneficiary"`
	Principal   string            `json:"principal"`
	Person      string            `json:"person"`
	Groups      []string          `json:"groups"` // sorted
	GroupsAt    string            `json:"groups_at"`
	ACR         string            `json:"acr"`
	Now         string            `json:"now"`
}
