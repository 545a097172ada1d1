#!lua flags=allow-oom
-- ARGV[1] token, [2] why
-- {'ok', now} | {'lost', now} | {'newer', now, version} | {'error', now, message}
local record, trouble = read()
if trouble then return trouble end
if not record or record.tok ~= ARGV[1] or record.st == 'C' then return reply('lost') end
return set('st', 'U', 'why', ARGV[2], 'lu', '0') or reply('ok')
