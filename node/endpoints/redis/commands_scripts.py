"""EVAL and the like: scripts in Lua, each a transaction.

Pure. The table of all commands is in `commands`, and is passed to what needs it here.
"""

from collections.abc import Callable

from gossip_counter.node.endpoints.redis.arguments import integer, shown
from gossip_counter.node.endpoints.redis.context import ClientInfo, Command, Handler, Node
from gossip_counter.node.endpoints.redis.lua import Ask, ScriptError
from gossip_counter.node.endpoints.redis.replies import NOT_AN_INTEGER, Error, Reply, encode
from gossip_counter.node.endpoints.redis.scripts import Script
from gossip_counter.node.endpoints.redis.transaction import Execution, Made

Find = Callable[[bytes, list[bytes]], Command | Error]
"""The command of a name, in capitals, or why it can't be called with these words."""

_NOT_IN_SCRIPTS = {
    b"MULTI", b"EXEC", b"DISCARD", b"WATCH", b"UNWATCH", b"EVAL", b"EVALSHA", b"EVAL_RO", b"EVALSHA_RO", b"SCRIPT",
    b"AUTH", b"HELLO", b"RESET", b"QUIT", b"CLIENT", b"CONFIG", b"ACL", b"WAIT", b"ROLE", b"MODULE",
    b"SLOWLOG", b"LATENCY",
}  # fmt: skip
_NOT_ALLOWED = Error("ERR This Redis command is not allowed from script")
_NO_WRITES = Error("ERR Write commands are not allowed from read-only scripts.")
_NOT_READ_ONLY = Error("ERR Can not execute a script with write flag using *_ro command.")
_NOSCRIPT = Error("NOSCRIPT No matching script. Please use EVAL.")


def evaluates(find: Find, by_sha: bool, may_write: bool) -> Handler:
    """EVAL script keys [key ...] [argument ...], EVALSHA, EVAL_RO and EVALSHA_RO."""

    def handle(client: ClientInfo, node: Node, words: list[bytes]) -> Reply:
        try:
            keys = _number_of_keys(words)
            script = node.scripts.find(shown(words[0]).lower()) if by_sha else node.scripts.put(words[0])
            if script is None:
                return _NOSCRIPT
            if not may_write and script.flags is not None and script.may_write:
                return _NOT_READ_ONLY
            return _run(find, client, node, script, may_write, words[2:], keys)
        except ScriptError as error:
            return Error(error)

    return handle


def _number_of_keys(words: list[bytes]) -> int:
    """Raises `ScriptError`."""
    try:
        keys = integer(words[1])
    except ValueError:
        raise ScriptError(NOT_AN_INTEGER) from None
    if keys > len(words) - 2:
        raise ScriptError("ERR Number of keys can't be greater than number of args")
    if keys < 0:
        raise ScriptError("ERR Number of keys can't be negative")
    return keys


def _run(
    find: Find, client: ClientInfo, node: Node, script: Script, may_write: bool, words: list[bytes], keys: int
) -> Reply:
    execution = node.executing
    ask = _asking(find, execution, may_write and script.may_write)
    outcome = node.scripts.run(script, words[:keys], words[keys:], ask, execution.instructions, client.protocol)
    execution.instructions = outcome.instructions_left
    return Made([outcome.reply])


def _asking(find: Find, execution: Execution, may_write: bool) -> Ask:
    def ask(words: tuple[bytes, ...]) -> bytes:
        name, asked = words[0].upper(), list(words)
        command = find(name, asked)
        if isinstance(command, Error):
            return encode(_as_in_scripts(command), 2)
        if name in _NOT_IN_SCRIPTS:
            return encode(_NOT_ALLOWED, 2)
        if "write" in command.flags and not may_write:
            return encode(_NO_WRITES, 2)
        return execution.reply(command, asked, protocol=2)

    return ask


def _as_in_scripts(error: Error) -> Error:
    if error.startswith("ERR unknown command"):
        return Error("ERR Unknown Redis command called from script")
    is_arity = error.startswith("ERR wrong number of arguments")
    return Error("ERR Wrong number of args calling Redis command from script") if is_arity else error


def load(_: ClientInfo, node: Node, words: list[bytes]) -> Reply:
    """SCRIPT LOAD script."""
    try:
        return node.scripts.put(words[0]).sha.encode()
    except ScriptError as error:
        return Error(error)


def exists(_: ClientInfo, node: Node, words: list[bytes]) -> Reply:
    """SCRIPT EXISTS sha ..."""
    return [int(shown(word).lower() in node.scripts) for word in words]


def flush(_: ClientInfo, node: Node, words: list[bytes]) -> Reply:
    """SCRIPT FLUSH [ASYNC|SYNC]."""
    if len(words) > 1 or (words and words[0].upper() not in {b"ASYNC", b"SYNC"}):
        return Error("ERR SCRIPT FLUSH only support SYNC|ASYNC option")
    node.scripts.flush()
    return "OK"


def kill(_: ClientInfo, _node: Node, _words: list[bytes]) -> Reply:
    """SCRIPT KILL: none is in execution when a command is."""
    return Error("NOTBUSY No scripts in execution right now.")
