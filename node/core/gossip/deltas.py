"""Cutting deltas out of the state, as many rows as there is room for.

Pure.
"""

from collections import Counter
from collections.abc import Mapping
from random import Random

from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import Actor, AnyRow, EndingRow, NamedRow, marker_bytes
from gossip_counter.node.core.gossip.messages import Delta, Syn
from gossip_counter.node.core.state import State

LEAST_ROW_BYTES = 8
"""Fewer bytes no row has on the wire but the very shortest: it bounds the rows looked up for one answer."""

MOST_ANSWERS = 128
"""Digests in the name of one peer that are answered from one tick to the next: no peer sends so many."""

DIGEST_DATAGRAMS = 8
"""What detail of digests one peer gets from one tick to the next, about: each is answered by itself."""

HEAD_BYTES, ENTRY_BYTES = 120, 33
"""What a digest and each of its entries cost on the wire at the most, names not counted. Long ones may stand twice, as
bounds of a datagram.
"""

MOST_ROW_BYTES = 30
"""What a row costs on the wire at the most, its name not counted."""


def _extra_bytes(row: AnyRow) -> int:
    """What a row of a counter that ends costs on the wire beyond others, about."""
    return 66 + 24 * bool(row.taken.before) + marker_bytes(row.taken.seen) if isinstance(row, EndingRow) else 0


class Deltas:
    """Cuts deltas. What one peer gets is bounded from one tick to the next: who is far behind is fed steadily."""

    def __init__(self, config: Config, state: State, rng: Random) -> None:
        self._state = state
        self._rng = rng
        self._datagram_bytes = config.datagram_bytes
        self._room_bytes = config.exchange_datagrams * config.datagram_bytes
        self._room: dict[str, int] = {}
        """By peer, the rows that it may get before the next tick."""
        self._answers = Counter[str]()
        """By peer, the digests of it that were answered since the last tick."""
        self._detail_bytes = Counter[str]()
        """By peer, what it got of digests in answer to its own since the last tick."""

    def ticked(self) -> None:
        """Every peer may get as much again."""
        self._room.clear()
        self._answers.clear()
        self._detail_bytes.clear()

    def may_answer(self, peer: str) -> bool:
        """Whether one more digest in a peer's name is answered before the next tick. If so, it counts as answered."""
        self._answers[peer] += 1
        return self._answers[peer] <= MOST_ANSWERS

    def may_describe(self, peer: str, syn: Syn) -> bool:
        """Whether a peer may get this in answer to its digest before the next tick. If so, it counts as sent.

        The first may, however large it is, and more as far as there is room.
        """
        names = [*syn.digest, *(part.upto or "" for part in syn.parts)]
        size = HEAD_BYTES + sum(2 * len(name.encode()) + ENTRY_BYTES for name in names)
        if (sent := self._detail_bytes[peer]) and sent + size > DIGEST_DATAGRAMS * self._datagram_bytes:
            return False
        self._detail_bytes[peer] += size
        return True

    def answer(self, wanted: dict[Actor, int], peer: str) -> tuple[Delta, ...]:
        """What is held above these versions, as far as there is room for this peer.

        The order is random: no actor is always first, so none is starved. One row is always sent, or the answer would
        say that nothing is lacking.
        """
        deltas = []
        room = max(1, self._room.get(peer, self._most_rows))
        for actor in self._rng.sample(list(wanted), len(wanted)):
            rows = self._state.newer(actor, wanted[actor], room)
            newer = self.cut(actor, wanted[actor], rows, is_all=len(rows) < room)
            room -= len(newer.rows)
            # At random, or an answer with room for some would bring the same ones every time.
            loose = Delta(actor, None, self._state.log(actor).detached.sample(room, self._rng))
            room -= len(loose.rows)
            deltas += [each for each in (newer, loose) if each.rows or each.upto]
            if room <= 0:
                break
        self._room[peer] = room
        return tuple(deltas)

    def next_push(self, actor: Actor, since: int) -> Delta:
        """The oldest rows above a version, as many as surely fit the datagrams of one push."""
        delta, _ = self._oldest(actor, since, self._room_bytes // 2)
        return delta

    def pulled(self, wanted: Mapping[Actor, int], room: int) -> tuple[Delta, ...]:
        """The oldest rows above these versions, one actor after the other, in so many bytes."""
        deltas = list[Delta]()
        for actor, since in wanted.items():
            delta, room = self._oldest(actor, since, room)
            if delta.rows or delta.upto:
                deltas.append(delta)
            if room <= 0:
                break
        return tuple(deltas)

    def _oldest(self, actor: Actor, since: int, room: int) -> tuple[Delta, int]:
        """The oldest rows of an actor, at least one if there are any, and the bytes that are left of the room."""
        rows, is_all = list[NamedRow](), True
        for counter, row in self._state.log(actor).newer(since, max(1, room // LEAST_ROW_BYTES)):
            room -= len(counter.encode()) + MOST_ROW_BYTES + _extra_bytes(row)
            if room < 0 and rows and row.version > rows[-1][1].version:
                is_all = False
                break
            rows.append((counter, row))
        return self.cut(actor, since, tuple(rows), is_all and room > 0), room

    def cut(self, actor: Actor, since: int, rows: tuple[NamedRow, ...], is_all: bool = False) -> Delta:
        """A delta of these rows, which says what state it is cut from; `is_all`: it is not cut short."""
        last = rows[-1][1].version if rows else since
        version, source_version = self._state.version(actor), self._state.source_version(actor)
        upto = version if is_all and version > last else 0  # the last writes may have been forgotten
        if not rows and not upto:
            return Delta(actor, since, ())
        source_version = source_version if source_version > max(last, upto) else 0
        floors = self._state.forgotten_upto(actor)
        has_forgotten = floors.forgotten > 0
        clock_ms = self._state.ends.now_ms if has_forgotten else 0
        return Delta(actor, since, rows, source_version, upto, floors, clock_ms, is_all and has_forgotten)

    @property
    def _most_rows(self) -> int:
        return self._room_bytes // LEAST_ROW_BYTES
