"""The commands of the Redis door but for its adds: what each takes, and what it answers.

Pure. A command gets the session it came in, a view of the node, and its arguments; it returns a reply as data, which
`node.resp` puts into bytes. Names, arities, replies and error texts are those of Redis. What can't merge, such as
a value that is set or a key that is deleted, is refused with one sentence that says why.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hmac import compare_digest
from typing import Any, NamedTuple

from gossip_counter.node.core import limits
from gossip_counter.node.core.replica import Replica

Reply = Any
"""None is null, bytes a bulk string, str a simple one, Error an error; int, and lists and maps of these."""


class Error(str):
    """An error reply: its first word is the code."""

    __slots__ = ()


class Verbatim(bytes):
    """A text for people, which protocol 3 tells apart."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class View:
    """What commands may know of the node, and the world's clock."""

    replica: Replica
    version: str
    info: Callable[[], dict[str, dict[str, object]]]
    """Sections of facts, by name."""
    time_us: Callable[[], int]
    """Microseconds since 1970."""
    settings: dict[str, str]
    """What CONFIG GET tells."""
    password: bytes | None = None
    """What clients must tell; None if nothing."""

    def value(self, counter: str) -> int | None:
        """A counter's value; None for one that nobody ever wrote to."""
        state = self.replica.state
        self.replica.stats.reads += 1
        return state.value(counter) if state.has(counter) else None

    @property
    def names(self) -> Sequence[str]:
        """All counters, in an order in which new ones come last."""
        return self.replica.state.names


@dataclass(slots=True)
class Session:
    """What a connection is: its number, its protocol (2 or 3), the name that it gave itself."""

    id: int
    address: str
    protocol: int = 2
    name: str = ""
    library_name: str = ""
    library_version: str = ""
    authenticated: bool = True
    refusing: bool = False
    """After MULTI, which is not possible here: nothing of what follows may be done by itself."""
    closing: bool = False

    @property
    def may_add(self) -> bool:
        """Whether adds are taken."""
        return self.authenticated and not self.refusing


Handler = Callable[[Session, View, list[bytes]], Reply]


class Command(NamedTuple):
    """`arity` counts the command's name, as Redis does; negative: at least so many."""

    handle: Handler
    arity: int
    summary: str
    group: str = "generic"


class Adding(NamedTuple):
    """A command that adds: its arity, and which way it counts."""

    arity: int
    sign: int


ADDS = {b"INCR": Adding(2, 1), b"DECR": Adding(2, -1), b"INCRBY": Adding(3, 1), b"DECRBY": Adding(3, -1)}

WAIT_ARITY = 3

_MOST_SHOWN = 128
"""Bytes of what a client said that an error repeats."""

MAX_SCANNED = 10_000
"""Names that one SCAN looks at, whatever COUNT says."""

MAX_PATTERN_BYTES = 1024
"""Twice what names can be in escapes, each, and some sets."""

_CLOSE, _ESCAPE = b"]\\"

NOT_AN_INTEGER = Error("ERR value is not an integer or out of range")
OVERFLOW = Error("ERR increment or decrement would overflow")
SYNTAX = Error("ERR syntax error")
ABORTED = Error("EXECABORT Transaction discarded because of previous errors.")
REFUSED = Error("ERR not done, since it is part of a transaction that is not possible here")
NO_HTTP = Error("ERR this is no HTTP server")
NO_AUTH = Error("NOAUTH Authentication required.")
WRONG_PASSWORD = Error("WRONGPASS invalid username-password pair or user is disabled.")
_HTTP = {b"POST", b"HOST:"}
_FOR_STRANGERS = {b"AUTH", b"HELLO", b"QUIT", b"RESET"}

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


