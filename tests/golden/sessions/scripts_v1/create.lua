-- KEYS[1] session; ARGV[1] spare ms, [2] idle ms, [3] absolute ms, [4] absolute end ms or '',
-- [5] created ms or '', [6..] field, value, ... (user, writer and attributes)
-- {'ok', now, absolute end} | {'gone'} | {'error', message}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- nobody else can know a new id: if it is there, this is our own create sent again
local known = redis.pcall('HGET', KEYS[1], '_x')
if type(known) == 'table' and known.err then return {'error', known.err} end
if known then return {'ok', string.format('%.0f', now), known} end

local ends = tonumber(ARGV[4]) or (now + tonumber(ARGV[3]))
if now >= ends then return {'gone'} end
local shown = string.format('%.0f', ends)
local created = ARGV[5] == '' and string.format('%.0f', now) or ARGV[5]
local done = redis.pcall('HSET', KEYS[1], '_c', created, '_m', ARGV[2], '_x', shown, '_g', '1',
  unpack(ARGV, 6))
if type(done) == 'table' and done.err then return {'error', done.err} end
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.min(tonumber(ARGV[2]), ends - now) + tonumber(ARGV[1])))
return {'ok', string.format('%.0f', now), shown}
