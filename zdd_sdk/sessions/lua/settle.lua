-- KEYS[1] session; ARGV[1] revision it must have, [2] link; then fields the agreement takes away
-- {'ok'}: both copies agree | {'changed'}: somebody has saved since, and has to be looked at first | {'error', message}
-- The revision stays: an agreement is no change, and nobody's work depends on it.
local revision = redis.pcall('HGET', KEYS[1], '_g')
if type(revision) == 'table' and revision.err then return {'error', revision.err} end
if revision ~= ARGV[1] then return {'changed'} end
redis.call('HSET', KEYS[1], 'adopt', ARGV[2])
if #ARGV > 2 then redis.call('HDEL', KEYS[1], unpack(ARGV, 3)) end
return {'ok'}
