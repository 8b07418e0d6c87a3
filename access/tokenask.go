package access

import (
	"time"

	"github.com/mayflyproxy/mayfly/grant"
	"github.com/mayflyproxy/mayfly/identity"
	"github.com/mayflyproxy/mayfly/scope"
	"github.com/mayflyproxy/mayfly/tokens"
)

// TokenProof says in the record by what the subject of a token was proven.
type TokenProof string

// What proves a subject.
const (
	ProofSVID    TokenProof = "svid"         // the certificate of the connection
	ProofJWTSVID TokenProof = "jwt_svid"     // a JWT-SVID for us
	ProofIDToken TokenProof = "id_token"     // an identity provider's, for our client
	ProofSession TokenProof = "session"      // the command's, with its key
	ProofToken   TokenProof = "access_token" // one of ours, by the app that it names
)

// TokenAsk asks for an access token. The edge has proven everything in it but what
// is wanted: Resource and Detail.
type TokenAsk struct {
	Subject  identity.Principal // whose grant it is for
	Proof    TokenProof
	Session  grant.SessionID    // of ProofSession
	Token    *tokens.Claims     // of ProofToken
	Actor    identity.Principal // who acts for Subject; zero: Subject itself
	ClientID string
	Confirm  tokens.Confirmation // whose hands it is for
	Until    time.Time           // when the proofs end; zero: they do not
	Once     string              // names the subject's proof, if it counts once
	OnceEnds time.Time           // when that proof counts for nothing by itself
	AuthTime time.Time           // of a person, as the provider said
	ACR      string
	AMR      []string

	Resource string     // an app's, see policy.App.Resource
	Detail   *DetailAsk // nil: all of the grant
}

// DetailAsk is the one authorization detail that a client asks for (RFC 9396). Zero
// fields ask for whatever there is.
type DetailAsk struct {
	Type        string // urn:mayfly:<kind>
	Locations   []string
	App         string
	Entitlement string
	Grant       grant.GrantID
	Rules       []scope.Rule // nil: all of the grant
}

// IssuedToken is an access token and what stands in it. The text is secret as far
// as any bound token is; it goes to whoever asked, and nowhere else.
type IssuedToken struct {
	Text   string
	Claims tokens.Claims
}

// String hides the text.
func (t IssuedToken) String() string { return "redacted " + t.Claims.ID.String() }

// GoString hides the text.
func (t IssuedToken) GoString() string { return t.String() }

// OnwardToken is a token that was issued by exchange of another one: what it may be
// exchanged for in turn.
type OnwardToken struct {
	ID     grant.TokenID
	Grant  grant.GrantID
	Onward []string // apps, sorted
	Ends   time.Time
}
