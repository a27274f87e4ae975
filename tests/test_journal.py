"""The journal: what is committed comes back, whatever is cut off or damaged, and no other node's journal is used."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gossip_counter.node.core.counts import Actor, NamedRow, Row
from gossip_counter.node.core.effects import Commit
from gossip_counter.node.core.errors import ConfigError
from gossip_counter.node.core.identity import Recovered
from gossip_counter.node.core.state import Stored
from gossip_counter.node.storage import commit_log, database, schema
from gossip_counter.node.storage.journal import Journal, JournalError, Tuning

ME, PEER = Actor("n1.me"), Actor("n2.x")
Rows = dict[tuple[str, str], tuple[int, int]]


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


def test_what_is_committed_comes_back(tmp_path: Path) -> None:
    with opened(tmp_path) as made:
        assert made.recovered is None
        learned = Stored(PEER, 3, 9, {"x": Row(1, 2, 3), "y\0é": Row(2**63 - 1, 0, 12)})
        made.commit(Commit(ME, (learned, Stored(ME, 2, 2, {"": Row(5, 0, 2)}))))
        made.commit(mine(3, ("", Row(6, 0, 3))))
    with opened(tmp_path) as again:
        assert again.recovered == Recovered(ME, (Stored(ME, 3, 3, {"": Row(6, 0, 3)}), learned))
        assert again.set_aside is None


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
        assert rows(again.recovered) == {(ME, "a"): (4, 0), (ME, "b"): (0, 0)}


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


def test_the_log_is_compacted_into_the_tables_and_loses_nothing(tmp_path: Path) -> None:
    rng = Random(3)
    committed: Rows = {}
    with opened(tmp_path, Tuning(compact_bytes=2000)) as made:
        lengths: list[int] = []
        for version in range(1, 250):
            names = dict.fromkeys(f"c{rng.randrange(300)}" for _ in range(rng.randrange(1, 9)))
            made.commit(mine(version, *((name, Row(version, 0, version)) for name in names)))
            committed |= {(ME, name): (version, 0) for name in names}
            lengths += look(tmp_path, "SELECT count(*) FROM log")[0]
            if version % 5 == 0:
                shown = dict(look(tmp_path, "SELECT counter, value FROM counts"))
                assert shown == {name: p for (_, name), (p, _) in committed.items()}
            if version % 40 == 0:  # as after kill -9
                with opened(shutil.copytree(tmp_path, tmp_path.parent / f"copy{version}")) as copy:
                    assert rows(copy.recovered) == committed
    assert sum(after < before for before, after in pairwise(lengths)) > 5, "it was never compacted"
    assert max(lengths) < 150
    with opened(tmp_path) as again:
        assert rows(again.recovered) == committed
        assert look(tmp_path, "SELECT count(*) FROM log") == [(0,)]


def test_the_view_shows_all_counters_though_one_is_beyond_64_bits(tmp_path: Path) -> None:
    with opened(tmp_path) as made:
        most = 2**63 - 1
        for actor in (ME, PEER):
            rows = {"a": Row(most, 0, 1), "b": Row(0, most, 2), "c": Row(most, most - 7, 3), "d": Row(3, 8, 4)}
            made.commit(Commit(ME, (Stored(actor, 4, 4, rows),)))
        shown = dict(look(tmp_path, "SELECT * FROM counts"))
    assert shown == {"a": pytest.approx(2 * most), "b": pytest.approx(-2 * most), "c": 14, "d": -10}


def test_a_kill_between_two_chunks_of_a_compaction_loses_nothing(tmp_path: Path) -> None:
    """In the first compaction, and in a later one that brings an actor that the tables do not know."""
    committed: Rows = {}
    partly = 0
    with opened(tmp_path / "live", Tuning(compact_bytes=12_000)) as made:
        for version in range(1, 560):
            actor = ME if version < 280 else PEER
            made.commit(Commit(ME, (Stored(actor, version, version, {f"c{version}": Row(1, 0, version)}),)))
            committed[actor, f"c{version}"] = (1, 0)
            if is_partly_compacted(tmp_path / "live"):
                partly += 1
                with opened(shutil.copytree(tmp_path / "live", tmp_path / f"{version}")) as copy:
                    assert (copy.set_aside, rows(copy.recovered)) == (None, committed)
    assert partly > 4, "it was never compacted in chunks"


def is_partly_compacted(directory: Path) -> bool:
    """Whether the tables hold rows of entries that do not count as compacted yet."""
    ((newest, compacted),) = look(
        directory, "SELECT (SELECT max(version) FROM rows), (SELECT value FROM meta WHERE key = 'compacted')"
    )
    return (newest or 0) > int(compacted or 0)


def test_a_long_log_is_compacted_faster_than_it_grows(tmp_path: Path) -> None:
    """Each commit brings more rows than the least chunk."""
    most = 0
    with opened(tmp_path, Tuning(compact_bytes=50_000)) as made:
        for version in range(1, 100):
            named = ((f"c{version}-{i}", Row(1, 0, version)) for i in range(2 * commit_log.LEAST_CHUNK))
            made.commit(mine(version, *named))
            query = (
                "SELECT sum(length(entry)) FROM log"
                " WHERE id > coalesce((SELECT value FROM meta WHERE key = 'compacted'), 0) + 0"
            )
            most = max(most, look(tmp_path, query)[0][0])
    assert most < 3 * 50_000


def test_rows_of_an_actor_without_versions_are_damage(tmp_path: Path) -> None:
    with opened(tmp_path) as made:
        made.commit(mine(1, ("", Row(1, 0, 1))))
    change(tmp_path, "DELETE FROM actors")
    with opened(tmp_path) as again:
        assert (again.recovered, again.set_aside is not None) == (None, True)


def test_a_commit_that_fails_during_a_compaction_changes_nothing(tmp_path: Path) -> None:
    with opened(tmp_path, Tuning(compact_bytes=10)) as made:
        made.commit(mine(1, *((f"c{i}", Row(1, 0, 1)) for i in range(500))))
        change(tmp_path, "CREATE TRIGGER ill BEFORE INSERT ON rows BEGIN SELECT RAISE(FAIL, 'ill'); END")
        for _ in range(3):
            with pytest.raises(JournalError, match="ill"):
                made.commit(mine(2, ("c0", Row(2, 0, 2))))
        change(tmp_path, "DROP TRIGGER ill")
        for version in range(2, 12):
            made.commit(mine(version, ("c0", Row(version, 0, version))))
    with opened(tmp_path) as again:
        assert rows(again.recovered) == {(ME, f"c{i}"): (1 if i else 11, 0) for i in range(500)}


@pytest.mark.parametrize("gone", [1, 2, 3])
def test_an_entry_that_is_missing_from_the_log_is_noticed(tmp_path: Path, gone: int) -> None:
    live = tmp_path / "live"
    with opened(live) as made:
        for version in (1, 2, 3):
            made.commit(mine(version, ("", Row(version, 0, version))))
        shutil.copytree(live, tmp_path / "left")
    change(tmp_path / "left", f"DELETE FROM log WHERE id = {gone}")
    with opened(tmp_path / "left") as again:
        # The last one alone could not be missed: then the journal is as it once was.
        assert rows(again.recovered) == ({(ME, ""): (2, 0)} if gone == 3 else {})
        assert bool(again.set_aside) == (gone != 3)


def killed(directory: Path, entry: str) -> Path:
    """The journal of a node that was killed after the commit of this entry, which another version may have written."""
    with opened(directory / "live") as made:
        made.commit(mine(1, ("x", Row(1, 0, 1))))
        left = shutil.copytree(directory / "live", directory / "left")
    with closing(sqlite3.connect(left / "journal.db")) as db:
        db.execute("INSERT INTO log VALUES (?, ?, ?)", (2, entry, schema.entry_checksum(2, entry)))
        db.commit()
    return left


def test_a_record_of_an_unknown_kind_is_refused_and_kept(tmp_path: Path) -> None:
    left = killed(tmp_path, '[["actor", "n1.me"], ["claims", "s1", 7]]')
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"journal.db: it has records of kind 'claims', .*: use the version that"):
            Journal(left, "n1", "c")
    assert look(left, "SELECT max(id) FROM log") == [(2,)]
    change(left, "DELETE FROM log WHERE id = 2")
    with opened(left) as again:
        assert rows(again.recovered) == {(ME, "x"): (1, 0)}


@pytest.mark.parametrize(
    "entry",
    [
        *("", "7", "[]", "[[]]", '[["rows"]]'),
        *('[["actor"]]', '[["actor", ""]]', '[["actor", 7]]', '[["actor", "a", 1]]'),
        *(f'[["actor", "a"], ["rows", "a", 1, 1, {rows}]]' for rows in ("7", "[]", '{"x": 7}', '{"x": [1, 2, 3, 4]}')),
    ],
)  # fmt: skip
def test_an_entry_that_no_version_writes_is_damage(tmp_path: Path, entry: str) -> None:
    with opened(killed(tmp_path, entry)) as again:
        assert (again.recovered, again.set_aside is not None) == (None, True)


def test_a_log_is_readable_with_any_tool(tmp_path: Path) -> None:
    with opened(tmp_path) as made:
        made.commit(Commit(ME, (Stored(PEER, 3, 9, {'"\\é': Row(1, 2, 3)}), Stored(ME, 2, 2, {"": Row(5, 0, 2)}))))
        ((entry,),) = look(tmp_path, "SELECT entry FROM log")
        assert dict(look(tmp_path, "SELECT * FROM counts")) == {'"\\é': -1, "": 5}
    assert json.loads(entry) == [
        ["actor", ME], ["rows", PEER, 3, 9, {'"\\é': [1, 2, 3]}], ["rows", ME, 2, 2, {"": [5, 0, 2]}],
    ]  # fmt: skip


def test_a_journal_under_constant_load_does_not_grow(tmp_path: Path) -> None:
    with opened(tmp_path, Tuning(checkpoint_pages=8, compact_bytes=10_000)) as made:
        sizes = []
        for version in range(1, 1200):
            made.commit(mine(version, ("", Row(version, 0, version))))
            sizes.append(sum(path.stat().st_size for path in tmp_path.glob("journal.db*")))
    assert max(sizes[400:]) <= max(sizes[:400])
    assert max(sizes) < 200_000


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


def test_many_different_rows_are_compacted_though_their_entries_are_short(tmp_path: Path) -> None:
    """All of them are sorted at once, and nothing else happens meanwhile."""
    with opened(tmp_path, Tuning(compact_rows=100)) as made:
        for version in range(1, 301):
            made.commit(mine(version, (f"c{version % 50}", Row(version, 0, version))))
        assert look(tmp_path, "SELECT count(*) FROM rows") == [(0,)]
        for version in range(301, 403):
            made.commit(mine(version, (f"d{version}", Row(version, 0, version))))
        assert look(tmp_path, "SELECT count(*) > 50 FROM rows") == [(1,)]
    with opened(tmp_path) as again:
        assert len(rows(again.recovered)) == 152


def test_another_schema_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    with opened(tmp_path) as made:
        made.commit(mine(1, ("", Row(1, 0, 1))))
    for other in (schema.SCHEMA + 1, 0):
        change(tmp_path, f"PRAGMA user_version = {other}")
        with pytest.raises(ConfigError, match=f"has schema {other}, and this version reads only schema 1: use the"):
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


@pytest.mark.parametrize("harm", [b"", b"x" * 5000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_garbage_is_set_aside_and_kept(tmp_path: Path, harm: bytes) -> None:
    (tmp_path / "journal.db").write_bytes(harm)
    with opened(tmp_path) as made:
        assert made.recovered is None
        assert bool(made.set_aside) == bool(harm)  # an empty file is a new one
        made.commit(mine(1, ("", Row(1, 0, 1))))
        if made.set_aside:
            assert made.set_aside.read_bytes() == harm
    (tmp_path / "journal.db").write_bytes(harm or b"y" * 100)
    with opened(tmp_path) as again:
        assert again.set_aside is not None
        assert len(list(tmp_path.glob("journal.db.damaged-*"))) == 1 + bool(harm)


def test_a_row_that_is_not_as_it_was_written_is_noticed(tmp_path: Path) -> None:
    with opened(tmp_path) as made:
        made.commit(mine(1, ("", Row(1, 0, 1))))
    change(tmp_path, "UPDATE rows SET p = 2")
    with opened(tmp_path) as again:
        assert again.recovered is None
        assert again.set_aside is not None


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


def test_another_process_that_writes_delays_a_commit_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with opened(tmp_path, Tuning(busy_s=0.05)) as made, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalError, match="locked"):
            made.commit(mine(1, ("", Row(1, 0, 1))))
        other.execute("ROLLBACK")
        made.commit(mine(1, ("", Row(1, 0, 1))))


class History:
    """A journal as a crash leaves it, with a write-ahead log, and all states that it ever was in."""

    def __init__(self, seed: int) -> None:
        self.directory = TemporaryDirectory()
        self.left = Path(self.directory.name) / "left"
        rng = Random(seed)
        self.states: list[Rows] = [{}]
        live = Path(self.directory.name) / "live"
        with opened(live, Tuning(checkpoint_pages=20, compact_bytes=4000)) as made:
            committed: Rows = {}
            for version in range(1, 60):
                names = [f"counter {rng.randrange(200)}" for _ in range(rng.randrange(1, 20))]
                committed = committed | {(ME, name): (version, 0) for name in names}
                made.commit(mine(version, *((name, Row(version, 0, version)) for name in dict.fromkeys(names))))
                self.states.append(committed)
            shutil.copytree(live, self.left)

    def after(self, suffix: str, harm: bytes) -> Rows | None:
        """The rows that are recovered when a file holds `harm`; None if the journal was refused."""
        with TemporaryDirectory() as name:
            directory = Path(name)
            shutil.copytree(self.left, directory, dirs_exist_ok=True)
            (directory / f"journal.db{suffix}").write_bytes(harm)
            try:
                with opened(directory) as found:
                    return rows(found.recovered)
            except ConfigError:
                return None

    def file(self, suffix: str) -> bytes:
        return (self.left / f"journal.db{suffix}").read_bytes()


@pytest.fixture(scope="module")
def history() -> Iterator[History]:
    made = History(1)
    assert len(made.file("-wal")) > 20_000
    assert len(made.file("")) > 8000
    with made.directory:
        yield made


@settings(max_examples=100, deadline=None)
@given(suffix=st.sampled_from(["", "-wal"]), share=st.floats(0, 1))
def test_a_journal_cut_off_at_any_byte_is_as_it_once_was_or_set_aside(
    history: History, suffix: str, share: float
) -> None:
    intact = history.file(suffix)
    recovered = history.after(suffix, intact[: int(share * len(intact))])
    assert recovered in history.states
    if share == 1:
        assert recovered == history.states[-1]


@settings(max_examples=100, deadline=None)
@given(suffix=st.sampled_from(["", "-wal"]), share=st.floats(0, 0.999999), value=st.integers(0, 255))
@example(suffix="", share=0.14770599098584977, value=128)  # in the text of the schema, which errors quote
def test_a_journal_with_a_changed_byte_gives_no_wrong_count(
    history: History, suffix: str, share: float, value: int
) -> None:
    harmed = bytearray(history.file(suffix))
    harmed[int(share * len(harmed))] = value
    recovered = history.after(suffix, bytes(harmed))
    assert recovered is None or recovered in history.states


def test_a_page_that_lost_rows_is_noticed(history: History) -> None:
    """The number of cells of a page stands in two bytes of its header, which no checksum of a row covers."""
    intact = history.file("")
    for page in range(4096, len(intact), 4096):
        for byte in (page + 3, page + 4):
            for bit in range(8):
                harmed = bytearray(intact)
                harmed[byte] ^= 1 << bit
                recovered = history.after("", bytes(harmed))
                assert recovered is None or recovered in history.states
