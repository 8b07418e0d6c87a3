package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/mayflyproxy/mayfly/api"
)

func (a *app) keysCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "keys", Short: "List the keys that access tokens are signed with",
		Long: `Lists the keys that sign and verify access tokens, with their ages. The next key is
known to every gateway before it signs; a retired one verifies until its last token has
ended; one that is gone or removed verifies nothing. For the security group.`,
		Example: "  mayfly keys\n  mayfly keys -o json", Args: cobra.NoArgs,
		RunE: read(a, func(ctx context.Context, c *api.Client, _ []string) ([]api.Key, error) {
			p, err := c.Keys(ctx)
			return p.Items, err
		}, a.showKeys),
	}
	cmd.AddCommand(a.rotateKeysCommand(), a.removeKeyCommand())
	return cmd
}

func (a *app) rotateKeysCommand() *cobra.Command {
	var now bool
	cmd := &cobra.Command{
		Use: "rotate", Short: "Have the next key sign",
		Long: `Has the next key sign, before the schedule does, and publishes another one. Tokens of
the key before it count until they end. A next key that was published only lately is
refused, since whoever keeps a copy of the published keys may not know it yet.`,
		Example: "  mayfly keys rotate", Args: cobra.NoArgs,
	}
	cmd.RunE = a.run(func(cmd *cobra.Command, _ []string) error {
		return a.changeKeys(cmd.Context(), func(c *api.Client) (api.Page[api.Key], error) {
			return c.RotateKeys(cmd.Context(), api.KeyRotation{Now: now})
		})
	})
	cmd.Flags().BoolVar(&now, "now", false, "although it was published only lately, once every gateway has acknowledged it")
	return cmd
}

func (a *app) removeKeyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "remove KID", Short: "Have a key verify nothing any more, at once and everywhere",
		Long: `For an emergency: every token that the key has signed is refused at once, on every
gateway. If it is the key that signs, the next one does from now on. It is not undone.`,
		Example: "  mayfly keys remove l6Yw8rJ2oV0M1cE7XbqGq3kq0m8zvW4n5pYd2tRfUcs", Args: cobra.ExactArgs(1),
	}
	cmd.RunE = a.run(func(cmd *cobra.Command, args []string) error {
		return a.changeKeys(cmd.Context(), func(c *api.Client) (api.Page[api.Key], error) {
			return c.RemoveKey(cmd.Context(), api.KeyRemoval{ID: args[0]})
		})
	})
	return cmd
}

func (a *app) changeKeys(ctx context.Context, act func(*api.Client) (api.Page[api.Key], error)) error {
	client, err := a.connect(ctx)
	if err != nil {
		return err
	}
	p, err := act(client)
	if err != nil {
		return err
	}
	if a.isJSON() {
		return a.json(p.Items)
	}
	return a.showKeys(p.Items)
}

func (a *app) showKeys(list []api.Key) error {
	rows := make([][]string, len(list))
	for i, k := range list {
		rows[i] = []string{k.ID, k.Alg, k.Use, k.State, k.Age, orDash(signs(k))}
	}
	a.table([]string{"KID", "ALG", "USE", "STATE", "AGE", "SIGNS"}, rows)
	return nil
}

// signs says until when a key signs, or from when, or how it ended.
func signs(k api.Key) string {
	switch {
	case k.SignsUntil != "":
		return "until " + clock(k.SignsUntil)
	case k.SignsFrom != "":
		return "not before " + clock(k.SignsFrom)
	case k.Verifies != "":
		return "no more; verifies until " + clock(k.Verifies)
	case k.Ended != "":
		return fmt.Sprintf("no more; %s at %s", k.State, clock(k.Ended))
	default:
		return ""
	}
}
