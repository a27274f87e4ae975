"""Who this node writes as: its actor, and what to do when somebody else wrote as the same one.

Pure. An actor is a node's name and an *epoch*, a random number that lasts as long as the node's journal. Two lives of a
node may share an actor only if the second still has every row the first ever sent. Where a journal was lost, a new
epoch begins at the start. Where it is merely older than what peers were sent, that shows when a peer has rows of our
own actor that we never wrote. From then on this node is another actor, and adds again (*re-applies*) what max-merge
absorbed.

Max-merge absorbs: a row with 100 increments of a former life, merged with ours of 3, stays 100, and our 3 are gone.
"""

from base64 import urlsafe_b64encode
from collections.abc import Iterable, Set
from dataclasses import dataclass
from random import Random

from gossip_counter.node.core.batch import Batch, Tally
from gossip_counter.node.core.cluster_id import ClusterId
from gossip_counter.node.core.counts import (
    ZERO,
    Actor,
    AnyRow,
    EndingRow,
    HeldRow,
    as_ending,
    as_row,
    is_same_lineage,
    merged,
)
from gossip_counter.node.core.gossip.messages import Delta
from gossip_counter.node.core.holdings import Stored
from gossip_counter.node.core.limits import MAX_OWN_VERSION
from gossip_counter.node.core.roster import MemberRecord
from gossip_counter.node.core.state import State

Increment = tuple[str, int]
"""A counter, and what is added to it; negative: a decrement."""


