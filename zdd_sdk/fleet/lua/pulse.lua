-- One worker's pulse: it lives for another TTL, and learns what changed since it last looked.
-- KEYS  meta, alive (worker -> expiry), rows (worker -> record), changed (worker -> generation), settings
-- ARGV  1 worker  2 digest of its row  3 digest and row, or ''  4 its settings or ''  5 a random epoch
--       6 epoch seen  7 generation seen  8 ttl  9 quiet gap  10 keep (all ms)  11 page
-- Reply {0, wanted, now} nothing new; {1, wanted, now, epoch, born, generation, upto, alive, ids, rows};
--       {-1, message}. Times are the server's milliseconds. wanted = 1: send row and settings next time.
local meta, alive, rows, changed, settings = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local worker, digest, row, shown = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local seen_epoch, seen = ARGV[6], tonumber(ARGV[7])
local ttl, quiet, keep, page = tonumber(ARGV[8]), tonumber(ARGV[9]), ARGV[10], tonumber(ARGV[11])
local EXPIRED_PER_PULSE = 64

local function text(number)
  return string.format('%.0f', number)
end

local function pulse()
  local time = redis.call('TIME')
  local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  local known = redis.call('HMGET', meta, 'epoch', 'generation', 'last', 'born', 'hold')
  local epoch, generation = known[1], tonumber(known[2] or 0)
  local last, born, hold = tonumber(known[3] or 0), tonumber(known[4] or 0), tonumber(known[5] or 0)

  -- Flushed, partly evicted, silent for a TTL (all of us, or the server, were away) or a clock that jumped:
  -- what is here says nothing about who lives. A new epoch tells every reader so.
  local members = redis.call('ZCARD', alive)
  local whole = redis.call('HLEN', rows) == members and redis.call('ZCARD', changed) == members
  if not (epoch and whole and math.abs(now - last) <= ttl) then
    redis.call('DEL', meta, alive, rows, changed)
    epoch, generation, born, hold = ARGV[5], 0, now, 0
  elseif now - last > quiet then
    hold = now + ttl -- nobody could pulse for a while: nobody is declared dead before all had time to
  end
  now = math.max(now, last)

  -- Time is in the generation, so that a failover to a replica that lags never hands out one twice.
  local function bump()
    generation = math.max(generation + 1, now)
    return text(generation)
  end

  local stored = redis.call('HGET', rows, worker)
  local wanted = 0
  if row ~= '' and stored ~= row then
    redis.call('HSET', rows, worker, row)
    redis.call('ZADD', changed, bump(), worker)
    stored = row
  end
  if stored then
    redis.call('ZADD', alive, text(now + ttl), worker)
  end
  if not stored or string.sub(stored, 1, #digest) ~= digest then
    wanted = 1
  end
  if shown ~= '' then
    redis.call('SET', settings, shown, 'PX', keep)
  elseif redis.call('PEXPIRE', settings, keep) == 0 then
    wanted = 1
  end

  if now >= hold then
    local dead = redis.call('ZRANGEBYSCORE', alive, '-inf', text(now), 'LIMIT', 0, EXPIRED_PER_PULSE)
    if #dead > 0 then
      redis.call('ZREM', alive, unpack(dead))
      redis.call('ZREM', changed, unpack(dead))
      redis.call('HDEL', rows, unpack(dead))
      bump()
    end
  end

  redis.call('HSET', meta, 'epoch', epoch, 'generation', text(generation), 'last', text(now), 'born', text(born),
    'hold', text(hold))
  for _, key in ipairs({meta, alive, rows, changed}) do
    redis.call('PEXPIRE', key, keep)
  end

  if seen_epoch == epoch and seen == generation then
    return {0, wanted, text(now)}
  end
  local since = (seen_epoch == epoch and seen < generation) and seen or 0
  local news = redis.call('ZRANGEBYSCORE', changed, '(' .. text(since), '+inf', 'WITHSCORES', 'LIMIT', 0, page)
  local ids, records, upto = {}, {}, generation
  for index = 1, #news, 2 do
    ids[#ids + 1] = news[index]
    upto = tonumber(news[index + 1])
  end
  if #ids < page then
    upto = generation -- the generation also moves when somebody leaves
  end
  if #ids > 0 then
    records = redis.call('HMGET', rows, unpack(ids))
  end
  return {1, wanted, text(now), epoch, text(born), text(generation), text(upto),
    redis.call('ZRANGE', alive, 0, -1), ids, records}
end

local fine, reply = pcall(pulse)
if fine then
  return reply
end
return {-1, type(reply) == 'table' and reply.err or tostring(reply)}
