"""A row: one actor's share of one PN-Counter. All that a row is stands here, and nowhere else.

Pure. An actor writes only its own rows. `p` is all it ever added and `n` all it ever subtracted, so both only grow, and
the elementwise maximum of two copies is the newer one. Merging is therefore commutative, associative and idempotent:
rows may arrive in any order, any number of times.

Counters that expire or were deleted have longer rows, `EndingRow`: their totals may begin again from zero, so of two
copies the newer one counts, with the greater totals of one lineage. `lives` defines their fields. Rows of all other
counters pay nothing for it.

A new field is added here: to `EndingRow` (with the value that means "not there"), `is_news`, `row_hash` (if states that
differ in it are unequal), `encode` and `decode`. Log, batches, columns of the journal, its entries and the simulator
take rows as they are. The version of the wire form (`codec.datagrams.VERSION`) and that of the journal
(`storage.schema.SCHEMA`) are raised with it.

Source: Shapiro, Preguiça, Baquero, Zawirski, "A comprehensive study of Convergent and Commutative Replicated Data
Types", INRIA RR-7506 (2011), section 3.1.3, specification 7.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple, NewType, cast

from gossip_counter.node.core import limits
from gossip_counter.node.core.limits import MAX_COUNT

Actor = NewType("Actor", str)
"""Who wrote a row: one life of one node. Opaque everywhere but in `identity.mint`."""


class Row(NamedTuple):
    """`p` increments and `n` decrements, each in [0, 2**63), last changed at the actor's write number `version`."""

    p: int = 0
    n: int = 0
    version: int = 0


class Seen(NamedTuple):
    """What a delete saw, and took away, of an actor's row: the totals of the lineage that was born at a version."""

    actor: Actor
    born: int
    p: int
    n: int


class Ended(NamedTuple):
    """A life that is over, and what was last said of it."""

    life: int
    deadline: int
    stamp: int


class Taken(NamedTuple):
    """What deletes took away, and what ended."""

    p: int = 0
    n: int = 0
    """So much of this row, as far as its owner knows: its *base*."""
    seen: tuple[Seen, ...] = ()
    """What deletes at the owner's node took of all rows: its *marker*, at most one entry an actor."""
    forget_at: int = 0
    """How long the marker, or a deadline that was brought forward, must be remembered: Unix ms."""
    before: Ended | None = None
    """The life that the row was in before, until that is forgotten."""


NOTHING_TAKEN = Taken()


class EndingRow(NamedTuple):
    """A row of a counter that expires, or that was deleted. Times are in Unix milliseconds, below 2**63."""

    p: int = 0
    n: int = 0
    version: int = 0
    life: int = 0
    """The life of the counter that it counts in: when that began; 0 for the first, where nothing ever ended."""
    deadline: int = 0
    """When that life ends; 0: never."""
    stamp: int = 0
    """When somebody said so; 0: nobody did."""
    born: int = 0
    """The lineage: the version at which its totals began from zero; 0 for the first of its actor."""
    taken: Taken = NOTHING_TAKEN


PENDING = MAX_COUNT
"""`born` of a row whose version is not known before its commit. It is greater than any."""

_PLAIN = EndingRow()[len(Row._fields) :]
"""What a plain row has beyond its numbers."""

AnyRow = Row | EndingRow

NamedRow = tuple[str, AnyRow]
"""A counter's name and a row of it."""

PlainRow = tuple[int, int, int]
"""A Row as a plain tuple, which takes a third of the time to make. Every add makes one, so it shows."""

HeldRow = PlainRow | EndingRow
"""A row as logs hold it, and journals take it."""

FIELDS = Row._fields
"""The names of the fields that each row has, in the order of every encoding."""

ZERO = Row()

LARGE = 2**60
"""Beyond this, a row or a value may be a few adds away from its bound."""


def as_row(held: HeldRow) -> AnyRow:
    """The same row, with names."""
    return Row(*held) if type(held) is tuple else cast(AnyRow, held)


def takeable(held: HeldRow) -> AnyRow:
    """The row, its version one that peers take: any above that is forged, and nothing but the row's counts is true."""
    row = as_row(held)
    return row if row.version <= limits.MAX_VERSION else row._replace(version=limits.MAX_VERSION)


