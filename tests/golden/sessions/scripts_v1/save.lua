-- KEYS[1] session; ARGV[1] spare ms, [2] token, [3] writer, [4] number n of values set,
-- [5..4+2n] field, value, ...; then fields to delete
-- {'ok', revision} | {'gone'} | {'error', message}
local meta = redis.pcall('HMGET', KEYS[1], '_x', '_m', '_g', '_t', '_k')
if meta.err then return {'error', meta.err} end
-- deleted, or a marker since: never made again, never changed
if not meta[1] or meta[5] then return {'gone'} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ends, idle, spare = tonumber(meta[1]) or 0, tonumber(meta[2]) or 0, tonumber(ARGV[1])
local left = redis.call('PTTL', KEYS[1])
if now >= ends or (left >= 0 and left <= spare) then return {'gone'} end

-- the last four tokens: a save sent again after its reply was lost must not overwrite those that came between
local tokens, size = meta[4] or '', #ARGV[2]
for i = 1, #tokens, size do
  if string.sub(tokens, i, i + size - 1) == ARGV[2] then return {'ok', meta[3]} end
end
local revision = string.format('%.0f', (tonumber(meta[3]) or 0) + 1)
local last = 4 + 2 * tonumber(ARGV[4])
local done = redis.pcall('HSET', KEYS[1], '_g', revision, '_w', ARGV[3],
  '_t', string.sub(ARGV[2] .. tokens, 1, 4 * size), unpack(ARGV, 5, last))
if type(done) == 'table' and done.err then return {'error', done.err} end
if #ARGV > last then redis.call('HDEL', KEYS[1], unpack(ARGV, last + 1)) end

local target = math.min(idle, ends - now) + spare
if left < 0 or target - left > idle / 10 then
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', target))
end
return {'ok', revision}
