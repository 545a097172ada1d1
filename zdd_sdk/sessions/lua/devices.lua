-- The devices of a user. KEYS[1] and [2] the index
-- {'ok', now, {'d:<device>', entry, ...}} | {'error', message}
local now = server_time()
local fields = redis.pcall('HGETALL', INDEX)
if fields.err then return {'error', fields.err} end
local shown = {}
for i = 1, #fields, 2 do
  local entry = string.sub(fields[i], 1, 2) == 'd:' and read_entry(fields[i + 1])
  if entry and entry.expires > now then
    shown[#shown + 1] = fields[i]
    shown[#shown + 1] = fields[i + 1]
  elseif entry == nil or entry then
    redis.call('HDEL', INDEX, fields[i])
  end
end
return {'ok', text(now), shown}
