"""Every bound of a node in one place: what it takes from clients and from peers, and what it refuses or drops.

Pure. Clients get an error that names the bound, and nothing has changed. Peers' rows beyond a bound are dropped and
counted: they can be sent again.
"""

from gossip_counter.node.core import counts
from gossip_counter.node.core.batch import Batch
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import LARGE, ZERO, Actor, AnyRow, NamedRow
from gossip_counter.node.core.errors import MALFORMED, NOT_SUPPORTED, TEMPORARILY_UNAVAILABLE, RequestError
from gossip_counter.node.core.gossip.messages import Delta
from gossip_counter.node.core.places import Places
from gossip_counter.node.core.state import State
from gossip_counter.node.core.stats import Stats

SMALL = 2**31
"""Adds below this need no check of their own: to counters that are not large, as long as other bounds are far."""


class Admission:
    """What a state has room for."""

    def __init__(self, config: Config, state: State, stats: Stats, claims_versions: bool) -> None:
        self._config = config
        self._state = state
        self._stats = stats
        self._claims_versions = claims_versions
        self.places = Places(config, state)
        self._members = len(config.peers) + 1
        self.closed = ""
        """Why no writes are taken; "": they are."""

    def set_members(self, others: tuple[str, ...]) -> None:
        """The other members are these now."""
        self._members = len(others) + 1
        self.places.set_members(others)

    # Clients.

    def unchecked_below(self, adds: int, batch: Batch, committing: Batch | None) -> int:
        """Adds in (0, this) need no check if so many come at once, be it to new counters; 0: each must be checked.

        Not so adds to counters in `State.large`: all others have room for as much again as makes a counter large.
        """
        if self.takes_none:
            return 0
        rows = self._state.row_count + batch.counters + adds
        unchecked = batch.unchecked + adds * SMALL
        if committing:
            rows, unchecked = rows + committing.counters, unchecked + committing.unchecked
        return SMALL if rows <= self._config.max_rows and unchecked <= LARGE else 0

    @property
    def takes_none(self) -> bool:
        """Whether `check_place` refuses."""
        return bool(self.closed) or self.places.have_none

    def check_place(self) -> None:
        """Whether anybody else will ever store what this node writes. Raises `RequestError`."""
        if self.closed:
            raise RequestError(TEMPORARILY_UNAVAILABLE, self.closed)
        if self.places.have_none:
            raise RequestError(
                TEMPORARILY_UNAVAILABLE,
                "no member has a place for what this node writes: start the members with a larger --max-actors",
            )

    def check_add(self, own: AnyRow, delta: int) -> None:
        """Whether our own row, as it will be, has room for an add. Raises `RequestError`."""
        try:
            counts.added(own, delta, 0)
        except ValueError as error:
            raise RequestError(MALFORMED, str(error)) from None

    def check_room(self, actor: Actor, batch: Batch, committing: Batch | None, new: int = 1) -> None:
        """Whether so many new rows of `actor` fit once all that waits is durable. Raises `RequestError`.

        Only near the bound are the rows that wait counted, and only once a batch.
        """
        in_commit = committing.counters if committing else 0
        if self._state.row_count + batch.counters + in_commit + new <= self._config.max_rows:
            return
        if batch.new_rows is None:
            waiting = {name for each in (batch, committing) if each for name in (*each.net, *each.ending)}
            batch.new_rows = sum(self._state.row(actor, counter) is ZERO for counter in waiting)
        if self._state.row_count + batch.new_rows + new > self._config.max_rows:
            raise RequestError(
                TEMPORARILY_UNAVAILABLE,
                f"this node stores max_rows ({self._config.max_rows}) rows: start it with a larger --max-rows",
            )

    def check_copies(self, copies: int) -> None:
        """Whether an add can wait for so many copies, more than one. Raises `RequestError`."""
        if copies > self._members:
            raise RequestError(MALFORMED, f"copies must be from 1 to {self._members}, the members of this cluster")
        if not self._claims_versions:
            raise RequestError(NOT_SUPPORTED, "full-state gossip can't tell what peers hold: copies must be 1")

    # Peers.

    def has_room_for_actor(self, actor: Actor) -> bool:
        """Whether rows of an actor can be taken: it is known, or there is room for one more."""
        if self.places.has_place(actor):
            return True
        self._stats.actors_dropped += 1
        return False

    def rows_within_bounds(self, delta: Delta) -> tuple[NamedRow, ...]:
        """The rows of a delta that there is room for."""
        room = self._config.max_rows - self._state.row_count
        if len(delta.rows) <= room:
            return delta.rows
        kept = []
        for counter, row in delta.rows:
            is_known = self._state.row(delta.actor, counter) is not ZERO
            if is_known or room > 0:
                kept.append((counter, row))
                room -= not is_known
        self._stats.rows_dropped += len(delta.rows) - len(kept)
        return tuple(kept)
