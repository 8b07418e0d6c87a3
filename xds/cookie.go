package xds

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	luav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/lua/v3"
)

// cookieScript takes our cookies out of apps' answers: an app that could set one
// could have a browser act under a session of somebody else (contracts §7). It is
// Lua, because no filter of Envoy removes one value of a header and leaves the
// others. It is fixed text; the lint takes no other.
//
// The answers of ext_authz itself keep theirs. They are told from the app's by
// what ext_authz attached to the request: key reason when it answered, key action
// when it let the request through. Whatever is not surely its own answer, a script
// that fails included, is treated as the app's.
//
// A name counts in any case and after the white space, control characters and
// equals signs that some browsers skip: Set-Cookie "=__Host-mayfly=x" comes back
// from them as our cookie.
const cookieScript = `local function own(handle)
  local said = handle:streamInfo():dynamicMetadata():get("envoy.filters.http.ext_authz")
  return said ~= nil and said["action"] == nil and said["reason"] ~= nil
end

local function others(headers, n)
  local kept = {}
  for i = 0, n - 1 do
    local cookie = headers:getAtIndex("set-cookie", i)
    if not string.find(string.lower(cookie), "^[%c%s=]*__host%-mayfly") then
      kept[#kept + 1] = cookie
    end
  end
  return kept
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local n = headers:getNumValues("set-cookie")
  if n == 0 then
    return
  end
  local known, mine = pcall(own, handle)
  if known and mine then
    return
  end
  local read, kept = pcall(others, headers, n)
  if read and #kept == n then
    return
  end
  headers:remove("set-cookie")
  if read then
    for _, cookie in ipairs(kept) do
      headers:add("set-cookie", cookie)
    end
  end
end
`

func cookieFilter() *luav3.Lua {
	return &luav3.Lua{DefaultSourceCode: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: cookieScript}}}
}
