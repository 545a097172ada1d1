-- A logout
-- {'ok'}: it is not there any more | {'error', message}
local key = KEYS[1]
local meta = redis.pcall('HMGET', key, '_x', '_i')
if meta.err then return {'error', meta.err} end
if not meta[1] then
  local at = follow()
  if not at then return {'ok'} end
  key, meta = KEYS[at], redis.call('HMGET', KEYS[at], '_x', '_i')
end
redis.call('DEL', key)
unlist(key, meta[2])
return {'ok'}
