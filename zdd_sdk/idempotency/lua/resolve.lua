#!lua flags=allow-oom
-- ARGV[1] generation, [2] by whom, [3] '1' if it was done, '0' if not, [4] answer, [5] body, [6] ms the body is kept
-- {'ok', now} | {'changed', now}: it is another run's by now | {'newer', now, version} | {'error', now, message}
local record, trouble = read()
if trouble then return trouble end
local done = ARGV[3] == '1'
if not record then return reply(done and 'changed' or 'ok') end
if record.gen ~= ARGV[1] then return reply('changed') end
if record.st == 'C' then -- sent again?
  return reply(done and record.tok == '' and record.why == ARGV[2] and 'ok' or 'changed')
end
if record.st == 'P' and NOW < number(record.lu or '0') then return reply('changed') end
if not done then
  redis.call('DEL', KEYS[1], KEYS[2])
  return reply('ok')
end
-- without its token, so that a late run learns that it comes too late
return finish(record, ARGV[4], ARGV[5], ARGV[6], 'tok', '', 'why', ARGV[2]) or reply('ok')
