"""Where to go on with an actor whose versions are equal at two nodes and whose rows are not.

Pure. Nobody can say which rows differ, so all of the actor's rows are exchanged from version 0, an answer at a time.
The cursor is the version up to which that has been done with a peer; after the last row it begins anew, if hashes
still differ. What a peer has not named from 0 to its last row it does not store.
"""

from dataclasses import dataclass, field

from gossip_counter.node.core.counts import Actor
from gossip_counter.node.core.gossip.messages import Delta
from gossip_counter.node.core.holdings import Statement


@dataclass(slots=True)
class _Cursor:
    """How far rows were compared with one peer."""

    at: int = 0
    named: set[str] | None = field(default_factory=set)
    """The counters of all rows up to there, as the peer stores them; None: not known of all."""


class RepairCursors:
    """By peer and actor, the version up to which its rows were compared."""

    def __init__(self) -> None:
        self._cursors: dict[tuple[str, Actor], _Cursor] = {}

    def forget(self, peer: str) -> None:
        """Who was a peer is none any more."""
        for key in [each for each in self._cursors if each[0] == peer]:
            del self._cursors[key]

    def compare(self, peer: str, actor: Actor, version: int) -> int:
        """Versions are equal and hashes are not: the version to ask from."""
        cursor = self._cursors.get((peer, actor))
        if cursor is None or cursor.at >= version:
            cursor = self._cursors[peer, actor] = _Cursor()
        return cursor.at

    def resume(self, peer: str, actor: Actor, mine: int, theirs: int) -> int:
        """We are behind: the version to ask from. Rows that we had no room for are not asked for again and again."""
        cursor = self._cursors.get((peer, actor))
        return cursor.at if cursor and mine < cursor.at < theirs else mine

    def skip(self, peer: str, delta: Delta) -> None:
        """There was no room for all rows of a delta: go on after them all the same."""
        self._cursors[peer, delta.actor] = _Cursor(delta.rows[-1][1].version, None)

    def merged(self, peer: str, delta: Delta, version: int) -> None:
        """A delta was taken in; `version` is that of all its actor's rows."""
        cursor = self._cursors.get((peer, delta.actor))
        if cursor is None or delta.since != cursor.at or not delta.reach:
            return
        if delta.reach >= version:
            del self._cursors[peer, delta.actor]
            return
        cursor.at = delta.reach
        if not delta.floors.forgotten:
            cursor.named = None  # it forgot nothing, so nothing need be remembered
        elif cursor.named is not None:
            cursor.named.update(counter for counter, _ in delta.rows)

    def statement(self, peer: str, delta: Delta) -> Statement | None:
        """What a delta says of all rows above a version, together with those before it; None if it was cut short."""
        if delta.since is None or not delta.is_whole:
            return None
        named = {counter for counter, _ in delta.rows}
        cursor = self._cursors.get((peer, delta.actor))
        if cursor and cursor.at == delta.since and cursor.named is not None:
            return Statement(0, named | cursor.named)
        return Statement(delta.since, named)
