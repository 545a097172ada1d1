-- The devices of a user. KEYS[1] and [2] the index
-- {'ok', now, {'d:<device>', entry, ...}} | {'error', message}
local now = server_time()
local fields = redis.pcall('HGETALL', INDEX)
if fields.err then return {'error', fields.err} end
local shown = {}
for i = 1, #fields, 2 do
  local device = string.match(fields[i], '^d:(.*)$')
  local entry = device and entry_of(device)
  if device and (not entry or entry.expires <= now) then
    redis.call('HDEL', INDEX, fields[i])
  elseif device then
    shown[#shown + 1] = fields[i]
    shown[#shown + 1] = fields[i + 1]
  end
end
return {'ok', text(now), shown}
