"""A copy of a journal keeps every row and writes as another actor; the same file goes on as the one that it was."""

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pytest

from gossip_counter.cluster.client import Client
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import Row
from gossip_counter.node.core.errors import ConfigError
from gossip_counter.node.core.holdings import Stored
from gossip_counter.node.core.identity import Recovered
from gossip_counter.node.core.replica import Replica
from gossip_counter.node.storage import database
from gossip_counter.node.storage.file_identity import Inode, Place
from gossip_counter.node.storage.journal import Journal, Tuning
from tests.support.journals import IN_MEMORY, ME, Files, change, files, look, mine, opened, put_back, rows
from tests.support.nodes import running_node
from tests.support.replica import add, begin
from tests.support.waiting import LIMIT_S

OURS = Stored(ME, 1, 1, {"": Row(5, 0, 1)})


def written(directory: Path) -> Path:
    """A journal with one add, which is closed."""
    with opened(directory) as made:
        made.commit(mine(1, ("", Row(5, 0, 1))))
    return directory


def replica(journal: Journal) -> Replica:
    return Replica(Config(name="n1", peers=("n2",)), Random(), 0, journal.recovered)


def assert_copied(directory: Path) -> None:
    with opened(directory) as copy:
        assert copy.recovered == Recovered(None, (OURS,))
        assert copy.set_aside is None


@pytest.mark.parametrize("running", [True, False])
def test_a_copy_and_its_original_are_different_actors_with_all_rows(tmp_path: Path, running: bool) -> None:
    live, copied = written(tmp_path / "live"), tmp_path / "copied"
    if running:
        with opened(live) as original:
            original.commit(mine(2, ("x", Row(1, 0, 2))))
            shutil.copytree(live, copied)
    else:
        shutil.copytree(live, copied)
    with opened(live) as original, opened(copied) as copy:
        assert original.recovered is not None
        assert original.recovered.actor == ME
        assert copy.recovered == Recovered(None, original.recovered.stored)
        assert (original.copy_of, copy.copy_of) == (None, str(live / "journal.db"))
        assert replica(original).actor == ME
        assert replica(copy).actor != ME


def test_a_copy_takes_adds_without_asking_a_peer(tmp_path: Path) -> None:
    shutil.copytree(written(tmp_path / "live"), tmp_path / "copied")
    with opened(tmp_path / "copied") as copy:
        node = replica(copy)
        begin(node)
        assert node.is_ready
        add(node, 2)
        assert node.state.value("") == 7


