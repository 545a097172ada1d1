-- {'ok', now, fields and values, ms left, 1 if its body is there} | {'error', now, message}
local fields = redis.pcall('HGETALL', KEYS[1])
if fields.err then return reply('error', fields.err) end
return reply('ok', fields, redis.call('PTTL', KEYS[1]), redis.call('EXISTS', KEYS[2]))
