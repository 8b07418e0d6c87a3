package proof

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// The namespaces of SSH signatures: what a signature was made for. One for the
// one never counts as one for the other.
const (
	NamespaceGit      = "git"             // of a commit, as git writes it
	NamespaceApproval = "mayfly-approval" // of an Offer's digest, 64 hexadecimal digits
)

// The words of an SSH signature (PROTOCOL.sshsig).
const (
	sshsigMagic   = "SSHSIG"
	sshsigVersion = 1
	armourBegin   = "-----BEGIN SSH SIGNATURE-----"
	armourEnd     = "-----END SSH SIGNATURE-----"
	armourLine    = 70
	minRSABits    = 2048
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

// IsSSHSignature reports whether text claims to be an armoured SSH signature.
func IsSSHSignature(text string) bool { return strings.HasPrefix(text, armourBegin) }

// SSHSigner returns the key that made an armoured SSH signature of message in a
// namespace, whoever's it is.
func SSHSigner(armoured, namespace string, message []byte) (ssh.PublicKey, error) {
	s, err := parseArmour(strings.TrimSpace(armoured))
	if err != nil {
		return nil, fmt.Errorf("malformed: %w", err)
	}
	return s.check(namespace, message)
}

// SignSSH makes the armoured SSH signature of message in a namespace, as
// ssh-keygen -Y sign does.
func SignSSH(key ssh.Signer, namespace string, message []byte) (string, error) {
	sum := sha512.Sum512(message)
	signed := append([]byte(sshsigMagic), ssh.Marshal(sshsigned{Namespace: namespace, Hash: "sha512", Message: sum[:]})...)
	var sig *ssh.Signature
	var err error
	if by, ok := key.(ssh.AlgorithmSigner); ok && key.PublicKey().Type() == ssh.KeyAlgoRSA {
		sig, err = by.SignWithAlgorithm(rand.Reader, signed, ssh.KeyAlgoRSASHA512) // the default is SHA-1
	} else {
		sig, err = key.Sign(rand.Reader, signed)
	}
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	blob := append([]byte(sshsigMagic), ssh.Marshal(sshsig{
		Version: sshsigVersion, PublicKey: key.PublicKey().Marshal(), Namespace: namespace, Hash: "sha512", Signature: ssh.Marshal(sig),
	})...)
	text := base64.StdEncoding.EncodeToString(blob)
	var b strings.Builder
	b.WriteString(armourBegin + "\n")
	for line := range slices.Chunk([]byte(text), armourLine) {
		b.Write(line)
		b.WriteByte('\n')
	}
	b.WriteString(armourEnd + "\n")
	return b.String(), nil
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

// check reports the key that signed message, whoever's it is.
func (s *sshsig) check(namespace string, message []byte) (ssh.PublicKey, error) {
	switch {
	case s.Version != sshsigVersion:
		return nil, fmt.Errorf("version %d, want %d", s.Version, sshsigVersion)
	case s.Namespace != namespace:
		return nil, fmt.Errorf("namespace %.32q, want %q: it was made for something else", s.Namespace, namespace)
	case s.Reserved != "":
		return nil, fmt.Errorf("its reserved field is not empty")
	}
	var sum []byte
	switch s.Hash {
	case "sha256":
		h := sha256.Sum256(message)
		sum = h[:]
	case "sha512":
		h := sha512.Sum512(message)
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

// ParseSSHKey reads an OpenSSH public key as algorithm and base64, without a comment.
func ParseSSHKey(text string) (ssh.PublicKey, error) {
	key, comment, options, rest, err := ssh.ParseAuthorizedKey([]byte(text))
	switch {
	case err != nil:
		return nil, fmt.Errorf("SSH key: %w", err)
	case comment != "" || len(options) > 0 || len(bytes.TrimSpace(rest)) > 0:
		return nil, fmt.Errorf("SSH key: want algorithm and base64, nothing besides")
	}
	return key, nil
}

func sameKey(a, b ssh.PublicKey) bool { return bytes.Equal(a.Marshal(), b.Marshal()) }
