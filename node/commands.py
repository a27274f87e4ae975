"""The commands of the Redis door but for its adds: what each takes, and what it answers.

Pure. A command gets the session it came in, a view of the node, and its arguments; it returns a reply as data, which
`node.resp` puts into bytes. Names, arities, replies and error texts are those of Redis. What can't merge, such as
a value that is set or a key that is deleted, is refused with one sentence that says why.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hmac import compare_digest
from typing import Any, NamedTuple, Protocol

from node import limits

Reply = Any
"""None is null, bytes a bulk string, str a simple one, Error an error; int, and lists and maps of these."""


class Error(str):
    """An error reply: its first word is the code."""

    __slots__ = ()


class View(Protocol):
    """What commands may know of the node."""

    def value(self, counter: str) -> int | None:
        """A counter's value; None for one that nobody ever wrote to."""

    def names(self) -> Sequence[str]:
        """All counters, in an order in which new ones come last."""

    def info(self) -> dict[str, dict[str, object]]:
        """Sections of facts, by name."""

    def time_us(self) -> int:
        """Microseconds since 1970."""

    def settings(self) -> dict[str, str]:
        """What CONFIG GET tells."""

    def version(self) -> str:
        """This program's version."""

    def password(self) -> bytes | None:
        """What clients must tell; None if nothing."""


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
    closing: bool = False


Handler = Callable[[Session, View, list[bytes]], Reply]


class Command(NamedTuple):
    """`arity` counts the command's name, as Redis does; negative: at least so many."""

    handle: Handler
    arity: int
    summary: str
    group: str = "generic"


ADDS = {b"INCR": 2, b"DECR": 2, b"INCRBY": 3, b"DECRBY": 3}
"""The commands that add, and their arity."""

WAIT_ARITY = 3

NOT_AN_INTEGER = Error("ERR value is not an integer or out of range")
OVERFLOW = Error("ERR increment or decrement would overflow")
SYNTAX = Error("ERR syntax error")
NO_AUTH = Error("NOAUTH Authentication required.")
WRONG_PASSWORD = Error("WRONGPASS invalid username-password pair or user is disabled.")
_FOR_STRANGERS = {b"AUTH", b"HELLO", b"QUIT", b"RESET"}

_WHY_NOT = {
    "a counter has no value to set, since nodes that set different ones could never agree; use INCRBY and DECRBY": (
        "SET SETNX SETEX PSETEX GETSET MSET MSETNX APPEND SETRANGE SETBIT GETEX GETDEL RENAME COPY"
    ),
    "what one node deletes, another may be adding to; use another counter instead": (
        "DEL UNLINK FLUSHALL FLUSHDB EXPIRE PEXPIRE EXPIREAT PEXPIREAT PERSIST"
    ),
    "counters are whole numbers, whose sum is the same in any order": "INCRBYFLOAT",
    "nodes add without asking each other, so nothing can be done only if nobody else does something meanwhile": (
        "MULTI EXEC DISCARD WATCH UNWATCH EVAL EVALSHA"
    ),
}


def dispatch(session: Session, view: View, words: list[bytes]) -> Reply:
    """The reply to any command but an add."""
    name = words[0].upper()
    command = COMMANDS.get(name)
    if not session.authenticated and name not in _FOR_STRANGERS:
        return NO_AUTH
    if command is None:
        return _unknown(words)
    if len(words) != command.arity if command.arity > 0 else len(words) < -command.arity:
        return wrong_arity(words[0])
    return command.handle(session, view, words[1:])


def wait(words: list[bytes]) -> tuple[int, int] | Error:
    """What a WAIT asks: for how many other members, and for how many milliseconds at the most; 0: for ever."""
    if len(words) != WAIT_ARITY:
        return wrong_arity(words[0])
    try:
        members, timeout_ms = integer(words[1]), integer(words[2])
    except ValueError:
        return NOT_AN_INTEGER
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


