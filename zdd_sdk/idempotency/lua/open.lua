-- KEYS[1] index of runs without a fence; ARGV[1] name of the record, [2] ms it is kept
-- {'ok', now} | {'error', now, message}
-- The score is when the record goes: what nobody has taken off the list leaves it by itself.
local gone = redis.pcall('ZRANGEBYSCORE', KEYS[1], '-inf', text(NOW), 'LIMIT', 0, 100)
if gone.err then return reply('error', gone.err) end
if #gone > 0 then redis.call('ZREM', KEYS[1], unpack(gone)) end
local done = redis.pcall('ZADD', KEYS[1], 'NX', text(NOW + tonumber(ARGV[2])), ARGV[1])
if type(done) == 'table' and done.err then return reply('error', done.err) end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return reply('ok')
