"""Claim: scripts do what they do in Redis, as one write; none reaches out of its sandbox, or runs without end."""

import re
import time
from typing import Any

import pytest
import redis

from gossip_counter.node.endpoints.redis.scripts import Scripts
from tests.support.real_redis import RealRedis
from tests.support.redis import Bench, Client, asks, command, served

SAME_AS_REDIS = (
    "return 1", "return 3.99", "return -3.9", "return 1e300", "return 'a'", "return nil", "return true",
    "return false", "return {1,2,{3,'a'},true,false,nil,1}", "return {1,2.7,'x',false,4}", "return {}",
    "return {{},{a=1}}", "", "return", "return {err='MY x'}", "return {ok='fine'}", "return {ok=1}",
    "return {ok='a',err='b'}", "return {err='a\r\nb'}", "return redis.error_reply('My Err')",
    "return redis.error_reply('-x y')", "return redis.error_reply()", "return redis.error_reply(1)",
    "return redis.status_reply('X')", "return redis.status_reply(1)", "return redis.call('incr','a')",
    "return redis.call('INCRBY','a',5)", "return redis.call('get','a')", "return redis.call('get','none')",
    "return {redis.call('mget','a','none')}", "return redis.call('ping')", "return redis.call('ping').ok",
    "return type(redis.call('get','none'))", "return redis.call('exists','a','none')",
    "return redis.call('incrby','a','x')", "return redis.pcall('incrby','a','x')",
    "return redis.pcall('incrby','a','x').err", "local ok,e = pcall(redis.call,'incrby','a','x') return {type(e), e}",
    "return redis.call('nosuch')", "return redis.call('get')", "return redis.call()", "return redis.call({})",
    "return redis.call(true)", "return redis.pcall({})", "return redis.pcall('nosuch').err",
    "return redis.call('multi')", "return redis.call('eval','x','0')", "return redis.call('wait','0','0')",
    "return redis.call('echo',1.5)", "return redis.call('echo',1e20)", "return redis.call('echo',10)",
    "return redis.call('echo',0.1)", "return {KEYS[1],KEYS[2],#KEYS,ARGV[1],#ARGV}", "error('x')", "error(5)",
    "error()", "error({err='My x'})", "local ok,e = pcall(error,'x') return {type(e), e}",
    "local ok,e = pcall(error,{err='y'}) return {type(e), e}", "return {pcall(function() return 1,2 end)}",
    "local ok,e = pcall(error,{a=1}) return {type(e), e.a}", "local x = nil; return x.y", "syntax error",
    "return 'a' .. nil", "return foo", "foo=1", "KEYS=1", "local function f() return g end return f()", "string.x=1",
    "math.pi=3", "redis.call=1", "rawset(string,'x',1)", "_G.x=1", "return _G.foo",
    "local k = KEYS k[1]='z' return KEYS[1]", "return type(os)", "return io", "return require('x')",
    "return dofile('/etc/passwd')", "return debug.traceback", "return print", "return redis.sha1hex('')",
    "return redis.sha1hex('abc')", "return redis.log(1)", "return redis.log(redis.LOG_NOTICE,'x')",
    "return redis.setresp(2)", "return redis.replicate_commands()",
    "return string.format('%5.2f|%d|%s|%q', 1.234, 7, 'x', 'y')", "return string.rep('ab',3)", "return ('x'):rep(4)",
    "return {string.find('hello world','o w')}", "return {string.find('a.b','.',1,true)}",
    "return {('k:12'):match('(%a+):(%d+)')}", "return {string.gsub('hello','l','L')}",
    "local t={} for w in ('a,b,c'):gmatch('[^,]+') do t[#t+1]=w end return t", "return ('abc'):upper()",
    "return #'abc'", "return ('abc'):sub(2)", "return ('abc'):reverse()", "return {('abc'):byte(1,3)}",
    "return string.char(65,66)", "return table.concat({1,2,3},'-')", "local t={3,1,2} table.sort(t) return t",
    "local t={3,1,2} table.sort(t, function(a,b) return a>b end) return t",
    "local t={1,2} table.insert(t,3) table.insert(t,1,0) return t",
    "local t={1,2,3} return {table.remove(t), table.remove(t,1), #t}", "return {unpack({1,2,3})}",
    "return select('#',1,2,3)", "return {tonumber('12'), tonumber('x'), tonumber('ff',16)}", "return tostring(1.5)",
    "return tostring(nil)", "return type({})", "local t={} for k,v in pairs({a=1}) do t[#t+1]=k..v end return t",
    "local t={} for i,v in ipairs({5,6}) do t[i]=i*v end return t",
    "return {math.floor(2.7), math.max(1,5), math.abs(-3), 7 % 3, 2^10}", "return {next({})}",
    "return rawget({a=1},'a')", "return setmetatable({},{__index=function(_,k) return k end}).x",
    "local t=setmetatable({},{__call=function(_,x) return x end}) return t(4)",
    "local a={} a[1]=a return redis.status_reply('x')", "local x=0 for i=1,100 do x=x+i end return x",
    "return _VERSION", "#!lua\nreturn 1", "#!lua flags=no-writes\nreturn redis.call('get','a')",
    "#!lua flags=no-writes\nreturn redis.call('incr','a')", "#!lua flags=foo\nreturn 1", "#!foo\nreturn 1",
    "#!lua name=x\nreturn 1", "#!lua flags=no-writes,allow-stale\nreturn foo",
    "return {'a', redis.call('incr','b'), redis.call('incr','b'), redis.call('get','b')}",
    "redis.call('incr','c') error('half')", "redis.call('incr','c') return redis.call('get','c')",
    "return {1, redis.pcall('incrby','a','x'), 3}", "return {redis.call('type','a')}",
)  # fmt: skip
"""Scripts, each run with the keys k1 and k2 and the argument v."""

