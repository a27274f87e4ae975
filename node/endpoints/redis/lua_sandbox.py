"""What a script finds around it, written in Lua: as in Redis, and nothing that reaches out of it or has no end.

A count hook ends scripts that run for too long. It fires between instructions only, so each function of C that can take
long is bounded here by what it is given, or looks at the clock afterwards. Once a script was ended, each further
instruction raises the error again: no `pcall` goes on from it. What scripts share can't be changed by them.
"""

SANDBOX = rb"""
local limit_bytes, reserve_bytes, max_seconds, ask, sha1 = ...
local byte, find, format, gmatch = string.byte, string.find, string.format, string.gmatch
local gsub, len, match, rep, sub = string.gsub, string.len, string.match, string.rep, string.sub
local clock, sethook, getinfo, memory = os.clock, debug.sethook, debug.getinfo, collectgarbage
local concat, floor = table.concat, math.floor
local error, getmetatable, next, pairs, pcall, rawget, rawset = error, getmetatable, next, pairs, pcall, rawget, rawset
local select, setmetatable, tonumber, tostring, type, unpack = select, setmetatable, tonumber, tostring, type, unpack

-- What ends a script.

local COUNT, MAX_REPEATED, MAX_PATTERN, MAX_STEPS = 1000, 2^22, 256, 2e8
local left, deadline, reason = 0, 0, ''

local function ended() error(reason, 0) end

local function stop(why)
    reason = why
    sethook(ended, '', 1)
    ended()
end

local function look()
    if clock() > deadline then stop('ERR the script was ended: it took longer than ' .. max_seconds .. ' s') end
end

local function counted()
    left = left - COUNT
    if left < 0 then stop('ERR the script was ended: it took more instructions than --script-instructions allows') end
    look()
end

local function then_look(...)
    look()
    return ...
end

-- Tables that all scripts share.

local shared = {}

local function readonly()
    error('Attempt to modify a readonly table', 2)
end

local function share(fields)
    local made = setmetatable({}, {__index = fields, __newindex = readonly, __metatable = false})
    shared[made] = fields
    return made
end

-- Strings.

local function text(value, position, name)
    local kind = type(value)
    if kind ~= 'string' and kind ~= 'number' then
        local given = value == nil and 'no value' or kind
        error('bad argument #' .. position .. " to '" .. name .. "' (string expected, got " .. given .. ')', 3)
    end
    return tostring(value)
end

local function check(subject, pattern, name, plain)
    subject, pattern = text(subject, 1, name), text(pattern, 2, name)
    local size, steps = len(subject) + 1, len(pattern) + 1
    if plain or not find(pattern, '[%^%$%*%+%?%.%(%)%[%%%-]') then
        steps = size * steps
    else
        if len(pattern) > MAX_PATTERN then error('pattern too long', 3) end
        local repeats = select(2, gsub(pattern, '[%*%+%-%?%%]', ''))
        if not find(pattern, '[', 1, true) then steps = 1 end
        steps = steps * size ^ (repeats - (byte(pattern) == 94 and 1 or 0) + 1)
    end
    if steps > MAX_STEPS then error('pattern too complex for a string of this length', 3) end
    return steps > 1e4
end

local strings = {byte = byte, char = string.char, format = format, len = len, lower = string.lower,
                 reverse = string.reverse, sub = sub, upper = string.upper}

function strings.find(subject, pattern, init, plain)
    if check(subject, pattern, 'find', plain) then return then_look(find(subject, pattern, init, plain)) end
    return find(subject, pattern, init, plain)
end

function strings.match(subject, pattern, init)
    if check(subject, pattern, 'match') then return then_look(match(subject, pattern, init)) end
    return match(subject, pattern, init)
end

function strings.gmatch(subject, pattern)
    check(subject, pattern, 'gmatch')
    local following = gmatch(subject, pattern)
    return function() return then_look(following()) end
end

function strings.gsub(subject, pattern, replacement, most)
    if check(subject, pattern, 'gsub') then return then_look(gsub(subject, pattern, replacement, most)) end
    return gsub(subject, pattern, replacement, most)
end

function strings.rep(subject, times)
    subject, times = text(subject, 1, 'rep'), tonumber(times)
    if times == nil then error("bad argument #2 to 'rep' (number expected)", 2) end
    if subject == '' or not (times >= 1) then return '' end
    if times * len(subject) > MAX_REPEATED then error('resulting string too large', 2) end
    return then_look(rep(subject, times))
end

local of_strings = getmetatable('')
of_strings.__index, of_strings.__metatable = strings, false

-- Tables and numbers.

local function looking(act)
    return function(...) return then_look(act(...)) end
end

local tables = {}
for _, name in pairs({'concat', 'foreach', 'foreachi', 'getn', 'maxn', 'remove', 'sort'}) do
    tables[name] = looking(table[name])
end

local insert = table.insert
function tables.insert(into, ...)
    if select('#', ...) == 2 and (tonumber((...)) or 1) < 1 then error('position out of bounds', 2) end
    return then_look(insert(into, ...))
end

local numbers = {}
for name, value in pairs(math) do numbers[name] = value end

-- The generator of Redis: x = (x * 0x5DEECE66D + 11) % 2^48, in halves of 24 bits.
local low, high = 0, 0

local function seed(value)
    value = value % 2^32
    low, high = (value % 2^8) * 2^16 + 0x330E, floor(value / 2^8)
end

local function draw()
    local product = low * 0xECE66D + 11
    local carry = floor(product / 2^24)
    high = (high * 0xECE66D % 2^24 + low * 0x5DE + carry) % 2^24
    low = product % 2^24
    return floor((high * 2^24 + low) / 2^17)
end

function numbers.randomseed(value) seed(floor(tonumber(value) or 0)) end

function numbers.random(...)
    local least, most = ...
    local drawn = (draw() % 0x7FFFFFFF) / 0x7FFFFFFF
    local given = select('#', ...)
    if given == 0 then return drawn end
    if given == 1 then least, most = 1, least end
    least, most = tonumber(least), tonumber(most)
    if given > 2 or not least or not most then error('wrong number of arguments', 2) end
    if least > most then error("bad argument #" .. given .. " to 'random' (interval is empty)", 2) end
    return floor(drawn * (most - least + 1)) + least
end

-- Commands.

local function raise(message) error({err = message}, 0) end

local function nested(reply, at)
    local stop_at = find(reply, '\r\n', at, true)
    local kind, rest = byte(reply, at), sub(reply, at + 1, stop_at - 1)
    at = stop_at + 2
    if kind == 58 then return tonumber(rest), at end
    if kind == 43 then return {ok = rest}, at end
    if kind == 45 then return {err = rest}, at end
    local size = tonumber(rest)
    if size < 0 then return false, at end
    if kind == 36 or kind == 61 then return sub(reply, at, at + size - 1), at + size + 2 end
    local made = {}
    for i = 1, size do made[i], at = nested(reply, at) end
    return made, at
end

local function command(...)
    local count = select('#', ...)
    if count == 0 then raise('ERR Please specify at least one argument for this redis lib call') end
    local words = {...}
    for i = 1, count do
        local kind = type(words[i])
        if kind == 'number' then
            words[i] = format('%.17g', words[i])
        elseif kind ~= 'string' then
            raise('ERR Lua redis lib command arguments must be strings or integers')
        end
    end
    if count > 4000 then raise('ERR too many arguments for a command of a script') end
    -- What comes back must find room: a Python function can't be left by an error of Lua.
    if memory('count') * 1024 > limit_bytes - reserve_bytes then memory() end
    if memory('count') * 1024 > limit_bytes - reserve_bytes then error('not enough memory', 0) end
    local reply = ask(unpack(words, 1, count))
    if not reply then raise('ERR the reply has no room in what --script-memory-kb allows') end
    look()
    return (nested(reply, 1))
end

local function err_of(value)
    local err = type(value) == 'table' and rawget(value, 'err')
    return type(err) == 'string' and err or nil
end

local function one_text(field, ...)
    local value = ...
    if select('#', ...) ~= 1 or type(value) ~= 'string' then return {err = 'ERR wrong number or type of arguments'} end
    if field == 'err' and byte(value) == 45 then value = sub(value, 2) end
    return {[field] = value}
end

local function nothing() end
local redis = {LOG_DEBUG = 0, LOG_VERBOSE = 1, LOG_NOTICE = 2, LOG_WARNING = 3,
               REDIS_VERSION = '7.0.0', REDIS_VERSION_NUM = 0x070000,
               REPL_NONE = 0, REPL_AOF = 1, REPL_SLAVE = 2, REPL_REPLICA = 2, REPL_ALL = 3, set_repl = nothing}

function redis.call(...)
    local reply = command(...)
    local err = err_of(reply)
    if err then raise(err) end
    return reply
end

function redis.pcall(...)
    local ok, reply = pcall(command, ...)
    if not ok and not err_of(reply) then reply = {err = 'ERR ' .. tostring(reply)} end
    return reply
end

function redis.error_reply(...) return one_text('err', ...) end
function redis.status_reply(...) return one_text('ok', ...) end
function redis.replicate_commands() return true end

function redis.sha1hex(...)
    if select('#', ...) ~= 1 then raise('ERR wrong number of arguments') end
    if memory('count') * 1024 > limit_bytes - reserve_bytes then error('not enough memory', 0) end
    return (sha1(text(..., 1, 'sha1hex')))
end

function redis.log(...)
    if select('#', ...) < 2 then raise('ERR redis.log() requires two arguments or more.') end
end

function redis.setresp(version)
    if version ~= 2 then raise('ERR RESP version must be 2 here.') end
end

-- What a script sees.

local function stripped(ok, value, ...)
    if not ok then return ok, err_of(value) or value end
    return ok, value, ...
end

-- Lua calls a handler before it leaves what has failed: with the hook off, if that was the hook.
local function handled(handle, ok, ...)
    if not ok then return ok, handle(...) end
    return ok, ...
end

local function not_shared(of)
    if shared[of] then error('Attempt to modify a readonly table', 0) end
    return of
end

local base = {
    _VERSION = _VERSION, assert = assert, error = error, getmetatable = getmetatable, ipairs = ipairs,
    rawequal = rawequal, rawget = rawget, select = select, tonumber = tonumber, tostring = tostring, type = type,
    unpack = unpack,
    math = share(numbers), redis = share(redis), string = share(strings), table = share(tables),
    next = next,
    pairs = function(of) return next, shared[of] or of, nil end,
    pcall = function(...) return stripped(pcall(...)) end,
    xpcall = function(act, handle) return handled(handle, pcall(act)) end,
    rawset = function(of, key, value) return rawset(not_shared(of), key, value) end,
    setmetatable = function(of, with) return setmetatable(not_shared(of), with) end,
}
setmetatable(base, {__index = function(_, name)
    error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
end})
local env = share(base)
base._G = env

-- Replies.

local function line(value) return (gsub(value, '[\r\n]', ' ')) end

local function encode(value, null, made, depth)
    local kind = type(value)
    if kind == 'string' then
        made[#made + 1] = '$' .. len(value) .. '\r\n' .. value .. '\r\n'
    elseif kind == 'number' then
        made[#made + 1] = ':' .. format('%d', value) .. '\r\n'
    elseif value == true then
        made[#made + 1] = ':1\r\n'
    elseif kind ~= 'table' then
        made[#made + 1] = null
    elseif err_of(value) then
        made[#made + 1] = '-' .. line(err_of(value)) .. '\r\n'
    elseif type(rawget(value, 'ok')) == 'string' then
        made[#made + 1] = '+' .. line(rawget(value, 'ok')) .. '\r\n'
    else
        if depth > 100 then
            made[#made + 1] = '-ERR reached lua stack limit\r\n'
            return
        end
        local size = 0
        while rawget(value, size + 1) ~= nil do size = size + 1 end
        made[#made + 1] = '*' .. size .. '\r\n'
        for i = 1, size do encode(rawget(value, i), null, made, depth + 1) end
    end
end

local function described(err)
    local where
    for level = 2, 20 do
        local info = getinfo(level, 'Sl')
        if not info then break end
        if info.source == '@user_script' then
            where = info.source .. ':' .. info.currentline
            break
        end
    end
    local text = type(err) == 'table' and 'the script raised a table without a text in err' or tostring(err)
    return {err = err_of(err) or 'ERR ' .. text, where = where}
end

local function run(script, null)
    local made = {}
    encode((script()), null, made, 0)
    return concat(made)
end

-- Called for each script, which is compiled: its reply, or nil and what was wrong and where.
local function evaluate(script, instructions, null, KEYS, ARGV)
    base.KEYS, base.ARGV = KEYS, ARGV
    setfenv(script, env)
    reason, left, deadline = '', instructions, clock() + max_seconds
    sethook(counted, '', COUNT)
    local ok, reply = xpcall(function() return run(script, null) end, described)
    sethook()
    if ok then return reply end
    if type(reply) ~= 'table' then reply = {err = 'ERR ' .. tostring(reply)} end
    return nil, line(reply.err), reply.where
end

seed(0)
return evaluate, function() return reason, left end
"""
