"""What is held of one actor: as a journal takes and returns it, and as a digest says it.

Pure.
"""

from collections.abc import Mapping
from typing import NamedTuple

from gossip_counter.node.core.counts import Actor, HeldRow


class Stored(NamedTuple):
    """Rows of one actor as a journal takes and returns them, and how far those it holds then reach.

    All rows up to `version` are held, as of the actor's state at `source_version`; rows above `version` are detached.
    """

    actor: Actor
    version: int
    source_version: int
    rows: Mapping[str, HeldRow]
    """By counter; ZERO for a row that was forgotten."""
    floor: int = 0
    """The highest version of a row of the actor that was forgotten."""


class DigestEntry(NamedTuple):
    """What is held of one actor: every row up to `version`, which hash to `hash`; detached rows to `detached`."""

    version: int = 0
    hash: int = 0
    detached: int = 0


NO_ENTRY = DigestEntry()
