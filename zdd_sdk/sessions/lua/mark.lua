-- ARGV[1] grace ms, [2] revision its data was copied at, [3] '1' to keep the data, [4] hash of the new id or '',
-- [5] '1' if this one comes back where that is never used
-- 'ok <since>', or {'ok', {field, value, ...}, since} if it changed since its data was copied; since when its user is
-- logged in, which a log out everywhere that has kept it has moved | {'none'} | {'moved', hash}: it is to be emptied, and
-- another request has given its device that id; nothing was done | {'error', message}
-- A marker names no successor: who holds the old id must never reach what the login made of it.
local key, now = KEYS[1], server_time()
local fields = redis.pcall('HGETALL', key)
if fields.err then return {'error', fields.err} end
if #fields == 0 then
  local at = follow()
  if not at then return {'none'} end
  key, fields = KEYS[at], redis.call('HGETALL', KEYS[at])
end
local meta = paired(fields)
if revoked(key, meta, ARGV[4]) then
  unlist(key, meta['_i'])
  redis.call('DEL', key)
  return {'none'}
end
-- a marker without a beginning was emptied by another user's login: for a rotation it has ended
if meta['_g'] == ARGV[2] or ARGV[3] ~= '1' or not meta['_c'] then fields = {} end
local function marked()
  local since = text(since_of(meta))
  return #fields == 0 and 'ok ' .. since or {'ok', fields, since}
end
if meta['_k'] and ARGV[3] == '1' then return meta['_c'] and marked() or {'none'} end
local moved = meta['_k'] and became(key, meta['_i'])
if moved then return {'moved', moved} end

local grace = tonumber(ARGV[1])
local marker = {'_k', 'm', '_x', text(now + grace), '_g', meta['_g'] or '0'}
for _, name in ipairs({'_o', '_p'}) do -- an id of before a rotation leads here, too
  if meta[name] then
    marker[#marker + 1] = name
    marker[#marker + 1] = meta[name]
  end
end
local entry = grace > 0 and ARGV[5] == '1' and entry_of(meta['_i'])
local returns = entry and (entry.hash == ARGV[4] or entry.hash == hash_of(key))
if returns then
  marker[#marker + 1] = '_q'
  marker[#marker + 1] = table.concat({meta['_x'] or '0', ARGV[4], text(entry.seen)}, ' ')
end
-- The first write, because a full Redis refuses only that: then it has refused what the session became, too.
local done = redis.pcall('HSET', key, unpack(marker))
if type(done) == 'table' and done.err then return {'error', done.err} end
if returns then return marked() end
if meta['_q'] then redis.call('HDEL', key, '_q') end
unlist(key, meta['_i'])
if grace == 0 or ARGV[3] ~= '1' then redis.call('DEL', key) end
if grace > 0 and ARGV[3] ~= '1' then redis.call('HSET', key, unpack(marker)) end
if grace > 0 then redis.call('PEXPIRE', key, ARGV[1]) end
return marked()
