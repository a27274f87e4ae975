"""What is held of one actor: as a journal takes and returns it, and as a digest says it.

Pure.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from gossip_counter.node.core.counts import Actor, HeldRow


class Floors(NamedTuple):
    """The highest versions of rows of one actor that were forgotten; 0 for none."""

    forgotten: int = 0
    """Of all: because their life was over, or because of deletes."""
    deleted: int = 0
    """Of those that deletes took wholly. Up to here nothing comes back, whatever becomes known of its life."""

    def upto(self, version: int) -> "Floors":
        """The same, as far as a version."""
        return Floors(min(self.forgotten, version), min(self.deleted, version))

    def with_(self, other: "Floors") -> "Floors":
        """What either forgot."""
        return Floors(max(self.forgotten, other.forgotten), max(self.deleted, other.deleted))


NO_FLOORS = Floors()


class Statement(NamedTuple):
    """All that somebody stores of an actor above a version is of these counters."""

    since: int
    named: AbstractSet[str]


class Stored(NamedTuple):
    """Rows of one actor as a journal takes and returns them, and how far those it holds then reach.

    All rows up to `version` are held, as of the actor's state at `source_version`; rows above `version` are detached.
    """

    actor: Actor
    version: int
    source_version: int
    rows: Mapping[str, HeldRow]
    """By counter; ZERO for a row that was forgotten."""
    floors: Floors = NO_FLOORS


class DigestEntry(NamedTuple):
    """What is held of one actor: every row up to `version`, which hash to `hash`; detached rows to `detached`."""

    version: int = 0
    hash: int = 0
    detached: int = 0


NO_ENTRY = DigestEntry()


class Part(NamedTuple):
    """A part of a range of actors, and what is held of all of them: the sum of the hashes of their digest entries."""

    upto: str | None
    """Up to this actor, from the part before on. None: the last part of a range without a bound."""
    hash: int
