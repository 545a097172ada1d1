-- In front of every script. KEYS[1] a session, [2] the index of its tag, [3...] what a rotation makes of the session,
-- one per root of ZDD_SECRET. All of one tag, so of one slot.
local INDEX = KEYS[2]
local SEEN_EVERY = 3600000 -- ms: how exactly the index knows when a device was last seen
local MOST_DEVICES = 1000

local function text(number)
  return string.format('%.0f', number)
end

-- Whole and exact, or nothing: whatever else lies in Redis counts as not there.
local function number(written)
  return written and #written <= 15 and string.match(written, '^%d+$') and tonumber(written) or nil
end

local function server_time()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function hash_of(key)
  return string.sub(key, -64)
end

-- Which key the session lies under since a rotation has renamed it; nil if no rotation has, or its grace is over.
-- The grace begins when the new id is first used: an answer that was lost on its way costs nobody the session. Only
-- loads have one: whatever else comes with the id of before has loaded the session in time, or is there to end it.
local function follow(now, grace)
  for i = 3, #KEYS do
    local was = redis.pcall('HMGET', KEYS[i], '_o', '_p')
    if not was.err and was[1] == hash_of(KEYS[1])
      and (not grace or not was[2] or now < (number(was[2]) or 0) + grace) then
      return i
    end
  end
end

-- Since when its user has been logged in: a session of a release without epochs has begun with its login.
local function since_of(meta)
  return number(meta['_e']) or number(meta['_c']) or 0
end

-- '1 <hash> <created> <seen> <expires> <label>'
local function read_entry(written)
  local hash, created, seen, expires, label = string.match(written, '^1 (%x+) (%d+) (%d+) (%d+) (.*)$')
  if not hash or #hash ~= 64 or math.max(#created, #seen, #expires) > 14 then return nil end
  return {hash = hash, created = created, seen = tonumber(seen), expires = tonumber(expires), label = label}
end

local function entry_of(device)
  local written = device and redis.pcall('HGET', INDEX, 'd:' .. device)
  return type(written) == 'string' and read_entry(written) or nil
end

-- Which other id the list has for the device of a session, if any.
local function became(key, device)
  local known = entry_of(device)
  return known and known.hash ~= hash_of(key) and known.hash or nil
end

-- Whether its user has logged out everywhere since. A listed session whose index is lost is over, too: nobody could
-- tell any more. So is one that began before the index did: that is another one, begun by a login after the loss.
-- One that has come back from a rotation ('_q', see load.lua) is over when its device is another's again, or nobody's,
-- but for the heir it has just been given.
-- 'error' is left to the script's own commands: the index is a hash, or nothing can be said.
local function revoked(key, meta, heir)
  if not meta['_u'] then return false end
  if meta['_q'] and not meta['_k'] then
    local known = entry_of(meta['_i'])
    if not known or known.hash ~= hash_of(key) and known.hash ~= heir then return true end
  end
  local known = redis.pcall('HMGET', INDEX, '_v', '_e', '_b')
  if known.err then return true end
  if not known[1] then return meta['_i'] and true or false end
  local since = since_of(meta)
  return since < (number(known[2]) or 0) or meta['_i'] and since < (number(known[3]) or 0) or false
end

-- List a session, or what became of it; with a label at its login, which always finds a place. The index outlives
-- every session in it, because it knows what has ended. 'seen' never goes back, though the clock may: see revoke.lua;
-- nor does it stand still, which tells whether an id has been used: see load.lua.
-- Where Redis takes no writes the list stays as it is, and the session can be read all the same.
local function list(key, meta, now, expires, spare, label)
  local known = entry_of(meta['_i'])
  if not (known or label) and redis.call('HLEN', INDEX) >= MOST_DEVICES then return end
  if label == '' or not label then label = known and known.label or '' end
  local shown = {'1', hash_of(key), known and known.created or text(number(meta['_c']) or 0),
    text(math.max(now, known and known.seen + 1 or 0)), text(expires), label}
  if not redis.call('HGET', INDEX, '_v') then redis.pcall('HSET', INDEX, '_b', text(since_of(meta))) end
  redis.pcall('HSET', INDEX, '_v', '1', 'd:' .. meta['_i'], table.concat(shown, ' '))
  local most = (number(meta['_x']) or now) - now + spare
  if redis.call('PTTL', INDEX) < most then redis.pcall('PEXPIRE', INDEX, text(most)) end
end

-- Take a session off the list, unless the entry has become another's: the session lives on under a new id.
local function unlist(key, device)
  local known = entry_of(device)
  if known and known.hash == hash_of(key) then redis.call('HDEL', INDEX, 'd:' .. device) end
end

-- Whether a call has come before: tokens of one length, the latest first.
local function has_token(tokens, token)
  local at = 0
  repeat at = string.find(tokens, token, at + 1, true) until not at or at % #token == 1
  return at ~= nil
end

local function paired(flat)
  local map = {}
  for i = 1, #flat, 2 do map[flat[i]] = flat[i + 1] end
  return map
end

-- Whether there is reason to write the TTL anew: often enough for the list of devices, else at a tenth of the timeout.
local function due(left, target, idle, listed)
  return left < 0 or target - left > (listed and math.min(idle / 10, SEEN_EVERY) or idle / 10)
end

-- A command with all the arguments from one on, of which unpack can take 8,000 at most (LUAI_MAXCSTACK).
local function in_parts(command, key, first)
  for i = first, #ARGV, 4000 do redis.call(command, key, unpack(ARGV, i, math.min(i + 3999, #ARGV))) end
end

-- Bytes and number of the attributes among fields of these sizes.
local function measure(sizes)
  local bytes, count = 0, 0
  for name, size in pairs(sizes) do
    if string.sub(name, 1, 2) == 'a:' then bytes, count = bytes + #name + size, count + 1 end
  end
  return bytes, count
end
