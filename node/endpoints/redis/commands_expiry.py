"""Commands that end counters, and that show when they end: EXPIRE, TTL, PERSIST, DEL and the like.

Pure. The table of all commands is in `commands`; each of these is executed as a transaction. Names that no counter can
have are those of counters that do not exist.
"""

from gossip_counter.node.core.transactions import Transaction
from gossip_counter.node.endpoints.redis.arguments import counter, shown
from gossip_counter.node.endpoints.redis.context import ClientInfo, Handler, Node
from gossip_counter.node.endpoints.redis.expiry import Unit, deadline_ms, whole
from gossip_counter.node.endpoints.redis.replies import SYNTAX, Error, Reply

MAX_DELETED = 5000
"""Counters that one command deletes or sets: each takes some tens of microseconds."""

MAX_FLUSHED = 10_000
"""Counters that FLUSHALL deletes: nobody else is served meanwhile."""

_CONDITIONS = {b"NX", b"XX", b"GT", b"LT"}


def existing(transaction: Transaction, key: bytes) -> str | None:
    """The name of the counter at a key, if there is one."""
    try:
        name = counter(key)
    except ValueError:
        return None
    return None if transaction.value(name) is None else name


def expires(command: str, unit: Unit) -> Handler:
    """EXPIRE key time [NX|XX|GT|LT], PEXPIRE, EXPIREAT and PEXPIREAT: whether that was done."""

    def handle(_: ClientInfo, node: Node, words: list[bytes]) -> Reply:
        conditions = _conditions(words[2:])
        if isinstance(conditions, Error):
            return conditions
        transaction = node.running
        at_ms = deadline_ms(whole(words[1]) * unit.ms, unit, transaction.now_ms, command)
        name = existing(transaction, words[0])
        if name is None or not _holds(conditions, at_ms, transaction.deadline_ms(name)):
            return 0
        end(transaction, name, at_ms)
        return 1

    return handle


def _conditions(words: list[bytes]) -> set[bytes] | Error:
    for word in words:
        if word.upper() not in _CONDITIONS:
            return Error(f"ERR Unsupported option {shown(word)}")
    found = {word.upper() for word in words}
    if b"NX" in found and len(found) > 1:
        return Error("ERR NX and XX, GT or LT options at the same time are not compatible")
    if found >= {b"GT", b"LT"}:
        return Error("ERR GT and LT options at the same time are not compatible")
    return found


def _holds(conditions: set[bytes], at_ms: int, before_ms: int) -> bool:
    """Whether a deadline may take the place of one; 0: there is none, which is later than any."""
    return not (
        (b"NX" in conditions and before_ms)
        or (b"XX" in conditions and not before_ms)
        or (b"GT" in conditions and not 0 < before_ms < at_ms)
        or (b"LT" in conditions and 0 < before_ms <= at_ms)
    )


def end(transaction: Transaction, name: str, at_ms: int) -> None:
    """Have a counter end at a time: at once, if that is over."""
    if at_ms <= transaction.now_ms:
        transaction.delete(name)
    else:
        transaction.expire(name, at_ms)


def persist(_: ClientInfo, node: Node, words: list[bytes]) -> Reply:
    """PERSIST key: whether it had an expiry."""
    transaction = node.running
    name = existing(transaction, words[0])
    if name is None or not transaction.deadline_ms(name):
        return 0
    transaction.expire(name, 0)
    return 1


def shows(unit: Unit) -> Handler:
    """TTL key, PTTL, EXPIRETIME and PEXPIRETIME: -1 for a counter that does not end, -2 for none."""

    def handle(_: ClientInfo, node: Node, words: list[bytes]) -> Reply:
        transaction = node.running
        name = existing(transaction, words[0])
        if name is None:
            return -2
        at_ms = transaction.deadline_ms(name)
        if not at_ms:
            return -1
        time_ms = at_ms if unit.is_unix else max(0, at_ms - transaction.now_ms)
        return (time_ms + unit.ms // 2) // unit.ms

    return handle


def deletes(command: str) -> Handler:
    """DEL key ..., and UNLINK: how many there were."""

    def handle(_: ClientInfo, node: Node, words: list[bytes]) -> Reply:
        if len(words) > MAX_DELETED:
            return Error(f"ERR {command} takes at most {MAX_DELETED} keys here: send several")
        return sum(_deletes(node.running, key) for key in words)

    return handle


def _deletes(transaction: Transaction, key: bytes) -> bool:
    """Delete the counter at a key; whether there was one."""
    name = existing(transaction, key)
    if name is not None:
        transaction.delete(name)
    return name is not None


def flushes(command: str) -> Handler:
    """FLUSHALL [ASYNC|SYNC], and FLUSHDB: delete all that this node knows of."""

    def handle(_: ClientInfo, node: Node, words: list[bytes]) -> Reply:
        if len(words) > 1 or (words and words[0].upper() not in {b"ASYNC", b"SYNC"}):
            return SYNTAX
        if not node.allows_flush:
            return Error(f"ERR {command} is not allowed here: start the node with --allow-flush")
        if len(node.names) > MAX_FLUSHED:
            return Error(f"ERR {command} deletes at most {MAX_FLUSHED} counters, and there are more: use SCAN and DEL")
        transaction = node.running
        names = dict.fromkeys([*node.names, *transaction.names])
        node.executing.will_change(len(names))
        for name in names:
            if transaction.value(name) is not None:
                transaction.delete(name)
        return "OK"

    return handle
