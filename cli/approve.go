package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mayflyproxy/mayfly/api"
)

func (a *app) approveCommand() *cobra.Command {
	var reason string
	var yes bool
	var sign signing
	cmd := &cobra.Command{
		Use: "approve REQUEST", Short: "Look at a request and approve it",
		Long: `Shows the offer of a request exactly as its bytes say, makes their SHA-256, asks,
and approves that. If the offer changes meanwhile the approval does not count.
Without a terminal --yes must be given.

Where policy says approve: {signed: true}, the digest is signed with an SSH key that
people: lists for you: a key file, or through the agent by its public key or where it
has a passphrase. Elsewhere, ssh-keygen makes the same signature:
  printf %s DIGEST | ssh-keygen -Y sign -n mayfly-approval -f KEY > approval.sig`,
		Example: `  mayfly requests --waiting
  mayfly approve req_01JZZZZZZZZZZZZZZZZZZZZZZZ
  mayfly approve req_01JZZZZZZZZZZZZZZZZZZZZZZZ --yes --reason "order 17 checked"
  mayfly approve req_01JZZZZZZZZZZZZZZZZZZZZZZZ --sign-with ~/.ssh/id_ed25519`,
		Args: cobra.ExactArgs(1),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			return a.decide(cmd.Context(), args[0], reason, yes, verdict{"Approve this?", (*api.Client).Approve, sign})
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, in words that are kept with the approval")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.Flags().StringVar(&sign.key, "sign-with", "", "SSH key `FILE` to sign the approval with")
	cmd.Flags().StringVar(&sign.signature, "signature", "", "`FILE` with a signature that ssh-keygen made of the offer's digest")
	cmd.MarkFlagsMutuallyExclusive("sign-with", "signature")
	return cmd
}

func (a *app) denyCommand() *cobra.Command {
	var reason string
	var yes bool
	cmd := &cobra.Command{
		Use: "deny REQUEST", Short: "Look at a request and refuse it",
		Example: `  mayfly deny req_01JZZZZZZZZZZZZZZZZZZZZZZZ --reason "ask the customer first"`,
		Args:    cobra.ExactArgs(1),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			return a.decide(cmd.Context(), args[0], reason, yes, verdict{"Deny this?", (*api.Client).Deny, signing{}})
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, in words that the requester reads")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// verdict is approve or deny.
type verdict struct {
	question string
	send     func(*api.Client, context.Context, string, api.Verdict) (api.Request, error)
	sign     signing
}

func (a *app) decide(ctx context.Context, id, reason string, yes bool, v verdict) error {
	if !yes && !a.c.Terminal() {
		return usage{"nobody can be asked: this is no terminal", a.command + " " + id + " --yes"}
	}
	client, err := a.connect(ctx)
	if err != nil {
		return err
	}
	r, err := client.ShowRequest(ctx, id)
	if isCode(err, "not_found") {
		err = whyNot(ctx, client, id, err)
	}
	if err != nil {
		return err
	}
	offer, err := readOffer(r)
	if err != nil {
		return err
	}
	shown := a.c.Stdout
	if a.isJSON() {
		shown = a.c.Stderr
	}
	offer.render(a, shown)
	if !yes {
		ok, err := a.ask(shown, v.question)
		if err != nil {
			return err
		}
		if !ok {
			a.note("nothing was decided")
			return exit{exitError}
		}
	}
	said := api.Verdict{OfferSHA256: offer.digest, Reason: reason}
	if !v.sign.isZero() {
		if said.Signature, err = v.sign.sign(offer.digest, a.c.Getenv("SSH_AUTH_SOCK")); err != nil {
			return err
		}
	}
	done, err := v.send(client, ctx, id, said)
	if err != nil {
		return err
	}
	return a.decided(done)
}

// whyNot asks for the reason why somebody who cannot see a request may not decide
// it: an approval of nothing, which no digest of an offer can ever equal.
func whyNot(ctx context.Context, client *api.Client, id string, unseen error) error {
	_, err := client.Approve(ctx, id, api.Verdict{OfferSHA256: "none"})
	if err == nil {
		return unseen
	}
	return err
}

// ask asks a person; only yes is yes.
func (a *app) ask(w io.Writer, question string) (bool, error) {
	fmt.Fprintf(w, "\n%s [y/N] ", question)
	line, err := bufio.NewReader(io.LimitReader(a.c.Stdin, 100)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	line = strings.ToLower(strings.TrimSpace(line))
	return line == "y" || line == "yes", nil
}

// decided shows what came of a verdict. A request that policy denied while it
// was approved is a no.
func (a *app) decided(r api.Request) error {
	if a.isJSON() {
		if err := a.json(r); err != nil {
			return err
		}
	} else {
		fmt.Fprintln(a.c.Stdout)
		a.pairs([2]string{"state", stateText(r)}, [2]string{"grant", r.Grant}, [2]string{"waits for", waitsFor(r)}, [2]string{"why", whyText(r)})
		a.showJoint(r.Grants)
	}
	if r.State == "denied" && r.Code != "refused" {
		return exit{exitDenied}
	}
	return nil
}

func (a *app) showCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show a request or a grant",
		Example: `  mayfly show req_01JZZZZZZZZZZZZZZZZZZZZZZZ
  mayfly show grt_01JZZZZZZZZZZZZZZZZZZZZZZZ -o json`,
		Args: cobra.ExactArgs(1),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			client, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			switch {
			case strings.HasPrefix(args[0], "req_"):
				return a.showRequest(cmd.Context(), client, args[0])
			case strings.HasPrefix(args[0], "grt_"):
				return a.showGrant(cmd.Context(), client, args[0])
			default:
				return usage{fmt.Sprintf("%q is not the id of a request (req_…) or a grant (grt_…)", args[0]), "mayfly trace " + args[0]}
			}
		}),
	}
}

func (a *app) showRequest(ctx context.Context, client *api.Client, id string) error {
	r, err := client.ShowRequest(ctx, id)
	if err != nil {
		return err
	}
	if a.isJSON() {
		return a.json(r)
	}
	a.pairs([2]string{"state", stateText(r)}, [2]string{"why", whyText(r)}, [2]string{"grant", r.Grant}, [2]string{"asked", clock(r.CreatedAt)},
		[2]string{"decided", clock(r.DecidedAt)}, [2]string{"waits for", waitsFor(r)}, [2]string{"decide by", clockLeft(a, r.DecideBy)})
	a.showJoint(r.Grants)
	for _, p := range r.Approvals {
		word := "denied"
		if p.Approves {
			word = "approved"
		}
		if p.Reason != "" {
			p.Reason = ": " + p.Reason
		}
		fmt.Fprintf(a.c.Stdout, "%s step %d by %s at %s%s\n", word, p.Step, plain(whoText(p.Approver)), clock(p.At), plain(p.Reason))
	}
	if r.Offer == nil {
		a.pairs([2]string{"asked by", whoText(r.Requester)}, [2]string{"entitlement", r.Entitlement}, [2]string{"reason", r.Reason})
		return nil
	}
	offer, err := readOffer(r)
	if err != nil {
		return err
	}
	fmt.Fprintln(a.c.Stdout)
	offer.render(a, a.c.Stdout)
	return nil
}

func whoText(w api.Who) string {
	if w.Name == "" {
		return w.Principal
	}
	return w.Name + ", " + w.Principal
}
