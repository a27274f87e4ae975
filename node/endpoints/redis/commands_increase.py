"""INCREX: an add with bounds and an expiry, as Redis 8.8 has it, with the conditions of Valkey's.

Pure. The table of all commands is in `commands`. It is an add: it goes into a batch, and is recognised by its bytes.
"""

from functools import lru_cache

from gossip_counter.node.core.increases import Increase
from gossip_counter.node.core.limits import MAX_COUNT
from gossip_counter.node.endpoints.redis.arguments import LEAST, counter
from gossip_counter.node.endpoints.redis.context import Add, ClientInfo, Node
from gossip_counter.node.endpoints.redis.expiry import CommandError, Options, invalid, whole
from gossip_counter.node.endpoints.redis.replies import SYNTAX, Error

_FLAGS = {b"SATURATE", b"PERSIST", b"ENX", b"NX", b"XX"}
_NAMED = {b"BYINT", b"BYFLOAT", b"LBOUND", b"UBOUND"}

MAX_WORDS = 24
"""Beside the key: twice as many as all options have. What is kept of a command is bounded by it."""

_TOO_MANY_WORDS = Error(f"ERR too many words: 'increx' takes at most {MAX_WORDS} after the key")
_NO_FLOATS = Error("ERR BYFLOAT is not possible here: counters are whole numbers, whose sum is the same in any order")
_NO_EXPIRY = Error("ERR ENX flag requires an expiration")
_NO_RANGE = Error("ERR LBOUND can't be greater than UBOUND")


def increx(_: ClientInfo, _node: Node, words: list[bytes]) -> Add | Error:
    """INCREX key [NX|XX] [BYINT delta] [LBOUND least] [UBOUND most] [SATURATE] [EX seconds|PX ms|EXAT time|PXAT ms|
    PERSIST] [ENX].
    """
    if len(words) > MAX_WORDS + 1:
        return _TOO_MANY_WORDS
    try:
        return counter(words[0]), _terms(*words[1:])
    except ValueError as error:
        return Error(f"ERR {error}")
    except CommandError as error:
        return error.error


@lru_cache(maxsize=1024)  # clients send the same few options all the time; valid ones are few and short
def _terms(*words: bytes) -> Increase:
    options = Options(words, _FLAGS, _NAMED)
    flags, values = options.flags, options.values
    options.allow_one_of(b"NX", b"XX")
    options.allow_one_of(b"EX", b"PERSIST")
    options.allow_one_of(b"ENX", b"PERSIST")
    if b"BYFLOAT" in values:
        raise CommandError(SYNTAX if b"BYINT" in values else _NO_FLOATS)
    if b"ENX" in flags and options.unit is None:
        raise CommandError(_NO_EXPIRY)
    delta, lower, upper = (
        whole(values.get(name, b"%d" % default))
        for name, default in ((b"BYINT", 1), (b"LBOUND", LEAST), (b"UBOUND", MAX_COUNT))
    )
    if lower > upper:
        raise CommandError(_NO_RANGE)
    lasts_ms, ends_ms = _expiry(options)
    exists = True if b"XX" in flags else False if b"NX" in flags else None
    return Increase(
        delta, max(lower, -MAX_COUNT), upper, b"SATURATE" in flags, lasts_ms, ends_ms, b"ENX" in flags, exists
    )


def _expiry(options: Options) -> tuple[int | None, int | None]:
    """How long the counter lasts, and when it ends."""
    if options.unit is None:
        return None, 0 if b"PERSIST" in options.flags else None
    time_ms = options.time_ms("increx")
    if options.unit.is_unix:
        return None, time_ms
    if time_ms > MAX_COUNT // 2:  # so that no clock adds up to more than 64 bits
        raise invalid("increx")
    return time_ms, None
