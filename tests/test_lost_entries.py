"""A journal that is intact and lacks what it had is set aside: an older copy, or one whose write-ahead log is lost."""

import asyncio
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest

from gossip_counter.cluster.client import Client
from gossip_counter.node.core.counts import Row
from gossip_counter.node.core.errors import ConfigError
from gossip_counter.node.storage.journal import Journal, JournalError, Tuning
from tests.support.journals import IN_MEMORY, ME, Files, Rows, change, files, look, mine, opened, put_back, rows
from tests.support.nodes import running_node
from tests.support.waiting import LIMIT_S

FRAME = 24 + 4096
"""Bytes of a page in the write-ahead log, whose own header has 32."""


@pytest.fixture
def memory() -> Iterator[Path]:
    with TemporaryDirectory(dir=IN_MEMORY) as name:
        yield Path(name)


def found(directory: Path, state: Files) -> Rows | None:
    """The rows under the old actor that are found when a journal's files contain this; None if a new epoch begins."""
    put_back(directory, state)
    try:
        with opened(directory) as again:
            if again.set_aside:
                assert again.recovered is None
                return None
            assert again.recovered is not None
            assert again.recovered.actor == ME
            return rows(again.recovered)
    except ConfigError:
        return None


def killed(directory: Path, commits: int, tuning: Tuning | None = None) -> list[Files]:
    """The files of a journal as they were left after each of so many commits, each of which adds a row."""
    with opened(directory, tuning) as made:
        states = [files(directory)]
        for version in range(1, commits + 1):
            made.commit(mine(version, (f"c{version}", Row(1, 0, version))))
            states.append(files(directory))
    return states


def all_of(commits: int) -> Rows:
    return {(ME, f"c{version}"): (1, 0) for version in range(1, commits + 1)}


# The write-ahead log.


def test_a_flipped_bit_anywhere_in_the_write_ahead_log_loses_nothing_unnoticed(memory: Path) -> None:
    left, rng, noticed = killed(memory, 12)[-1], Random(1), 0
    log = left["journal.db-wal"]
    for at in [*range(0, 32, 3), *range(32, 56), *(rng.randrange(len(log)) for _ in range(120))]:
        harmed = bytearray(log)
        harmed[at] ^= 1 << rng.randrange(8)
        recovered = found(memory, left | {"journal.db-wal": bytes(harmed)})
        assert recovered in (None, all_of(12))
        noticed += recovered is None
    assert noticed > 100


def test_a_write_ahead_log_that_is_cut_off_or_removed_is_noticed(memory: Path) -> None:
    left = killed(memory, 12)[-1]
    log = left["journal.db-wal"]
    for size in (*range(0, len(log), FRAME), *range(32, len(log), FRAME), len(log) - 1):
        assert found(memory, left | {"journal.db-wal": log[:size]}) is None
    del left["journal.db-wal"]
    assert found(memory, left) is None
    assert (memory / "journal.db.damaged-1-mark").exists()


def test_a_write_ahead_log_that_was_copied_into_the_file_may_lose_its_end(memory: Path) -> None:
    """Then older pages in what is left of it take the place of newer ones in the file."""
    states, checkpointed = killed(memory, 150, Tuning(checkpoint_pages=20, compact_bytes=2000)), 0
    for commits in range(1, 151):
        left = states[commits]
        if left["journal.db"] == states[commits - 1]["journal.db"]:
            continue
        checkpointed += 1
        log = left["journal.db-wal"]
        for size in range(32, len(log), 3 * FRAME):
            assert found(memory, left | {"journal.db-wal": log[:size]}) in (None, all_of(commits))
        del left["journal.db-wal"]
        assert found(memory, left) == all_of(commits)
    assert checkpointed > 5


# The file.


