-- KEYS[1] the session of before a login; ARGV[1] grace ms, [2] revision its data was copied at, [3] '1' to keep the data
-- {'ok', {field, value, ...}}: the fields if it changed since they were copied | {'none'} | {'error', message}
-- A marker names no successor: who holds the old id must never reach what the login made of it.
local fields = redis.pcall('HGETALL', KEYS[1])
if fields.err then return {'error', fields.err} end
if #fields == 0 then return {'none'} end
local meta = {}
for i = 1, #fields, 2 do meta[fields[i]] = fields[i + 1] end
-- a marker without a beginning was emptied by another user's login: there is nothing to bring along
if meta['_g'] == ARGV[2] or ARGV[3] ~= '1' or not meta['_c'] then fields = {} end
if meta['_k'] then return {'ok', fields} end

local grace = tonumber(ARGV[1])
if grace == 0 or ARGV[3] ~= '1' then redis.call('DEL', KEYS[1]) end
if grace == 0 then return {'ok', fields} end
local time = redis.call('TIME')
local ends = time[1] * 1000 + math.floor(time[2] / 1000) + grace
local done = redis.pcall('HSET', KEYS[1], '_k', 'm', '_x', string.format('%.0f', ends), '_g', meta['_g'] or '0')
if type(done) == 'table' and done.err then return {'error', done.err} end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return {'ok', fields}
