"""The commands of the Redis endpoint: one table of them all, and the way from a command's words to its reply.

Pure. Names, arities, replies and error texts are those of Redis. What can't merge, such as a value that is set, is
refused with one sentence that says why.

To add a command, write its handler in the file of its kind (`commands_keys`, `commands_listing`, `commands_client`, …)
and give it a line in `COMMANDS`. `context` says what a handler gets and may return. Nothing else has to change: the
table is all that sessions, COMMAND INFO and the tests look at.
"""

from typing import Any

from gossip_counter.node.endpoints.redis import commands_client as clients
from gossip_counter.node.endpoints.redis import commands_command as about
from gossip_counter.node.endpoints.redis import commands_connection as connection
from gossip_counter.node.endpoints.redis import commands_expiry as expiry
from gossip_counter.node.endpoints.redis import commands_increase as increase
from gossip_counter.node.endpoints.redis import commands_keys as keys
from gossip_counter.node.endpoints.redis import commands_listing as listing
from gossip_counter.node.endpoints.redis import commands_refused as refused
from gossip_counter.node.endpoints.redis import commands_scripts as scripts
from gossip_counter.node.endpoints.redis import commands_server as server
from gossip_counter.node.endpoints.redis import commands_transactions as transactions
from gossip_counter.node.endpoints.redis import commands_values as values
from gossip_counter.node.endpoints.redis.arguments import fits, shown, wrong_arity
from gossip_counter.node.endpoints.redis.context import (
    ADDS,
    ADMIN,
    ALL_KEYS,
    CHANGES,
    EVERY_OTHER_KEY,
    FAST,
    NO_KEYS,
    ONE_KEY,
    SETS,
    SLOW,
    SLOW_CHANGES,
    SLOW_READS,
    ClientInfo,
    Command,
    Handler,
    Keys,
    Node,
)
from gossip_counter.node.endpoints.redis.expiry import MILLISECONDS, SECONDS, UNIX_MILLISECONDS, UNIX_SECONDS, Unit
from gossip_counter.node.endpoints.redis.replies import Error, Reply
from gossip_counter.node.endpoints.redis.transaction import execute_alone

_NO_HTTP = Error("ERR this is not an HTTP server")
_NO_AUTH = Error("NOAUTH Authentication required.")
_HTTP = {b"POST", b"HOST:"}
_WITHOUT_PASSWORD = {b"AUTH", b"HELLO", b"QUIT", b"RESET"}

MAX_WORDS = 1000
"""Words of a command that names no keys: it would hold up other clients for too long."""


def dispatch(client: ClientInfo, node: Node, words: list[bytes]) -> Any:
    """What a command's handler returns, or the error that keeps it from being called."""
    name = words[0].upper()
    if name in _HTTP:  # a browser was led here, and what it sends next is somebody else's wish
        client.quits = True
        return _NO_HTTP
    if not client.authenticated and name not in _WITHOUT_PASSWORD:
        return _NO_AUTH
    command = find(name, words)
    if isinstance(command, Error):
        return transactions.note_error(client, node, name, command)
    if client.queued and name not in transactions.NEVER_QUEUED:
        return client.queued.put(command, words)
    if command.is_transaction:
        return execute_alone(client, node, command, words)
    node.clients.calls[name] += 1
    client.last_command = name
    return command.handle(client, node, words[1:])


def find(name: bytes, words: list[bytes]) -> Command | Error:
    """The command of this name, in capitals, or why it can't be called with these words."""
    command = COMMANDS.get(name)
    if command is None:
        return refused.unknown(words)
    if not fits(command.arity, len(words)):
        return wrong_arity(words[0])
    if len(words) > MAX_WORDS and command.keys != ALL_KEYS and not command.is_transaction:
        return Error(f"ERR too many words: '{shown(words[0]).lower()}' takes at most {MAX_WORDS} here")
    if isinstance(command.handle, _Subcommands):
        return command.handle.why_not(words[1:]) or command
    return command


