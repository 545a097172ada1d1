#!lua flags=allow-oom
-- ARGV[1] token, [2] answer or '', [3] body or '', [4] ms the body is kept; to restore a record that Redis has lost:
-- [5] lease ms, [6] retention ms, [7] effects, [8] instance, [9] release, [10] operation, [11] fingerprints
-- {'ok', now} | {'lost', now} | {'newer', now, version} | {'error', now, message}
local record, trouble = read()
if trouble then return trouble end
if not record and ARGV[5] then
  record = {tok = ARGV[1], ['end'] = text(NOW + math.max(tonumber(ARGV[5]), tonumber(ARGV[6])))}
  local refused = finish(record, ARGV[2], ARGV[3], ARGV[4], 'v', '1', 'fp', ARGV[11], 'tok', ARGV[1], 'gen', text(NOW),
    't0', text(NOW), 'end', record['end'], 'own', ARGV[8], 'rel', ARGV[9], 'op', ARGV[10], 'eff', ARGV[7])
  if refused then return refused end
  redis.call('PEXPIRE', KEYS[1], text(number(record['end']) - NOW))
  return reply('ok')
end
if not record or record.tok ~= ARGV[1] then return reply('lost') end
if record.st == 'C' then return reply('ok') end -- sent again
local refused = finish(record, ARGV[2], ARGV[3], ARGV[4])
if refused then return refused end
redis.call('HDEL', KEYS[1], 'why')
return reply('ok')
