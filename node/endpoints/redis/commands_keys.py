"""Commands about counters: adding, reading, and waiting for copies.

Pure. The table of all commands is in `commands`.
"""

from gossip_counter.node.endpoints.redis.arguments import LEAST, counter, in_steps, integer
from gossip_counter.node.endpoints.redis.context import Add, ClientInfo, Handler, Node, Wait
from gossip_counter.node.endpoints.redis.replies import (
    DECREMENT_OVERFLOW,
    NOT_AN_INTEGER,
    SYNTAX,
    Error,
    Pieces,
    Reply,
    encode,
    encode_all,
    head,
)

KEYS_A_STEP = 256
"""Keys of one command that are looked up before others are served."""

ROW_BYTES = 300
"""Memory that a row takes beside its counter's name."""

_NO_FREQUENCY = Error(
    "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between"
    " policies at runtime LRU and LFU data will take some time to adjust."
)
_NO_COPIES = Error("ERR WAIT needs delta gossip: full-state gossip does not show which writes peers have")


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
            return DECREMENT_OVERFLOW if sign < 0 and words[1] == b"%d" % LEAST else NOT_AN_INTEGER

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
    if client.written is None:  # nothing was written, so every peer has it
        return node.peers()
    return Wait(members, timeout_ms)


def value_at(node: Node, key: bytes) -> int | None:
    """This node's value of the counter at a key; None if there is no such counter."""
    try:
        return node.value(counter(key))
    except ValueError:
        return None  # no counter has such a name


def get(_: ClientInfo, node: Node, words: list[bytes]) -> Reply:
    """GET key."""
    try:
        value = node.value(counter(words[0]))
    except ValueError as error:
        return Error(f"ERR {error}")
    return _written(value)


def _written(value: int | None) -> bytes | None:
    return None if value is None else b"%d" % value


def mget(client: ClientInfo, node: Node, words: list[bytes]) -> Pieces:
    """MGET key ... Each value is that of the moment in which it is sent."""
    yield head(len(words))
    for some in in_steps(words, KEYS_A_STEP):
        yield encode_all([_written(value_at(node, key)) for key in some], client.protocol)


def exists(_: ClientInfo, node: Node, words: list[bytes]) -> Pieces:
    """EXISTS key ..., and TOUCH."""
    found = 0
    for some in in_steps(words, KEYS_A_STEP):
        found += sum(value_at(node, key) is not None for key in some)
        yield 0
    yield encode(found, 2)


def type_(_: ClientInfo, node: Node, words: list[bytes]) -> Reply:
    """TYPE key."""
    return "none" if value_at(node, words[0]) is None else "string"


def object_encoding(_: ClientInfo, node: Node, words: list[bytes]) -> Reply:
    """OBJECT ENCODING key: a counter is a whole number."""
    return None if value_at(node, words[0]) is None else b"int"


def object_refcount(_: ClientInfo, node: Node, words: list[bytes]) -> Reply:
    """OBJECT REFCOUNT key."""
    return None if value_at(node, words[0]) is None else 1


def object_idletime(_: ClientInfo, node: Node, words: list[bytes]) -> Reply:
    """OBJECT IDLETIME key: 0, since it is not recorded when a counter was used."""
    return None if value_at(node, words[0]) is None else 0


def object_freq(_: ClientInfo, node: Node, words: list[bytes]) -> Reply:
    """OBJECT FREQ key: an error, as of a Redis that evicts nothing."""
    return None if value_at(node, words[0]) is None else _NO_FREQUENCY


def memory_usage(_: ClientInfo, node: Node, words: list[bytes]) -> Reply:
    """MEMORY USAGE key [SAMPLES count]: about how many bytes one row of the counter takes."""
    if words[1:]:
        try:
            is_option = len(words) == 3 and words[1].upper() == b"SAMPLES" and integer(words[2]) >= 0
        except ValueError:
            return NOT_AN_INTEGER
        if not is_option:
            return SYNTAX
    return None if value_at(node, words[0]) is None else ROW_BYTES + len(words[0])


def strlen(_: ClientInfo, node: Node, words: list[bytes]) -> Reply:
    """STRLEN key."""
    value = value_at(node, words[0])
    return 0 if value is None else len(b"%d" % value)
