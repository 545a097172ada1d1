-- In front of every script. KEYS[1] a session, [2] the index of its tag, [3...] what a rotation makes of the session,
-- one per root of ZDD_SECRET. All of one tag, so of one slot.
local INDEX = KEYS[2]
local SEEN_EVERY = 3600000 -- ms: how exactly the index knows when a device was last seen
local MOST_DEVICES = 1000

local function text(number)
  return string.format('%.0f', number)
end

local function server_time()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function hash_of(key)
  return string.sub(key, -64)
end

-- Which key the session lies under since a rotation has renamed it; nil if no rotation has, or its grace is over.
-- The grace begins when the new id is first used: an answer that was lost on its way costs nobody the session.
local function follow(now, grace)
  for i = 3, #KEYS do
    local was = redis.pcall('HMGET', KEYS[i], '_o', '_p')
    if not was.err and was[1] == hash_of(KEYS[1]) and (not was[2] or now < tonumber(was[2]) + tonumber(grace)) then
      return i
    end
  end
end

-- Since when its user has been logged in: a session of a release without epochs has begun with its login.
local function since_of(meta)
  return tonumber(meta['_e'] or meta['_c']) or 0
end

-- Whether its user has logged out everywhere since. A listed session whose index is lost is over, too: nobody could
-- tell any more. 'error' is left to the script's own commands: the index is a hash, or nothing can be said.
local function revoked(meta)
  if not meta['_u'] then return false end
  local known = redis.pcall('HMGET', INDEX, '_v', '_e')
  if known.err then return true end
  if not known[1] then return meta['_i'] and true or false end
  return since_of(meta) < (tonumber(known[2]) or 0)
end

-- '1 <hash> <created> <seen> <expires> <label>'
local function entry_of(device)
  local hash, created, seen, expires, label =
    string.match(redis.call('HGET', INDEX, 'd:' .. device) or '', '^1 (%x+) (%d+) (%d+) (%d+) (.*)$')
  return hash and {hash = hash, created = created, seen = tonumber(seen), expires = tonumber(expires), label = label}
end

-- List a session, or what became of it. The index outlives every session in it, because it knows what has ended.
local function list(key, meta, now, expires, spare, label)
  local known = entry_of(meta['_i'])
  local shown = {'1', hash_of(key), known and known.created or meta['_c'] or '0', text(now), text(expires),
    label or known and known.label or ''}
  redis.call('HSET', INDEX, '_v', '1', 'd:' .. meta['_i'], table.concat(shown, ' '))
  local most = (tonumber(meta['_x']) or now) - now + spare
  if redis.call('PTTL', INDEX) < most then redis.call('PEXPIRE', INDEX, text(most)) end
end

-- Take a session off the list, unless the entry has become another's: the session lives on under a new id.
local function unlist(key, device)
  local known = device and entry_of(device)
  if known and known.hash == hash_of(key) then redis.call('HDEL', INDEX, 'd:' .. device) end
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