def dispatch(session: Session, view: View, words: list[bytes]) -> Reply:
    """The reply to any command but an add."""
    name = words[0].upper()
    command = COMMANDS.get(name)
    if not session.authenticated and name not in _FOR_STRANGERS:
        return NO_AUTH
    if session.refusing and name not in {b"QUIT", b"RESET"}:
        session.refusing = name not in {b"EXEC", b"DISCARD"}
        return REFUSED if session.refusing else ABORTED if name == b"EXEC" else "OK"
    if command is None:
        session.refusing = name == b"MULTI"
        session.closing = name in _HTTP  # a browser was led here, and what it says next is somebody else's wish
        return NO_HTTP if session.closing else _unknown(words)
    if not _fits(command.arity, len(words)):
        return wrong_arity(words[0])
    return command.handle(session, view, words[1:])


def wait(words: list[bytes]) -> tuple[int, int] | Error:
    """What a WAIT asks: for how many other members, and for how many milliseconds at the most; 0: for ever."""
    if len(words) != WAIT_ARITY:
        return wrong_arity(words[0])
    try:
        members = integer(words[1])
    except ValueError:
        return NOT_AN_INTEGER
    try:
        timeout_ms = integer(words[2])
    except ValueError:
        return Error("ERR timeout is not an integer or out of range")
    return (members, timeout_ms) if timeout_ms >= 0 else Error("ERR timeout is negative")


def wrong_arity(name: bytes) -> Error:
    """Redis's words for it."""
    return Error(f"ERR wrong number of arguments for '{_shown(name).lower()}' command")


def integer(text: bytes) -> int:
    """An integer of at most 2**63 - 1 either way, as Redis takes it: no spaces, no plus, no leading zeros.

    Raises `ValueError`.
    """
    value = int(text)
    if b"%d" % value != text or abs(value) > limits.MAX_COUNT:
        raise ValueError("not as an integer is written, or beyond 64 bits")
    return value


def counter(key: bytes) -> str:
    """The counter that a key names. Raises `ValueError`."""
    if len(key) > limits.MAX_NAME_BYTES:
        raise ValueError(f"a key must be at most {limits.MAX_NAME_BYTES} bytes, not {len(key)}")
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise ValueError("a key must be UTF-8") from None


def matching(pattern: bytes) -> Callable[[bytes], object]:
    """What tells whether a name is like a glob. Raises `ValueError` for one that is too long to be tried.

    Once a part between two stars has matched as early as it can, no later place for it could do better: so none is
    tried, and the time is at most the product of both lengths.
    """
    if len(pattern) > MAX_PATTERN_BYTES:
        raise ValueError(f"a pattern must be at most {MAX_PATTERN_BYTES} bytes, not {len(pattern)}")
    first, *rest = _parts(pattern)
    starred = b"".join(b"(?>.*?%s)" % part for part in rest[:-1])
    last = b".*%s" % rest[-1] if rest else b""
    return re.compile(first + starred + last, re.DOTALL).fullmatch


def _parts(pattern: bytes) -> list[bytes]:
    """What stands between the stars of a glob, as regular expressions."""
    parts, at = [b""], 0
    while at < len(pattern):
        match pattern[at : at + 1]:
            case b"*":
                parts.append(b"")
                at += 1
            case b"?":
                parts[-1] += b"."
                at += 1
            case b"[":
                one_of, at = _one_of(pattern, at + 1)
                parts[-1] += one_of
            case literal:
                at += literal == b"\\" and at + 1 < len(pattern)
                parts[-1] += re.escape(pattern[at : at + 1])
                at += 1
    return parts


def _one_of(pattern: bytes, at: int) -> tuple[bytes, int]:
    """A set of bytes, its bracket opened, as a regular expression, and where the glob goes on."""
    negated = pattern[at : at + 1] == b"^"
    at += negated
    ranges = b""
    while at < len(pattern) and pattern[at] != _CLOSE:
        at += pattern[at] == _ESCAPE and at + 1 < len(pattern)
        low = high = pattern[at]
        if pattern[at + 1 : at + 2] == b"-" and at + 2 < len(pattern) and pattern[at + 2] != _CLOSE:
            at += 2
            high = pattern[at]
        ranges += b"\\x%02x-\\x%02x" % (min(low, high), max(low, high))
        at += 1
    nothing = b"." if negated else b"(?!)"
    return (b"[%s%s]" % (b"^" if negated else b"", ranges) if ranges else nothing), at + 1


