-- ARGV[1] ms to age every key by, [2] a part whose keys are left alone; for engines of tests only: it walks all keys
-- the number of keys aged. Fields _x (absolute end) and _c (beginning) are ms since 1970, so they move back.
local by, spared, aged = tonumber(ARGV[1]), ARGV[2], 0

local function age_fields(key)
  for _, field in ipairs({'_x', '_c'}) do
    local at = tonumber(redis.call('HGET', key, field) or '')
    if at then redis.call('HSET', key, field, string.format('%.0f', at - by)) end
  end
end

for _, key in ipairs(redis.call('KEYS', '*')) do
  local part = string.match(key, '^zdd:[^:]+:[^:]+:([^:]+):')
  if part ~= spared then
    if redis.call('TYPE', key).ok == 'hash' then age_fields(key) end
    local left = redis.call('PTTL', key)
    if left >= 0 and left <= by then
      redis.call('DEL', key)
    elseif left >= 0 then
      redis.call('PEXPIRE', key, string.format('%.0f', left - by))
    end
    aged = aged + 1
  end
end
return aged
