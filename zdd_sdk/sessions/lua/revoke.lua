-- Log a user out everywhere. KEYS[1] the session to keep, or the index again; [3...] what a rotation makes of it
-- ARGV[1] '1' to keep it, [2] user, [3] ms the index is kept at least: no session lives longer, [4] token
-- {'ok', sessions that were listed and have ended, since when the one that was kept counts as logged in, or '0'}
-- | {'moved', hash}: what is to be kept has got that id by a login; nothing was done | {'error', message}
local now = server_time()
local known = redis.pcall('HMGET', INDEX, '_e', '_t', '_n', '_b')
if known.err then return {'error', known.err} end
local tokens = known[2] or ''
local at = ARGV[1] == '1' and (redis.call('EXISTS', KEYS[1]) == 1 and 1 or follow())
local meta = at and paired(redis.call('HGETALL', KEYS[at])) or {}
local ours = meta['_u'] == ARGV[2] and not revoked(KEYS[at], meta)
if has_token(tokens, ARGV[4]) then -- sent again
  return {'ok', number(known[3]) or 0, ours and not meta['_k'] and meta['_e'] or '0'}
end
-- a login sent at the same time has taken its place: without its new id we would end what is to go on
local moved = ours and meta['_k'] and became(KEYS[at], meta['_i'])
if moved then return {'moved', moved} end

-- 1 ms ahead: who has logged in within this very millisecond has ended, who does so from now on is at the epoch. And
-- ahead of whoever was seen, by a server whose clock was ahead: after a failover now may lie before their login.
local latest = math.max(now, number(known[1]) or 0, number(known[4]) or 0)
local listed = redis.call('HGETALL', INDEX)
for i = 1, #listed, 2 do
  local entry = string.sub(listed[i], 1, 2) == 'd:' and read_entry(listed[i + 1])
  if entry then latest = math.max(latest, entry.seen) end
end
local epoch = text(latest + 1)

local kept = ours and not meta['_k'] and now < (number(meta['_x']) or 0) and KEYS[at]
local kept_entry, ended = {}, 0
for i = 1, #listed, 2 do
  if kept and listed[i] == 'd:' .. (meta['_i'] or '') then
    kept_entry = {listed[i], listed[i + 1]}
  elseif string.sub(listed[i], 1, 2) == 'd:' then
    ended = ended + 1
  end
end
local left = redis.call('PTTL', INDEX)
redis.call('DEL', INDEX)
redis.call('HSET', INDEX, '_v', '1', '_e', epoch, '_t', string.sub(ARGV[4] .. tokens, 1, 4 * #ARGV[4]),
  '_n', ended, unpack(kept_entry))
redis.call('PEXPIRE', INDEX, text(math.max(left, tonumber(ARGV[3]))))
-- _c, too: it is all that a rotation by a release without epochs takes along
if kept then redis.call('HSET', kept, '_e', epoch, '_c', epoch) end
return {'ok', ended, kept and epoch or '0'}