@pytest.mark.parametrize("log", ["older", "present", "none"])
@pytest.mark.parametrize("tuning", [Tuning(), Tuning(checkpoint_pages=10, compact_bytes=500)])
def test_an_older_copy_that_is_written_over_the_file_is_noticed(memory: Path, log: str, tuning: Tuning) -> None:
    states = killed(memory, 30, tuning)
    present = states[-1]
    for older in states[1:30:4]:
        mixed = present | {"journal.db": older["journal.db"]}
        if log == "older":
            mixed["journal.db-wal"] = older["journal.db-wal"]
        elif log == "none":
            del mixed["journal.db-wal"]
        assert found(memory, mixed) in (None, all_of(30))
        if log == "older":
            assert (memory / "journal.db.damaged-1").exists()


def test_an_older_copy_of_a_journal_that_was_closed_is_noticed(tmp_path: Path) -> None:
    """Numbers of entries go on through compaction."""
    states = []
    for version in range(1, 5):
        with opened(tmp_path) as made:
            made.commit(mine(version, (f"c{version}", Row(1, 0, version))))
        states.append(files(tmp_path))
        assert look(tmp_path, "SELECT count(*) FROM log") == [(0,)]
    assert found(tmp_path, states[-1]) == all_of(4)
    assert found(tmp_path, states[-1] | {"journal.db": states[-2]["journal.db"]}) is None


def test_rows_that_are_older_than_others_or_missing_are_noticed(tmp_path: Path) -> None:
    """Each is as it was once written."""
    with opened(tmp_path) as made:
        for version in (1, 2):
            made.commit(mine(version, ("a", Row(version, 0, version)), ("b", Row(1, 0, 1))))
    intact = files(tmp_path)
    with opened(tmp_path) as made:
        made.commit(mine(3, ("a", Row(3, 0, 3))))
    ((checksum,),) = look_at(tmp_path, intact, "SELECT checksum FROM rows WHERE counter = 'a'")
    present = files(tmp_path)
    for harm in (
        f"UPDATE rows SET p = 2, version = 2, checksum = {checksum} WHERE counter = 'a'",
        "DELETE FROM rows WHERE counter = 'b'",
    ):
        put_back(tmp_path, present)
        change(tmp_path, harm)
        assert found(tmp_path, files(tmp_path)) is None


def look_at(directory: Path, state: Files, query: str) -> list[tuple[object, ...]]:
    """What another program would see in the files as they were."""
    with TemporaryDirectory() as name:
        put_back(Path(name), state)
        return look(Path(name), query)


@pytest.mark.parametrize("beside", [(), ("journal.mark",), ("journal.db-wal",), ("journal.mark", "journal.db-wal")])
def test_an_empty_file_is_a_new_one_unless_what_is_beside_it_shows_otherwise(
    tmp_path: Path, beside: tuple[str, ...]
) -> None:
    left = killed(tmp_path, 3)[-1]
    put_back(tmp_path, {"journal.db": b""} | {name: left[name] for name in beside})
    with opened(tmp_path) as again:
        assert (again.recovered, again.set_aside is not None) == (None, bool(beside))
        again.commit(mine(1, ("x", Row(1, 0, 1))))
    kept = {
        name: tmp_path / name.replace("db", "db.damaged-1").replace(".mark", ".db.damaged-1-mark") for name in beside
    }
    assert {name: path.read_bytes() for name, path in kept.items()} == {name: left[name] for name in beside}
    with opened(tmp_path) as again:  # which the old mark no longer is beside
        assert (again.set_aside, rows(again.recovered)) == (None, {(ME, "x"): (1, 0)})


# The mark.


def test_a_mark_that_is_missing_unreadable_or_of_another_journal_refuses_nothing(tmp_path: Path) -> None:
    left = killed(tmp_path / "a", 3)[-1]
    other = killed(tmp_path / "b", 9)[-1]["journal.mark"]
    mark = left.pop("journal.mark")
    assert found(tmp_path / "a", left) == all_of(3)
    for harmed in (b"", mark[:20], b"x" * 64, mark.replace(b"\x03", b"\x09"), other):
        assert found(tmp_path / "a", left | {"journal.mark": harmed}) == all_of(3)


def test_an_older_mark_is_no_damage(tmp_path: Path) -> None:
    """As after a power failure, or where the process was killed between a commit and its mark."""
    states = killed(tmp_path, 4)
    for older in states[:4]:
        assert found(tmp_path, states[4] | {"journal.mark": older["journal.mark"]}) == all_of(4)


