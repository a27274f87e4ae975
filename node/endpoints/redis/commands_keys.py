"""Commands about counters: adding, reading, listing names, and waiting for copies.

Pure. The table of all commands is in `commands`.
"""

from gossip_counter.node.endpoints.redis.arguments import counter, integer
from gossip_counter.node.endpoints.redis.context import Add, ClientInfo, Handler, Node, Wait
from gossip_counter.node.endpoints.redis.glob import matching
from gossip_counter.node.endpoints.redis.replies import NOT_AN_INTEGER, SYNTAX, Error, Reply

MAX_SCANNED = 10_000
"""Names that one SCAN looks at, whatever COUNT asks for."""

_NO_COPIES = Error("ERR WAIT needs delta gossip: full-state gossip does not tell which writes peers hold")


def _adds_one(sign: int) -> Handler:
    """INCR key and DECR key."""

    def handle(_: ClientInfo, _node: Node, words: list[bytes]) -> Add | Error:
        try:
            return counter(words[0]), sign
        except ValueError as error:
            return Error(f"ERR {error}")

    return handle


def _adds_delta(sign: int) -> Handler:
    """INCRBY key delta and DECRBY key delta."""

    def handle(_: ClientInfo, _node: Node, words: list[bytes]) -> Add | Error:
        try:
            name = counter(words[0])
        except ValueError as error:
            return Error(f"ERR {error}")
        try:
            return name, sign * integer(words[1])
        except ValueError:
            return NOT_AN_INTEGER

    return handle


incr, decr = _adds_one(1), _adds_one(-1)
incrby, decrby = _adds_delta(1), _adds_delta(-1)


def wait(client: ClientInfo, node: Node, words: list[bytes]) -> Reply | Wait:
    """WAIT members milliseconds: until so many other nodes hold this client's adds durably."""
    try:
        members = integer(words[0])
    except ValueError:
        return NOT_AN_INTEGER
    try:
        timeout_ms = integer(words[1])
    except ValueError:
        return Error("ERR timeout is not an integer or out of range")
    if timeout_ms < 0:
        return Error("ERR timeout is negative")
    if not node.counts_copies:
        return _NO_COPIES
    return node.peers() if client.written is None else Wait(members, timeout_ms)  # everybody holds what is nothing


def _value(node: Node, key: bytes) -> int | None:
    try:
        return node.value(counter(key))
    except ValueError:
        return None  # no counter has such a name


def get(_: ClientInfo, node: Node, words: list[bytes]) -> Reply:
    """GET key."""
    value = _value(node, words[0])
    return None if value is None else b"%d" % value


def mget(client: ClientInfo, node: Node, words: list[bytes]) -> Reply:
    """MGET key ..."""
    return [get(client, node, [key]) for key in words]


def exists(_: ClientInfo, node: Node, words: list[bytes]) -> Reply:
    """EXISTS key ..., and TOUCH."""
    return sum(_value(node, key) is not None for key in words)


def type_(_: ClientInfo, node: Node, words: list[bytes]) -> Reply:
    """TYPE key."""
    return "none" if _value(node, words[0]) is None else "string"


def ttl(_: ClientInfo, node: Node, words: list[bytes]) -> Reply:
    """TTL key, and PTTL: counters have no expiry."""
    return -2 if _value(node, words[0]) is None else -1


def strlen(_: ClientInfo, node: Node, words: list[bytes]) -> Reply:
    """STRLEN key."""
    value = _value(node, words[0])
    return 0 if value is None else len(b"%d" % value)


def dbsize(_: ClientInfo, node: Node, _words: list[bytes]) -> Reply:
    """DBSIZE."""
    return len(node.names)


def keys(_: ClientInfo, node: Node, words: list[bytes]) -> Reply:
    """KEYS pattern."""
    try:
        matches = matching(words[0])
    except ValueError as error:
        return Error(f"ERR {error}")
    return [key for name in node.names if matches(key := name.encode())]


def scan(_: ClientInfo, node: Node, words: list[bytes]) -> Reply:
    """SCAN cursor [MATCH pattern] [COUNT names] [TYPE type].

    A counter that exists all the time is listed exactly once.
    """
    options = {b"MATCH": b"*", b"COUNT": b"10", b"TYPE": b"string"}
    for option, given in zip(words[1::2], words[2::2], strict=False):
        if option.upper() not in options:
            return SYNTAX
        options[option.upper()] = given
    if len(words) % 2 == 0:
        return SYNTAX
    try:
        count = integer(options[b"COUNT"])
    except ValueError:
        return NOT_AN_INTEGER
    try:
        matches = matching(options[b"MATCH"])
    except ValueError as error:
        return Error(f"ERR {error}")
    cursor = _cursor(words[0])
    if cursor is None or count < 1:
        return SYNTAX if count < 1 else Error("ERR invalid cursor")
    names, following = node.names.after(cursor, min(count, MAX_SCANNED))
    found = [key for name in names if matches(key := name.encode())]
    return [b"%d" % following, found if options[b"TYPE"].lower() == b"string" else []]


def _cursor(word: bytes) -> int | None:
    try:
        cursor = integer(word)
    except ValueError:
        return None
    return cursor if cursor >= 0 else None