def as_ending(row: HeldRow) -> EndingRow:
    """The same row, as one of a counter that ends."""
    return row if isinstance(row, EndingRow) else EndingRow(*row)


def added(row: AnyRow, delta: int, version: int) -> AnyRow:
    """The row after its actor adds `delta`; a negative increment is a decrement.

    Raises `ValueError` if p or n would leave [0, 2**63); then nothing has changed.
    """
    plus, minus = (delta, 0) if delta >= 0 else (0, -delta)
    if row.p + plus > MAX_COUNT or row.n + minus > MAX_COUNT:
        side = "increments" if delta >= 0 else "decrements"
        raise ValueError(f"delta would take this node's {side} of the counter past {MAX_COUNT}")
    new = grown(row, plus, minus)
    return new if new.version == version else new._replace(version=version)


def written(
    net: Mapping[str, int], minus: Mapping[str, int], held: Iterable[HeldRow], version: int
) -> dict[str, HeldRow]:
    """By counter, the plain row after adds that come to `net`, of which `minus` was subtracted, where anything was.

    `held` are the rows before, one for each counter of `net`; the new ones are the writes after number `version`.
    """
    made = zip(net.items(), held, range(version + 1, version + 1 + len(net)), strict=True)
    if not minus:  # most often, and then there is less to do
        return {name: (row[0] + delta, row[1], number) for (name, delta), row, number in made}
    less = minus.get
    return {
        name: (row[0] + delta + less(name, 0), row[1] + less(name, 0), number) for (name, delta), row, number in made
    }


def grown(row: HeldRow, plus: int, minus: int) -> AnyRow:
    """The row with so much more added and subtracted; its version stays."""
    if isinstance(row, EndingRow):
        return EndingRow(row[0] + plus, row[1] + minus, *row[2:])
    return Row(row[0] + plus, row[1] + minus, row[2])


def numbered(row: EndingRow, version: int) -> HeldRow:
    """The row as its actor's write of that number; a lineage that begins with it is born then."""
    if row[len(FIELDS) :] == _PLAIN:
        return row.p, row.n, version
    p, n, _, life, deadline, stamp, born, taken = row
    return EndingRow(p, n, version, life, deadline, stamp, version if born == PENDING else born, taken)


def is_news(old: AnyRow, new: AnyRow) -> bool:
    """Whether a row that takes the place of another changes what counts, and has to be sent on and stored."""
    return new.p != old.p or new.n != old.n or (new[3:] != old[3:])


def merged(mine: AnyRow, theirs: AnyRow) -> AnyRow:
    """Of plain rows the elementwise maximum: the least row that is at least as new as both.

    Else the newer one. In one lineage totals only grow, so it has the maximum of these too: two processes that write as
    one actor may each have counted what the other has not. If both are as new, it is the greater one.
    """
    if theirs == mine:
        return mine
    if isinstance(mine, EndingRow) or isinstance(theirs, EndingRow):
        newer, older = sorted((mine, theirs), key=_by_age, reverse=True)
        if is_same_lineage(mine, theirs) and (older.p > newer.p or older.n > newer.n):
            return newer._replace(p=max(mine.p, theirs.p), n=max(mine.n, theirs.n))
        return newer
    if theirs.p >= mine.p and theirs.n >= mine.n and theirs.version >= mine.version:
        return theirs  # the usual case: no row need be made
    return Row(max(mine.p, theirs.p), max(mine.n, theirs.n), max(mine.version, theirs.version))


def is_same_lineage(one: AnyRow, other: AnyRow) -> bool:
    """Whether the totals of both began from zero with the same write."""
    return as_ending(one).born == as_ending(other).born


def _by_age(row: AnyRow) -> tuple[object, ...]:
    *fields, taken = as_ending(row)
    return (row.version, *fields, *taken[:-1], taken.before or ())  # rows that some have forged may be as new


def is_large(row: HeldRow) -> bool:
    """Whether a row may be a few adds away from its bounds."""
    return row[0] >= LARGE or row[1] >= LARGE


def counts_nothing(row: HeldRow) -> bool:
    """Whether a row adds nothing to its counter, nor says anything of it, so that nobody need store or send it."""
    return not (row[0] or row[1] or len(row) > len(FIELDS))


