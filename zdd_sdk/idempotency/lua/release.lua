#!lua flags=allow-oom
-- ARGV[1] token
-- {'ok', now}: the key is free | {'lost', now} | {'newer', now, version} | {'error', now, message}
local record, trouble = read()
if trouble then return trouble end
if not record then return reply('ok') end
local ours = record.tok == ARGV[1]
  and (record.st == 'P' or record.st == 'U' and (record.why == LAPSED or record.why == DRAIN))
if not ours then return reply('lost') end
redis.call('DEL', KEYS[1], KEYS[2])
return reply('ok')
