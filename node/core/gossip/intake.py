"""What happens to rows that arrive: within bounds they are merged, and it is noted what of them was news.

Pure.
"""

from dataclasses import replace

from gossip_counter.node.core.admission import Admission
from gossip_counter.node.core.counts import Actor, NamedRow, is_news, merged
from gossip_counter.node.core.dirty import DirtyRows
from gossip_counter.node.core.gossip.messages import Delta
from gossip_counter.node.core.gossip.repair import RepairCursors
from gossip_counter.node.core.holdings import NO_FLOORS
from gossip_counter.node.core.limits import MAX_TIES
from gossip_counter.node.core.lives import LIKE_MS
from gossip_counter.node.core.membership import Membership
from gossip_counter.node.core.state import State
from gossip_counter.node.core.stats import Stats


class Intake:
    """Merges peers' rows into the state."""

    def __init__(
        self,
        state: State,
        stats: Stats,
        admission: Admission,
        membership: Membership,
        dirty: DirtyRows,
        repair: RepairCursors,
    ) -> None:
        self._state = state
        self._stats = stats
        self._admission = admission
        self._membership = membership
        self._dirty = dirty
        self._repair = repair

    def merge(self, deltas: tuple[Delta, ...], sender: str, now_ns: int) -> list[Delta]:
        """Take in deltas of a peer; those that brought news, without the rows that did not."""
        news = [each for delta in deltas if (each := self._merge(delta, sender))]
        self._stats.shrinking_rows = self._state.shrinking_rows
        if news:
            self._membership.state_changed(now_ns)
        return news

    def _merge(self, delta: Delta, sender: str) -> Delta | None:
        actor, state = delta.actor, self._state
        if actor not in state and not self._admission.has_room_for_actor(actor):
            return None
        delta = self._without_future(delta) if actor == state.owner else delta
        has_other_clock = delta.floors.forgotten and abs(delta.clock_ms - state.ends.now_ms) > LIKE_MS
        # The sender's clock, by which it forgot, is no measure for us then.
        since = None if has_other_clock else delta.since
        version, had_forgotten = state.version(actor), state.floors(actor)
        rows = self._admission.rows_within_bounds(delta)
        # Rows above all contiguous ones, and below all detached ones, share no version with these.
        last = rows[-1][1].version if rows else 0
        if delta.since is None or delta.since < version or state.has_detached(actor, last):
            rows = self._uncrowded(actor, rows)
        if len(rows) < len(delta.rows):
            since = None  # with rows left out, we can't vouch for their versions
            if actor in state:
                self._repair.skip(sender, delta)
        if since is not None and rows and since > version:
            self._stats.gaps += 1
        upto, floors = (0, NO_FLOORS) if since is None else (delta.upto, delta.floors)
        statement = self._repair.statement(sender, delta) if since == delta.since else None
        news = state.merge(actor, since, rows, delta.source_version, upto, floors, statement)
        if news or (state.version(actor), state.floors(actor)) != (version, had_forgotten):
            self._dirty.add(actor, (counter for counter, _ in news))
        if since == delta.since:
            self._repair.merged(sender, delta, state.version(actor))
        if not news:
            return None
        if len(news) < len(delta.rows) or since is None:
            return Delta(actor, None, tuple(news))
        return replace(delta, rows=tuple(news))

    def _without_future(self, delta: Delta) -> Delta:
        """What a peer sends of our own actor, without versions above what we wrote.

        They are believed where rows bring news: then another process wrote as this actor, which is ours no longer.
        """
        actor, state = delta.actor, self._state
        version = state.version(actor)
        if max(delta.reach, delta.source_version) <= version or any(
            is_news(mine := state.row(actor, counter), merged(mine, row)) for counter, row in delta.rows
        ):
            return delta
        self._stats.future_versions += 1
        return Delta(actor, None, tuple(named for named in delta.rows if named[1].version <= version))

    def _uncrowded(self, actor: Actor, rows: tuple[NamedRow, ...]) -> tuple[NamedRow, ...]:
        """Without rows at a version that too many have already: they could not be sent together."""
        state, kept, ties = self._state, list[NamedRow](), dict[int, int]()
        for counter, row in rows:
            version = row.version
            if version and state.row(actor, counter).version != version:
                ties[version] = count = ties.get(version, state.log(actor).ties(version)) + 1
                if count > MAX_TIES:
                    continue
            kept.append((counter, row))
        self._stats.rows_dropped += len(rows) - len(kept)
        return tuple(kept)
