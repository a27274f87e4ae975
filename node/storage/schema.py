"""The journal's tables and the view `counts`, and how rows stand in them.

SQLite checks the pages of its write-ahead log but not those of its file. So each record has a checksum of its own. The
sum of those of all rows is in the table `meta`: where a part of the write-ahead log is lost that SQLite had copied into
the file already, older pages take the place of newer ones, with rows that are older or lack others.
The columns of a row are the fields of `counts.Row`; `ending` has what a row of a counter that ends has beyond them, as
`counts.encode` gives it, in JSON.
"""

import json
import os
import secrets
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

from gossip_counter.node.core import limits
from gossip_counter.node.core.cluster_id import ClusterId
from gossip_counter.node.core.counts import FIELDS, Actor, EndingRow, HeldRow, Row, counts_nothing, decode, encode
from gossip_counter.node.core.errors import ConfigError
from gossip_counter.node.core.roster import MemberRecord, too_old
from gossip_counter.node.storage import database
from gossip_counter.node.storage.contents import Contents
from gossip_counter.node.storage.entries import (
    CLUSTER_ID,
    ROWS,
    checked_actor,
    checked_floors,
    checked_members,
)
from gossip_counter.node.storage.file_identity import Inode, Place

SCHEMA = 2
"""The number of this form of the file."""

APPLICATION = 0x676F7331
"""Distinguishes our files from those of other programs that use SQLite."""

_BEFORE_RELEASE = 0x676F7373
"""What versions wrote that were never released, with schemas of their own."""

_MEMBER = "member "
"""What stands before a member's name as a key of the table `meta`; the value is its record, in JSON."""

_COLUMNS = ("actor", "counter", *FIELDS, "ending", "checksum")

_P, _N = FIELDS.index("p"), FIELDS.index("n")

_DEADLINE, _TAKEN_P, _TAKEN_N = 1, 4, 5
"""Places in `ending`."""

_NOW_MS = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"

_TABLES = f"""
BEGIN IMMEDIATE;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL, checksum INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE actors (
    actor TEXT PRIMARY KEY, version INTEGER NOT NULL, source_version INTEGER NOT NULL, floor INTEGER NOT NULL,
    deleted_floor INTEGER NOT NULL, checksum INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE rows (
    actor TEXT NOT NULL, counter TEXT NOT NULL, {", ".join(f"{field} INTEGER NOT NULL" for field in FIELDS)},
    ending TEXT, checksum INTEGER NOT NULL, PRIMARY KEY (actor, counter)
) WITHOUT ROWID;
CREATE TABLE log (id INTEGER PRIMARY KEY, entry TEXT NOT NULL, checksum INTEGER NOT NULL);
CREATE VIEW counts AS
WITH stored AS (
    SELECT actor, counter, p, n, coalesce(json_extract(ending, '$[{_TAKEN_P}]'), 0) AS taken_p,
        coalesce(json_extract(ending, '$[{_TAKEN_N}]'), 0) AS taken_n,
        coalesce(json_extract(ending, '$[{_DEADLINE}]'), 0) AS deadline, 0 AS id FROM rows
    UNION ALL
    SELECT json_extract(record.value, '$[0]'), named.key, json_extract(named.value, '$[{_P}]'),
        json_extract(named.value, '$[{_N}]'), coalesce(json_extract(named.value, '$[{3 + _TAKEN_P}]'), 0),
        coalesce(json_extract(named.value, '$[{3 + _TAKEN_N}]'), 0),
        coalesce(json_extract(named.value, '$[{3 + _DEADLINE}]'), 0), log.id
    FROM log, json_each(log.entry, '$.{ROWS}') AS record, json_each(record.value, '$[3]') AS named
),
latest AS (SELECT *, max(id) FROM stored GROUP BY actor, counter),
newest AS (
    SELECT counter, p - taken_p AS p, n - taken_n AS n FROM latest
    WHERE (p > taken_p OR n > taken_n) AND (deadline = 0 OR deadline > {_NOW_MS})
)
SELECT counter, CASE WHEN abs(total(p) - total(n)) < 9.2e18
    THEN (sum((p - n) >> 32) << 32) + sum((p - n) & 4294967295)
    ELSE total(p) - total(n) END AS value  -- an approximation beyond 64 bits
FROM newest GROUP BY counter;
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {SCHEMA};
"""


_OUT_OF_BOUNDS = "SELECT 1 FROM rows WHERE " + " OR ".join(
    f"typeof({field}) <> 'integer' OR {field} < 0" for field in FIELDS
)
"""Finds a row that no version writes. SQLite keeps any value in any column."""


