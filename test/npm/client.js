// oauth4webapi as a client of mayflyd: discovery, the authorization code with PKCE and
// DPoP, exchange, introspection of what it got as a resource server, revocation.
// Roots come from NODE_EXTRA_CA_CERTS. Each line of standard output is one JSON object;
// {"open": address} asks for the address to which the browser of the login comes back,
// as a line of standard input.
//   node client.js ISSUER RESOURCE
import { createInterface } from 'node:readline';
import * as oauth from 'oauth4webapi';

const [issuerText, resource] = process.argv.slice(2);
const say = (out) => console.log(JSON.stringify(out));
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const issuer = new URL(issuerText);
const client = { client_id: 'mayfly-cli' };
const redirect = 'http://127.0.0.1:20000/callback';

const as = await oauth.discoveryRequest(issuer, { algorithm: 'oauth2' }).then((r) => oauth.processDiscoveryResponse(issuer, r));
say({ step: 'discovery', issuer: as.issuer });

const DPoP = oauth.DPoP(client, await oauth.generateKeyPair('ES256', { extractable: false }));
// withNonce sends once more where the server wants a nonce (RFC 9449 §8).
async function withNonce(send, process) {
  try {
    return await process(await send());
  } catch (e) {
    if (!oauth.isDPoPNonceError(e)) throw e;
    say({ step: 'nonce' });
    return process(await send());
  }
}

const verifier = oauth.generateRandomCodeVerifier();
const state = oauth.generateRandomState();
const to = new URL(as.authorization_endpoint);
for (const [name, value] of Object.entries({
  client_id: client.client_id, redirect_uri: redirect, response_type: 'code', state, idp: 'idp',
  code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256', dpop_jkt: await DPoP.calculateThumbprint(),
})) to.searchParams.set(name, value);
say({ open: to.href });
const back = new URL((await lines.next()).value);

const params = oauth.validateAuthResponse(as, client, back, state); // checks iss, RFC 9207
const session = await withNonce(
  () => oauth.authorizationCodeGrantRequest(as, client, oauth.None(), params, redirect, verifier, { DPoP }),
  (r) => oauth.processAuthorizationCodeResponse(as, client, r));
say({ step: 'code', type: session.token_type, seconds: session.expires_in });

const token = await withNonce(
  () => oauth.genericTokenEndpointRequest(as, client, oauth.None(), 'urn:ietf:params:oauth:grant-type:token-exchange', {
    subject_token: session.access_token, subject_token_type: 'urn:ietf:params:oauth:token-type:access_token', resource,
    authorization_details: JSON.stringify([{ type: 'urn:mayfly:web', locations: [resource] }]),
  }, { DPoP }),
  (r) => oauth.processGenericTokenEndpointResponse(as, client, r));
say({ step: 'exchange', type: token.token_type, token: token.access_token, details: token.authorization_details });

// As a resource server: the token, with a proof of its key, and then without.
const target = new URL(resource + '/daily');
async function presented(proof) {
  let request;
  await oauth.protectedResourceRequest(token.access_token, 'GET', target, new Headers(), undefined, {
    DPoP: proof, [oauth.customFetch]: (url, o) => { request = new Request(url, o); return new Response('{}', { status: 200 }); },
  });
  return request;
}
const claims = await oauth.validateJwtAccessToken(as, await presented(DPoP), resource);
say({ step: 'validated', sub: claims.sub, jkt: claims.cnf.jkt });
for (const [name, request, audience] of [
  ['another audience', await presented(DPoP), resource + '.evil.example'],
  ['a stolen token', await presented(oauth.DPoP(client, await oauth.generateKeyPair('ES256'))), resource],
]) {
  await oauth.validateJwtAccessToken(as, request, audience).then(
    () => { throw new Error(name + ' was accepted'); }, (e) => say({ step: 'refused', name, why: String(e.code ?? e.message) }));
}

// oauth4webapi proves keys at the token endpoint and at resources; ours wants a proof at
// revocation too, so that whoever found a token cannot end it.
const headers = new Headers();
await DPoP.addProof(new URL(as.revocation_endpoint), headers, 'POST');
await oauth.revocationRequest(as, client, oauth.None(), token.access_token, { headers }).then(oauth.processRevocationResponse);
say({ step: 'revoked' });
await oauth.genericTokenEndpointRequest(as, client, oauth.None(), 'urn:ietf:params:oauth:grant-type:token-exchange', {
  subject_token: session.access_token, subject_token_type: 'urn:ietf:params:oauth:token-type:access_token', resource,
}, { DPoP }).then((r) => oauth.processGenericTokenEndpointResponse(as, client, r)).then(
  () => { throw new Error('a token after its grant was finished'); }, (e) => say({ step: 'refused', name: 'after revocation', why: e.error ?? e.message }));
process.exit(0);