def test_a_node_says_once_that_its_journal_is_a_copy(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Here beside the original, which is in use."""

    async def added(journal: Journal, delta: int) -> tuple[int, int, int]:
        async with running_node(journal) as address, await Client.connect(address, LIMIT_S) as client:
            await client.add(delta)
            status = await client.gossip_status()
            return await client.read(), status["journals_copied"], status["new_epochs"]

    live, copied = written(tmp_path / "live"), tmp_path / "copied"
    with opened(live) as original:
        shutil.copytree(live, copied)
        with opened(copied) as copy:
            assert asyncio.run(added(original, 1)) == (6, 0, 0)
            assert asyncio.run(added(copy, 2)) == (7, 1, 0)
    with opened(copied) as copy:
        assert asyncio.run(added(copy, 4)) == (11, 0, 0)
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warned == [
        f"journals_copied (1 so far): the journal is a copy of {live / 'journal.db'}: this node begins a new epoch"
    ]


def test_a_copy_is_one_once(tmp_path: Path) -> None:
    shutil.copytree(written(tmp_path / "live"), tmp_path / "copied")
    with opened(tmp_path / "copied") as copy:
        copy.commit(mine(2, ("", Row(7, 0, 2))))
    with opened(tmp_path / "copied") as again:
        assert (again.copy_of, again.set_aside) == (None, None)
        assert again.recovered is not None
        assert again.recovered.actor == ME  # whom it wrote as after it was copied


def test_a_copy_of_a_copy_is_one(tmp_path: Path) -> None:
    names = [tmp_path / "live", tmp_path / "first", tmp_path / "second"]
    written(names[0])
    shutil.copytree(names[0], names[1])
    assert_copied(names[1])
    shutil.copytree(names[1], names[2])
    with opened(names[2]) as copy:
        assert copy.copy_of == str(names[1] / "journal.db")


def test_a_copy_whose_mark_was_copied_later_keeps_its_rows(tmp_path: Path) -> None:
    with opened(tmp_path / "live") as live:
        live.commit(mine(1, ("", Row(5, 0, 1))))
        shutil.copytree(tmp_path / "live", tmp_path / "copied")
        live.commit(mine(2, ("", Row(6, 0, 2))))
        shutil.copy(tmp_path / "live" / "journal.mark", tmp_path / "copied")
    assert_copied(tmp_path / "copied")
    assert_copied(tmp_path / "copied")


def test_a_copy_that_ends_before_its_first_commit_never_has_the_old_actor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every state of the files while a copy is opened is what a crash may leave."""
    with TemporaryDirectory(dir=IN_MEMORY) as name:
        original, copied = Path(name) / "live", Path(name) / "copied"
        with opened(original, Tuning(compact_bytes=500)) as live:
            for version in range(1, 30):
                live.commit(mine(version, (f"c{version % 20}", Row(1, 0, version))))
            shutil.copytree(original, copied)
        left = states_while_opening(copied, monkeypatch)
        before, after = len(left[0]["journal.db-wal"]), left[-1]["journal.db-wal"]
        assert len(after) > before
        left += [left[-1] | {"journal.db-wal": after[:size]} for size in range(before, len(after), 2060)]  # half pages
        for state in left:
            put_back(copied, state)
            with opened(copied) as again:
                assert again.recovered is not None
                assert (again.recovered.actor, again.set_aside) == (None, None)
                assert len(rows(again.recovered)) == 20


def states_while_opening(directory: Path, monkeypatch: pytest.MonkeyPatch) -> list[Files]:
    """The files of a journal before each SQL statement that opens it, and after the last."""
    states = [files(directory)]
    connect = database.connect

    def observed(path: Path, busy_s: float, checkpoint_pages: int) -> sqlite3.Connection:
        db = connect(path, busy_s, checkpoint_pages)
        db.set_trace_callback(lambda _: states.append(files(directory)))
        return db

    with monkeypatch.context() as patch:
        patch.setattr(database, "connect", observed)
        with opened(directory):
            states.append(files(directory))
            last = len(states)
    assert last > 20
    return states[:last]


def test_a_journal_that_is_put_back_from_a_copy_in_its_old_place_is_a_copy(tmp_path: Path) -> None:
    """Many file systems give the numbers of deleted files to the next ones."""
    live, backup = written(tmp_path / "live"), tmp_path / "backup"
    shutil.copytree(live, backup)
    for _ in range(5):
        shutil.rmtree(live)
        shutil.copytree(backup, live)
        assert_copied(live)


@pytest.mark.parametrize("how", [".backup", "VACUUM INTO"])
def test_a_copy_made_by_sqlite_is_a_copy(tmp_path: Path, how: str) -> None:
    live, restored = written(tmp_path / "live"), tmp_path / "restored"
    restored.mkdir()
    with closing(sqlite3.connect(live / "journal.db")) as db:
        if how == ".backup":
            with closing(sqlite3.connect(restored / "journal.db")) as target:
                db.backup(target)
        else:
            db.execute("VACUUM INTO ?", (str(restored / "journal.db"),))
    assert_copied(restored)


def test_a_restart_a_renamed_directory_and_a_link_leave_the_journal_what_it_was(tmp_path: Path) -> None:
    live, moved, link = written(tmp_path / "live"), tmp_path / "moved", tmp_path / "link"
    live.rename(moved)
    link.symlink_to(moved)
    for directory in (moved, moved, link):
        with opened(directory) as again:
            assert again.recovered == Recovered(ME, (OURS,))
            assert again.copy_of is None


def other_device(handle: int, real: Callable[[int], os.stat_result] = os.fstat) -> os.stat_result:
    fields = list(real(handle))
    fields[2] += 1
    return os.stat_result(fields)


def other_file_system(handle: int, real: Callable[[int], os.statvfs_result] = os.fstatvfs) -> SimpleNamespace:
    return SimpleNamespace(f_fsid=real(handle).f_fsid + 1)


@pytest.mark.parametrize("device", [False, True])
@pytest.mark.parametrize("file_system", [False, True])
def test_a_reboot_may_change_the_device_number_or_the_file_systems_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: bool, file_system: bool
) -> None:
    written(tmp_path)
    if device:
        monkeypatch.setattr(os, "fstat", other_device)
    if file_system:
        monkeypatch.setattr(os, "fstatvfs", other_file_system)
    with opened(tmp_path) as again:
        assert again.recovered == Recovered(None if device and file_system else ME, (OURS,))


def test_a_file_system_without_an_id_is_known_by_its_device_number_only() -> None:
    file, directory = Inode(7, 0), Inode(6, 0)
    place = Place(file, directory, 0, 1)
    assert place.is_same(Place(file, directory, 0, 1))
    assert not place.is_same(Place(file, directory, 0, 2))
    assert not place.is_same(Place(Inode(7, 1), directory, 0, 1))
    assert not place.is_same(Place(file, Inode(8, 0), 0, 1))


def test_a_journal_that_says_nothing_of_its_file_is_damaged(tmp_path: Path) -> None:
    change(written(tmp_path), "DELETE FROM meta WHERE key = 'place'")
    with opened(tmp_path) as again:
        assert again.recovered is None
        assert again.set_aside is not None


def test_a_copy_of_another_node_is_refused(tmp_path: Path) -> None:
    shutil.copytree(written(tmp_path / "live"), tmp_path / "copied")
    with pytest.raises(ConfigError, match="belongs to node 'n1'"):
        Journal(tmp_path / "copied", "n2", "c")
    assert look(tmp_path / "copied", "SELECT value FROM meta WHERE key = 'actor'") == [(ME,)]
    assert_copied(tmp_path / "copied")
