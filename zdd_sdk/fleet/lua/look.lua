-- Read the whole registry and change nothing: for people and deploy scripts, who are no workers.
-- KEYS meta, alive, rows. Reply {1, now, epoch or '', born, last, hold, alive with scores, rows}; {-1, message}.
local function look()
  local time = redis.call('TIME')
  local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  local known = redis.call('HMGET', KEYS[1], 'epoch', 'born', 'last', 'hold')
  return {1, string.format('%.0f', now), known[1] or '', known[2] or '0', known[3] or '0', known[4] or '0',
    redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES'), redis.call('HGETALL', KEYS[3])}
end

local fine, reply = pcall(look)
if fine then
  return reply
end
return {-1, type(reply) == 'table' and reply.err or tostring(reply)}
