"""Journals of node n1 in cluster c, and what another program sees in their files."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from gossip_counter.node.core.counts import Actor, NamedRow
from gossip_counter.node.core.effects import Commit
from gossip_counter.node.core.holdings import Stored
from gossip_counter.node.core.identity import Recovered
from gossip_counter.node.storage.journal import Journal, Tuning

ME, PEER = Actor("n1.me"), Actor("n2.x")
IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where files need not reach a disk, for tests that open hundreds of journals."""

Rows = dict[tuple[str, str], tuple[int, int]]
"""By actor and counter, the increments and the decrements."""

Files = dict[str, bytes]
"""What each file of a journal contains."""


def mine(version: int, *rows: NamedRow) -> Commit:
    return Commit(ME, (Stored(ME, version, version, dict(rows)),))


@contextmanager
def opened(directory: Path, tuning: Tuning | None = None) -> Iterator[Journal]:
    with closing(Journal(directory, "n1", "c", tuning or Tuning())) as found:
        yield found


def look(directory: Path, query: str) -> list[tuple[Any, ...]]:
    """What another program sees in the file."""
    with closing(sqlite3.connect(f"file:{directory / 'journal.db'}?mode=ro", uri=True)) as db:
        return db.execute(query).fetchall()


def change(directory: Path, statement: str) -> None:
    with closing(sqlite3.connect(directory / "journal.db")) as db:
        db.execute(statement)
        db.commit()


def rows(recovered: Recovered | None) -> Rows:
    stored = recovered.stored if recovered else ()
    return {(each.actor, name): row[:2] for each in stored for name, row in each.rows.items()}


def files(directory: Path) -> Files:
    """The files of a journal, as a node that is killed now leaves them."""
    names = ("journal.db", "journal.db-wal", "journal.mark")
    return {name: (directory / name).read_bytes() for name in names if (directory / name).exists()}


def put_back(directory: Path, content: Files) -> None:
    """Write a journal's files over the present ones. The database stays the file that it was, though set aside."""
    if (original := directory / "journal.db.damaged-1").exists():
        original.rename(directory / "journal.db")
    for path in directory.glob("journal.*"):
        if path.name != "journal.db":
            path.unlink()
    for name, each in content.items():
        (directory / name).write_bytes(each)