def mint(name: str, epoch: int) -> Actor:
    """The actor of one life of the node `name`: `epoch` is a random number in [0, 2**63) that no other life has."""
    return Actor(f"{name}.{urlsafe_b64encode(epoch.to_bytes(8)).decode().rstrip('=')}")


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a journal gives back: the actor that this node last wrote as, the rows of all actors, the cluster's id, and
    the members.

    Without an actor, the rows count and none of them is this node's own: the journal is a copy of another.
    """

    actor: Actor | None
    stored: tuple[Stored, ...] = ()
    cluster_id: ClusterId | None = None
    members: tuple[MemberRecord, ...] = ()


class Identity:
    """The actor that this node writes as, from start to end. Without `recovered` it begins a new epoch."""

    def __init__(self, name: str, rng: Random, state: State, recovered: Recovered | None) -> None:
        """`state` must hold the recovered rows already."""
        self.boot = rng.getrandbits(32)
        """A random number of this process."""
        self._name = name
        self._rng = rng
        self._state = state
        self._inherited = recovered.actor if recovered else None
        """The actor that an earlier life wrote as too: peers may hold later rows of it than we do."""
        self._written = Tally()
        """What this life added as that actor."""
        self._durable = self._inherited
        """The actor that the journal names."""
        # Detached rows of our own: we had seen those of a former life, and ended before the new epoch was durable.
        # Nor is there an end to versions: whoever comes near it goes on as another.
        is_usable = (
            self._inherited
            and not state.has_detached(self._inherited)
            and state.version(self._inherited) < MAX_OWN_VERSION
        )
        self.actor = state.owner = self._inherited if self._inherited and is_usable else self._mint()

    @property
    def is_inherited(self) -> bool:
        """Whether an earlier life wrote as our actor too."""
        return self.actor == self._inherited

    @property
    def is_durable(self) -> bool:
        """Whether the journal names our actor, or none: no later life can be taken for a former one."""
        return self._durable in (None, self.actor)

    def begin_epoch(self) -> None:
        """Be another actor from now on."""
        self.actor = self._state.owner = self._mint()

    def _mint(self) -> Actor:
        return mint(self._name, self._rng.getrandbits(63))

    def committed(self, actor: Actor, written: Batch, absorbed: Iterable[Increment]) -> None:
        """What was written as `actor` is durable; the part of it that max-merge absorbed is none of its rows."""
        self._durable = actor
        if actor == self._inherited:
            self._written.include(written)
            self._written.include(written.ended)
            for counter, delta in absorbed:
                self._written.forget(counter, delta)
            for counter, row in written.ending.items():
                self._forget_what_ended(counter, row)

    def _forget_what_ended(self, counter: str, row: EndingRow) -> None:
        """Of what this life added, the row has no more: the rest was deleted, or its life is over."""
        plus, minus = self._written.of(counter)
        ended_p, ended_n = plus - (row.p - row.taken.p), minus - (row.n - row.taken.n)
        if ended_p > 0:
            self._written.forget(counter, ended_p)
        if ended_n > 0:
            self._written.forget(counter, -ended_n)

    def absorbed_by(self, deltas: tuple[Delta, ...]) -> list[Increment]:
        """What max-merge with these rows will absorb of the adds that this life made as the inherited actor.

        A larger total than ours was never ours, so of what we added on top of the common past it has nothing, and the
        maximum will have none of it. (A smaller one may be an echo of ours: then nothing is lost but what it had.)
        """
        absorbed: list[Increment] = []
        for delta in deltas:
            if delta.actor == self._inherited:
                for counter, row in delta.rows:
                    absorbed += self._absorbed_by_row(delta.actor, counter, row)
        return absorbed

    def _absorbed_by_row(self, actor: Actor, counter: str, row: AnyRow) -> list[Increment]:
        plus, minus = self._written.of(counter)
        if not (plus or minus):
            return []
        mine = self._state.row(actor, counter)
        if mine is ZERO:
            return []  # we have forgotten ours, and what we added is over or deleted
        p, n = (plus if row[0] > mine.p else 0), (minus if row[1] > mine.n else 0)
        if not is_same_lineage(mine, row):  # the newer takes the place of the other, with all that it counted
            worth = self._state.lives(counter).worth(actor, as_ending(mine))
            p, n = (min(plus, worth[0]), min(minus, worth[1])) if merged(mine, row) is not mine else (0, 0)
        absorbed = [(counter, delta) for delta in (p, -n) if delta]
        for each in absorbed:
            self._written.forget(*each)
        return absorbed

    def refused(self, actor: Actor, rows: dict[str, HeldRow], written: Batch) -> set[str]:
        """The counters of a batch whose durable rows must not enter the state; what was added is added once more.

        Either our row was forgotten while its next one was being stored: were that to enter, what has ended would be
        back. Or another life wrote the same versions, and has forgotten those.
        """
        state = self._state
        if actor == self.actor:
            forgotten = state.forgotten.get(actor, set()) & rows.keys()
            return {name for name in forgotten if state.row(actor, name) is ZERO and _just_grew(as_ending(rows[name]))}
        log = state.log(actor)
        return {name for name in written.net if log.has_forgotten(name, as_row(rows[name]))}

    def absorbed_from(
        self, actor: Actor, rows: dict[str, HeldRow], written: Batch, refused: Set[str]
    ) -> list[Increment]:
        """What of a batch is lost: all that was added to rows that are `refused`, and what max-merge will absorb, where
        another life wrote the same rows while they were being committed.
        """
        lost = [(counter, _added(rows[counter], counter, written)) for counter in refused]
        if actor != self.actor:
            others = ((counter, row) for counter, row in rows.items() if counter not in refused)
            lost += [(counter, self._absorbed_from_row(actor, counter, row, written)) for counter, row in others]
        return [(counter, delta) for counter, (p, n) in lost for delta in (p, -n) if delta]

    def _absorbed_from_row(self, actor: Actor, counter: str, ours: HeldRow, written: Batch) -> tuple[int, int]:
        other = self._state.row(actor, counter)
        if not is_same_lineage(other, as_row(ours)):
            return _added(ours, counter, written) if merged(other, as_row(ours)) is other else (0, 0)
        plus, minus = _tally(counter, written).of(counter)
        # What the others' count is above ours of before, but no more than what we added.
        p, n = min(plus, other.p - (ours[0] - plus)), min(minus, other.n - (ours[1] - minus))
        return max(p, 0), max(n, 0)


def _just_grew(row: EndingRow) -> bool:
    """Whether a batch did nothing but add to a row of a counter of which it knew no end, and no new delete."""
    return not (row.deadline or row.taken.seen or row.born == row.version)


def _tally(counter: str, written: Batch) -> Tally:
    return written.ended if counter in written.ending else written


def _added(row: HeldRow, counter: str, written: Batch) -> tuple[int, int]:
    """What a batch added to a row, and subtracted, and no delete took since."""
    plus, minus = _tally(counter, written).of(counter)
    taken = as_ending(row).taken
    return max(0, min(plus, row[0] - taken.p)), max(0, min(minus, row[1] - taken.n))
