-- ARGV[1] spare ms, [2] token, [3] writer, [4] new idle ms or '', [5] new life ms or '', [6] new absolute end ms or '',
-- [7] number n of values set, [8] number m of values compared,
-- [9] most bytes of all attributes, where others have saved since [11], or '', [10] most attributes, [11] revision known
-- [12..11+2n] field, value, ...; then 2m of field, value it must have ('' is absent); then fields to delete
-- 'ok <revision> <now> <absolute end> <idle ms> <which successor or 0>' | {'changed', field, value, ...}: all compared,
-- since one differs; nothing was written | {'large', how large it would be}: nor here | {'gone'} | {'ended'} | {'error', message}
local key, now, moved = KEYS[1], server_time(), 0
local wanted = {'_x', '_m', '_g', '_t', '_k', '_u', '_d', '_e', '_c', '_i', '_q'}
local values = redis.pcall('HMGET', key, unpack(wanted))
if values.err then return {'error', values.err} end
if not values[1] then
  local at = follow()
  if not at then return {'gone'} end
  key, moved = KEYS[at], at - 2
  values = redis.call('HMGET', key, unpack(wanted))
end
local meta = {}
for i, name in ipairs(wanted) do meta[name] = values[i] or nil end
-- deleted, or a marker since: never made again, never changed
if not meta['_x'] or meta['_k'] or revoked(key, meta) then return {'gone'} end
local ends, idle, spare = number(meta['_x']) or 0, number(meta['_m']) or 0, tonumber(ARGV[1])
local left = redis.call('PTTL', key)
if now >= ends or (left >= 0 and left <= spare) then return {'gone'} end

-- The last tokens: a save sent again after its reply was lost must not overwrite those that came between, nor add
-- twice. Four of a quiet session; while saves come within ten seconds of one another (longer than anybody asks
-- again) 128, because each of many parallel requests may be the one whose reply was lost.
local tokens, size = meta['_t'] or '', #ARGV[2]
local revision = number(meta['_g']) or 0
local function reply()
  return string.format('ok %.0f %.0f %.0f %.0f %d', revision, now, ends, idle, moved)
end
if has_token(tokens, ARGV[2]) then return reply() end
local last = 11 + 2 * tonumber(ARGV[7])
local compared = last + 2 * tonumber(ARGV[8])
local found, same = {'changed'}, true
for i = last + 1, compared, 2 do
  local value = redis.call('HGET', key, ARGV[i]) or ''
  found[#found + 1], found[#found + 2] = ARGV[i], value
  same = same and value == ARGV[i + 1]
end
if not same then return found end

-- What a request knows of, it has judged itself; with what others have saved beside it, it is judged here. One that
-- has grown beyond a limit (by releases that did not look) may get smaller.
if ARGV[9] ~= '' and last > 11 and meta['_g'] ~= ARGV[11] then
  local sizes, becomes = {}, {}
  for name, value in pairs(paired(redis.call('HGETALL', key))) do sizes[name], becomes[name] = #value, #value end
  for i = 12, last, 2 do becomes[ARGV[i]] = #ARGV[i + 1] end
  for i = compared + 1, #ARGV do becomes[ARGV[i]] = nil end
  local bytes, count = measure(becomes)
  local bytes_before, count_before = measure(sizes)
  if bytes > math.max(tonumber(ARGV[9]), bytes_before) or count > math.max(tonumber(ARGV[10]), count_before) then
    return {'large', string.format('with what other requests have saved, the session would have %d bytes (at most '
      .. 'sessions.max_session = %s) and %d fields (at most %s)', bytes, ARGV[9], count, ARGV[10])}
  end
end

local changed = ARGV[4] ~= ''
if changed then
  idle, ends = tonumber(ARGV[4]), tonumber(ARGV[6]) or (now + tonumber(ARGV[5]))
  if now >= ends then
    redis.call('DEL', key)
    unlist(key, meta['_i'])
    return {'ended'}
  end
  meta['_x'] = text(ends)
end
revision = revision + 1
local keep = now - (number(meta['_d']) or 0) < 10000 and 128 or 4
local done = redis.pcall('HSET', key, '_g', text(revision), '_w', ARGV[3], '_m', text(idle), '_x', text(ends),
  '_d', text(now), '_t', string.sub(ARGV[2] .. tokens, 1, keep * size), unpack(ARGV, 12, last))
if type(done) == 'table' and done.err then return {'error', done.err} end
in_parts('HDEL', key, compared + 1)

local target = math.min(idle, ends - now) + spare
if changed or due(left, target, idle, meta['_u']) then
  redis.call('PEXPIRE', key, text(target))
  if meta['_u'] and meta['_i'] then list(key, meta, now, now + target - spare, spare) end
end
return reply()
