"""One actor's share of one PN-Counter.

Pure. An actor writes only its own rows; `p` and `n` are all it ever added and all it ever took away, so both only
grow, and the elementwise maximum of two copies is the newer one. That makes merging commutative, associative and
idempotent: rows may arrive in any order, any number of times.

Source: Shapiro, Preguiça, Baquero, Zawirski, "A comprehensive study of Convergent and Commutative Replicated Data
Types", INRIA RR-7506 (2011), section 3.1.3, specification 7.
"""

from collections.abc import Iterable
from typing import NamedTuple

from gossip_counter.node.core.limits import MAX_COUNT


class Row(NamedTuple):
    """`p` increments and `n` decrements, each in [0, 2**63), last changed at the actor's write number `version`."""

    p: int = 0
    n: int = 0
    version: int = 0


NOTHING = Row()

Counts = tuple[int, int, int]
"""What a Row is, as a plain tuple, which takes a third of the time to make: where every add makes one, it shows."""


def as_row(counts: Counts) -> Row:
    """The same with names."""
    return counts if type(counts) is Row else Row(*counts)


def added(row: Row, delta: int, version: int) -> Row:
    """The row after its actor adds `delta`; a negative increment is a decrement.

    Raises `ValueError` if p or n would leave [0, 2**63); then nothing has changed.
    """
    p, n = (row.p + delta, row.n) if delta >= 0 else (row.p, row.n - delta)
    if p > MAX_COUNT or n > MAX_COUNT:
        side = "increments" if delta >= 0 else "decrements"
        raise ValueError(f"delta would take this node's {side} of the counter past {MAX_COUNT}")
    return Row(p, n, version)


def merged(mine: Row, theirs: Row) -> Row:
    """The elementwise maximum: the least row that is at least as new as both."""
    if theirs == mine:
        return mine
    if theirs.p >= mine.p and theirs.n >= mine.n and theirs.version >= mine.version:
        return theirs  # the usual case, for which no row need be made
    return Row(max(mine.p, theirs.p), max(mine.n, theirs.n), max(mine.version, theirs.version))


def value(rows: Iterable[Row]) -> int:
    """The counter's value, given every actor's row of it."""
    return sum(row.p - row.n for row in rows)
