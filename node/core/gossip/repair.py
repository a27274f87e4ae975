"""Where to go on with an actor whose versions are equal at two nodes and whose rows are not.

Pure. Nobody can say which rows differ, so all of the actor's rows are exchanged from version 0, an answer at a time.
The cursor is the version up to which that has been done; after the last row it begins anew, if hashes still differ.
"""

from gossip_counter.node.core.counts import Actor
from gossip_counter.node.core.messages import Delta


class RepairCursors:
    """By actor, the version up to which its rows were compared."""

    def __init__(self) -> None:
        self._cursors: dict[Actor, int] = {}

    def compare(self, actor: Actor, version: int) -> int:
        """Versions are equal and hashes are not: the version to ask from."""
        cursor = self._cursors.get(actor, 0)
        self._cursors[actor] = cursor if cursor < version else 0
        return self._cursors[actor]

    def resume(self, actor: Actor, mine: int, theirs: int) -> int:
        """We are behind: the version to ask from. Rows that we had no room for are not asked for again and again."""
        cursor = self._cursors.get(actor, 0)
        return cursor if mine < cursor < theirs else mine

    def skip(self, delta: Delta) -> None:
        """There was no room for all rows of a delta: go on after them all the same."""
        self._cursors[delta.actor] = delta.rows[-1][1].version

    def merged(self, delta: Delta, version: int) -> None:
        """A delta was taken in; `version` is that of all its actor's rows."""
        if delta.since is not None and delta.reach and self._cursors.get(delta.actor) == delta.since:
            if delta.reach < version:
                self._cursors[delta.actor] = delta.reach
            else:
                del self._cursors[delta.actor]