CALLS = (
    "EVAL", "EVAL x", "EVAL return 1", "EVAL return_1 x", "EVAL return_1 1", "EVAL return_1 -1", "EVALSHA abc 0",
    "EVALSHA abc", "EVALSHA_RO abc 0", "EVALSHA E0E1F9FABFC9D4800C877A703B823AC0578FF8DB 0", "SCRIPT", "SCRIPT FOO",
    "SCRIPT LOAD", "SCRIPT KILL", "SCRIPT EXISTS", "SCRIPT EXISTS a b", "SCRIPT FLUSH FOO", "SCRIPT FLUSH ASYNC",
    "SCRIPT FLUSH SYNC", "SCRIPT FLUSH", "SCRIPT EXISTS e0e1f9fabfc9d4800c877a703b823ac0578ff8db",
)  # fmt: skip

WHERE = re.compile(rb" script: [0-9a-f]{40}(, on @user_script:\d+\.)?")


@pytest.fixture
def bench() -> Bench:
    return Bench(quick=True)


@pytest.fixture
def client(bench: Bench) -> Client:
    return bench.connect()


def evaluates(client: Client, script: str | bytes, *words: str, by: str = "EVAL", bench: Bench | None = None) -> bytes:
    """The reply to a script without keys."""
    reply = client.asks(by, script, "0", *words)
    if bench:
        bench.settle(50)
    return reply + client.take()


@pytest.mark.parametrize("protocol", [2, 3])
def test_scripts_reply_what_they_reply_in_redis(bench: Bench, real: RealRedis, protocol: int) -> None:
    """But for the line of an error, which is not always known here."""
    real.reply("FLUSHALL")
    both: list[Any] = [bench.connect(), real.connect()]
    for each in both:
        each.asks("HELLO", str(protocol))
    differ = {}
    for script in SAME_AS_REDIS:
        for by in ("EVAL", "EVAL_RO"):
            ours, theirs = (each.asks(by, script, "2", "k1", "k2", "v") for each in both)
            if WHERE.sub(b"", ours) != WHERE.sub(b"", theirs):
                differ[by, script] = ours, theirs
    both[1].close()
    assert differ == {}
    assert bench.errors == []


def test_calls_are_answered_as_in_redis(bench: Bench, real: RealRedis) -> None:
    both: list[Any] = [bench.connect(), real.connect()]
    for each in both:
        each.asks("SCRIPT", "FLUSH")
        each.asks("SCRIPT", "LOAD", "return 1")
    differ = {}
    for line in CALLS:
        words = [word.replace("_", " ") if word.startswith("return_") else word for word in line.split()]
        ours, theirs = (each.asks(*words) for each in both)
        if ours != theirs:
            differ[line] = ours, theirs
    both[1].close()
    assert differ == {}


def test_the_line_of_an_error_is_named(client: Client) -> None:
    assert evaluates(client, "local x = 1\nerror('x')").endswith(b", on @user_script:2.\r\n")
    assert b"user_script:3: x" in evaluates(client, "#!lua\nlocal x = 1\nerror('x')")


# One write.


def test_a_script_is_one_commit_and_is_answered_when_it_is_durable() -> None:
    bench = Bench()
    client, other = bench.clients(2)
    client.sends(command("EVAL", "redis.call('incr','x') return redis.call('incrby','y',ARGV[1])", "0", "5"))
    bench.round(3)
    assert client.take() == b""
    assert asks(other, "GET y") == b"$-1\r\n"
    bench.persist()
    assert client.take() == b":5\r\n"
    assert bench.commits == 1
    client.sends(command("EVAL", "redis.call('incr','x') error('half')", "0"))
    bench.round(3)
    assert client.take() == b""  # it has written what it wrote, as in Redis
    bench.persist()
    assert client.take().startswith(b"-ERR user_script:1: half")
    assert asks(other, "GET x") == b"$1\r\n2\r\n"
    client.sends(command("EVAL", "return redis.call('incr','x')", "0"))
    bench.persist("no space")
    assert client.take() == b"-ERR not counted, because it can't be made durable: no space\r\n"