def _shown(word: bytes) -> str:
    return word[:_MOST_SHOWN].decode(errors="replace")


def _unknown(words: list[bytes]) -> Error:
    name = _shown(words[0])
    for why, names in _WHY_NOT.items():
        if name.upper() in names.split():
            return Error(f"ERR {name.upper()} is not possible here: {why}")
    arguments = ""
    for word in words[1:]:
        if len(arguments) >= _MOST_SHOWN:
            break
        arguments += f"'{_shown(word)}' "
    return Error(f"ERR unknown command '{name}', with args beginning with: {arguments}")


# Reading.


def _value(view: View, key: bytes) -> int | None:
    try:
        return view.value(counter(key))
    except ValueError:
        return None  # no counter has such a name


def _get(_: Session, view: View, words: list[bytes]) -> Reply:
    value = _value(view, words[0])
    return None if value is None else b"%d" % value


def _mget(session: Session, view: View, words: list[bytes]) -> Reply:
    return [_get(session, view, [key]) for key in words]


def _exists(_: Session, view: View, words: list[bytes]) -> Reply:
    return sum(_value(view, key) is not None for key in words)


def _type(_: Session, view: View, words: list[bytes]) -> Reply:
    return "none" if _value(view, words[0]) is None else "string"


def _ttl(_: Session, view: View, words: list[bytes]) -> Reply:
    return -2 if _value(view, words[0]) is None else -1


def _strlen(_: Session, view: View, words: list[bytes]) -> Reply:
    value = _value(view, words[0])
    return 0 if value is None else len(b"%d" % value)


def _dbsize(_: Session, view: View, _words: list[bytes]) -> Reply:
    return len(view.names)


def _keys(_: Session, view: View, words: list[bytes]) -> Reply:
    try:
        is_like = matching(words[0])
    except ValueError as error:
        return Error(f"ERR {error}")
    return [key for name in view.names if is_like(key := name.encode())]


def _scan(_: Session, view: View, words: list[bytes]) -> Reply:
    """Cursors are places in the order of names: a counter that was there from the beginning is told exactly once."""
    options = {b"MATCH": b"*", b"COUNT": b"10", b"TYPE": b"string"}
    for option, given in zip(words[1::2], words[2::2], strict=False):
        if option.upper() not in options:
            return SYNTAX
        options[option.upper()] = given
    if len(words) % 2 == 0:
        return SYNTAX
    try:
        cursor = integer(words[0])
    except ValueError:
        cursor = -1
    try:
        count = integer(options[b"COUNT"])
    except ValueError:
        return NOT_AN_INTEGER
    try:
        is_like = matching(options[b"MATCH"])
    except ValueError as error:
        return Error(f"ERR {error}")
    if cursor < 0 or count < 1:
        return SYNTAX if count < 1 else Error("ERR invalid cursor")
    names = view.names
    upto = min(len(names), cursor + min(count, MAX_SCANNED))
    found = [key for name in names[cursor:upto] if is_like(key := name.encode())]
    done = upto >= len(names)
    return [b"0" if done else b"%d" % upto, list(found) if options[b"TYPE"].lower() == b"string" else []]


# The connection.


def _ping(_: Session, _view: View, words: list[bytes]) -> Reply:
    if len(words) > 1:
        return wrong_arity(b"ping")
    return words[0] if words else "PONG"


def _echo(_: Session, _view: View, words: list[bytes]) -> Reply:
    return words[0]


def _quit(session: Session, _view: View, _words: list[bytes]) -> Reply:
    session.closing = True
    return "OK"


def _select(_: Session, _view: View, words: list[bytes]) -> Reply:
    try:
        return "OK" if integer(words[0]) == 0 else Error("ERR DB index is out of range")
    except ValueError:
        return NOT_AN_INTEGER