class Owner(NamedTuple):
    """Whose journal it is."""

    node: str
    cluster: str


def is_new(db: sqlite3.Connection, path: Path) -> bool:
    """Whether the file is empty. Raises `ConfigError` if it is neither empty nor of this schema."""
    tables, application, schema = (
        db.execute(query).fetchone()[0]
        for query in ("SELECT count(*) FROM sqlite_master", "PRAGMA application_id", "PRAGMA user_version")
    )
    if not tables and not schema:
        return True
    if application == _BEFORE_RELEASE:
        raise ConfigError(
            f"{path} was written by a version before the first release, and this one can't read it: move it away, or"
            f" choose another data directory. Its view shows what it counted: sqlite3 {path} 'SELECT * FROM counts'"
        )
    if application != APPLICATION:
        raise ConfigError(f"{path} is another program's file: choose another data directory")
    if schema != SCHEMA:
        raise ConfigError(
            f"{path} has schema {schema}, and this version reads only schema {SCHEMA}: use the version that wrote it,"
            " or choose another data directory"
        )
    return False


class Life(NamedTuple):
    """The journal's file, and its id from when it became that file."""

    journal: str
    place: Place
    path: str
    """What the file was called then."""


def create(db: sqlite3.Connection, owner: Owner, life: Life) -> None:
    """Make the tables of an empty file, all or nothing."""
    db.executescript(_TABLES)
    _put_meta(db, owner._asdict() | _life_as_meta(life) | {"rows": "0"})
    db.execute("COMMIT")


def new_life(path: Path, place: Place) -> Life:
    """A life of the journal at `path`, with an id that no other has."""
    called = os.fsencode(path.absolute()).decode(errors="backslashreplace")  # SQLite takes no text but UTF-8
    return Life(secrets.token_hex(8), place, called)


def begin_life(db: sqlite3.Connection, life: Life) -> None:
    """Forget the actor, whom the file that this one was copied from may go on to write as. No log may be left."""
    db.execute("DELETE FROM meta WHERE key = 'actor'")
    _put_meta(db, _life_as_meta(life))


def check_owner(db: sqlite3.Connection, owner: Owner, directory: Path) -> None:
    """Raise `ConfigError` if the journal belongs to another node or cluster, `KeyError` if it does not say to whom."""
    meta = _meta(db)
    found = Owner(meta["node"], meta["cluster"])
    if found != owner:
        raise ConfigError(
            f"{directory} belongs to node {found.node!r} of cluster {found.cluster!r}, not to {owner.node!r}"
            f" of {owner.cluster!r}: choose another data directory"
        )


def read_life(db: sqlite3.Connection) -> Life:
    """The present life. Raises `ValueError`, `KeyError` or `TypeError` for damage."""
    meta = _meta(db)
    file, directory, file_system, device = json.loads(meta["place"])
    return Life(meta["journal"], Place(Inode(*file), Inode(*directory), file_system, device), meta["path"])


def _life_as_meta(life: Life) -> dict[str, str]:
    return {"journal": life.journal, "place": json.dumps(life.place), "path": life.path}


def _meta(db: sqlite3.Connection) -> dict[str, str]:
    meta = {}
    for key, value, checksum in db.execute("SELECT key, value, checksum FROM meta"):
        if checksum != _checksum(key, value, ()):
            raise ValueError(f"its {key!r} is not as it was written")
        meta[key] = value
    return meta


def _put_meta(db: sqlite3.Connection, values: Mapping[str, str]) -> None:
    database.put(db, "meta", [(key, value, _checksum(key, value, ())) for key, value in values.items()])


def _members(meta: Mapping[str, str]) -> dict[str, MemberRecord]:
    listed = checked_members(json.loads(value) for key, value in meta.items() if key.startswith(_MEMBER))
    return {record.name: record for record in listed}


