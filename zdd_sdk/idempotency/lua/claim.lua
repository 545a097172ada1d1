-- ARGV[1] token, [2] lease ms, [3] retention ms, [4] effects (d e u p), [5] instance, [6] release, [7] operation,
-- [8] fingerprints, [9] '1' to run what is of unknown outcome
-- {'owned', now, generation, first, ends, point[, instance, release of before]} | {'busy', now, ms left, instance, release}
-- | {'mismatch', now} | {'replay', now, answer, body or nil, release, first, ends}
-- | {'unknown', now, why, generation, first, instance, release, '1' if just now} | {'newer', …} | {'error', …}
local record, trouble = read()
if trouble then return trouble end
local token, lease, effects = ARGV[1], tonumber(ARGV[2]), ARGV[4]

local function owned(generation, point)
  local reached = reply('owned', generation, record.t0, record['end'], point)
  reached[#reached + 1], reached[#reached + 2] = record.pown, record.prel
  return reached
end

if not record then
  -- The generation is a time, so that it also grows across a release, an expiry and a flush.
  record = {t0 = text(NOW), ['end'] = text(NOW + math.max(lease, tonumber(ARGV[3])))}
  local refused = set('v', '1', 'st', 'P', 'fp', ARGV[8], 'tok', token, 'gen', text(NOW), 'lu', text(NOW + lease),
    't0', record.t0, 'end', record['end'], 'own', ARGV[5], 'rel', ARGV[6], 'op', ARGV[7], 'eff', effects)
  if refused then return refused end
  redis.call('PEXPIRE', KEYS[1], text(number(record['end']) - NOW))
  return owned(text(NOW), '')
end

if record.st == 'P' and record.tok == token then -- sent again
  prolong(record, lease) -- if a full Redis refuses that, the lease is still that of the first time
  return owned(record.gen, record.rp or '')
end

local asked, known, same = {}, {}, false
for fingerprint in string.gmatch(ARGV[8], '%S+') do asked[fingerprint] = true end
for fingerprint in string.gmatch(record.fp, '%S+') do
  same = same or asked[fingerprint]
  known[string.match(fingerprint, '^(.*)%.') or ''] = true
end
if not same then return reply('mismatch') end

if record.st == 'C' then
  local body = number(record.len or '0') > 0 and redis.pcall('GET', KEYS[2])
  body = type(body) == 'string' and body
  return reply('replay', answer_of(record), body, record.rel or '', record.t0, record['end'])
end

local until_when = number(record.lu or '0')
if record.st == 'P' and NOW < until_when then
  return reply('busy', text(until_when - NOW), record.own or '', record.rel or '')
end

-- A second run is harmless where both meet the same fence, or where no effect has begun. Not what a run has put on
-- hold itself: it has seen its fence missing.
local fenced = effects ~= 'u' and effects == record.eff
  and (record.st == 'P' or record.why == LAPSED or record.why == DRAIN)
local before = record.st == 'P' and record.rp == ENTERED
if not (fenced or before or ARGV[9] == '1') then
  local fresh, why = record.st == 'P', record.why or ''
  if fresh then
    local refused = set('st', 'U', 'why', LAPSED)
    if refused then return refused end
    why = LAPSED
  end
  return reply('unknown', why, record.gen, record.t0, record.own or '', record.rel or '', fresh and '1' or '0')
end

local merged = {record.fp}
for fingerprint in string.gmatch(ARGV[8], '%S+') do
  if not known[string.match(fingerprint, '^(.*)%.') or ''] then merged[#merged + 1] = fingerprint end
end
local generation = text(math.max(number(record.gen) + 1, NOW))
local point = record.rp ~= ENTERED and record.rp or ''
record.pown, record.prel = record.own or '', record.rel or ''
return prolong(record, lease, 'fp', table.concat(merged, ' '), 'tok', token, 'gen', generation, 'own', ARGV[5],
  'rel', ARGV[6], 'eff', effects, 'rp', point, 'pown', record.pown, 'prel', record.prel) or owned(generation, point)