def test_the_mark_is_never_ahead_of_what_is_durable(tmp_path: Path) -> None:
    """Each commit is durable before its mark is written, and one that fails is not marked."""
    with opened(tmp_path, Tuning(compact_bytes=300)) as made:
        for version in range(1, 40):
            before = files(tmp_path)
            if version % 5 == 0:
                change(tmp_path, "CREATE TRIGGER ill AFTER INSERT ON log BEGIN SELECT RAISE(ABORT, 'ill'); END")
                with pytest.raises(JournalError, match="ill"):
                    made.commit(mine(version, (f"c{version}", Row(9, 0, version))))
                change(tmp_path, "DROP TRIGGER ill")
                assert files(tmp_path)["journal.mark"] == before["journal.mark"]
            made.commit(mine(version, (f"c{version}", Row(1, 0, version))))
            after = files(tmp_path)
            assert before["journal.mark"] != after["journal.mark"]
            (last,) = look(tmp_path, "SELECT max(id) FROM log")[0]
            assert int.from_bytes(after["journal.mark"][16:24], "little") == last == version
    assert found(tmp_path, after) == all_of(39)
    assert found(tmp_path, after | {"journal.mark": before["journal.mark"]}) == all_of(39)


def full(*_: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_mark_that_cannot_be_written_is_reported_and_refuses_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as made:
        errors, states = [], []
        for version in (1, 2, 3):
            with monkeypatch.context() as patch:
                if version == 2:
                    patch.setattr(os, "pwrite", full)
                made.commit(mine(version, (f"c{version}", Row(1, 0, version))))
            errors.append(made.noticed.pop("mark_errors", None))
            states.append(files(tmp_path))
    assert errors == [None, f"can't write {tmp_path / 'journal.mark'}: No space left on device", None]
    assert found(tmp_path, states[1]) == all_of(2)


def test_a_node_counts_marks_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def marks_after_an_add(journal: Journal) -> int:
        async with running_node(journal) as address, await Client.connect(address, LIMIT_S) as client:
            await client.add(1)
            status: dict[str, int] = await client.gossip_status()
            return status["mark_errors"]

    with opened(tmp_path) as made, monkeypatch.context() as patch:
        assert asyncio.run(marks_after_an_add(made)) == 0
        patch.setattr(os, "pwrite", full)
        assert asyncio.run(marks_after_an_add(made)) == 1


def test_a_mark_that_cannot_be_opened_refuses_no_start(tmp_path: Path) -> None:
    (tmp_path / "journal.mark").mkdir()
    for version in (1, 2):
        with opened(tmp_path) as made:
            assert len(rows(made.recovered)) == version - 1
            made.commit(mine(version, (f"c{version}", Row(1, 0, version))))
            assert "mark_errors" in made.noticed


# Setting aside.


def test_a_crash_while_a_journal_is_set_aside_never_leaves_an_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename
    for steps in range(5):
        directory = tmp_path / str(steps)
        left, done = killed(directory, 3)[-1], 0
        put_back(directory, left | {"journal.db-wal": left["journal.db-wal"][:-10]})

        def crash_after(self: Path, target: Path, steps: int = steps) -> Path:
            nonlocal done
            if done == steps:
                raise InterruptedError
            done += 1
            return rename(self, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", crash_after)
            try:
                Journal(directory, "n1", "c").close()
            except ConfigError:
                assert done == steps
        with opened(directory) as again:
            assert again.recovered is None


def test_a_journal_that_is_set_aside_keeps_its_write_ahead_log(tmp_path: Path) -> None:
    """The entries that can't be read are there."""
    left = killed(tmp_path, 5)[-1]
    harmed = bytearray(left["journal.db-wal"])
    harmed[-2 * FRAME] ^= 1
    assert found(tmp_path, left | {"journal.db-wal": bytes(harmed)}) is None
    assert (tmp_path / "journal.db.damaged-1-wal").read_bytes() == harmed
