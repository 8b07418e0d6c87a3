# Verifies an access token with jwcrypto.
#   python verify.py < {"token", "jwks", "issuer", "audience"}
# Prints {"ok": true} or {"ok": false, "why"}; the exit code is 0 either way.
import json, sys
from jwcrypto import jwk, jwt

given = json.load(sys.stdin)
try:
    keys = jwk.JWKSet.from_json(json.dumps(given["jwks"]))
    token = jwt.JWT(
        jwt=given["token"], key=keys, algs=["ES256", "RS256"],
        check_claims={"iss": given["issuer"], "aud": given["audience"], "exp": None, "jti": None, "sub": None},
    )
    token.leeway = 0
    header, claims = json.loads(token.header), json.loads(token.claims)
    assert header["typ"] == "at+jwt", "typ"
    print(json.dumps({"ok": True, "payload": claims}))
except Exception as e:
    print(json.dumps({"ok": False, "why": type(e).__name__}))
