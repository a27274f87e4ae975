"""The journal: what is committed comes back, and no other node's journal is used."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gossip_counter.node.core.counts import Actor, Row
from gossip_counter.node.core.effects import Commit
from gossip_counter.node.core.errors import ConfigError
from gossip_counter.node.core.holdings import Stored
from gossip_counter.node.core.identity import Recovered
from gossip_counter.node.core.roster import MAX_GONE, MemberRecord
from gossip_counter.node.storage import database, schema
from gossip_counter.node.storage.journal import Journal, JournalError, Tuning
from tests.support.journals import ME, PEER, change, look, mine, opened, rows


def test_what_is_committed_comes_back(tmp_path: Path) -> None:
    with opened(tmp_path) as made:
        assert made.recovered is None
        learned = Stored(PEER, 3, 9, {"x": Row(1, 2, 3), "y\0é": Row(2**63 - 1, 0, 12)})
        made.commit(Commit(ME, (learned, Stored(ME, 2, 2, {"": Row(5, 0, 2)}))))
        made.commit(mine(3, ("", Row(6, 0, 3))))
    with opened(tmp_path) as again:
        assert again.recovered == Recovered(ME, (Stored(ME, 3, 3, {"": Row(6, 0, 3)}), learned))
        assert again.set_aside is None


def test_records_of_members_come_back_from_the_log_and_from_the_tables(tmp_path: Path) -> None:
    n2, n3 = MemberRecord("n2", 2**62, 3, True, 7, ("a:1", "[::1]:2"), "1.0", "ab"), MemberRecord("n3", removed=5)
    for number, record in enumerate((n2, n3, n2._replace(version=4))):
        with opened(tmp_path, Tuning(compact_bytes=10**9)) as made:
            made.commit(Commit(ME, (), None, (record,)))
            if number == 0:  # what is in the log alone
                shutil.copytree(tmp_path, tmp_path / "copy")
    with opened(tmp_path) as again:
        assert again.recovered == Recovered(ME, (), None, (n2._replace(version=4), n3))
    with opened(tmp_path / "copy") as copy:
        assert copy.recovered == Recovered(None, (), None, (n2,))


def test_records_of_those_who_are_gone_for_longest_are_forgotten(tmp_path: Path) -> None:
    gone = [MemberRecord(f"n{number}", 1, 1, True, gone_ms=number) for number in range(1, MAX_GONE + 11)]
    for some in (gone[:300], gone[300:]):
        with opened(tmp_path) as made:
            made.commit(Commit(ME, (), None, tuple(some)))
    with closing(sqlite3.connect(tmp_path / "journal.db")) as db:
        assert db.execute("SELECT count(*) FROM meta WHERE key GLOB 'member *'").fetchone() == (MAX_GONE,)
    with opened(tmp_path) as again:
        assert again.recovered
        assert {record.name for record in again.recovered.members} == {record.name for record in gone[10:]}


def test_a_start_that_wrote_nothing_leaves_nothing_behind(tmp_path: Path) -> None:
    with opened(tmp_path):
        pass
    with opened(tmp_path) as again:
        assert again.recovered is None


def test_rows_that_are_committed_again_replace_those_stored(tmp_path: Path) -> None:
    """What a failed commit may have left is overwritten by the next one."""
    with opened(tmp_path) as made:
        made.commit(mine(2, ("a", Row(5, 0, 1)), ("b", Row(7, 0, 2))))
        made.commit(mine(1, ("a", Row(4, 0, 1)), ("b", Row(0, 0, 0))))
    with opened(tmp_path) as again:
        assert rows(again.recovered) == {(ME, "a"): (4, 0)}


def test_a_new_epoch_is_kept_without_a_row(tmp_path: Path) -> None:
    with opened(tmp_path) as made:
        made.commit(mine(1, ("", Row(1, 0, 1))))
        made.commit(Commit(Actor("n1.other"), ()))
    with opened(tmp_path) as again:
        assert again.recovered is not None
        assert again.recovered.actor == "n1.other"
        assert rows(again.recovered) == {(ME, ""): (1, 0)}


@pytest.mark.parametrize("count", [1, 2, 255, 256, 257, 1000])
def test_commits_of_any_size(tmp_path: Path, count: int) -> None:
    named = [(f"c{i}", Row(i, 0, i)) for i in range(1, count + 1)]
    with opened(tmp_path) as made:
        made.commit(mine(count, *named))
    with opened(tmp_path) as again:
        assert len(rows(again.recovered)) == count


def test_each_commit_is_synced_to_the_disk(tmp_path: Path) -> None:
    with closing(database.connect(tmp_path / "journal.db", 2.0, 1000)) as db:
        assert db.execute("PRAGMA synchronous").fetchone() == (2,)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_the_view_shows_all_counters_though_one_is_beyond_64_bits(tmp_path: Path) -> None:
    with opened(tmp_path) as made:
        most = 2**63 - 1
        for actor in (ME, PEER):
            rows = {"a": Row(most, 0, 1), "b": Row(0, most, 2), "c": Row(most, most - 7, 3), "d": Row(3, 8, 4)}
            made.commit(Commit(ME, (Stored(actor, 4, 4, rows),)))
        shown = dict(look(tmp_path, "SELECT * FROM counts"))
    assert shown == {"a": pytest.approx(2 * most), "b": pytest.approx(-2 * most), "c": 14, "d": -10}


def test_a_locked_directory_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(ConfigError, match=r"in use by process \d+"):
        Journal(tmp_path, "n1", "c")


@pytest.mark.parametrize(("node", "cluster"), [("n2", "c"), ("n1", "d")])
def test_the_journal_of_another_is_refused(tmp_path: Path, node: str, cluster: str) -> None:
    with opened(tmp_path) as made:
        made.commit(mine(1, ("", Row(1, 0, 1))))
    with pytest.raises(ConfigError, match="belongs to node 'n1' of cluster 'c'"):
        Journal(tmp_path, node, cluster)
    with opened(tmp_path) as again:  # which was not harmed, nor left locked
        assert rows(again.recovered) == {(ME, ""): (1, 0)}


def test_another_schema_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    with opened(tmp_path) as made:
        made.commit(mine(1, ("", Row(1, 0, 1))))
    for other in (schema.SCHEMA + 1, 0):
        change(tmp_path, f"PRAGMA user_version = {other}")
        with pytest.raises(
            ConfigError, match=f"has schema {other}, and this version reads only schema {schema.SCHEMA}: use the"
        ):
            Journal(tmp_path, "n1", "c")
    change(tmp_path, f"PRAGMA user_version = {schema.SCHEMA}")
    with opened(tmp_path) as again:
        assert rows(again.recovered) == {(ME, ""): (1, 0)}


@pytest.mark.parametrize("before", [1, 2, 3])
def test_a_journal_from_before_the_first_release_is_refused(tmp_path: Path, before: int) -> None:
    """It has the application id 0x676F7373, and its schemas 1 to 3 are not ours."""
    with opened(tmp_path):
        pass
    change(tmp_path, f"PRAGMA application_id = {0x676F7373}")
    change(tmp_path, f"PRAGMA user_version = {before}")
    with pytest.raises(ConfigError, match=r"before the first release.*move it away, or choose another"):
        Journal(tmp_path, "n1", "c")
    assert not list(tmp_path.glob("*.damaged-*"))


def test_another_programs_file_is_refused(tmp_path: Path) -> None:
    change(tmp_path, "CREATE TABLE songs (title)")
    with pytest.raises(ConfigError, match="another program"):
        Journal(tmp_path, "n1", "c")


def test_a_file_where_the_directory_should_be(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(ConfigError, match="is a file"):
        Journal(tmp_path / "data", "n1", "c")
    with pytest.raises(ConfigError, match="Not a directory"):
        Journal(tmp_path / "data" / "n1", "n1", "c")


def test_a_directory_that_cannot_be_made() -> None:
    with pytest.raises(ConfigError, match="can't use the data directory"):
        Journal(Path("/proc/no/such"), "n1", "c")


def test_a_file_that_is_deleted_or_replaced_takes_no_more(tmp_path: Path) -> None:
    with opened(tmp_path, Tuning(identity_check_ns=0)) as made:
        made.commit(mine(1, ("", Row(1, 0, 1))))
        (tmp_path / "journal.db").unlink()
        with pytest.raises(JournalError, match="restart"):
            made.commit(mine(2, ("", Row(2, 0, 2))))
        (tmp_path / "journal.db").touch()
        with pytest.raises(JournalError, match="replaced"):
            made.commit(mine(2, ("", Row(2, 0, 2))))


def test_a_log_that_is_deleted_takes_no_more(tmp_path: Path) -> None:
    with opened(tmp_path, Tuning(identity_check_ns=0)) as made:
        made.commit(mine(1, ("", Row(1, 0, 1))))
        (tmp_path / "journal.db-wal").unlink()
        with pytest.raises(JournalError, match="restart"):
            made.commit(mine(2, ("", Row(2, 0, 2))))


def test_a_log_that_is_cut_off_or_written_over_with_a_shorter_one_takes_no_more(tmp_path: Path) -> None:
    with opened(tmp_path, Tuning(identity_check_ns=0)) as made:
        for number in range(1, 9):
            made.commit(mine(number, ("", Row(number, 0, number))))
        with (tmp_path / "journal.db-wal").open("r+b") as log:
            log.truncate(8192)
        for _ in range(2):
            with pytest.raises(JournalError, match="cut off or written over: restart this node"):
                made.commit(mine(9, ("", Row(9, 0, 9))))


def test_a_log_that_sqlite_makes_shorter_takes_more(tmp_path: Path) -> None:
    with opened(tmp_path, Tuning(identity_check_ns=0, checkpoint_pages=10)) as made:
        path, sizes = tmp_path / "journal.db-wal", list[int]()
        with closing(sqlite3.connect(tmp_path / "journal.db", isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM counts").fetchall()  # until it ends, the log only grows
            for number in range(1, 60):
                made.commit(mine(number, ("", Row(number, 0, number))))
        for number in range(60, 120):
            sizes.append(path.stat().st_size)
            made.commit(mine(number, ("", Row(number, 0, number))))
        assert min(sizes) < sizes[0]


def test_another_process_that_writes_delays_a_commit_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with opened(tmp_path, Tuning(busy_s=0.05)) as made, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalError, match="locked"):
            made.commit(mine(1, ("", Row(1, 0, 1))))
        other.execute("ROLLBACK")
        made.commit(mine(1, ("", Row(1, 0, 1))))
