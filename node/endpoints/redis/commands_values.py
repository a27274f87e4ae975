"""Commands that set a counter, or read one and end it: SET, GETSET, GETDEL, MSET and the like.

Pure. The table of all commands is in `commands`; each of these is executed as a transaction. To set a counter is to
delete it and to add to it, in one write: adds that this node has not received yet still count afterwards.
"""

from collections.abc import Mapping

from gossip_counter.node.core.transactions import Transaction
from gossip_counter.node.endpoints.redis.arguments import counter, integer, shown, wrong_arity
from gossip_counter.node.endpoints.redis.commands_expiry import MAX_DELETED, end, existing
from gossip_counter.node.endpoints.redis.context import ClientInfo, Handler, Node
from gossip_counter.node.endpoints.redis.expiry import CommandError, Options, Unit, deadline_ms, positive_ms
from gossip_counter.node.endpoints.redis.replies import Error, Reply, refusal


def put(transaction: Transaction, name: str, value: int, keeps_end: bool = False) -> None:
    """Have a counter come to a value, and not end; or when it did before. Raises `CommandError` or `RequestError`."""
    until_ms = transaction.deadline_ms(name) if keeps_end else 0
    if transaction.value(name) is not None:
        transaction.delete(name)
    if value:
        added = transaction.add(name, value)
        if not isinstance(added, int):
            raise CommandError(refusal(added))
    else:
        transaction.create(name)
    if until_ms:
        transaction.expire(name, until_ms)


def _name(key: bytes) -> str:
    try:
        return counter(key)
    except ValueError as error:
        raise CommandError(Error(f"ERR {error}")) from None


def _value(command: str, text: bytes) -> int:
    try:
        return integer(text)
    except ValueError:
        raise CommandError(
            Error(f"ERR {command} of '{shown(text)}' is not possible here: a counter is an integer of 64 bits")
        ) from None


def _shown(value: int | None) -> bytes | None:
    return None if value is None else b"%d" % value


def set_(_: ClientInfo, node: Node, words: list[bytes]) -> Reply:
    """SET key value [NX|XX] [GET] [EX seconds|PX ms|EXAT time|PXAT ms|KEEPTTL]."""
    options = Options(words[2:], {b"NX", b"XX", b"GET", b"KEEPTTL"})
    options.allow_one_of(b"NX", b"XX")
    options.allow_one_of(b"EX", b"KEEPTTL")
    transaction = node.running
    at_ms = _deadline(options, transaction, "set")
    name, value = _name(words[0]), _value("SET", words[1])
    before = transaction.value(name)
    if (b"NX" if before is not None else b"XX") in options.flags:
        return _shown(before) if b"GET" in options.flags else None
    put(transaction, name, value, b"KEEPTTL" in options.flags)
    if at_ms is not None:
        end(transaction, name, at_ms)
    return _shown(before) if b"GET" in options.flags else "OK"


def _deadline(options: Options, transaction: Transaction, command: str) -> int | None:
    if options.unit is None:
        return None
    return deadline_ms(options.time_ms(command), options.unit, transaction.now_ms, command)


def sets_for(command: str, unit: Unit) -> Handler:
    """SETEX key seconds value, and PSETEX."""

    def handle(_: ClientInfo, node: Node, words: list[bytes]) -> Reply:
        transaction = node.running
        at_ms = deadline_ms(positive_ms(words[1], unit, command), unit, transaction.now_ms, command)
        name = _name(words[0])
        put(transaction, name, _value(command.upper(), words[2]))
        end(transaction, name, at_ms)
        return "OK"

    return handle


def setnx(_: ClientInfo, node: Node, words: list[bytes]) -> Reply:
    """SETNX key value: whether it was set."""
    name, value = _name(words[0]), _value("SETNX", words[1])
    if node.running.value(name) is not None:
        return 0
    put(node.running, name, value)
    return 1


def getset(_: ClientInfo, node: Node, words: list[bytes]) -> Reply:
    """GETSET key value: the value before."""
    name, value = _name(words[0]), _value("GETSET", words[1])
    before = node.running.value(name)
    put(node.running, name, value)
    return _shown(before)


def getdel(_: ClientInfo, node: Node, words: list[bytes]) -> Reply:
    """GETDEL key: the value, of a counter that is gone then."""
    transaction = node.running
    name = existing(transaction, words[0])
    if name is None:
        return None
    value = transaction.value(name)
    transaction.delete(name)
    return _shown(value)


def getex(_: ClientInfo, node: Node, words: list[bytes]) -> Reply:
    """GETEX key [EX seconds|PX ms|EXAT time|PXAT ms|PERSIST]: the value, of a counter that ends then."""
    options = Options(words[1:], {b"PERSIST"})
    options.allow_one_of(b"EX", b"PERSIST")
    transaction = node.running
    name = existing(transaction, words[0])
    if name is None:
        return None
    at_ms, value = _deadline(options, transaction, "getex"), transaction.value(name)
    if at_ms is not None:
        end(transaction, name, at_ms)
    elif b"PERSIST" in options.flags and transaction.deadline_ms(name):
        transaction.expire(name, 0)
    return _shown(value)


def mset(_: ClientInfo, node: Node, words: list[bytes]) -> Reply:
    """MSET key value ...: all of them, or none if there is no room."""
    _put_all(node.running, _pairs("MSET", words))
    return "OK"


def msetnx(_: ClientInfo, node: Node, words: list[bytes]) -> Reply:
    """MSETNX key value ...: all of them, or none if one of the counters exists."""
    pairs = _pairs("MSETNX", words)
    if any(node.running.value(name) is not None for name in pairs):
        return 0
    _put_all(node.running, pairs)
    return 1


def _put_all(transaction: Transaction, values: Mapping[str, int]) -> None:
    transaction.check_room(values)
    for name, value in values.items():
        put(transaction, name, value)


def _pairs(command: str, words: list[bytes]) -> dict[str, int]:
    """By name, the last value given. Raises `CommandError`."""
    if len(words) % 2:
        raise CommandError(wrong_arity(command.encode()))
    if len(words) > 2 * MAX_DELETED:
        raise CommandError(Error(f"ERR {command} takes at most {MAX_DELETED} keys here: send several"))
    return {_name(key): _value(command, text) for key, text in zip(words[::2], words[1::2], strict=True)}
