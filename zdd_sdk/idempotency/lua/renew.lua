#!lua flags=allow-oom
-- ARGV[1] token, [2] lease ms. A full Redis must not take a key from a run that goes on.
-- {'ok', now} | {'lost', now} | {'newer', now, version} | {'error', now, message}
local record, trouble = read()
if trouble then return trouble end
if not running(record, ARGV[1]) then return reply('lost') end
return prolong(record, tonumber(ARGV[2])) or reply('ok')