def test_a_script_in_a_transaction_is_part_of_it(bench: Bench, client: Client) -> None:
    script = "return redis.call('incr',KEYS[1])"
    for words in (("MULTI",), ("INCR", "x"), ("EVAL", script, "1", "x"), ("SCRIPT", "LOAD", script), ("GET", "x")):
        client.asks(*words)
    sha = asks(client, "EXEC").split(b"\r\n")[4]
    assert client.asks("EVALSHA", sha, "1", "x") == b":3\r\n"
    assert client.asks("EVALSHA_RO", sha, "1", "x").startswith(b"-ERR Write commands are not allowed from read-only")


def test_scripts_of_one_transaction_share_their_instructions(bench: Bench, client: Client) -> None:
    loop = "for i = 1, 250000 do end return 'done'"
    client.sends(command("MULTI") + command("EVAL", loop, "0") * 5 + command("EXEC"))
    bench.settle(5)
    assert 1 < client.take().count(b"done") < 5


# The sandbox.


@pytest.mark.parametrize(
    ("script", "reply"),
    [
        ("while true do end", b"more instructions"),
        ("while true do pcall(function() while true do end end) end", b"more instructions"),
        ("while true do pcall(error) end", b"more instructions"),
        ("local function f() return pcall(f) end while true do f() end", b"more instructions"),
        ("while true do xpcall(error, function() while true do end end) end", b"more instructions"),
        ("setmetatable({}, {__index = function() while true do end end})[1] = nil while true do end", b"more instr"),
        ("while true do redis.call('get', 'x') end", b"more instructions"),
        ("return string.gsub('x', 'x', function() while true do end end)", b"more instructions"),
        ("local t = {1, 2, 3} table.sort(t, function() while true do end end)", b"more instructions"),
        ("local function f() return 1 + f() end return f()", b"stack overflow"),
        ("local s = 'x' while true do s = s .. s end", b"not enough memory"),
        ("local t = {} while true do t[#t + 1] = {} end", b"not enough memory"),
        ("local t = {} while true do t[#t + 1] = redis.call('echo', ('x'):rep(9e4) .. #t) end", b"memory"),
        ("return string.rep('x', 1e9)", b"too large"),
        ("return string.rep('', 1e15)", b"$0\r\n\r\n"),
        ("return ('x'):rep(1e15)", b"too large"),
        ("return string.find(('a'):rep(50000), ('a*'):rep(20) .. 'b')", b"too complex"),
        ("return string.find(('a'):rep(30), ('a?'):rep(30) .. ('a'):rep(30))", b"too complex"),
        ("return string.match('', ('a*'):rep(1e5))", b"pattern too long"),
        ("return string.gsub(('a'):rep(9e4), '(a*)(a*)b', 'x')", b"too complex"),
        ("return string.find(('a'):rep(1e6), ('a'):rep(5e5) .. 'b', 1, true)", b"too complex"),
        ("return string.format('%99999d', 1)", b"invalid format"),
        ("table.insert({}, -1e9, 1)", b"out of bounds"),
        ("return {unpack({}, 1, 1e8)}", b"too many results"),
        ("return table.concat({}, 'x', 1, 1e9)", b"invalid value"),
        ("return redis.call(unpack({}, 1, 5000))", b"must be strings or integers"),
        ("\x1bLua", b"binary code is not accepted"),
        ("#!lua\n\x1bLua", b"-ERR"),
        ("return " + "(" * 300 + "1" + ")" * 300, b"-ERR Error compiling"),
        ("return string.dump", b"$-1"),
        ("return getmetatable('')", b"$-1"),
        ("return setmetatable(string, {})", b"readonly"),
        ("return setmetatable(_G, {})", b"readonly"),
        ("return rawset(_G, 'x', 1)", b"readonly"),
        ("return getmetatable(_G)", b"$-1"),
        ("return tostring(redis.call)", b"function: "),
        ("local t = {} for name in pairs(_G) do t[#t + 1] = name end return #t", b":2"),
    ],
)  # fmt: skip
def test_no_script_runs_without_end_or_reaches_out(bench: Bench, client: Client, script: str, reply: bytes) -> None:
    began = time.process_time()
    assert reply in evaluates(client, script, bench=bench)
    assert time.process_time() - began < 3  # on a slow machine: most take some milliseconds
    assert evaluates(client, "local x = 'still' return x") == b"$5\r\nstill\r\n"
    assert bench.errors == []


