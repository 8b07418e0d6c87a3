// Verifies an access token with npm jose, and its authorization details with ajv
// against the schema that the server publishes.
//   node verify.js jose   < {"token", "jwks", "issuer", "audience"}
//   node verify.js ajv    < {"details", "schema"}
// Prints {"ok": true, …} or {"ok": false, "why"}; the exit code is 0 either way.
import { createLocalJWKSet, jwtVerify } from 'jose';
import Ajv from 'ajv/dist/2020.js';

const input = JSON.parse(await new Response(process.stdin).text());
const say = (out) => console.log(JSON.stringify(out));
try {
  if (process.argv[2] === 'jose') {
    const { payload, protectedHeader } = await jwtVerify(input.token, createLocalJWKSet(input.jwks), {
      issuer: input.issuer, audience: input.audience, typ: 'at+jwt', algorithms: ['ES256', 'RS256'],
      requiredClaims: ['sub', 'client_id', 'iat', 'exp', 'jti', 'cnf'],
    });
    say({ ok: true, alg: protectedHeader.alg, payload });
  } else {
    const validate = new Ajv({ strict: false, allErrors: true }).compile(input.schema);
    const bad = input.details.filter((d) => !validate(d));
    say(bad.length === 0 ? { ok: true } : { ok: false, why: JSON.stringify(validate.errors) });
  }
} catch (e) {
  say({ ok: false, why: String(e.code ?? e.message) });
}
