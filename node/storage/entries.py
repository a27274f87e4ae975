"""Entries of the commit log <-> commits.

An entry is one commit: a JSON array of records, each an array whose first value is its kind.

    ["actor", actor]
        this node writes as this actor; in every entry
    ["rows", actor, version, source version, {counter: [p, n, version], ...}]
        rows of one actor, which replace those stored before, and how far its rows reach with them

A row's fields stand in the order of `counts.FIELDS`. A record that is to hold anything else gets a kind of its own: a
version that does not know it refuses the journal, and does not take it for damaged.
"""

import orjson

from gossip_counter.node.core import limits
from gossip_counter.node.core.counts import Actor, Row
from gossip_counter.node.core.effects import Commit
from gossip_counter.node.core.state import Stored
from gossip_counter.node.storage.errors import UnknownRecordError

ACTOR = "actor"
ROWS = "rows"


def encode(commit: Commit) -> str:
    """A commit's entry."""
    records = [(ACTOR, commit.actor), *((ROWS, *stored) for stored in commit.stored)]
    return orjson.dumps(records, default=tuple).decode()  # `default` is for rows with names: orjson knows plain tuples


def decode(entry: str) -> Commit:
    """The commit that an entry holds.

    Raises `UnknownRecordError` for a kind that is not listed above, `ValueError` or `TypeError` for what no version
    writes.
    """
    actor, stored = None, []
    for kind, *values in orjson.loads(entry):
        if kind == ROWS:
            stored.append(_stored(*values))
        elif kind == ACTOR:
            actor = checked_actor(*values)
        else:
            raise UnknownRecordError(f"it has records of kind {kind!r}, which this version does not know")
    if actor is None:
        raise ValueError("an entry of the log names no actor")
    return Commit(actor, tuple(stored))


def _stored(actor: str, version: int, source_version: int, rows: dict[str, list[int]]) -> Stored:
    if type(rows) is not dict:
        raise ValueError("the rows of an entry of the log are no map")
    named = {counter: Row(*row) for counter, row in rows.items()}
    return Stored(checked_actor(actor), version, source_version, named)


def checked_actor(text: str) -> Actor:
    """An actor's name. Raises `ValueError`."""
    return Actor(limits.nonempty_name(text, "actor", limits.MAX_ACTOR_BYTES))