def value(rows: Iterable[AnyRow]) -> int:
    """The counter's value, given every actor's plain row of it."""
    return sum(row.p - row.n for row in rows)


def row_hash(actor: Actor, counter: str, row: HeldRow) -> int:
    """A 64-bit hash of one row, the same in every process; 0 for a row that counts nothing.

    Lengths keep two names from running together. The version is left out: an actor's `(p, n)` fixes it, and nodes that
    speak the seed's `replicate` send none.
    """
    if counts_nothing(row):
        return 0
    text = f"{row[0]} {row[1]} {len(actor)} {actor}{counter}"
    if isinstance(row, EndingRow):
        text = f"{encode(row, row.version)} {text}"
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest())


def is_ending(row: AnyRow) -> bool:
    """Whether a row says that its counter ends, or was deleted, so that its counts can't simply be added up."""
    return isinstance(row, EndingRow) and bool(row.deadline or row.stamp or row.taken != NOTHING_TAKEN)


# On the wire and in the journal.

_ENDING = ("life", "deadline", "stamp", "born", "taken p", "taken n", "forget_at")
"""What an EndingRow always has beside its three numbers."""

_BEFORE = tuple(f"{field} before" for field in Ended._fields)
"""And what it has next if `Taken.before` is set. Then come four values for each row that a delete took."""

MAX_MARKER_BYTES = 32_768
"""What the entries of a marker take at the most, about: a row must fit a datagram of UDP."""


def marker_bytes(seen: Iterable[Seen]) -> int:
    """What the entries of a marker take on the wire, at the most."""
    return sum(len(each.actor.encode()) + 32 for each in seen)


def encode(row: HeldRow, base: int) -> tuple[object, ...]:
    """A row's values: in the order of FIELDS, with the version counted from `base`, and then those of an EndingRow."""
    if isinstance(row, EndingRow):
        taken = row.taken
        return (
            row.p, row.n, row.version - base, row.life, row.deadline, row.stamp, row.born,
            taken.p, taken.n, taken.forget_at, *(taken.before or ()),
            *(value for seen in taken.seen for value in seen),
        )  # fmt: skip
    p, n, version = row
    return p, n, version - base


def decode(values: Sequence[object], base: int) -> AnyRow:
    """The row that `encode` made these values of. Raises `ValueError` that names the field which breaks its bound."""
    p, n, above = values[:3]
    version = limits.count(base + limits.count(above, "version"), "version")
    row = Row(limits.count(p, "p"), limits.count(n, "n"), version)
    return row if len(values) == len(FIELDS) else _decode_ending(row, values[3:])


def _decode_ending(row: Row, values: Sequence[object]) -> EndingRow:
    names = (*_ENDING, *_BEFORE) if (len(values) - len(_ENDING)) % 4 else _ENDING
    if len(values) < len(names) or (len(values) - len(names)) % 4:
        raise ValueError("a row of a counter that ends must have 10 or 13 values, and 4 for each that a delete took")
    numbers = map(limits.count, values[: len(names)], names)
    life, deadline, stamp, born, taken_p, taken_n, forget_at, *ended = numbers
    stamp = life if stamp == life else stamp  # most often; one number takes less memory than two
    seen = tuple(_decode_seen(*values[at : at + 4]) for at in range(len(names), len(values), 4))
    if marker_bytes(seen) > MAX_MARKER_BYTES:
        raise ValueError(f"what a delete took must be at most {MAX_MARKER_BYTES} bytes")
    if born > row.version:
        raise ValueError("born must be a version that is not above that of the row")
    taken = Taken(taken_p, taken_n, seen, forget_at, Ended(*ended) if ended else None)
    return EndingRow(*row, life, deadline, stamp, born, taken if taken != NOTHING_TAKEN else NOTHING_TAKEN)


def _decode_seen(actor: object, born: object, p: object, n: object) -> Seen:
    name = Actor(limits.nonempty_name(actor, "actor", limits.MAX_ACTOR_BYTES))
    return Seen(name, limits.count(born, "born"), limits.count(p, "p"), limits.count(n, "n"))