def matches(pattern: bytes, name: bytes) -> bool:
    """Whether a name is like a glob; time: at most the product of both lengths."""
    at, p, star, mark = 0, 0, -1, 0
    while at < len(name):
        if p < len(pattern) and pattern[p] == 0x2A:
            star, mark, p = p, at, p + 1
            continue
        after = _one(pattern, p, name[at]) if p < len(pattern) else -1
        if after >= 0:
            at, p = at + 1, after
        elif star >= 0:
            mark += 1
            at, p = mark, star + 1
        else:
            return False
    return all(byte == 0x2A for byte in pattern[p:])


def _one(pattern: bytes, p: int, byte: int) -> int:
    """Where the pattern goes on if its next part takes this byte, else -1."""
    match pattern[p]:
        case 0x3F:  # ?
            return p + 1
        case 0x5B:  # [
            return _one_of(pattern, p + 1, byte)
        case 0x5C if p + 1 < len(pattern):  # backslash
            return p + 2 if pattern[p + 1] == byte else -1
        case literal:
            return p + 1 if literal == byte else -1


def _one_of(pattern: bytes, p: int, byte: int) -> int:
    negated = pattern[p : p + 1] == b"^"
    p += negated
    found = False
    while p < len(pattern) and pattern[p] != 0x5D:
        if pattern[p] == 0x5C and p + 1 < len(pattern):
            p += 1
        low = high = pattern[p]
        if pattern[p + 1 : p + 2] == b"-" and p + 2 < len(pattern) and pattern[p + 2] != 0x5D:
            high = pattern[p + 2]
            p += 2
        found |= min(low, high) <= byte <= max(low, high)
        p += 1
    return p + 1 if found != negated else -1


def _shown(word: bytes) -> str:
    return word[:128].decode(errors="replace")


def _unknown(words: list[bytes]) -> Error:
    name = _shown(words[0])
    for why, names in _WHY_NOT.items():
        if name.upper() in names.split():
            return Error(f"ERR {name.upper()} is not possible here: {why}")
    arguments = " ".join(f"'{_shown(word)}'" for word in words[1:4])
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


def _strlen(_: Session, view: View, words: list[bytes]) -> Reply:
    value = _value(view, words[0])
    return 0 if value is None else len(b"%d" % value)


def _dbsize(_: Session, view: View, _words: list[bytes]) -> Reply:
    return len(view.names())


def _keys(_: Session, view: View, words: list[bytes]) -> Reply:
    return [key for name in view.names() if matches(words[0], key := name.encode())]


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
        cursor, count = integer(words[0]), integer(options[b"COUNT"])
    except ValueError:
        return Error("ERR invalid cursor") if not words[0].isdigit() else NOT_AN_INTEGER
    if cursor < 0 or count < 1:
        return SYNTAX if count < 1 else Error("ERR invalid cursor")
    names = view.names()
    upto = min(len(names), cursor + count)
    found = [key for name in names[cursor:upto] if matches(options[b"MATCH"], key := name.encode())]
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
    session.protocol, session.name, session.authenticated = 2, "", view.password() is None
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
        "version": view.version().encode(),
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
                error, name, at = _bad_name(rest[at + 1]), _shown(rest[at + 1]), at + 2
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
    if view.password() is None and len(words) == 1:
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
    right = view.password()
    if user == b"default" and (right is None or compare_digest(password, right)):
        return None
    return WRONG_PASSWORD


def _client(session: Session, _view: View, words: list[bytes]) -> Reply:
    match words[0].upper(), len(words):
        case b"ID", 1:
            return session.id
        case b"GETNAME", 1:
            return session.name.encode() or None
        case b"SETNAME", 2:
            return _set_name(session, words[1])
        case b"SETINFO", 3:
            return _set_info(session, words[1].upper(), words[2])
        case b"INFO", 1:
            told = f"id={session.id} addr={session.address} name={session.name} resp={session.protocol}"
            return f"{told} lib-name={session.library_name} lib-ver={session.library_version}\n".encode()
    return Error(f"ERR unknown subcommand or wrong number of arguments for '{_shown(words[0])}'. Try CLIENT HELP.")


