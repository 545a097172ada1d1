-- KEYS[1] session; ARGV[1] spare ms, [2] token, [3] writer, [4] new idle ms or '', [5] new life ms or '',
-- [6] new absolute end ms or '', [7] number n of values set, [8] number m of values compared,
-- [9..8+2n] field, value, ...; then 2m of field, value it must have ('' is absent); then fields to delete
-- {'ok', revision, now, absolute end, idle ms} | {'changed', field, value, ...}: all compared, since one differs; nothing
-- was written | {'gone'} | {'ended'} | {'error', message}
local meta = redis.pcall('HMGET', KEYS[1], '_x', '_m', '_g', '_t', '_k', '_d')
if meta.err then return {'error', meta.err} end
-- deleted, or a marker since: never made again, never changed
if not meta[1] or meta[5] then return {'gone'} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local shown = string.format('%.0f', now)
local ends, idle, spare = tonumber(meta[1]) or 0, tonumber(meta[2]) or 0, tonumber(ARGV[1])
local left = redis.call('PTTL', KEYS[1])
if now >= ends or (left >= 0 and left <= spare) then return {'gone'} end

-- The last tokens: a save sent again after its reply was lost must not overwrite those that came between, nor add
-- twice. Four of a quiet session; while saves come within ten seconds of one another (longer than anybody asks
-- again) 128, because each of many parallel requests may be the one whose reply was lost.
local tokens, size = meta[4] or '', #ARGV[2]
for i = 1, #tokens, size do
  if string.sub(tokens, i, i + size - 1) == ARGV[2] then return {'ok', meta[3], shown, meta[1], meta[2] or '0'} end
end
local last = 8 + 2 * tonumber(ARGV[7])
local compared = last + 2 * tonumber(ARGV[8])
local found, same = {'changed'}, true
for i = last + 1, compared, 2 do
  local value = redis.call('HGET', KEYS[1], ARGV[i]) or ''
  found[#found + 1], found[#found + 2] = ARGV[i], value
  same = same and value == ARGV[i + 1]
end
if not same then return found end

local changed = ARGV[4] ~= ''
if changed then
  idle, ends = tonumber(ARGV[4]), tonumber(ARGV[6]) or (now + tonumber(ARGV[5]))
  if now >= ends then
    redis.call('DEL', KEYS[1])
    return {'ended'}
  end
end
local until_then, lasting = string.format('%.0f', ends), string.format('%.0f', idle)
local revision = string.format('%.0f', (tonumber(meta[3]) or 0) + 1)
local keep = now - (tonumber(meta[6]) or 0) < 10000 and 128 or 4
local done = redis.pcall('HSET', KEYS[1], '_g', revision, '_w', ARGV[3], '_m', lasting, '_x', until_then,
  '_d', shown, '_t', string.sub(ARGV[2] .. tokens, 1, keep * size), unpack(ARGV, 9, last))
if type(done) == 'table' and done.err then return {'error', done.err} end
if #ARGV > compared then redis.call('HDEL', KEYS[1], unpack(ARGV, compared + 1)) end

local target = math.min(idle, ends - now) + spare
if changed or left < 0 or target - left > idle / 10 then
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', target))
end
return {'ok', revision, shown, until_then, lasting}
