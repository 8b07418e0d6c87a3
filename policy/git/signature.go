package git

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"golang.org/x/crypto/ssh"

	"github.com/mayflyproxy/mayfly/policy"
)

// The words of an SSH signature (PROTOCOL.sshsig).
const (
	sshsigMagic     = "SSHSIG"
	sshsigVersion   = 1
	sshsigNamespace = "git"
	sshsigArmour    = "SSH SIGNATURE"
	armourBegin     = "-----BEGIN " + sshsigArmour + "-----"
	armourEnd       = "-----END " + sshsigArmour + "-----"
	minRSABits      = 2048
)

// sshsig is the blob of a signature, after the magic.
type sshsig struct {
	Version   uint32
	PublicKey []byte
	Namespace string
	Reserved  string
	Hash      string
	Signature []byte
}

// sshsigned is what the key signs, after the magic.
type sshsigned struct {
	Namespace string
	Reserved  string
	Hash      string
	Message   []byte
}

func (in *reader) verify(commit string, signers []policy.Signer) (policy.Signer, error) {
	c, err := in.commit(commit)
	if err != nil {
		return policy.Signer{}, err
	}
	fail := func(r Reason, format string, args ...any) (policy.Signer, error) {
		return policy.Signer{}, &Error{Reason: r, Commit: commit, Message: fmt.Sprintf(format, args...)}
	}
	text := strings.TrimSpace(c.PGPSignature)
	switch {
	case text == "":
		return fail(Unsigned, "it is not signed; sign with git commit -S and gpg.format ssh")
	case strings.HasPrefix(text, "-----BEGIN PGP"):
		return fail(ForgeSignature, "it is signed by OpenPGP, as forges sign their merges: a forge's merge signature is not taken; sign the tip with the SSH key of a signer")
	case !strings.HasPrefix(text, armourBegin):
		return fail(ForgeSignature, "it has no SSH signature; sign the tip with the SSH key of a signer")
	}
	sig, err := parseArmour(text)
	if err != nil {
		return fail(BadSignature, "its signature is malformed: %v", err)
	}
	payload, err := payloadOf(c)
	if err != nil {
		return fail(BadSignature, "its signed content cannot be made: %v", err)
	}
	key, err := sig.check(payload)
	if err != nil {
		return fail(BadSignature, "its signature does not hold: %v", err)
	}
	for _, s := range signers {
		if listed, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(s.Key)); err == nil && len(rest) == 0 && bytes.Equal(listed.Marshal(), key.Marshal()) {
			return s, nil
		}
	}
	return fail(UnknownSigner, "it is signed by %s, which is no signer of the policy in force", ssh.FingerprintSHA256(key))
}

// payloadOf returns the commit's bytes without its signature.
func payloadOf(c interface {
	EncodeWithoutSignature(plumbing.EncodedObject) error
}) (b []byte, err error) {
	o := &plumbing.MemoryObject{}
	if err := c.EncodeWithoutSignature(o); err != nil {
		return nil, err
	}
	r, err := o.Reader()
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// parseArmour reads the one armoured form that ssh-keygen writes: nothing before,
// between or after, standard base64 in whole lines.
func parseArmour(text string) (*sshsig, error) {
	body, ok := strings.CutPrefix(text, armourBegin+"\n")
	body, ok2 := strings.CutSuffix(body, "\n"+armourEnd)
	if !ok || !ok2 || strings.Contains(body, "-----") {
		return nil, fmt.Errorf("want one block from %s to %s", armourBegin, armourEnd)
	}
	for line := range strings.SplitSeq(body, "\n") {
		if line == "" || strings.Trim(line, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=") != "" {
			return nil, fmt.Errorf("want lines of base64")
		}
	}
	blob, err := base64.StdEncoding.Strict().DecodeString(strings.ReplaceAll(body, "\n", ""))
	if err != nil {
		return nil, fmt.Errorf("base64: %w", err)
	}
	rest, ok := bytes.CutPrefix(blob, []byte(sshsigMagic))
	if !ok {
		return nil, fmt.Errorf("want the magic %s", sshsigMagic)
	}
	s := &sshsig{}
	if err := ssh.Unmarshal(rest, s); err != nil {
		return nil, fmt.Errorf("blob: %w", err)
	}
	return s, nil
}

// check reports the key that signed payload, whoever's it is.
func (s *sshsig) check(payload []byte) (ssh.PublicKey, error) {
	switch {
	case s.Version != sshsigVersion:
		return nil, fmt.Errorf("version %d, want %d", s.Version, sshsigVersion)
	case s.Namespace != sshsigNamespace:
		return nil, fmt.Errorf("namespace %.32q, want %q: it was made for something else", s.Namespace, sshsigNamespace)
	case s.Reserved != "":
		return nil, fmt.Errorf("its reserved field is not empty")
	}
	var sum []byte
	switch s.Hash {
	case "sha256":
		h := sha256.Sum256(payload)
		sum = h[:]
	case "sha512":
		h := sha512.Sum512(payload)
		sum = h[:]
	default:
		return nil, fmt.Errorf("hash %.32q, want sha256 or sha512", s.Hash)
	}
	key, err := ssh.ParsePublicKey(s.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	sig := &ssh.Signature{}
	if err := ssh.Unmarshal(s.Signature, sig); err != nil {
		return nil, fmt.Errorf("signature: %w", err)
	}
	if err := checkAlgorithm(key, sig); err != nil {
		return nil, err
	}
	signed := append([]byte(sshsigMagic), ssh.Marshal(sshsigned{s.Namespace, s.Reserved, s.Hash, sum})...)
	if err := key.Verify(signed, sig); err != nil {
		return nil, err
	}
	return key, nil
}

// checkAlgorithm refuses SHA-1, short RSA keys, certificates and hardware keys,
// whose signatures say more than ours checks.
func checkAlgorithm(key ssh.PublicKey, sig *ssh.Signature) error {
	formats := map[string][]string{
		ssh.KeyAlgoED25519:  {ssh.KeyAlgoED25519},
		ssh.KeyAlgoECDSA256: {ssh.KeyAlgoECDSA256},
		ssh.KeyAlgoECDSA384: {ssh.KeyAlgoECDSA384},
		ssh.KeyAlgoECDSA521: {ssh.KeyAlgoECDSA521},
		ssh.KeyAlgoRSA:      {ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512},
	}[key.Type()]
	if !slices.Contains(formats, sig.Format) || len(sig.Rest) > 0 {
		return fmt.Errorf("a %s signature of a %s key is not taken", sig.Format, key.Type())
	}
	if c, ok := key.(ssh.CryptoPublicKey); ok {
		if r, ok := c.CryptoPublicKey().(*rsa.PublicKey); ok && r.N.BitLen() < minRSABits {
			return fmt.Errorf("an RSA key of %d bits, want at least %d", r.N.BitLen(), minRSABits)
		}
	}
	return nil
}
