"""The commands of the Redis endpoint: one table of them all, and the way from a command's words to its reply.

Pure. Names, arities, replies and error texts are those of Redis. What can't merge, such as a value that is set, is
refused with one sentence that says why.

To add a command, write its handler in the file of its kind (`commands_keys`, `commands_connection`, `commands_server`)
and give it a line in `COMMANDS`. `context` says what a handler gets and may return. Nothing else has to change: the
table is all that sessions, COMMAND INFO and the tests look at.
"""

from typing import Any

from gossip_counter.node.endpoints.redis import commands_connection as connection
from gossip_counter.node.endpoints.redis import commands_keys as keys
from gossip_counter.node.endpoints.redis import commands_server as server
from gossip_counter.node.endpoints.redis.arguments import fits, listed, shown, wrong_arity
from gossip_counter.node.endpoints.redis.context import (
    ADDS,
    ALL_KEYS,
    ONE_KEY,
    ClientInfo,
    Command,
    Handler,
    Node,
)
from gossip_counter.node.endpoints.redis.replies import Error, Reply

_ABORTED = Error("EXECABORT Transaction discarded because of previous errors.")
_IN_TRANSACTION = Error("ERR not executed, since it is part of a transaction, which is not possible here")
_NO_HTTP = Error("ERR this is no HTTP server")
_NO_AUTH = Error("NOAUTH Authentication required.")
_HTTP = {b"POST", b"HOST:"}
_WITHOUT_PASSWORD = {b"AUTH", b"HELLO", b"QUIT", b"RESET"}
_LEAVES_TRANSACTION = {b"EXEC", b"DISCARD"}

_WHY_NOT = {
    "a counter has no value to set, since nodes that set different ones could never agree; use INCRBY and DECRBY": (
        "SET SETNX SETEX PSETEX GETSET MSET MSETNX APPEND SETRANGE SETBIT GETEX GETDEL RENAME COPY"
    ),
    "what one node deletes, another may be adding to; use another counter instead": (
        "DEL UNLINK FLUSHALL FLUSHDB EXPIRE PEXPIRE EXPIREAT PEXPIREAT PERSIST"
    ),
    "counters are whole numbers, whose sum is the same in any order": "INCRBYFLOAT",
    "nodes add without asking each other, so nothing can be done only if nobody else does something meanwhile; send the"
    " commands in a pipeline without MULTI (redis-py: pipeline(transaction=False))": (
        "MULTI EXEC DISCARD WATCH UNWATCH EVAL EVALSHA FCALL"
    ),
}
"""By reason, commands of Redis that are refused."""


def dispatch(client: ClientInfo, node: Node, words: list[bytes]) -> Any:
    """What a command's handler returns, or the error that keeps it from being called."""
    name = words[0].upper()
    if not client.authenticated and name not in _WITHOUT_PASSWORD:
        return _NO_AUTH
    if client.in_transaction and name not in {b"QUIT", b"RESET"}:
        client.in_transaction = name not in _LEAVES_TRANSACTION
        return _IN_TRANSACTION if client.in_transaction else _ABORTED if name == b"EXEC" else "OK"
    command = COMMANDS.get(name)
    if command is None:
        client.in_transaction = name == b"MULTI"
        client.quits = name in _HTTP  # a browser was led here, and what it sends next is somebody else's wish
        return _NO_HTTP if client.quits else _unknown(words)
    if not fits(command.arity, len(words)):
        return wrong_arity(words[0])
    return command.handle(client, node, words[1:])


def _unknown(words: list[bytes]) -> Error:
    name = shown(words[0])
    for why, names in _WHY_NOT.items():
        if name.upper() in names.split():
            return Error(f"ERR {name.upper()} is not possible here: {why}")
    return Error(f"ERR unknown command '{name}', with args beginning with: {listed(words[1:])}")


def _by_subcommand(command: str, subcommands: dict[bytes, Command]) -> Handler:
    """The handler of a command that is several; the arity of each counts both names."""

    def handle(client: ClientInfo, node: Node, words: list[bytes]) -> Reply:
        name, *arguments = words
        if name.upper() == b"HELP":
            lines = [f"{each.decode()}: {found.summary}" for each, found in subcommands.items()]
            return [f"{command} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:", *lines]
        found = subcommands.get(name.upper())
        if found is None:
            return Error(f"ERR unknown subcommand '{shown(name)}'. Try {command} HELP.")
        if not fits(found.arity, len(words) + 1):
            return Error(f"ERR wrong number of arguments for '{command.lower()}|{shown(name).lower()}' command")
        return found.handle(client, node, arguments)

    return handle


# COMMAND, which lists the table itself.


def _command(client: ClientInfo, node: Node, words: list[bytes]) -> Reply:
    return _COMMAND(client, node, words) if words else _command_info(client, node, words)


def _command_count(_: ClientInfo, _node: Node, _words: list[bytes]) -> Reply:
    return len(COMMANDS)


def _command_list(_: ClientInfo, _node: Node, _words: list[bytes]) -> Reply:
    return [name.lower() for name in COMMANDS]


def _command_docs(_: ClientInfo, _node: Node, words: list[bytes]) -> Reply:
    asked = [name.upper() for name in words] or list(COMMANDS)
    return {shown(name).lower(): _docs(COMMANDS[name]) for name in asked if name in COMMANDS}


