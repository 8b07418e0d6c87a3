package main

import (
	"path"
	"slices"
	"strings"
)

// nameOf derives the name of an operation from its method and template:
// resources by their literal segments, then what is done.
//
//	GET    /v1/charges                    charges.list
//	GET    /v1/charges/{charge}           charges.retrieve
//	POST   /v1/charges                    charges.create
//	POST   /v1/charges/{charge}           charges.update
//	POST   /v1/charges/{charge}/capture   charges.capture
//	POST   /v1/charges/{charge}/refunds   charges.refunds.create
func nameOf(d document, method, template string) string {
	literals := strings.Split(strings.TrimPrefix(template, "/v1/"), "/")
	literals = slices.DeleteFunc(literals, func(s string) bool { return strings.HasPrefix(s, "{") })
	if verb := verbOf(d, method, template); verb != "" {
		literals = append(literals, verb)
	}
	return strings.Join(literals, ".")
}

// verbOf returns "" where the last segment is itself what is done.
func verbOf(d document, method, template string) string {
	last := path.Base(template)
	onObject := strings.HasSuffix(last, "}")
	switch {
	case method == "DELETE":
		return "delete"
	case onObject && method == "GET":
		return "retrieve"
	case onObject:
		return "update"
	case method == "GET" && slices.Contains([]string{"search", "find", "preview", "pdf"}, last):
		return ""
	case method == "GET" && isList(d, template):
		return "list"
	case method == "GET":
		return "retrieve"
	case !isNoun(d, template):
		return ""
	case d.Paths[template]["get"].OperationID != "" && !isList(d, template):
		return "update"
	default:
		return "create"
	}
}

func isList(d document, template string) bool {
	if slices.Contains([]string{"capabilities", "report_types"}, path.Base(template)) {
		return true
	}
	return slices.ContainsFunc(d.Paths[template]["get"].Parameters, func(p parameter) bool { return p.Name == "limit" })
}

// isNoun reports whether the last segment of a template names things rather than
// what is done to them: it can be read, its things have paths of their own, it
// stands alone, or it is one of the few that are only ever created.
func isNoun(d document, template string) bool {
	if d.Paths[template]["get"].OperationID != "" || strings.Count(template, "/") == 2 {
		return true
	}
	for other := range d.Paths {
		if strings.HasPrefix(other, template+"/{") {
			return true
		}
	}
	return slices.Contains([]string{
		"sessions", "login_links", "onboarding_links", "connection_tokens", "confirmation_tokens", "meter_events",
		"meter_event_adjustments", "funding_instructions", "payment_evaluations", "refunds", "received_credits", "received_debits",
	}, path.Base(template))
}

// classRule gives a class to what changes something. The first that matches wins.
type classRule struct {
	class    string
	patterns []string // name, or prefix.*
}

// classRules lists the operations that do more than change a setting. Secret are
// those whose answer is a credential, a link that acts without one, or a copy of
// card data sent elsewhere; admin those that decide where money goes and who
// holds an account; money those that move or promise it.
func classRules() []classRule {
	return []classRule{
		{"write", []string{
			"test_helpers.*", "issuing.cardholders.*", "issuing.personalization_designs.*",
			// Only descriptions and metadata:
			"application_fees.refunds.update", "charges.update", "charges.refunds.update", "credit_notes.update", "payouts.update",
			"refunds.update", "topups.update", "transfers.update", "transfers.reversals.update",
		}},
		{"secret", []string{
			"ephemeral_keys.*", "account_sessions.*", "customer_sessions.*", "link_account_sessions.*", "billing_portal.sessions.*",
			"financial_connections.sessions.*", "identity.verification_sessions.*", "account_links.*", "accounts.login_links.*",
			"terminal.connection_tokens.*", "terminal.onboarding_links.*", "webhook_endpoints.*", "apps.secrets.*",
			"file_links.*", "forwarding.requests.*",
		}},
		{"admin", []string{"accounts.*", "external_accounts.*", "balance_settings.*"}},
		{"money", []string{
			"refunds.*", "charges.*", "payment_intents.*", "payouts.*", "transfers.*", "topups.*", "credit_notes.*", "application_fees.*",
			"issuing.*", "treasury.*", "climate.orders.*", "disputes.*", "billing.credit_grants.*", "customers.balance_transactions.*",
			"customers.cash_balance.*", "invoices.pay", "invoices.attach_payment", "quotes.accept", "terminal.refunds.*", "terminal.readers.process_payment_intent",
			"terminal.readers.confirm_payment_intent", "terminal.readers.refund_payment",
		}},
	}
}

func classOf(name, method string) string {
	if method == "GET" {
		if strings.HasPrefix(name, "apps.secrets.") {
			return "secret"
		}
		return "read"
	}
	for _, rule := range classRules() {
		if slices.ContainsFunc(rule.patterns, func(p string) bool { return matches(p, name) }) {
			return rule.class
		}
	}
	return "write"
}

func matches(pattern, name string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(name, prefix)
	}
	return pattern == name
}

// isAmount reports whether an integer field of this name counts the smallest
// unit of a currency.
func isAmount(name string) bool {
	return name == "amount" || strings.HasPrefix(name, "amount_") || strings.HasSuffix(name, "_amount") ||
		name == "application_fee" || name == "balance"
}

// recordable reports whether a field's value may stand in the record: amounts,
// currencies, enumerations, numbers, switches and ids. Free text, e-mail
// addresses, search queries and anything like a credential may not.
func recordable(name string, letter byte) bool {
	switch letter {
	case letterMinor, letterMoney, letterCurrency, letterEnum, letterInteger, letterBoolean:
		return true
	case letterString:
		return slices.Contains(recordableIDs(), name)
	default:
		return false
	}
}

func recordableIDs() []string {
	return []string{
		"account", "authorization", "balance_transaction", "cardholder", "charge", "configuration", "coupon", "credit_note",
		"customer", "customer_account", "default_payment_method", "default_source", "destination", "dispute", "ending_before", "feature",
		"file", "financial_account", "inbound_transfer", "invoice", "location", "mandate", "meter", "on_behalf_of", "outbound_payment",
		"outbound_transfer", "page", "payment_intent", "payment_link", "payment_method", "payment_record", "payout", "plan", "price",
		"product", "promotion_code", "quote", "reader", "reason", "received_credit", "received_debit", "refund", "report_type", "review",
		"schedule", "setup_intent", "shipping_rate", "source", "source_transaction", "starting_after", "status", "subscription",
		"subscription_item", "tax_rate", "test_clock", "transaction", "transfer", "transfer_group", "type", "value_list",
	}
}

// labelRecordable reports whether a path label's value may stand in the record.
func labelRecordable(label string) bool {
	return !slices.Contains([]string{"token", "confirmation_token", "link"}, label)
}

// labelName is the name of the attribute that a path label gives. The labels
// that Stripe names for its own use get the name that the same id has as a field.
func labelName(label, template string) string {
	switch {
	case label == "subscription_exposed_id":
		return "subscription"
	case label == "intent" && strings.HasPrefix(template, "/v1/payment_intents/"):
		return "payment_intent"
	case label == "intent" && strings.HasPrefix(template, "/v1/setup_intents/"):
		return "setup_intent"
	default:
		return label
	}
}
