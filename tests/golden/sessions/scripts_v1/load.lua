-- KEYS[1] session; ARGV[1] ms the hash is kept beyond its idle timeout
-- {'ok', now, {field, value, ...}} | {'none', now} | {'error', message}
local fields = redis.pcall('HGETALL', KEYS[1])
if fields.err then return {'error', fields.err} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local shown = string.format('%.0f', now)
if #fields == 0 then return {'none', shown} end

local meta = {}
for i = 1, #fields, 2 do meta[fields[i]] = fields[i + 1] end
local ends = tonumber(meta['_x']) or 0
if now >= ends then return {'none', shown} end
if meta['_k'] then return {'ok', shown, fields} end

local spare = tonumber(ARGV[1])
local idle = tonumber(meta['_m']) or 0
local left = redis.call('PTTL', KEYS[1])
if left >= 0 and left <= spare then return {'none', shown} end
-- past the absolute end there is nothing to keep, so near it the target equals what is left: no write
local target = math.min(idle, ends - now) + spare
if left < 0 or target - left > idle / 10 then
  redis.pcall('PEXPIRE', KEYS[1], string.format('%.0f', target))
end
return {'ok', shown, fields}
