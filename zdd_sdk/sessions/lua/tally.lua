-- KEYS[1] the fleet's tally; ARGV[1] ms it is kept, [2..] name, number to add, ...
-- {'ok'} | {'error', message}
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
for i = 2, #ARGV, 2 do
  local done = redis.pcall('HINCRBY', KEYS[1], 'n:' .. ARGV[i], ARGV[i + 1])
  if type(done) == 'table' and done.err then return {'error', done.err} end
  redis.call('HSET', KEYS[1], 't:' .. ARGV[i], now)
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return {'ok'}