def read(db: sqlite3.Connection) -> tuple[Contents, int]:
    """What the tables contain, and the number of the last log entry that is in them.

    Raises `ValueError` or `KeyError` for damage.
    """
    meta = _meta(db)
    contents = Contents(checked_actor(meta["actor"]) if "actor" in meta else None)
    if CLUSTER_ID in meta:
        contents.cluster_id = ClusterId.unpacked(int(meta[CLUSTER_ID]))
    contents.members = _members(meta)
    for actor, version, source_version, *floors, checksum in db.execute("SELECT * FROM actors"):
        if checksum != _checksum(actor, "", (version, source_version, *floors)):
            raise ValueError(f"the versions of {actor!r} are not as they were written")
        checked_versions = limits.count(version, "version"), limits.count(source_version, "source version")
        contents.versions[checked_actor(actor)] = *checked_versions, checked_floors(*floors)
        contents.rows[actor] = {}
    if db.execute(_OUT_OF_BOUNDS).fetchone():
        raise ValueError(f"a row must be integers from 0 to {limits.MAX_COUNT}")
    rows, total = contents.rows, 0
    for record in db.execute(f"SELECT {', '.join(_COLUMNS)} FROM rows"):
        actor, counter, fields = record[0], record[1], record[2:-1]
        if record[-1] != _checksum(actor, counter, fields):
            raise ValueError(f"the row of {counter!r} is not as it was written")
        # The log may be the first to name the versions of an actor.
        rows.setdefault(actor, {})[counter] = _row(fields)
        total += record[-1]
    if total != int(meta["rows"]):
        raise ValueError("some of its rows are older than others, or missing")
    return contents, int(meta.get("compacted", 0))


def write_rows(db: sqlite3.Connection, rows: Iterable[tuple[Actor, str, HeldRow]]) -> None:
    """Replace rows in the table. To be called within a transaction."""
    keys, gone, records = list[tuple[Actor, str]](), list[tuple[Actor, str]](), list[tuple[Any, ...]]()
    for actor, counter, row in rows:
        keys.append((actor, counter))
        if counts_nothing(row):
            gone.append((actor, counter))
        else:
            records.append(_record(actor, counter, row))
    before = _sum_of_checksums(db, keys)
    db.executemany("DELETE FROM rows WHERE actor = ? AND counter = ?", gone)
    database.put(db, "rows", records)
    (total,) = db.execute("SELECT value FROM meta WHERE key = 'rows'").fetchone()
    _put_meta(db, {"rows": str(int(total) - before + sum(record[-1] for record in records))})


def _record(actor: Actor, counter: str, row: HeldRow) -> tuple[object, ...]:
    """A row's columns, in the order of `_COLUMNS`."""
    if isinstance(row, EndingRow):
        p, n, version, *more = encode(row, 0)
        fields = p, n, version, json.dumps(more)
        return actor, counter, *fields, _checksum(actor, counter, fields)
    p, n, version = row
    written_out = f"({p}, {n}, {version}, None)"  # as a tuple is, in a third of the time
    return actor, counter, p, n, version, None, _checksum(actor, counter, written_out)


def _row(fields: tuple[Any, ...]) -> HeldRow:
    """The row with these columns. Raises `ValueError`."""
    *numbers, ending = fields
    return Row(*numbers) if ending is None else decode((*numbers, *json.loads(ending)), 0)


def _sum_of_checksums(db: sqlite3.Connection, keys: Sequence[tuple[object, ...]]) -> int:
    """Of the rows that there are of some actors and counters."""
    total = 0
    for marks, flat in database.statements(keys):
        matching = f"(VALUES {marks}) CROSS JOIN rows ON actor = column1 AND counter = column2"  # CROSS: in this order
        total += db.execute(f"SELECT coalesce(sum(checksum), 0) FROM {matching}", flat).fetchone()[0]
    return total


def write_end(db: sqlite3.Connection, contents: Contents, compacted: int) -> None:
    """Write all but the rows of some contents. The tables then contain the log up to the entry numbered `compacted`."""
    reach = [(actor, (*versions, *floors)) for actor, (*versions, floors) in contents.versions.items()]
    database.put(db, "actors", [(actor, *each, _checksum(actor, "", each)) for actor, each in reach])
    meta = {"compacted": str(compacted)}
    if contents.actor:
        meta["actor"] = contents.actor
    if contents.cluster_id:
        meta[CLUSTER_ID] = str(contents.cluster_id.packed())
    meta.update((_MEMBER + name, json.dumps(record)) for name, record in contents.members.items())
    _put_meta(db, meta)
    if contents.members:
        old = too_old(_members(_meta(db)))
        db.executemany("DELETE FROM meta WHERE key = ?", [(_MEMBER + name,) for name in old])


def entry_checksum(number: int, entry: str) -> int:
    """The checksum of an entry in the table `log`, and of its number."""
    return crc32(entry.encode(), number)  # the number is what the CRC starts from


def _checksum(actor: str, counter: str, values: tuple[object, ...] | str) -> int:
    """Of a record; `values` may be written out already."""
    return crc32(f"{values} {len(actor)} {actor}{counter}".encode())
