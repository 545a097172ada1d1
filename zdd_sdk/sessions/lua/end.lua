-- A logout
-- {'ok'}: it is not there any more | {'moved', hash}: another request has given its device that id; nothing was done
-- | {'error', message}
local key = KEYS[1]
local meta = redis.pcall('HMGET', key, '_x', '_i', '_k')
if meta.err then return {'error', meta.err} end
if not meta[1] then
  local at = follow()
  if not at then return {'ok'} end
  key, meta = KEYS[at], redis.call('HMGET', KEYS[at], '_x', '_i', '_k')
end
local moved = meta[3] and became(key, meta[2])
if moved then return {'moved', moved} end
redis.call('DEL', key)
unlist(key, meta[2])
return {'ok'}
