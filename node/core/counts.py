"""A row: one actor's share of one PN-Counter. All that a row is stands here, and nowhere else.

Pure. An actor writes only its own rows. `p` is all it ever added and `n` all it ever subtracted, so both only grow, and
the elementwise maximum of two copies is the newer one. Merging is therefore commutative, associative and idempotent:
rows may arrive in any order, any number of times.

A new field is added here: to `Row` (with the value that means "not there"), `merged`, `is_news`, `row_hash` (if states
that differ in it are unequal), `encode` and `decode`. Log, batches, columns of the journal, its entries and the
simulator take rows as they are. The version of the wire form (`codec.datagrams.VERSION`) and that of the journal
(`storage.schema.SCHEMA`) are raised with it.

Source: Shapiro, Preguiça, Baquero, Zawirski, "A comprehensive study of Convergent and Commutative Replicated Data
Types", INRIA RR-7506 (2011), section 3.1.3, specification 7.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple, NewType

from gossip_counter.node.core import limits
from gossip_counter.node.core.limits import MAX_COUNT

Actor = NewType("Actor", str)
"""Who wrote a row: one life of one node. Opaque everywhere but in `identity.mint`."""


class Row(NamedTuple):
    """`p` increments and `n` decrements, each in [0, 2**63), last changed at the actor's write number `version`."""

    p: int = 0
    n: int = 0
    version: int = 0


NamedRow = tuple[str, Row]
"""A counter's name and a row of it."""

PlainRow = tuple[int, int, int]
"""A Row as a plain tuple, which takes a third of the time to make. Every add makes one, so it shows."""

FIELDS = Row._fields
"""The names of a row's fields, in the order of every encoding."""

ZERO = Row()

LARGE = 2**60
"""Beyond this, a row or a value may be a few adds away from its bound."""


def as_row(plain: PlainRow) -> Row:
    """The same row, with names."""
    return plain if type(plain) is Row else Row(*plain)


def added(row: Row, delta: int, version: int) -> Row:
    """The row after its actor adds `delta`; a negative increment is a decrement.

    Raises `ValueError` if p or n would leave [0, 2**63); then nothing has changed.
    """
    p, n = (row.p + delta, row.n) if delta >= 0 else (row.p, row.n - delta)
    if p > MAX_COUNT or n > MAX_COUNT:
        side = "increments" if delta >= 0 else "decrements"
        raise ValueError(f"delta would take this node's {side} of the counter past {MAX_COUNT}")
    return Row(p, n, version)


def written(
    net: Mapping[str, int], minus: Mapping[str, int], held: Iterable[PlainRow], version: int
) -> dict[str, PlainRow]:
    """By counter, the row after adds that come to `net`, of which `minus` was subtracted, where anything was.

    `held` are the rows before, one for each counter of `net`; the new ones are the writes after number `version`.
    """
    made = zip(net.items(), held, range(version + 1, version + 1 + len(net)), strict=True)
    if not minus:  # most often, and then there is less to do
        return {name: (row[0] + delta, row[1], number) for (name, delta), row, number in made}
    less = minus.get
    return {
        name: (row[0] + delta + less(name, 0), row[1] + less(name, 0), number) for (name, delta), row, number in made
    }


def grown(row: PlainRow, plus: int, minus: int) -> Row:
    """The row with so much more added and subtracted; its version stays."""
    return Row(row[0] + plus, row[1] + minus, row[2])


def is_news(old: Row, new: Row) -> bool:
    """Whether a row that takes the place of another changes what counts, and has to be sent on and stored."""
    return new.p != old.p or new.n != old.n


def merged(mine: Row, theirs: Row) -> Row:
    """The elementwise maximum: the least row that is at least as new as both."""
    if theirs == mine:
        return mine
    if theirs.p >= mine.p and theirs.n >= mine.n and theirs.version >= mine.version:
        return theirs  # the usual case: no row need be made
    return Row(max(mine.p, theirs.p), max(mine.n, theirs.n), max(mine.version, theirs.version))


def is_large(row: PlainRow) -> bool:
    """Whether a row may be a few adds away from its bounds."""
    return row[0] >= LARGE or row[1] >= LARGE


def counts_nothing(row: PlainRow) -> bool:
    """Whether a row adds nothing to its counter, so that nobody need store or send it."""
    return not (row[0] or row[1])


def value(rows: Iterable[Row]) -> int:
    """The counter's value, given every actor's row of it."""
    return sum(row.p - row.n for row in rows)


def row_hash(actor: Actor, counter: str, row: PlainRow) -> int:
    """A 64-bit hash of one row, the same in every process; 0 for a row that counts nothing.

    Lengths keep two names from running together. The version is left out: an actor's `(p, n)` fixes it, and nodes that
    speak the seed's `replicate` send none.
    """
    if counts_nothing(row):
        return 0
    text = f"{row[0]} {row[1]} {len(actor)} {actor}{counter}"
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest())


def encode(row: PlainRow, base: int) -> PlainRow:
    """A row's values on the wire, in the order of FIELDS, with its version counted from `base`."""
    p, n, version = row
    return p, n, version - base


def decode(values: Sequence[object], base: int) -> Row:
    """The row that `encode` made these values of. Raises `ValueError` that names the field which breaks its bound."""
    p, n, above = values
    version = base + limits.count(above, "version")
    return Row(limits.count(p, "p"), limits.count(n, "n"), limits.count(version, "version"))
