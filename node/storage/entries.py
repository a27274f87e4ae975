"""Entries of the commit log <-> commits.

An entry is one commit: a JSON object that has the commit's records by their kind.

    {"actor": actor,
     "rows": [[actor, version, source version, {counter: [p, n, version], ...}], ...],
     "cluster_id": number}

    actor  this node writes as this actor; in every entry
    rows   rows of one actor each, which replace those stored before, and how far its rows reach with them
    cluster_id  the cluster's id from here on, as `ClusterId.packed` has it; only in entries where it changes

A row's fields stand in the order of `counts.FIELDS`. A record that is to hold anything else gets a kind of its own: a
version that does not know it refuses the journal, and does not take it for damaged.
"""

import orjson

from gossip_counter.node.core import limits
from gossip_counter.node.core.cluster_id import ClusterId
from gossip_counter.node.core.counts import Actor, Row
from gossip_counter.node.core.effects import Commit
from gossip_counter.node.core.state import Stored
from gossip_counter.node.storage.errors import UnknownRecordError

ACTOR = "actor"
ROWS = "rows"
CLUSTER_ID = "cluster_id"


def encode(commit: Commit) -> str:
    """A commit's entry."""
    records: dict[str, object] = {ACTOR: commit.actor, ROWS: commit.stored}
    if commit.cluster_id:
        records[CLUSTER_ID] = commit.cluster_id.packed()
    return orjson.dumps(records, default=tuple).decode()  # orjson knows plain tuples only, `default` makes them


def decode(entry: str) -> Commit:
    """The commit that an entry holds.

    Raises `UnknownRecordError` for a kind that is not listed above; `ValueError`, `KeyError` or `TypeError` for what no
    version writes.
    """
    records = orjson.loads(entry)
    if type(records) is not dict:
        raise ValueError("an entry of the log is no map")
    if unknown := records.keys() - {ACTOR, ROWS, CLUSTER_ID}:
        raise UnknownRecordError(f"it has records of kind {min(unknown)!r}, which this version does not know")
    stored = tuple(_stored(*each) for each in records[ROWS])
    cluster_id = ClusterId.unpacked(records[CLUSTER_ID]) if CLUSTER_ID in records else None
    return Commit(checked_actor(records[ACTOR]), stored, cluster_id)


def _stored(actor: str, version: int, source_version: int, rows: dict[str, list[int]]) -> Stored:
    if type(rows) is not dict:
        raise ValueError("the rows of an entry of the log are no map")
    named = {counter: Row(*row) for counter, row in rows.items()}
    return Stored(checked_actor(actor), version, source_version, named)


def checked_actor(text: str) -> Actor:
    """An actor's name. Raises `ValueError`."""
    return Actor(limits.nonempty_name(text, "actor", limits.MAX_ACTOR_BYTES))
