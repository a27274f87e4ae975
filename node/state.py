"""Named counters: every actor's rows, and the totals kept up to date by merge so that a read is O(1).

Pure. It knows nothing of nodes, messages or time. A row is `(actor, counter) -> (p, n, version)`; merging one is
always safe, so any subset of rows is a valid message.

The fingerprint is an order-free hash of all rows: the sum, modulo 2**64, of a 64-bit hash of each
`(actor, counter, p, n)`. It is kept incrementally and is the same in every process, so two states are equal exactly
when their fingerprints are (but for one chance in 2**64). An actor's `(p, n)` fixes the row's version, which is
therefore left out: nodes that speak the seed's `replicate`, which has no versions, can be compared too.
"""

from collections.abc import Iterator
from hashlib import blake2b
from typing import NewType

from node.counter import NOTHING, Row, merged

Actor = NewType("Actor", str)
"""Who wrote a row. Opaque everywhere but in `mint`."""

_WRAP = 2**64


def mint(name: str, epoch: int) -> Actor:
    """The actor of one life of the node `name`: `epoch` is a random number in [0, 2**63) that no other life has."""
    return Actor(f"{name}.{epoch:016x}")


def row_hash(actor: Actor, counter: str, row: Row) -> int:
    """A 64-bit hash of one row, the same in every process; lengths keep two names from running together."""
    text = f"{row.p} {row.n} {len(actor)} {actor}{counter}"
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest())


class State:
    """What one node knows: all rows it holds, the total of each counter, and the fingerprint of it all."""

    def __init__(self) -> None:
        self._rows: dict[Actor, dict[str, Row]] = {}
        self._totals: dict[str, int] = {}
        self.fingerprint = 0
        self.row_count = 0

    def __iter__(self) -> Iterator[tuple[Actor, str, Row]]:
        for actor, rows in self._rows.items():
            for counter, row in rows.items():
                yield actor, counter, row

    def row(self, actor: Actor, counter: str) -> Row:
        """The row held, or one of zeros."""
        rows = self._rows.get(actor)
        return rows.get(counter, NOTHING) if rows else NOTHING

    def rows_of(self, counter: str) -> Iterator[Row]:
        """Every actor's row of one counter; cost: the actors held."""
        return (rows[counter] for rows in self._rows.values() if counter in rows)

    def value(self, counter: str) -> int:
        """The counter's value, 0 for one nobody has written; O(1)."""
        return self._totals.get(counter, 0)

    @property
    def counters(self) -> int:
        """How many counters have a row."""
        return len(self._totals)

    def merge(self, actor: Actor, counter: str, row: Row) -> bool:
        """Take in one row, ours or a peer's; True if p or n grew. A row that counts nothing is not kept."""
        mine = self.row(actor, counter)
        new = merged(mine, row)
        if new == mine or not (new.p or new.n):
            return False
        self._rows.setdefault(actor, {})[counter] = new
        if (new.p, new.n) == (mine.p, mine.n):
            return False
        if mine is NOTHING:
            self.row_count += 1
        else:
            self.fingerprint -= row_hash(actor, counter, mine)
        self.fingerprint = (self.fingerprint + row_hash(actor, counter, new)) % _WRAP
        self._totals[counter] = self._totals.get(counter, 0) + (new.p - mine.p) - (new.n - mine.n)
        return True
