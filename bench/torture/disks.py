"""What happens to the data directories of nodes: they are copied, moved to other inodes, put back and damaged."""

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path
from random import Random

JOURNAL, LOG, MARK = "journal.db", "journal.db-wal", "journal.mark"
DAMAGE = (*(f"flip {file}" for file in (JOURNAL, LOG, MARK)), f"truncate {LOG}", f"remove {LOG}")
PUT_BACK = ("copied", "renamed", "in place")
"""How an earlier data directory takes the place of the present one. *Renamed* and *in place* keep inodes: those that
the earlier one had, and those that the present one has.
"""
MOST_FLIPPED = 8


def copy(source: Path, target: Path) -> bool:
    """Copy a data directory, whose files may change meanwhile; whether there is a journal. What nodes set aside stays.

    Raises `OSError`.
    """
    target.mkdir(parents=True)
    for path in source.iterdir() if source.exists() else ():
        with contextlib.suppress(FileNotFoundError):  # SQLite has deleted it just now
            if "damaged" not in path.name:
                shutil.copyfile(path, target / path.name)
    return (target / JOURNAL).exists()


def counters(path: Path) -> list[str]:
    """The counter of each row in the journal of a node that was stopped. Raises `sqlite3.Error`."""
    with contextlib.closing(sqlite3.connect(f"{(path / JOURNAL).as_uri()}?mode=ro", uri=True)) as db:
        return [counter for (counter,) in db.execute("SELECT counter FROM rows")]


def move(path: Path, backup: Path) -> None:
    """Let a copy take a directory's place, which becomes the backup, instead of an earlier one. Raises `OSError`."""
    remove(backup)
    backup.parent.mkdir(exist_ok=True)
    path.rename(backup)
    copy(backup, path)


def put_back(path: Path, backup: Path, how: str) -> None:
    """Let a backup take the place of a directory, in one of the ways of `PUT_BACK`. Raises `OSError`."""
    if how == "in place":
        path.mkdir(parents=True, exist_ok=True)
        for file in path.iterdir():
            if not (backup / file.name).exists():
                file.unlink()
        for file in backup.iterdir():
            shutil.copyfile(file, path / file.name)
        return
    remove(path)
    if how == "renamed":
        backup.rename(path)
    else:
        copy(backup, path)


def remove(path: Path) -> None:
    """Delete a directory, if there is one. Raises `OSError`."""
    if path.exists():
        shutil.rmtree(path)


def damage(path: Path, how: str, rng: Random) -> bool:
    """Do what `how`, one of `DAMAGE`, says to the files of a dead node; False if the file is empty or missing.

    Raises `OSError`.
    """
    action, name = how.split()
    file = path / name
    size = file.stat().st_size if file.exists() else 0
    if not size:
        return False
    match action:
        case "remove":
            file.unlink()
        case "truncate":
            os.truncate(file, rng.randrange(size))
        case _:
            content = bytearray(file.read_bytes())
            for _ in range(rng.randint(1, MOST_FLIPPED)):
                content[rng.randrange(size)] ^= 1 << rng.randrange(8)
            with file.open("r+b") as harmed:  # the same inode
                harmed.write(content)
    return True