def _reset(session: Session, view: View, _words: list[bytes]) -> Reply:
    session.protocol, session.name, session.authenticated = 2, "", view.password is None
    session.refusing = False
    return "RESET"


def _hello(session: Session, view: View, words: list[bytes]) -> Reply:
    if words:
        try:
            wanted = integer(words[0])
        except ValueError:
            return Error("ERR Protocol version is not an integer or out of range")
        if wanted not in (2, 3):
            return Error("NOPROTO unsupported protocol version")
        if error := _take_options(session, view, wanted, words[1:]):
            return error
    if not session.authenticated:
        return _NO_AUTH_IN_HELLO
    return {
        "server": b"gossip-counter",
        "version": view.version.encode(),
        "proto": session.protocol,
        "id": session.id,
        "mode": b"standalone",
        "role": b"master",
        "modules": [],
    }


def _take_options(session: Session, view: View, protocol: int, rest: list[bytes]) -> Error | None:
    """Do what HELLO says, all of it or nothing."""
    name, authenticated = session.name, session.authenticated
    at = 0
    while at < len(rest):
        match rest[at].upper(), len(rest) - at:
            case b"SETNAME", n if n >= 2:
                error, name, at = _bad_name(rest[at + 1]), rest[at + 1].decode(errors="replace"), at + 2
            case b"AUTH", n if n >= 3:
                error, authenticated, at = _wrong(view, rest[at + 1], rest[at + 2]), True, at + 3
            case _:
                error = Error(f"ERR Syntax error in HELLO option '{_shown(rest[at])}'")
        if error:
            return error
    if authenticated:
        session.protocol, session.name, session.authenticated = protocol, name, True
    return None


def _auth(session: Session, view: View, words: list[bytes]) -> Reply:
    if len(words) > 2:
        return SYNTAX
    if view.password is None and len(words) == 1:
        return Error(
            "ERR AUTH <password> called without any password configured for the default user."
            " Are you sure your configuration is correct?"
        )
    if error := _wrong(view, words[0] if len(words) == 2 else b"default", words[-1]):
        return error
    session.authenticated = True
    return "OK"


def _wrong(view: View, user: bytes, password: bytes) -> Error | None:
    """Whether that is not the password; the time it takes tells nothing of the right one."""
    right = view.password
    if user == b"default" and (right is None or compare_digest(password, right)):
        return None
    return WRONG_PASSWORD


def _by_subcommand(command: str, subcommands: dict[bytes, Command]) -> Handler:
    """A command that is several; the arity of each counts both names."""

    def handle(session: Session, view: View, words: list[bytes]) -> Reply:
        name, *arguments = words
        if name.upper() == b"HELP":
            told = [f"{each.decode()}: {found.summary}" for each, found in subcommands.items()]
            return [f"{command} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:", *told]
        found = subcommands.get(name.upper())
        if found is None:
            return Error(f"ERR unknown subcommand '{_shown(name)}'. Try {command} HELP.")
        if not _fits(found.arity, len(words) + 1):
            return Error(f"ERR wrong number of arguments for '{command.lower()}|{_shown(name).lower()}' command")
        return found.handle(session, view, arguments)

    return handle


def _fits(arity: int, words: int) -> bool:
    return words == arity if arity > 0 else words >= -arity


def _client_id(session: Session, _view: View, _words: list[bytes]) -> Reply:
    return session.id


def _get_name(session: Session, _view: View, _words: list[bytes]) -> Reply:
    return session.name.encode() or None


def _client_info(session: Session, _view: View, _words: list[bytes]) -> Reply:
    told = f"id={session.id} addr={session.address} name={session.name} resp={session.protocol}"
    return Verbatim(f"{told} lib-name={session.library_name} lib-ver={session.library_version}\n".encode())


def _ok(_: Session, _view: View, _words: list[bytes]) -> Reply:
    return "OK"


