-- A wrk script for SOAP requests with a UsernameToken each: a new nonce, the current time in Created, and their digest.
-- The caller defines `before`, `between`, `after` and `rest`, the parts of the message around them, and `path`,
-- `password` and `fields`.

local bit = require('bit')
local band, bor, bxor, bnot, rol, tobit = bit.band, bit.bor, bit.bxor, bit.bnot, bit.rol, bit.tobit

local function word(text, at)
  local a, b, c, d = text:byte(at, at + 3)
  return bor(bit.lshift(a, 24), bit.lshift(b, 16), bit.lshift(c, 8), d)
end

local function bytes(n)
  return string.char(band(bit.rshift(n, 24), 255), band(bit.rshift(n, 16), 255), band(bit.rshift(n, 8), 255), band(n, 255))
end

-- FIPS 180-4
local function sha1(text)
  local padded = text .. '\128' .. string.rep('\0', (55 - #text) % 64) .. bytes(0) .. bytes(#text * 8)
  local h0, h1, h2, h3, h4 = 0x67452301, tobit(0xEFCDAB89), tobit(0x98BADCFE), 0x10325476, tobit(0xC3D2E1F0)
  local w = {}
  for block = 1, #padded, 64 do
    for t = 0, 15 do w[t] = word(padded, block + t * 4) end
    for t = 16, 79 do w[t] = rol(bxor(w[t - 3], w[t - 8], w[t - 14], w[t - 16]), 1) end
    local a, b, c, d, e = h0, h1, h2, h3, h4
    for t = 0, 79 do
      local f, k
      if t < 20 then f, k = bor(band(b, c), band(bnot(b), d)), 0x5A827999
      elseif t < 40 then f, k = bxor(b, c, d), 0x6ED9EBA1
      elseif t < 60 then f, k = bor(band(b, c), band(b, d), band(c, d)), tobit(0x8F1BBCDC)
      else f, k = bxor(b, c, d), tobit(0xCA62C1D6) end
      a, b, c, d, e = tobit(rol(a, 5) + f + e + k + w[t]), a, rol(b, 30), c, d
    end
    h0, h1, h2, h3, h4 = tobit(h0 + a), tobit(h1 + b), tobit(h2 + c), tobit(h3 + d), tobit(h4 + e)
  end
  return bytes(h0) .. bytes(h1) .. bytes(h2) .. bytes(h3) .. bytes(h4)
end

local letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'

local function base64(text)
  local out = {}
  for at = 1, #text, 3 do
    local a, b, c = text:byte(at, at + 2)
    local n = a * 65536 + (b or 0) * 256 + (c or 0)
    for shift = 18, 0, -6 do
      local digit = math.floor(n / 2 ^ shift) % 64 + 1
      out[#out + 1] = letters:sub(digit, digit)
    end
    if not b then out[#out], out[#out - 1] = '=', '=' elseif not c then out[#out] = '=' end
  end
  return table.concat(out)
end

local run, count, second, created = '', 0, 0, ''

init = function(args)
  run = string.format('%d-%s', os.time(), tostring({}))  -- the address of a table, so that runs have different nonces
end

request = function()
  count = count + 1
  local now = os.time()
  if now ~= second then second, created = now, os.date('!%Y-%m-%dT%H:%M:%SZ', now) end
  local nonce = run .. count
  local digest = base64(sha1(nonce .. created .. password))
  return wrk.format('POST', path, fields, before .. digest .. between .. base64(nonce) .. after .. created .. rest)
end
