-- A worker leaves. KEYS meta, alive, rows, changed. ARGV worker.
-- Reply {1} it was there, {0} it was not, {-1, message}.
local function goodbye()
  local there = redis.call('HDEL', KEYS[3], ARGV[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('ZREM', KEYS[4], ARGV[1])
  if there == 1 then
    redis.call('HINCRBY', KEYS[1], 'generation', 1)
  end
  return {there}
end

local fine, reply = pcall(goodbye)
if fine then
  return reply
end
return {-1, type(reply) == 'table' and reply.err or tostring(reply)}