def _set_info(session: Session, _view: View, words: list[bytes]) -> Reply:
    what, told = words[0].upper(), words[1]
    if what not in {b"LIB-NAME", b"LIB-VER"}:
        return Error(f"ERR Unrecognized option '{_shown(words[0])}'")
    if _bad_name(told):
        return Error(f"ERR {_shown(what).lower()} cannot contain spaces, newlines or special characters.")
    if what == b"LIB-NAME":
        session.library_name = told.decode()
    else:
        session.library_version = told.decode()
    return "OK"


def _set_name(session: Session, _view: View, words: list[bytes]) -> Reply:
    if error := _bad_name(words[0]):
        return error
    session.name = words[0].decode()
    return "OK"


def _bad_name(name: bytes) -> Error | None:
    if any(not 0x21 <= byte <= 0x7E for byte in name):
        return Error("ERR Client names cannot contain spaces, newlines or special characters.")
    return None


# The server.


def _elsewhere(_: Session, _view: View, words: list[bytes]) -> Reply:
    raise RuntimeError(f"{words!r} was to be seen to by the connection")


def _role(_: Session, _view: View, _words: list[bytes]) -> Reply:
    return [b"master", 0, []]


def _no_cluster(_: Session, _view: View, _words: list[bytes]) -> Reply:
    return Error("ERR This instance has cluster support disabled")


def _command(session: Session, view: View, words: list[bytes]) -> Reply:
    return _COMMAND(session, view, words) if words else _command_info(session, view, words)


def _command_count(_: Session, _view: View, _words: list[bytes]) -> Reply:
    return len(_ALL)


def _command_list(_: Session, _view: View, _words: list[bytes]) -> Reply:
    return [name.lower() for name in _ALL]


def _command_docs(_: Session, _view: View, words: list[bytes]) -> Reply:
    told = [name.upper() for name in words] or list(_ALL)
    return {_shown(name).lower(): _docs(_ALL[name]) for name in told if name in _ALL}


def _command_info(_: Session, _view: View, words: list[bytes]) -> Reply:
    asked = [name.upper() for name in words] or list(_ALL)
    return [_described(name, _ALL[name]) if name in _ALL else None for name in asked]


def _described(name: bytes, command: Command) -> Reply:
    """Name, arity, flags, first key, last key, step; and what Redis 7 tells beside: categories, tips, keys, more."""
    adds = name in ADDS
    key = 1 if adds or name in _WITH_KEY else 0
    last = -1 if name in _WITH_KEYS else key
    return [
        name.lower(),
        command.arity,
        ["write" if adds else "readonly", "fast"],
        key,
        last,
        min(key, 1),
        [],
        [],
        [],
        [],
    ]


def _docs(command: Command) -> Reply:
    return {"summary": command.summary.encode(), "group": command.group.encode()}


def _config_get(_: Session, view: View, words: list[bytes]) -> Reply:
    try:
        patterns = [matching(pattern.lower()) for pattern in words]
    except ValueError as error:
        return Error(f"ERR {error}")
    return {
        name: value.encode()
        for name, value in view.settings.items()
        if any(is_like(name.encode()) for is_like in patterns)
    }


def _info(_: Session, view: View, words: list[bytes]) -> Reply:
    sections = view.info()
    wanted = {_shown(word).lower() for word in words} - {"all", "default", "everything"}
    lines = []
    for section, facts in sections.items():
        if not wanted or section.lower() in wanted:
            lines += [f"# {section}", *(f"{name}:{value}" for name, value in facts.items()), ""]
    return Verbatim("\r\n".join(lines).encode())


def _time(_: Session, view: View, _words: list[bytes]) -> Reply:
    seconds, micros = divmod(view.time_us(), 1_000_000)
    return [b"%d" % seconds, b"%d" % micros]


