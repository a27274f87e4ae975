"""Deltas <-> their part of a datagram, cut to a budget of bytes.

Pure. On the wire, deltas are an array of arrays:

    [[actor, since, source version - reach, [counter, p, n, version - since, counter, ...], reach - last version,
      floor, floor of deletes, clock, whole], ...]

The last five are left out where they are 0.

Of a counter that ends, [n, life, deadline, stamp, born, taken p, taken n, forget_at, and for each row that its delete
saw: actor, born, p, n] takes the place of n.

Any subset of rows is a valid message. A delta that does not fit one datagram goes on in the next, from the last version
that was sent. Rows of one version are never separated: a version that was sent in part could not be claimed.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import lt

from gossip_counter.node.codec.packing import ARRAY_BYTES, COUNT_BYTES, array_header, flat, flat_array, records
from gossip_counter.node.core import limits
from gossip_counter.node.core.counts import FIELDS, Actor, AnyRow, NamedRow, Row, decode, encode
from gossip_counter.node.core.gossip.messages import Delta
from gossip_counter.node.core.holdings import NO_FLOORS, Floors
from gossip_counter.node.core.limits import MAX_TIES

_ROW_WIDTH = 1 + len(FIELDS)
"""A row's counter, then its fields."""

MAX_GROUP_BYTES = 60_000
"""Rows of one version that take more do not fit a datagram of UDP: only long markers of deletes could take so much."""

_NO_TAIL = (0, *NO_FLOORS, 0, False)
"""What is left out."""


def pack_deltas(deltas: Iterable[Delta], room: int) -> Iterator[bytes]:
    """The deltas of each datagram, in at most `room` bytes, and at least one result, perhaps of no deltas.

    Rows of one version that exceed `room` together go alone, as a row does that exceeds it.
    """
    room -= ARRAY_BYTES
    full: list[bytes] = []
    size = 0
    for delta in deltas:
        section, groups = _begin(delta)
        size += section.size
        for rows in groups:
            packed = section.pack(rows)
            if size + _size(packed) > room and (full or section.rows):
                yield _joined([*full, *section.packed()])
                section = section.rest()
                full, size = [], section.size
                packed = section.pack(rows)
            section.add(packed, rows[-1][1].version)
            size += _size(packed)
        if size > room and full and not section.rows:
            yield _joined(full)
            full, size = [], section.size
        full += section.packed_last()
    yield _joined(full)


def _begin(delta: Delta) -> tuple["_Section", list[list[NamedRow]]]:
    """An empty section for the delta, and the delta's rows in the groups that must not be separated."""
    one_by_one = [[named] for named in delta.rows]
    if delta.since is None:
        return _Section(delta, None, 0), one_by_one
    groups = [list(group) for _, group in groupby(delta.rows, _version)]
    # Each part is sent with the version of the state that it was cut from.
    source_version = max(delta.source_version, _version(delta.rows[-1])) if delta.rows else delta.source_version
    section = _Section(delta, delta.since, source_version)
    long = [group for group in groups if len(group) > 1 and any(len(row) > len(FIELDS) for _, row in group)]
    if any(_size(section.pack(group)) > MAX_GROUP_BYTES for group in long):
        return _Section(delta, None, 0), one_by_one  # no datagram has room for them
    return section, groups


def _version(named: NamedRow) -> int:
    return named[1].version


def _joined(sections: list[bytes]) -> bytes:
    return flat_array(sections, 1)


def _size(packed: list[bytes]) -> int:
    return sum(map(len, packed))


class _Section:
    """A delta, or a part of one, that stands in one datagram.

    `since` None: its rows claim nothing. `last` is the version of its last row, from which the next part goes on.
    """

    def __init__(self, delta: Delta, since: int | None, source_version: int) -> None:
        self._delta = delta
        self._head = flat(delta.actor, since)
        self._since = self.last = since
        self._upto, self._floors = (0, NO_FLOORS) if since is None else (delta.upto, delta.floors)
        self._source_version = max(source_version, self._upto)
        self.rows: list[bytes] = []
        tail = 4 * COUNT_BYTES if self._upto or self._floors.forgotten else 0
        self.size = 1 + len(self._head) + COUNT_BYTES + ARRAY_BYTES + tail
        """The most bytes of the section without its rows."""

    def rest(self) -> "_Section":
        """An empty section for the rows after those of this one."""
        return _Section(self._delta, self.last, self._source_version)

    def pack(self, rows: list[NamedRow]) -> list[bytes]:
        """Rows as they stand in this section."""
        base = self._since or 0
        return [flat(counter, *_fields(row, base)) for counter, row in rows]

    def add(self, packed: list[bytes], version: int) -> None:
        """Take in rows of one version, packed for this section."""
        self.rows += packed
        if self._since is not None:
            self.last = version

    def packed(self) -> list[bytes]:
        """The section's bytes; nothing if it has no rows."""
        return self._joined(self.last or 0, is_whole=False) if self.rows else []

    def packed_last(self) -> list[bytes]:
        """The same, for the section after which there is none of this delta."""
        reach = max(self._upto, self.last or 0)
        is_whole = self._delta.is_whole and self._since is not None
        return self._joined(reach, is_whole) if self.rows or self._upto else []

    def _joined(self, reach: int, is_whole: bool) -> list[bytes]:
        last, rows = self.last or 0, flat_array(self.rows, _ROW_WIDTH)
        beyond = 0 if self.last is None else max(0, self._source_version - reach)
        has_tail = reach > last or self._floors.forgotten
        tail = [flat(reach - last, *self._floors, self._delta.clock_ms, is_whole)] if has_tail else []
        return [b"".join([array_header(9 if tail else 4), self._head, flat(beyond), rows, *tail])]


