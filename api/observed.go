package api

// ObservedApp is an app in observe mode: nobody is denied there for want of a grant.
type ObservedApp struct {
	App       string `json:"app"`
	Owner     string `json:"owner"`               // of the exception, else of the app
	Until     string `json:"until,omitempty"`     // from then on it is enforced; empty: no end
	Exception string `json:"exception,omitempty"` // that excuses it
}
