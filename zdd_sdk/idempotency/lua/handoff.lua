#!lua flags=allow-oom
-- ARGV[1] token
-- {'ok', now} | {'lost', now} | {'newer', now, version} | {'error', now, message}
local record, trouble = read()
if trouble then return trouble end
if not record or record.tok ~= ARGV[1] or record.st == 'C' then return reply('lost') end
if record.st == 'U' then return reply('ok') end
if record.eff == 'u' and record.rp ~= ENTERED then return set('st', 'U', 'why', DRAIN, 'lu', '0') or reply('ok') end
return set('lu', '0') or reply('ok') -- not now: a renewal that is under way must not bring it back
