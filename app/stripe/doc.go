// Package stripe is the kind for Stripe's API, version 1: a closed catalogue of
// its operations compiled from the public description, a strict reader of its
// forms, and Stripe's error shape, so that its official clients show our
// refusals as their own.
//
// An operation is named as its clients name it (refunds.create). Its attributes
// are the labels of its path and the scalar fields of its form or query, by
// Stripe's names; {intent} in a path is payment_intent or setup_intent, and the
// fields of transfer_data are transfer_data.amount and transfer_data.destination.
// An amount is money where the description requires amount and currency, and
// minor_units elsewhere. A field that is an object or a list in a request gives no
// attribute, and so meets no constraint.
//
// Refused, because an entitlement cannot speak of it yet and it would reach
// further than the operation says: expand (it reads other objects; clients send
// none by default), the headers Stripe-Account and Stripe-Context (they act on
// another account), other headers of Stripe's that we do not know, and version 2
// of the API. A field that the description does not have is refused by its name.
//
// It decides nothing and opens no connection. Test or live mode does not show in
// a request; it is a property of the credential.
package stripe
