-- ARGV[1] ms the hash is kept beyond its idle timeout, [2] grace of a rotation, ms, [3] age at which it is due, ms, or ''
-- [4] a word that stands in no value: bytes drawn at random
-- 'ok <now> <which successor or 0> <1 if rotated now> <number of words to come>', then fields and values, all of it
-- joined by that word | {'none'} | {'error', …}
-- One string instead of a list: a client's parser takes longer over 40 replies than over all the rest of a request.
local now, spare, at = server_time(), tonumber(ARGV[1]), 1

-- An id that a rotation has left behind comes back when its grace is over, if nobody has used the new one: then the
-- answer that was to tell of it was lost. '_q': '<absolute end> <hash of the new id> <when that one was seen>'
local function comes_back(key, meta)
  local ends, hash, seen = string.match(meta['_q'], '^(%d+) (%x+) (%d+)$')
  local entry = entry_of(meta['_i'])
  if not (ends and entry) or revoked(key, meta) then return false end
  local unused = entry.hash == hash and entry.seen == tonumber(seen)
  if not unused and entry.hash ~= hash_of(key) then return false end
  local done = redis.pcall('HSET', key, '_x', ends)
  if type(done) == 'table' and done.err then return false end
  return redis.call('HDEL', key, '_k')
end

local fields = redis.pcall('HGETALL', KEYS[1])
if fields.err then return {'error', fields.err} end
if #fields == 0 then
  at = follow(now, tonumber(ARGV[2]))
  if not at then return {'none'} end
  fields = redis.call('HGETALL', KEYS[at])
end
local key, meta = KEYS[at], paired(fields)
local ends = number(meta['_x']) or 0
local back = meta['_q'] and meta['_k'] and now >= ends and comes_back(key, meta)
if back then
  fields = redis.call('HGETALL', key)
  meta = paired(fields)
  ends = number(meta['_x']) or 0
end
if now >= ends then return {'none'} end
if not back and revoked(key, meta) then
  redis.call('DEL', key)
  return {'none'}
end
local function reply(rotated)
  local head = string.format('ok %.0f %d %d %d', now, math.max(0, at - 2), rotated and 1 or 0, #fields)
  return head .. ARGV[4] .. table.concat(fields, ARGV[4])
end
if meta['_k'] then return reply() end

local idle = number(meta['_m']) or 0
local left = redis.call('PTTL', key)
if left >= 0 and left <= spare then return {'none'} end
local confirmed = not meta['_o'] or meta['_p']
if at == 1 and not confirmed then redis.pcall('HSET', key, '_p', text(now)) end
local age = now - (number(meta['_r'] or meta['_c']) or now)
local settled = not meta['_o'] or meta['_p'] and now >= (number(meta['_p']) or 0) + tonumber(ARGV[2])
local rotated = at == 1 and ARGV[3] ~= '' and meta['_u'] and age >= tonumber(ARGV[3]) and settled and KEYS[3]
if rotated then
  local done = redis.pcall('HSET', key, '_o', hash_of(key), '_r', text(now))
  if type(done) == 'table' and done.err then return reply() end
  redis.call('HDEL', key, '_p')
  redis.call('RENAME', key, KEYS[3])
  key, at = KEYS[3], 3
end
-- past the absolute end there is nothing to keep, so near it the target equals what is left: no write
local target = math.min(idle, ends - now) + spare
if back or rotated or (at == 1 and not confirmed) or due(left, target, idle, meta['_u']) then
  redis.pcall('PEXPIRE', key, text(target))
  if meta['_u'] then
    if not meta['_i'] then -- of a release without a list
      meta['_i'] = string.sub(hash_of(key), 1, 22)
      local begun = number(redis.call('HGET', INDEX, '_b')) or 0
      meta['_e'] = text(math.max(since_of(meta), begun))
      local done = redis.pcall('HSET', key, '_i', meta['_i'], '_e', meta['_e'])
      if type(done) == 'table' and done.err then return reply(rotated) end
    end
    list(key, meta, now, now + target - spare, spare)
  end
end
return reply(rotated)