@pytest.mark.parametrize(
    "name",
    ["os", "io", "require", "load", "loadstring", "loadfile", "dofile", "debug", "package", "module", "python", "print",
     "collectgarbage", "gcinfo", "getfenv", "setfenv", "newproxy", "coroutine", "ask", "base"],
)  # fmt: skip
def test_what_reaches_out_is_not_there(client: Client, name: str) -> None:
    assert b"nonexistent global variable '%s'" % name.encode() in evaluates(client, f"return {name}")
    assert evaluates(client, f"return rawget(_G, '{name}')") == b"$-1\r\n"


def test_nothing_of_one_script_is_seen_by_another(client: Client) -> None:
    for attempt in ("x = 1", "_G.x = 1", "rawset(_G, 'x', 1)", "string.x = 1", "rawset(string, 'x', 1)",
                    "KEYS = 1", "getmetatable('').x = 1", "string.rep = nil", "redis.x = 1",
                    "math.x = 1", "ARGV.x = 1"):  # fmt: skip
        evaluates(client, attempt)
    assert evaluates(
        client, "return {rawget(_G,'x') or 1, string.x or 2, redis.x or 3, ARGV.x or 4, ('a'):rep(2)}"
    ) == (b"*5\r\n:1\r\n:2\r\n:3\r\n:4\r\n$2\r\naa\r\n")


def test_a_node_that_was_filled_by_scripts_serves_others(bench: Bench, client: Client) -> None:
    """Memory that runs out while Lua is called from Python would end the process."""
    fill = "local t = {} pcall(function() while true do t[#t + 1] = %s end end) "
    for unit in ("{}", "('x'):rep(1000) .. #t", "function() return t end"):
        for then in ("return redis.call('get', 'x')", "return redis.sha1hex('x')", "return t", "error(t)", "error('x')",
                     "while true do end", "return redis.call('echo', ('y'):rep(3e5))"):  # fmt: skip
            client.sends(command("EVAL", fill % unit + then, "0", *["a" * 1000] * 30))
            bench.settle(150)
            assert client.take()
            assert evaluates(client, "return #ARGV", *["a" * 1000] * 30) == b":30\r\n"
    assert bench.errors == []


def test_an_unexpected_error_in_a_command_ends_the_connection() -> None:
    def fails() -> dict[str, dict[str, object]]:
        raise RuntimeError("planted")

    bench = Bench(quick=True, node={"info": fails})
    client = bench.connect()
    client.sends(command("EVAL", "while true do pcall(redis.call, 'info') end", "0"))
    assert client.is_aborted
    assert [type(each) for each in bench.errors] == [RuntimeError]
    assert evaluates(bench.connect(), "return 1") == b":1\r\n"


# What is kept.


def test_scripts_are_kept_up_to_a_bound(client: Client, bench: Bench) -> None:
    scripts = bench.scheduler._node.scripts
    first = scripts.put(b"return 1").sha
    second = scripts.put(b"return 2").sha
    for i in range(300):
        asks(client, f"EVALSHA {first} 0")
        client.asks("SCRIPT", "LOAD", f"return '{i:0900}'")
    assert asks(client, f"EVALSHA {first} 0") == b":1\r\n"
    assert asks(client, f"EVALSHA {second} 0").startswith(b"-NOSCRIPT")
    assert b"a script must be shorter than" in evaluates(client, "--" + "x" * 200_000, bench=bench)
    assert asks(client, "SCRIPT FLUSH") == b"+OK\r\n"
    assert asks(client, f"EVALSHA {first} 0").startswith(b"-NOSCRIPT")


def test_without_lua_the_reply_says_what_to_install() -> None:
    def load() -> None:
        raise ImportError("planted")

    client = Bench(quick=True, node={"scripts": Scripts(1000, 4096, load)}).connect()
    for line in ("EVAL x 0", "EVAL_RO x 0", "SCRIPT LOAD x"):
        assert b"pip install 'gossip-counter[lua]'" in asks(client, line)
    assert asks(client, "EVALSHA x 0").startswith(b"-NOSCRIPT")


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py_registers_and_calls_scripts(protocol: int) -> None:
    with served() as (host, port), redis.Redis(host=host, port=port, protocol=protocol) as counter:
        limit = counter.register_script(
            "local n = redis.call('INCR', KEYS[1]) if n > tonumber(ARGV[1]) then return 0 end return n"
        )
        assert [limit(keys=["user:1"], args=[2]) for _ in range(3)] == [1, 2, 0]
        counter.script_flush()
        assert limit(keys=["user:2"], args=[2]) == 1  # it is sent again
        with counter.pipeline() as pipeline:
            limit(keys=["user:2"], args=[2], client=pipeline)
            assert pipeline.get("user:2").execute() == [2, b"2"]
        assert counter.eval("return {KEYS[1], ARGV[1]}", 1, "k", "v") == [b"k", b"v"]