class _Subcommands:
    """The handler of a command that is several; the arity of each counts both names."""

    def __init__(self, command: str, subcommands: dict[bytes, Command]) -> None:
        self._command = command
        self._subcommands = subcommands

    def why_not(self, words: list[bytes]) -> Error | None:
        """Why it can't be called with these words."""
        if not words or words[0].upper() == b"HELP":
            return None
        found = self._subcommands.get(words[0].upper())
        if found is None:
            return Error(f"ERR unknown subcommand '{shown(words[0])}'. Try {self._command} HELP.")
        if not fits(found.arity, len(words) + 1):
            both = f"{self._command.lower()}|{shown(words[0]).lower()}"
            return Error(f"ERR wrong number of arguments for '{both}' command")
        return None

    def __call__(self, client: ClientInfo, node: Node, words: list[bytes]) -> Any:
        """As a handler."""
        name, *arguments = words
        if name.upper() == b"HELP":
            lines = [f"{each.decode()}: {found.summary}" for each, found in self._subcommands.items()]
            return [f"{self._command} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:", *lines]
        client.last_command = b"%s|%s" % (self._command.encode(), name.upper())
        return self._subcommands[name.upper()].handle(client, node, arguments)


class _CommandItself(_Subcommands):
    """COMMAND, which may stand without a subcommand."""

    def __call__(self, client: ClientInfo, node: Node, words: list[bytes]) -> Any:
        """As a handler."""
        return super().__call__(client, node, words) if words else about.described(client, COMMANDS, words)


def _acl_cat(_: ClientInfo, _node: Node, words: list[bytes]) -> Reply:
    return about.acl_cat(COMMANDS, words)


_ACL = _Subcommands("ACL", {
    b"CAT": Command(_acl_cat, -2, "The categories of commands, or the commands of one"),
    b"LIST": Command(server.acl_list, 2, "The only user"),
    b"USERS": Command(server.acl_users, 2, "The name of the only user"),
    b"WHOAMI": Command(server.acl_whoami, 2, "The name of the only user"),
})  # fmt: skip
_CLIENT = _Subcommands("CLIENT", {
    b"ID": Command(clients.id_, 2, "This connection's number"),
    b"GETNAME": Command(clients.getname, 2, "The name that this connection was given"),
    b"SETNAME": Command(clients.setname, 3, "Give this connection a name"),
    b"SETINFO": Command(clients.setinfo, 4, "Set the client library's LIB-NAME or LIB-VER"),
    b"INFO": Command(clients.info, 2, "Facts about this connection"),
    b"LIST": Command(clients.list_, -2, "Facts about all connections, or those of a TYPE or ID"),
    b"KILL": Command(clients.kill, -3, "End connections, by address or by ID, ADDR, LADDR, TYPE, USER, SKIPME"),
    b"NO-EVICT": Command(clients.no_evict, 3, "Nothing is evicted here"),
    b"NO-TOUCH": Command(clients.no_evict, 3, "Reads leave no trace here"),
})  # fmt: skip
_COMMAND = _CommandItself("COMMAND", about.subcommands(lambda: COMMANDS))
_CONFIG = _Subcommands("CONFIG", {
    b"GET": Command(server.config_get, -3, "Settings whose names match patterns"),
    b"RESETSTAT": Command(server.config_resetstat, 2, "Begin to count commands and connections again"),
})  # fmt: skip
_LATENCY = _Subcommands("LATENCY", {
    b"DOCTOR": Command(server.latency_doctor, 2, "Latency is not monitored here"),
    b"HISTORY": Command(server.nothing, 3, "Latency is not monitored here"),
    b"LATEST": Command(server.nothing, 2, "Latency is not monitored here"),
    b"RESET": Command(server.zero, -2, "Latency is not monitored here"),
})  # fmt: skip
_MEMORY = _Subcommands("MEMORY", {
    b"USAGE": Command(keys.memory_usage, -3, "About how many bytes a counter takes"),
})  # fmt: skip
_MODULE = _Subcommands("MODULE", {b"LIST": Command(server.nothing, 2, "There are no modules")})
_OBJECT = _Subcommands("OBJECT", {
    b"ENCODING": Command(keys.object_encoding, 3, "int for a counter"),
    b"FREQ": Command(keys.object_freq, 3, "An error: it is not recorded how often a counter is used"),
    b"IDLETIME": Command(keys.object_idletime, 3, "0: it is not recorded when a counter was used"),
    b"REFCOUNT": Command(keys.object_refcount, 3, "1 for a counter"),
})  # fmt: skip
_SCRIPT = _Subcommands("SCRIPT", {
    b"EXISTS": Command(scripts.exists, -3, "Whether scripts with these hashes are known"),
    b"FLUSH": Command(scripts.flush, -2, "Forget all scripts"),
    b"KILL": Command(scripts.kill, 2, "An error: no script runs while another command does"),
    b"LOAD": Command(scripts.load, 3, "Keep a script, and return its hash"),
})  # fmt: skip
_SLOWLOG = _Subcommands("SLOWLOG", {
    b"GET": Command(server.slowlog_get, -2, "No slow log is kept"),
    b"LEN": Command(server.zero, 2, "No slow log is kept"),
    b"RESET": Command(server.slowlog_reset, 2, "No slow log is kept"),
})  # fmt: skip

