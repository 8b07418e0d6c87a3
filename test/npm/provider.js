// A second identity provider for tests: npm oidc-provider, with its own pages to
// log in, on a loopback port.
//
// It takes its configuration as JSON in its first argument, says where it is in a
// line of JSON on standard output once it listens, and then does what it is told by
// lines of JSON on standard input, one line of answer each. It ends when its input
// does, so it outlives nobody.

import { randomBytes, generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

// Standard output is ours: what the library has to say goes where errors go.
console.log = console.info = console.warn = console.error;

const config = JSON.parse(process.argv[2]);
const { default: Provider } = await import(pathToFileURL(join(config.module, 'lib', 'index.js')));

// accounts are the claims of each person by name; a name that is not here may log
// in too, and has no claims. disabled are those who left.
const accounts = new Map(Object.entries(config.accounts ?? {}));
const disabled = new Set();

const findAccount = (_, sub) => (disabled.has(sub) ? undefined : {
  accountId: sub,
  claims: () => ({ ...accounts.get(sub), sub }),
});

// Memory is the adapter of oidc-provider that keeps everything in this process.
const stored = new Map();
class Memory {
  constructor(model) { this.model = model; }

  key(id) { return `${this.model}:${id}`; }

  async upsert(id, payload, seconds) { stored.set(this.key(id), { payload, until: seconds ? Date.now() + seconds * 1000 : Infinity }); }

  async find(id) {
    const entry = stored.get(this.key(id));
    return entry && entry.until > Date.now() ? entry.payload : undefined;
  }

  async findBy(field, value) { return this.all().find((payload) => payload[field] === value); }

  async findByUid(uid) { return this.findBy('uid', uid); }

  async findByUserCode(code) { return this.findBy('userCode', code); }

  async consume(id) { stored.get(this.key(id)).payload.consumed = Math.floor(Date.now() / 1000); }

  async destroy(id) { stored.delete(this.key(id)); }

  async revokeByGrantId(grant) {
    for (const [key, { payload }] of stored) if (payload.grantId === grant && !key.startsWith('Session:')) stored.delete(key);
  }

  all() { return [...stored].filter(([key, { until }]) => key.startsWith(`${this.model}:`) && until > Date.now()).map(([, { payload }]) => payload); }
}

// Providers publish several keys, of several kinds.
const jwk = (kid, alg, type, options) => ({ ...generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' }), kid, alg, use: 'sig' });
const keys = [
  jwk('rsa-1', 'RS256', 'rsa', { modulusLength: 2048 }),
  jwk('ec-1', 'ES256', 'ec', { namedCurve: 'P-256' }),
];

const server = createServer();
server.listen(config.port ?? 0, '127.0.0.1');
await once(server, 'listening');
const issuer = `http://127.0.0.1:${server.address().port}`;

const names = ['groups', ...(config.claims ?? [])];
const provider = new Provider(issuer, {
  adapter: Memory,
  clients: config.clients.map((c) => ({
    client_id: c.id,
    redirect_uris: c.redirects,
    post_logout_redirect_uris: c.postLogout ?? [],
    token_endpoint_auth_method: 'none',
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    id_token_signed_response_alg: c.alg || 'RS256',
    ...(c.backChannel && { backchannel_logout_uri: c.backChannel, backchannel_logout_session_required: true }),
  })),
  findAccount,
  claims: {
    openid: ['sub', ...names],
    profile: ['name', 'preferred_username'],
    email: ['email', 'email_verified'],
    acr: null, auth_time: null, sid: null, iss: null,
  },
  conformIdTokenClaims: Boolean(config.userInfoOnly),
  cookies: { keys: [randomBytes(32).toString('hex')] },
  jwks: { keys },
  pkce: { methods: ['S256'], required: () => true },
  scopes: ['openid', 'offline_access', 'profile', 'email'],
  issueRefreshToken: async (_, client, code) => client.grantTypeAllowed('refresh_token')
    && (!config.offlineOnly || code.scopes.has('offline_access')),
  features: {
    devInteractions: { enabled: true },
    backchannelLogout: { enabled: true },
    rpInitiatedLogout: { enabled: true },
    revocation: { enabled: true },
  },
});
provider.on('server_error', (_, e) => console.error(e));
server.on('request', provider.callback());

const sessionsOf = (name) => new Memory('Session').all().filter((s) => s.accountId === name);

// end ends the sessions of a person and tells each client that has one: what
// oidc-provider does when the person logs out.
async function end(name) {
  const told = [];
  for (const { jti } of sessionsOf(name)) {
    const session = await provider.Session.find(jti);
    for (const [id, { grantId }] of Object.entries(session.authorizations ?? {})) {
      const client = await provider.Client.find(id);
      if (client.backchannelLogoutUri) {
        told.push(await client.backchannelLogout(name, session.sidFor(id)).then(() => 'ok', (e) => e.message));
      }
      for (const model of ['AccessToken', 'RefreshToken', 'AuthorizationCode']) await new Memory(model).revokeByGrantId(grantId);
    }
    await session.destroy();
  }
  return { told };
}

const verbs = {
  end: ({ account }) => end(account),
  disable: ({ account }) => { disabled.add(account); return {}; },
  enable: ({ account }) => { disabled.delete(account); return {}; },
  set: ({ account, claims }) => { accounts.set(account, claims); return {}; },
};

const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);
say({ issuer });
for await (const line of createInterface({ input: process.stdin })) {
  try {
    const ask = JSON.parse(line);
    say(await verbs[ask.do](ask));
  } catch (e) {
    say({ error: e.message });
  }
}
process.exit(0);