def _set_info(session: Session, what: bytes, told: bytes) -> Reply:
    if what not in {b"LIB-NAME", b"LIB-VER"}:
        return Error(f"ERR Unrecognized option '{_shown(what)}'")
    if _bad_name(told):
        return Error(f"ERR {_shown(what).lower()} cannot contain spaces, newlines or special characters.")
    if what == b"LIB-NAME":
        session.library_name = _shown(told)
    else:
        session.library_version = _shown(told)
    return "OK"


def _set_name(session: Session, name: bytes) -> Reply:
    if error := _bad_name(name):
        return error
    session.name = _shown(name)
    return "OK"


def _bad_name(name: bytes) -> Error | None:
    if any(not 0x21 <= byte <= 0x7E for byte in name):
        return Error("ERR Client names cannot contain spaces, newlines or special characters.")
    return None


# The server.


def _command(_: Session, _view: View, words: list[bytes]) -> Reply:
    arities = {name: command.arity for name, command in COMMANDS.items()} | ADDS | {b"WAIT": WAIT_ARITY}
    match words[0].upper() if words else b"INFO", words[1:]:
        case b"COUNT", []:
            return len(arities)
        case b"DOCS", names:
            told = [name.upper() for name in names] or list(COMMANDS)
            return {_shown(name).lower(): _docs(COMMANDS[name]) for name in told if name in COMMANDS}
        case b"INFO", names:
            asked = [name.upper() for name in names] or list(arities)
            return [_described(name, arities[name]) if name in arities else None for name in asked]
        case _:
            return Error(f"ERR unknown subcommand '{_shown(words[0])}'. Try COMMAND HELP.")


def _described(name: bytes, arity: int) -> Reply:
    adds = name in ADDS
    key = 1 if adds or name in _WITH_KEY else 0
    last = -1 if name in _WITH_KEYS else key
    return [name.lower(), arity, ["write", "fast"] if adds else ["readonly", "fast"], key, last, min(key, 1)]


def _docs(command: Command) -> Reply:
    return {"summary": command.summary.encode(), "group": command.group.encode()}


def _config(_: Session, view: View, words: list[bytes]) -> Reply:
    if words[0].upper() != b"GET" or len(words) < 2:
        return Error(f"ERR unknown subcommand or wrong number of arguments for '{_shown(words[0])}'. Try CONFIG HELP.")
    settings = view.settings()
    return {
        name: value.encode()
        for name, value in settings.items()
        if any(matches(pattern.lower(), name.encode()) for pattern in words[1:])
    }


def _info(_: Session, view: View, words: list[bytes]) -> Reply:
    sections = view.info()
    wanted = {_shown(word).lower() for word in words} - {"all", "default", "everything"}
    lines = []
    for section, facts in sections.items():
        if not wanted or section.lower() in wanted:
            lines += [f"# {section}", *(f"{name}:{value}" for name, value in facts.items()), ""]
    return "\r\n".join(lines).encode()


def _time(_: Session, view: View, _words: list[bytes]) -> Reply:
    seconds, micros = divmod(view.time_us(), 1_000_000)
    return [b"%d" % seconds, b"%d" % micros]


COMMANDS = {
    b"GET": Command(_get, 2, "This node's value of a counter", "string"),
    b"MGET": Command(_mget, -2, "This node's values of some counters", "string"),
    b"EXISTS": Command(_exists, -2, "How many of these counters anybody ever wrote to"),
    b"TYPE": Command(_type, 2, "string for a counter, else none"),
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
    b"CLIENT": Command(_client, -2, "Facts about this connection", "connection"),
    b"COMMAND": Command(_command, -1, "Facts about the commands", "server"),
    b"CONFIG": Command(_config, -2, "Settings, to be read only", "server"),
    b"INFO": Command(_info, -1, "Facts about the node and its gossip", "server"),
    b"TIME": Command(_time, 1, "The node's clock", "server"),
}
_NO_AUTH_IN_HELLO = Error(
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass>"
    " option can be used to authenticate the client and select the RESP protocol version at the same time"
)
_WITH_KEY = {b"GET", b"MGET", b"EXISTS", b"TYPE", b"STRLEN"}
_WITH_KEYS = {b"MGET", b"EXISTS"}
