-- KEYS[2] only with a user. ARGV[1] spare ms, [2] idle ms, [3] life ms or '', [4] absolute end ms or '' (one of both),
-- [5] created ms or '', [6] device or '', [7] its label, [8] since when its user is logged in, or '' for now,
-- [9..] field, value, ... (user, writer and attributes)
-- 'ok <now> <absolute end> <idle ms> <since>' | {'gone'} | {'error', message}
local now = server_time()
local function made(ends, since)
  return table.concat({'ok', text(now), ends, ARGV[2], since}, ' ')
end
-- nobody else can know a new id: if it is there, this is our own create sent again
local known = redis.pcall('HMGET', KEYS[1], '_x', '_e')
if known.err then return {'error', known.err} end
if known[1] then return made(known[1], known[2] or '0') end

local ends = tonumber(ARGV[4]) or (now + tonumber(ARGV[3]))
if now >= ends then return {'gone'} end
local idle, spare, since = tonumber(ARGV[2]), tonumber(ARGV[1]), tonumber(ARGV[8])
local meta = {_c = ARGV[5] == '' and text(now) or ARGV[5], _x = text(ends), _i = ARGV[6]}
local ours = {'_c', meta['_c'], '_m', ARGV[2], '_x', meta['_x'], '_g', '1', '_r', text(now)}
if meta['_i'] ~= '' then
  local times = redis.pcall('HMGET', INDEX, '_e', '_b')
  if times.err then return {'error', times.err} end
  local epoch = math.max(number(times[1]) or 0, number(times[2]) or 0)
  if since and since < epoch then return {'gone'} end -- logged out everywhere, since it was loaded
  since = since or math.max(now, epoch)
  meta['_e'] = text(since)
  for _, part in ipairs({'_i', meta['_i'], '_e', meta['_e']}) do ours[#ours + 1] = part end
end
local done = redis.pcall('HSET', KEYS[1], unpack(ours))
if type(done) == 'table' and done.err then return {'error', done.err} end
in_parts('HSET', KEYS[1], 9)
local target = math.min(idle, ends - now)
redis.call('PEXPIRE', KEYS[1], text(target + spare))
if meta['_i'] == '' then return made(meta['_x'], '0') end

-- what has expired leaves the list, and beyond the limit who has not been seen for the longest time
local listed = {}
for field, written in pairs(paired(redis.call('HGETALL', INDEX))) do
  local entry = string.sub(field, 1, 2) == 'd:' and read_entry(written)
  if entry and entry.expires > now then
    listed[#listed + 1] = {field = field, seen = entry.seen}
  elseif entry == nil or entry then
    redis.call('HDEL', INDEX, field)
  end
end
if #listed >= MOST_DEVICES then
  table.sort(listed, function(one, other) return one.seen > other.seen end)
  for i = MOST_DEVICES, #listed do redis.call('HDEL', INDEX, listed[i].field) end
end
list(KEYS[1], meta, now, now + target, spare, ARGV[7])
return made(meta['_x'], text(since))
