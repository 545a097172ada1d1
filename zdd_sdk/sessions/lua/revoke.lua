-- Log a user out everywhere. KEYS[1] the session to keep, or the index again; [3...] what a rotation makes of it
-- ARGV[1] '1' to keep it, [2] user, [3] ms the index is kept at least: no session lives longer, [4] token,
-- [5] grace of a rotation, ms
-- {'ok', sessions that were listed and have ended, epoch, 1 if it was kept} | {'error', message}
local now = server_time()
local known = redis.pcall('HMGET', INDEX, '_e', '_t', '_n')
if known.err then return {'error', known.err} end
if known[2] == ARGV[4] then -- sent again
  return {'ok', tonumber(known[3]) or 0, known[1], tonumber(ARGV[1]) or 0}
end
-- 1 ms ahead: who has logged in within this very millisecond has ended, who does so from now on is at the epoch
local epoch = text(math.max(now, tonumber(known[1]) or 0) + 1)

local kept, kept_entry
if ARGV[1] == '1' then
  local at = redis.call('EXISTS', KEYS[1]) == 1 and 1 or follow(now, ARGV[5])
  local meta = at and paired(redis.call('HGETALL', KEYS[at])) or {}
  if meta['_u'] == ARGV[2] and not meta['_k'] and not revoked(meta) and now < (tonumber(meta['_x']) or 0) then
    kept = KEYS[at]
    kept_entry = meta['_i'] and redis.call('HGET', INDEX, 'd:' .. meta['_i']) and {'d:' .. meta['_i'],
      redis.call('HGET', INDEX, 'd:' .. meta['_i'])}
  end
end
local ended = -(kept_entry and 1 or 0)
for _, field in ipairs(redis.call('HKEYS', INDEX)) do
  if string.sub(field, 1, 2) == 'd:' then ended = ended + 1 end
end
local left = redis.call('PTTL', INDEX)
redis.call('DEL', INDEX)
redis.call('HSET', INDEX, '_v', '1', '_e', epoch, '_t', ARGV[4], '_n', ended, unpack(kept_entry or {}))
redis.call('PEXPIRE', INDEX, text(math.max(left, tonumber(ARGV[3]))))
if kept then redis.call('HSET', kept, '_e', epoch) end
return {'ok', ended, epoch, kept and 1 or 0}
