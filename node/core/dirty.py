"""Which of the rows that peers sent are not durable yet.

Pure. Peers hold these rows too, so they are stored lazily, with the next commit of our own or at the next tick.
"""

from collections.abc import Iterable

from gossip_counter.node.core.counts import Actor, HeldRow
from gossip_counter.node.core.holdings import Stored
from gossip_counter.node.core.state import State


class DirtyRows:
    """Counters whose rows differ from the journal's, by actor."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._rows: dict[Actor, set[str]] = {}

    def __contains__(self, actor: Actor) -> bool:
        return actor in self._rows or actor in self._state.forgotten

    def __bool__(self) -> bool:
        """Whether there is anything to store, be it only how far an actor's rows reach."""
        return bool(self._rows or self._state.forgotten)

    def __len__(self) -> int:
        return sum(map(len, self._rows.values()))

    def add(self, actor: Actor, counters: Iterable[str]) -> None:
        """These rows changed; none of them, and only how far the actor's rows reach did."""
        self._rows.setdefault(actor, set()).update(counters)

    def discard(self, actor: Actor, counters: Iterable[str]) -> None:
        """These rows are stored by other means: newer ones take their place."""
        if actor in self._rows:
            self._rows[actor].difference_update(counters)

    def take(self) -> tuple[Stored, ...]:
        """All of them as they are now; they are dirty no more."""
        for actor, counters in self._state.forgotten.items():
            self.add(actor, counters)
        self._state.forgotten.clear()
        if not self._rows:
            return ()
        rows, self._rows = self._rows, {}
        return tuple(self._stored(actor, counters) for actor, counters in rows.items())

    def _stored(self, actor: Actor, counters: set[str]) -> Stored:
        state, names = self._state, sorted(counters)
        held: Iterable[HeldRow] = state.contiguous(actor, names)
        if state.has_detached(actor):  # which count in place of those
            held = (state.row(actor, name) for name in names)
        rows = dict(zip(names, held, strict=True))
        return Stored(actor, state.version(actor), state.source_version(actor), rows, state.floors(actor))
