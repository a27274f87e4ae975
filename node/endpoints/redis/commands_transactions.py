"""MULTI, EXEC, DISCARD, WATCH and UNWATCH.

Pure. The table of all commands is in `commands`, and what becomes of a transaction's commands in `transaction`.
"""

from gossip_counter.node.core.watches import Watch
from gossip_counter.node.endpoints.redis.arguments import counter
from gossip_counter.node.endpoints.redis.context import ClientInfo, Node
from gossip_counter.node.endpoints.redis.replies import NULL_ARRAY, Error, Reply, head
from gossip_counter.node.endpoints.redis.transaction import DelayedReply, Execution, Queued

MAX_WATCHED = 1000
"""Keys that one client may watch."""

NEVER_QUEUED = {b"MULTI", b"EXEC", b"DISCARD", b"WATCH", b"QUIT", b"RESET"}
"""Commands that are executed at once, although a MULTI came before them."""

_ABORTED = Error("EXECABORT Transaction discarded because of previous errors.")
_TOO_MANY = Error(f"ERR a connection can watch at most {MAX_WATCHED} keys")


def multi(client: ClientInfo, _: Node, _words: list[bytes]) -> Reply:
    """MULTI."""
    if client.queued:
        return Error("ERR MULTI calls can not be nested")
    client.queued = Queued()
    return "OK"


def discard(client: ClientInfo, node: Node, _words: list[bytes]) -> Reply:
    """DISCARD."""
    if not client.queued:
        return Error("ERR DISCARD without MULTI")
    drop(client, node)
    return "OK"


def exec_(client: ClientInfo, node: Node, _words: list[bytes]) -> Reply | DelayedReply:
    """EXEC: each reply, those to errors among them; null if what was watched has changed, be it not yet durable."""
    queued, watch = client.queued, client.watch
    if not queued:
        return Error("ERR EXEC without MULTI")
    execution = Execution(client, node)
    changed = watch is not None and (watch.changed or any(map(execution.transaction.is_changing, watch.counters)))
    drop(client, node)
    if queued.is_broken:
        return _ABORTED
    if changed:
        return NULL_ARRAY
    replies = [execution.reply(command, words) for command, words in queued.commands]
    return execution.delay(head(len(replies)) + b"".join(replies))


def note_error(client: ClientInfo, node: Node, name: bytes, error: Error) -> Error:
    """The reply to a command that is wrong: EXEC will execute none of the others, or was itself the wrong one."""
    if name == b"EXEC":
        drop(client, node)
        return Error(f"EXECABORT Transaction discarded because of: {error.removeprefix('ERR ')}")
    if client.queued:
        client.queued.break_off()
    return error


def watch(client: ClientInfo, node: Node, words: list[bytes]) -> Reply:
    """WATCH key ...: let EXEC do nothing if one of them changes until then, by whomever."""
    if client.queued:
        return Error("ERR WATCH inside MULTI is not allowed")
    watch = client.watch = client.watch or Watch()
    names = watch.counters | {name for name in map(_name, words) if name is not None}
    if len(names) > MAX_WATCHED:
        return _TOO_MANY
    for name in names - watch.counters:
        node.watches.add(watch, name)
    return "OK"


def _name(key: bytes) -> str | None:
    try:
        return counter(key)
    except ValueError:
        return None  # no counter has such a name, ever


def unwatch(client: ClientInfo, node: Node, _words: list[bytes]) -> Reply:
    """UNWATCH."""
    if client.watch:
        node.watches.remove(client.watch)
        client.watch = None
    return "OK"


def drop(client: ClientInfo, node: Node) -> None:
    """Forget what is queued and watched: the transaction is over."""
    client.queued = None
    unwatch(client, node, [])
