-- End one device of a user. KEYS[1] the session it was last seen with. ARGV[1] device, [2] token
-- {'ok', 1 if it was listed, 0 if not} | {'moved', hash of the session it is by now} | {'error', message}
local tokens = redis.pcall('HGET', INDEX, '_t') or ''
if type(tokens) == 'table' then return {'error', tokens.err} end
if has_token(tokens, ARGV[2]) then return {'ok', 1} end -- sent again
local entry = entry_of(ARGV[1])
if not entry then return {'ok', 0} end
if entry.hash ~= hash_of(KEYS[1]) then return {'moved', entry.hash} end
redis.call('DEL', KEYS[1])
redis.call('HDEL', INDEX, 'd:' .. ARGV[1])
redis.call('HSET', INDEX, '_t', string.sub(ARGV[2] .. tokens, 1, 4 * #ARGV[2]))
return {'ok', 1}