def _docs(command: Command) -> Reply:
    return {"summary": command.summary.encode(), "group": command.group.encode()}


def _command_info(_: ClientInfo, _node: Node, words: list[bytes]) -> Reply:
    asked = [name.upper() for name in words] or list(COMMANDS)
    return [_described(name, COMMANDS[name]) if name in COMMANDS else None for name in asked]


def _described(name: bytes, command: Command) -> Reply:
    """Name, arity, flags, first key, last key, step; and categories, tips, keys, subcommands, which Redis 7 adds."""
    return [name.lower(), command.arity, list(command.flags), *command.keys, [], [], [], []]


_CLIENT = _by_subcommand("CLIENT", {
    b"ID": Command(connection.client_id, 2, "This connection's number"),
    b"GETNAME": Command(connection.client_getname, 2, "The name that this connection was given"),
    b"SETNAME": Command(connection.client_setname, 3, "Give this connection a name"),
    b"SETINFO": Command(connection.client_setinfo, 4, "Set the client library's LIB-NAME or LIB-VER"),
    b"INFO": Command(connection.client_info, 2, "Facts about this connection"),
    b"NO-EVICT": Command(connection.ok, 3, "Nothing is evicted here"),
    b"NO-TOUCH": Command(connection.ok, 3, "Reads leave no trace here"),
})  # fmt: skip
_COMMAND = _by_subcommand("COMMAND", {
    b"COUNT": Command(_command_count, 2, "How many commands there are"),
    b"DOCS": Command(_command_docs, -2, "What commands do"),
    b"INFO": Command(_command_info, -2, "Arity, flags and keys of commands"),
    b"LIST": Command(_command_list, 2, "The names of all commands"),
})  # fmt: skip
_CONFIG = _by_subcommand("CONFIG", {b"GET": Command(server.config_get, -3, "Settings whose names match patterns")})

COMMANDS: dict[bytes, Command] = {
    b"GET": Command(keys.get, 2, "This node's value of a counter", "string", ONE_KEY),
    b"MGET": Command(keys.mget, -2, "This node's values of some counters", "string", ALL_KEYS),
    b"EXISTS": Command(keys.exists, -2, "How many of these counters anybody ever wrote to", keys=ALL_KEYS),
    b"TYPE": Command(keys.type_, 2, "string for a counter, else none", keys=ONE_KEY),
    b"TTL": Command(keys.ttl, 2, "-1 for a counter, which does not expire, else -2", keys=ONE_KEY),
    b"PTTL": Command(keys.ttl, 2, "-1 for a counter, which does not expire, else -2", keys=ONE_KEY),
    b"TOUCH": Command(keys.exists, -2, "How many of these counters anybody ever wrote to", keys=ALL_KEYS),
    b"STRLEN": Command(keys.strlen, 2, "How many bytes a counter's value has when written", "string", ONE_KEY),
    b"KEYS": Command(keys.keys, 2, "The names of all counters that match a pattern"),
    b"SCAN": Command(keys.scan, -2, "The names of counters, some at a time"),
    b"DBSIZE": Command(keys.dbsize, 1, "How many counters there are", "server"),
    b"PING": Command(connection.ping, -1, "Whether the node answers", "connection"),
    b"ECHO": Command(connection.echo, 2, "Its argument", "connection"),
    b"QUIT": Command(connection.quit_, -1, "End the connection", "connection"),
    b"SELECT": Command(connection.select, 2, "Database 0 is the only one", "connection"),
    b"RESET": Command(connection.reset, 1, "Make the connection as it was when new", "connection"),
    b"HELLO": Command(connection.hello, -1, "Choose the protocol, 2 or 3", "connection"),
    b"AUTH": Command(connection.auth, -2, "Authenticate with the password", "connection"),
    b"CLIENT": Command(_CLIENT, -2, "Facts about this connection", "connection"),
    b"COMMAND": Command(_command, -1, "Facts about the commands", "server"),
    b"CONFIG": Command(_CONFIG, -2, "Settings, read-only", "server"),
    b"INFO": Command(server.info, -1, "Facts about the node and its gossip", "server"),
    b"ROLE": Command(server.role, 1, "master: every node takes adds", "server"),
    b"CLUSTER": Command(server.cluster, -2, "There is no sharding: every node has every counter", "cluster"),
    b"TIME": Command(server.time, 1, "The node's clock", "server"),
    b"INCR": Command(keys.incr, 2, "Add 1 to a counter", "string", ONE_KEY, ADDS),
    b"DECR": Command(keys.decr, 2, "Subtract 1 from a counter", "string", ONE_KEY, ADDS),
    b"INCRBY": Command(keys.incrby, 3, "Add to a counter", "string", ONE_KEY, ADDS),
    b"DECRBY": Command(keys.decrby, 3, "Subtract from a counter", "string", ONE_KEY, ADDS),
    b"WAIT": Command(keys.wait, 3, "Wait until other nodes hold this connection's writes durably"),
}
"""Every command, in the order in which COMMAND lists them."""

ADD_COMMANDS = {name: command for name, command in COMMANDS.items() if command.flags == ADDS}
"""Those that are put into batches."""