def _fields(row: AnyRow, base: int) -> tuple[object, ...]:
    """A row's three fields. What else it may have stands in an array with its `n`, so that plain rows pay nothing."""
    p, n, above, *ending = encode(row, base)
    return p, [n, *ending] if ending else n, above


def unpack_deltas(value: object) -> tuple[Delta, ...]:
    """The deltas of a datagram. Raises `ValueError`."""
    if type(value) is not tuple:
        raise ValueError(f"deltas must be an array, not {limits.kind(value)}")
    return tuple(_unpack_delta(each) for each in value)


def _unpack_delta(value: object) -> Delta:
    if type(value) is not tuple or len(value) not in (4, 9):
        raise ValueError("a delta must be an array of 4 or 9")
    actor, since, beyond, flat_rows, gap, *floors, clock, is_whole = value if len(value) == 9 else (*value, *_NO_TAIL)
    forgotten, deleted = map(limits.version, floors, ("floor", "floor of deletes"))
    clock_ms = limits.count(clock, "clock")
    from_version = None if since is None else limits.version(since, "since")
    rows = _unpack_rows(flat_rows, from_version)
    last = rows[-1][1].version if rows else from_version or 0
    further, claims = limits.count(beyond, "source version"), from_version is not None
    upto = limits.version(last + limits.count(gap, "upto"), "upto") if gap and claims else 0
    source_version = limits.version(max(last, upto) + further, "source version") if further and claims else 0
    known = Floors(forgotten, min(deleted, forgotten))
    return Delta(unpack_actor(actor), from_version, rows, source_version, upto, known, clock_ms, is_whole is True)


def _unpack_rows(value: object, since: int | None) -> tuple[NamedRow, ...]:
    if plain := _unpack_plain_rows(value, since):
        return plain
    last = base = since or 0
    rows, ties = [], 0
    for record in records(value, _ROW_WIDTH, "rows"):
        _, p, n, above = record
        row = decode((p, n[0], above, *n[1:]) if type(n) is tuple and n else (p, n, above), base)
        limits.version(row.version, "version")
        ties = ties + 1 if row.version == last and since is not None else 1
        if not row.version or ties > MAX_TIES or (since is not None and (row.version <= base or row.version < last)):
            raise ValueError(
                "rows of a delta must come in ascending order of version, all above since and 0, and at most"
                f" {MAX_TIES} at one"
            )
        last = row.version
        rows.append((limits.name(record[0], "counter"), row))
    return tuple(rows)


def _unpack_plain_rows(value: object, since: int | None) -> tuple[NamedRow, ...]:
    """The same in a third of the time, if all rows are plain ones of a delta and nothing is wrong; else nothing."""
    if type(value) is not tuple or len(value) % _ROW_WIDTH or not value or since is None:
        return ()
    names, p, n, above = (value[field::_ROW_WIDTH] for field in range(_ROW_WIDTH))
    if {*map(type, names)} != {str} or {*map(type, (*p, *n, *above))} != {int}:
        return ()
    is_valid = min(*p, *n) >= 0 and max(*p, *n) <= limits.MAX_COUNT and above[0] > 0
    is_valid = is_valid and since + above[-1] <= limits.MAX_VERSION and all(map(lt, above, above[1:]))
    if not is_valid or max(map(len, names)) > limits.MAX_NAME_BYTES // 4:  # a character has 4 bytes of UTF-8 at most
        return ()
    return tuple(zip(names, map(Row, p, n, map(since.__add__, above)), strict=True))


def unpack_actor(value: object) -> Actor:
    """An actor's name. Raises `ValueError`."""
    return Actor(limits.nonempty_name(value, "actor", limits.MAX_ACTOR_BYTES))