_CLIENT = _by_subcommand("CLIENT", {
    b"ID": Command(_client_id, 2, "This connection's number"),
    b"GETNAME": Command(_get_name, 2, "The name that this connection was given"),
    b"SETNAME": Command(_set_name, 3, "Give this connection a name"),
    b"SETINFO": Command(_set_info, 4, "Tell the client library's LIB-NAME or LIB-VER"),
    b"INFO": Command(_client_info, 2, "Facts about this connection"),
    b"NO-EVICT": Command(_ok, 3, "Nothing is evicted here"),
    b"NO-TOUCH": Command(_ok, 3, "Reads leave no trace here"),
})  # fmt: skip
_COMMAND = _by_subcommand("COMMAND", {
    b"COUNT": Command(_command_count, 2, "How many commands there are"),
    b"DOCS": Command(_command_docs, -2, "What commands do"),
    b"INFO": Command(_command_info, -2, "Arity, flags and keys of commands"),
    b"LIST": Command(_command_list, 2, "The names of all commands"),
})  # fmt: skip
_CONFIG = _by_subcommand("CONFIG", {b"GET": Command(_config_get, -3, "Settings like some patterns")})
COMMANDS = {
    b"GET": Command(_get, 2, "This node's value of a counter", "string"),
    b"MGET": Command(_mget, -2, "This node's values of some counters", "string"),
    b"EXISTS": Command(_exists, -2, "How many of these counters anybody ever wrote to"),
    b"TYPE": Command(_type, 2, "string for a counter, else none"),
    b"TTL": Command(_ttl, 2, "-1 for a counter, which stays, else -2"),
    b"PTTL": Command(_ttl, 2, "-1 for a counter, which stays, else -2"),
    b"TOUCH": Command(_exists, -2, "How many of these counters anybody ever wrote to"),
    b"STRLEN": Command(_strlen, 2, "How many bytes a counter's value has when written", "string"),
    b"KEYS": Command(_keys, 2, "The names of all counters like a pattern"),
    b"SCAN": Command(_scan, -2, "The names of counters, some at a time"),
    b"DBSIZE": Command(_dbsize, 1, "How many counters there are", "server"),
    b"PING": Command(_ping, -1, "Whether the node answers", "connection"),
    b"ECHO": Command(_echo, 2, "Its argument", "connection"),
    b"QUIT": Command(_quit, -1, "End the connection", "connection"),
    b"SELECT": Command(_select, 2, "There is database 0 only", "connection"),
    b"RESET": Command(_reset, 1, "Make the connection as it was when new", "connection"),
    b"HELLO": Command(_hello, -1, "Choose the protocol, 2 or 3", "connection"),
    b"AUTH": Command(_auth, -2, "Tell the password", "connection"),
    b"CLIENT": Command(_CLIENT, -2, "Facts about this connection", "connection"),
    b"COMMAND": Command(_command, -1, "Facts about the commands", "server"),
    b"CONFIG": Command(_CONFIG, -2, "Settings, to be read only", "server"),
    b"INFO": Command(_info, -1, "Facts about the node and its gossip", "server"),
    b"ROLE": Command(_role, 1, "master: every node takes adds", "server"),
    b"CLUSTER": Command(_no_cluster, -2, "There is no sharding: every node has every counter", "cluster"),
    b"TIME": Command(_time, 1, "The node's clock", "server"),
}
_OUTSIDE = {
    name: Command(_elsewhere, add.arity, f"{'Add to' if add.sign > 0 else 'Take from'} a counter", "string")
    for name, add in ADDS.items()
} | {b"WAIT": Command(_elsewhere, WAIT_ARITY, "Wait until other nodes hold this connection's writes durably")}
"""Commands that are not dispatched, since they wait: `node.resp` sees to them."""
_ALL = COMMANDS | _OUTSIDE
_NO_AUTH_IN_HELLO = Error(
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass>"
    " option can be used to authenticate the client and select the RESP protocol version at the same time"
)
_WITH_KEY = {b"GET", b"MGET", b"EXISTS", b"TYPE", b"STRLEN", b"TTL", b"PTTL", b"TOUCH"}
_WITH_KEYS = {b"MGET", b"EXISTS", b"TOUCH"}