_EXPIRES = "Have a counter end: 0 for one that does not exist"
_SHOWS = "When a counter ends: -1 if never, -2 if there is none"


def _changes(
    handle: Handler,
    arity: int,
    summary: str,
    group: str = "generic",
    keys: Keys = ONE_KEY,
    flags: tuple[str, ...] = CHANGES,
) -> Command:
    return Command(handle, arity, summary, group, keys, flags, is_transaction=True)


def _shows(unit: Unit) -> Command:
    return Command(expiry.shows(unit), 2, _SHOWS, keys=ONE_KEY, is_transaction=True)


def _evaluates(summary: str, by_sha: bool, may_write: bool) -> Command:
    handle = scripts.evaluates(find, by_sha, may_write)
    return Command(handle, -3, summary, "scripting", flags=SLOW, is_transaction=True)


COMMANDS: dict[bytes, Command] = {
    b"GET": Command(keys.get, 2, "This node's value of a counter", "string", ONE_KEY),
    b"MGET": Command(keys.mget, -2, "This node's values of some counters", "string", ALL_KEYS),
    b"EXISTS": Command(keys.exists, -2, "How many of these counters anybody ever wrote to", keys=ALL_KEYS),
    b"TYPE": Command(keys.type_, 2, "string for a counter, else none", keys=ONE_KEY),
    b"TTL": _shows(SECONDS),
    b"PTTL": _shows(MILLISECONDS),
    b"EXPIRETIME": _shows(UNIX_SECONDS),
    b"PEXPIRETIME": _shows(UNIX_MILLISECONDS),
    b"TOUCH": Command(keys.exists, -2, "How many of these counters anybody ever wrote to", keys=ALL_KEYS),
    b"STRLEN": Command(keys.strlen, 2, "How many bytes a counter's value has when written", "string", ONE_KEY),
    b"OBJECT": Command(_OBJECT, -2, "Facts about a counter", flags=SLOW),
    b"MEMORY": Command(_MEMORY, -2, "About how many bytes a counter takes", "server", flags=SLOW),
    b"KEYS": Command(listing.keys, 2, "The names of all counters that match a pattern", flags=SLOW_READS),
    b"SCAN": Command(listing.scan, -2, "The names of counters, some at a time", flags=SLOW_READS),
    b"RANDOMKEY": Command(listing.randomkey, 1, "The name of a counter", flags=SLOW_READS),
    b"DBSIZE": Command(listing.dbsize, 1, "How many counters there are"),
    b"DEL": _changes(expiry.deletes("DEL"), -2, "Delete counters", keys=ALL_KEYS, flags=SLOW_CHANGES),
    b"UNLINK": _changes(expiry.deletes("UNLINK"), -2, "Delete counters", keys=ALL_KEYS),
    b"EXPIRE": _changes(expiry.expires("expire", SECONDS), -3, _EXPIRES),
    b"PEXPIRE": _changes(expiry.expires("pexpire", MILLISECONDS), -3, _EXPIRES),
    b"EXPIREAT": _changes(expiry.expires("expireat", UNIX_SECONDS), -3, _EXPIRES),
    b"PEXPIREAT": _changes(expiry.expires("pexpireat", UNIX_MILLISECONDS), -3, _EXPIRES),
    b"PERSIST": _changes(expiry.persist, 2, "Have a counter not end"),
    b"SET": _changes(values.set_, -3, "Have a counter come to an integer", "string", flags=SETS),
    b"SETNX": _changes(values.setnx, 3, "SET, if there is no such counter", "string", flags=ADDS),
    b"SETEX": _changes(values.sets_for("setex", SECONDS), 4, "SET, with an expiry", "string", flags=SETS),
    b"PSETEX": _changes(values.sets_for("psetex", MILLISECONDS), 4, "SET, with an expiry", "string", flags=SETS),
    b"GETSET": _changes(values.getset, 3, "GET and SET", "string", flags=ADDS),
    b"GETDEL": _changes(values.getdel, 2, "GET and DEL", "string"),
    b"GETEX": _changes(values.getex, -2, "GET, and set or remove the expiry", "string"),
    b"MSET": _changes(values.mset, -3, "SET of several", "string", EVERY_OTHER_KEY, flags=SETS),
    b"MSETNX": _changes(values.msetnx, -3, "MSET, if none exists", "string", EVERY_OTHER_KEY, flags=SETS),
    b"FLUSHALL": _changes(
        expiry.flushes("FLUSHALL"), -1, "Delete all counters", "generic", NO_KEYS, flags=SLOW_CHANGES
    ),
    b"FLUSHDB": _changes(expiry.flushes("FLUSHDB"), -1, "Delete all", keys=NO_KEYS, flags=SLOW_CHANGES),
    b"MULTI": Command(transactions.multi, 1, "Begin a transaction", "transactions", flags=FAST),
    b"EXEC": Command(transactions.exec_, 1, "Execute what was queued since MULTI", "transactions", flags=SLOW),
    b"DISCARD": Command(transactions.discard, 1, "Forget what was queued since MULTI", "transactions", flags=FAST),
    b"WATCH": Command(
        transactions.watch, -2, "Let EXEC do nothing if these counters change", "transactions", ALL_KEYS, FAST
    ),
    b"UNWATCH": Command(transactions.unwatch, 1, "Watch nothing any more", "transactions", flags=FAST),
    b"EVAL": _evaluates("Run a script in Lua", by_sha=False, may_write=True),
    b"EVAL_RO": _evaluates("Run a script that adds nothing", by_sha=False, may_write=False),
    b"EVALSHA": _evaluates("Run a script that was sent before", by_sha=True, may_write=True),
    b"EVALSHA_RO": _evaluates("Run such a script that adds nothing", by_sha=True, may_write=False),
    b"SCRIPT": Command(_SCRIPT, -2, "The scripts that are known", "scripting", flags=SLOW),
    b"PING": Command(connection.ping, -1, "Whether the node answers", "connection", flags=FAST),
    b"ECHO": Command(connection.echo, 2, "Its argument", "connection", flags=FAST),
    b"QUIT": Command(connection.quit_, -1, "End the connection", "connection", flags=FAST),
    b"SELECT": Command(connection.select, 2, "Database 0 is the only one", "connection", flags=FAST),
    b"RESET": Command(connection.reset, 1, "Make the connection as it was when new", "connection", flags=FAST),
    b"HELLO": Command(connection.hello, -1, "Choose the protocol, 2 or 3", "connection", flags=FAST),
    b"AUTH": Command(connection.auth, -2, "Authenticate with the password", "connection", flags=FAST),
    b"CLIENT": Command(_CLIENT, -2, "Facts about connections", "connection", flags=SLOW),
    b"COMMAND": Command(_COMMAND, -1, "Facts about the commands", "connection", flags=SLOW),
    b"CONFIG": Command(_CONFIG, -2, "Settings, read-only", "server", flags=SLOW),
    b"INFO": Command(server.info, -1, "Facts about the node and its gossip", "server", flags=SLOW),
    b"ACL": Command(_ACL, -2, "The user, and the categories of commands", "server", flags=SLOW),
    b"SLOWLOG": Command(_SLOWLOG, -2, "No slow log is kept", "server", flags=SLOW),
    b"LATENCY": Command(_LATENCY, -2, "Latency is not monitored here", "server", flags=SLOW),
    b"MODULE": Command(_MODULE, -2, "There are no modules", "server", flags=SLOW),
    b"LASTSAVE": Command(server.lastsave, 1, "Now: what was replied to is on the disk", "server", flags=ADMIN),
    b"ROLE": Command(server.role, 1, "master: every node takes adds", "server", flags=FAST),
    b"CLUSTER": Command(server.cluster, -2, "No sharding: every node has every counter", "cluster", flags=SLOW),
    b"TIME": Command(server.time, 1, "The node's clock", "server", flags=FAST),
    b"INCR": Command(keys.incr, 2, "Add 1 to a counter", "string", ONE_KEY, ADDS),
    b"DECR": Command(keys.decr, 2, "Subtract 1 from a counter", "string", ONE_KEY, ADDS),
    b"INCRBY": Command(keys.incrby, 3, "Add to a counter", "string", ONE_KEY, ADDS),
    b"DECRBY": Command(keys.decrby, 3, "Subtract from a counter", "string", ONE_KEY, ADDS),
    b"INCREX": Command(increase.increx, -2, "Add to a counter within bounds, with an expiry", "string", ONE_KEY, ADDS),
    b"WAIT": Command(
        keys.wait, 3, "Wait until other nodes hold this connection's writes durably", "connection", flags=SLOW
    ),
}
"""Every command, in the order in which COMMAND lists them."""

ADD_COMMANDS = {name: each for name, each in COMMANDS.items() if each.flags == ADDS and not each.is_transaction}
"""Those that are put into batches."""
