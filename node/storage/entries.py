"""Entries of the commit log <-> commits.

An entry is one commit: a JSON object that has the commit's records by their kind.

    {"actor": actor,
     "rows": [[actor, version, source version, {counter: [p, n, version], ...}, floors], ...],
     "cluster_id": number,
     "members": [record, ...]}

    actor  this node writes as this actor; in every entry
    rows   rows of one actor each, which replace those stored before, and how far its rows reach with them; the
           floors, [of all that was forgotten, of deletes], where there are any
    cluster_id  the cluster's id from here on, as `ClusterId.packed` has it; only in entries where it changes
    members  records of members, as `codec.members` has them, which replace those of their names; only where some change

A row's values are those of `counts.encode`; zeros for one that was forgotten. A record that is to hold anything else
gets a kind of its own: a version that does not know it refuses the journal, and does not take it for damaged.
"""

from collections.abc import Iterable
from itertools import chain

import orjson

from gossip_counter.node.codec import members
from gossip_counter.node.core import limits
from gossip_counter.node.core.cluster_id import ClusterId
from gossip_counter.node.core.counts import FIELDS, Actor, EndingRow, Row
from gossip_counter.node.core.counts import decode as decode_row
from gossip_counter.node.core.counts import encode as encode_row
from gossip_counter.node.core.effects import Commit
from gossip_counter.node.core.holdings import NO_FLOORS, Floors, Stored
from gossip_counter.node.core.roster import MemberRecord
from gossip_counter.node.storage.errors import UnknownRecordError

ACTOR = "actor"
ROWS = "rows"
CLUSTER_ID = "cluster_id"
MEMBERS = "members"


def encode(commit: Commit) -> str:
    """A commit's entry."""
    records: dict[str, object] = {ACTOR: commit.actor, ROWS: commit.stored}
    if commit.cluster_id:
        records[CLUSTER_ID] = commit.cluster_id.packed()
    if commit.members:
        records[MEMBERS] = commit.members
    return orjson.dumps(records, default=_plain).decode()


def _plain(value: tuple[object, ...]) -> tuple[object, ...]:
    """A plain tuple, the only kind that orjson knows; without floors where nothing was forgotten."""
    if isinstance(value, EndingRow):
        return encode_row(value, 0)
    return value[:-1] if isinstance(value, Stored) and not value.floors.forgotten else tuple(value)


def decode(entry: str) -> Commit:
    """The commit that an entry holds.

    Raises `UnknownRecordError` for a kind that is not listed above; `ValueError`, `KeyError` or `TypeError` for what no
    version writes.
    """
    records = orjson.loads(entry)
    if type(records) is not dict:
        raise ValueError("an entry of the log is no map")
    if unknown := records.keys() - {ACTOR, ROWS, CLUSTER_ID, MEMBERS}:
        raise UnknownRecordError(f"it has records of kind {min(unknown)!r}, which this version does not know")
    stored = tuple(_stored(*each) for each in records[ROWS])
    cluster_id = ClusterId.unpacked(records[CLUSTER_ID]) if CLUSTER_ID in records else None
    return Commit(checked_actor(records[ACTOR]), stored, cluster_id, checked_members(records.get(MEMBERS, [])))


def _stored(
    actor: str, version: int, source_version: int, rows: dict[str, list[int]], floors: Iterable[int] = NO_FLOORS
) -> Stored:
    if type(rows) is not dict:
        raise ValueError("the rows of an entry of the log are no map")
    _check_plain(row for row in rows.values() if len(row) == len(FIELDS))
    named = {counter: Row(*row) if len(row) == len(FIELDS) else decode_row(row, 0) for counter, row in rows.items()}
    reach = limits.count(version, "version"), limits.count(source_version, "source version")
    return Stored(checked_actor(actor), *reach, named, checked_floors(*floors))


def _check_plain(rows: Iterable[Iterable[int]]) -> None:
    """Plain rows hold counts and nothing else: one check for all, in a fraction of the time of one for each."""
    numbers = [*chain.from_iterable(rows)]
    if numbers and not (set(map(type, numbers)) == {int} and min(numbers) >= 0 and max(numbers) <= limits.MAX_COUNT):
        raise ValueError(f"a row of an entry of the log must be integers from 0 to {limits.MAX_COUNT}")


def checked_floors(forgotten: int, deleted: int) -> Floors:
    """Floors. Raises `ValueError`."""
    all_of, deletes = limits.count(forgotten, "floor"), limits.count(deleted, "floor of deletes")
    return Floors(all_of, min(deletes, all_of))


def checked_members(listed: Iterable[list[object]]) -> tuple[MemberRecord, ...]:
    """Records of members. Raises `ValueError`."""
    return tuple(map(members.checked, listed))


def checked_actor(text: str) -> Actor:
    """An actor's name. Raises `ValueError`."""
    return Actor(limits.nonempty_name(text, "actor", limits.MAX_ACTOR_BYTES))
