-- In front of every script. KEYS[1] the record of a key, [2] the body of its answer: one tag, so one slot.
-- The reference is transitions.py: whatever changes here changes there. Every reply: {status, server time, ...}.
local LAPSED, DRAIN, ENTERED = 'lapsed', 'drain', 'entered'

local function text(number)
  return string.format('%.0f', number)
end

-- Whole and exact, or nothing.
local function number(written)
  return written and #written <= 15 and string.match(written, '^%d+$') and tonumber(written) or nil
end

local function server_time()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local NOW = server_time()

local function reply(status, ...)
  return {status, text(NOW), ...}
end

local function readable(record)
  return record.v == '1' and record.fp and record.tok and number(record.gen) and number(record.t0)
    and number(record['end']) and number(record.lu or '0') and number(record.len or '0')
    and (record.st == 'P' or record.st == 'C' or record.st == 'U')
    and (record.eff == 'd' or record.eff == 'e' or record.eff == 'u' or record.eff == 'p')
end

-- The record, or nil; else a reply: what cannot be read is never written.
local function read()
  local fields = redis.pcall('HGETALL', KEYS[1])
  if fields.err then return nil, reply('error', fields.err) end
  if #fields == 0 then return nil end
  local record = {}
  for i = 1, #fields, 2 do record[fields[i]] = fields[i + 1] end
  if not readable(record) then return nil, reply('newer', string.sub(record.v or '', 1, 16)) end
  return record
end

-- Change fields; returns what Redis has against it.
local function set(...)
  local done = redis.pcall('HSET', KEYS[1], ...)
  return type(done) == 'table' and done.err and reply('error', done.err) or nil
end

-- Whether the run is held to be going on. One that has only stood still is; one that was handed over is not.
local function running(record, token)
  return record and record.tok == token and number(record.lu or '0') > 0
    and (record.st == 'P' or record.st == 'U' and record.why == LAPSED)
end

-- A lease from now on, and a record that outlives it: what is known of an attempt must not go before.
local function prolong(record, lease, ...)
  local ends = math.max(number(record['end']), NOW + lease)
  local refused = set('st', 'P', 'lu', text(NOW + lease), 'end', text(ends), ...)
  if refused then return refused end
  if record.why then redis.call('HDEL', KEYS[1], 'why') end
  record['end'] = text(ends)
  redis.call('PEXPIRE', KEYS[1], text(ends - NOW))
end

-- A longer value than 64 bytes would turn the hash into a table, at 600 bytes more (hash-max-listpack-value); for a
-- long one that does not matter.
local PART, WHOLE = 64, 1024

local function answer_of(record)
  local parts = {}
  while record['a' .. #parts] do parts[#parts + 1] = record['a' .. #parts] end
  return table.concat(parts)
end

-- Keep an answer; the caller has made sure that it is ours to give.
local function finish(record, answer, body, body_ttl, ...)
  local fields, size = {'st', 'C', 'len', #body, ...}, #answer > WHOLE and #answer or PART
  for from = 1, #answer, size do
    fields[#fields + 1] = 'a' .. (from - 1) / size
    fields[#fields + 1] = string.sub(answer, from, from + size - 1)
  end
  -- Of all that is written the record comes first: without it the body would have no owner.
  local refused = set(unpack(fields))
  if refused then return refused end
  redis.call('HDEL', KEYS[1], 'lu', 'rp', 'pown', 'prel')
  if #body > 0 then
    local left = math.min(tonumber(body_ttl), math.max(1, number(record['end']) - NOW))
    redis.call('SET', KEYS[2], body, 'PX', text(left))
  else
    redis.call('DEL', KEYS[2])
  end
end
