"""The commit log: it is compacted a chunk at a time, stays bounded and loses nothing; unknown records are refused."""

import json
import shutil
import sqlite3
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from gossip_counter.node.core.counts import Row
from gossip_counter.node.core.effects import Commit
from gossip_counter.node.core.errors import ConfigError
from gossip_counter.node.core.holdings import Stored
from gossip_counter.node.storage import commit_log, schema
from gossip_counter.node.storage.journal import Journal, JournalError, Tuning
from tests.support.journals import ME, PEER, Rows, change, look, mine, opened, rows


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


def test_a_kill_between_two_chunks_of_a_compaction_loses_nothing(tmp_path: Path) -> None:
    """In the first compaction, and in a later one that brings an actor that the tables do not know."""
    committed: Rows = {}
    partly = 0
    with opened(tmp_path / "live", Tuning(compact_bytes=12_000)) as made:
        for version in range(1, 640):
            actor = ME if version < 320 else PEER
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


def test_a_journal_under_constant_load_does_not_grow(tmp_path: Path) -> None:
    with opened(tmp_path, Tuning(checkpoint_pages=8, compact_bytes=10_000)) as made:
        sizes = []
        for version in range(1, 1200):
            made.commit(mine(version, ("", Row(version, 0, version))))
            sizes.append(sum(path.stat().st_size for path in tmp_path.glob("journal.db*")))
    assert max(sizes[400:]) <= max(sizes[:400])
    assert max(sizes) < 200_000


def test_a_log_is_readable_with_any_tool(tmp_path: Path) -> None:
    with opened(tmp_path) as made:
        made.commit(Commit(ME, (Stored(PEER, 3, 9, {'"\\é': Row(1, 2, 3)}), Stored(ME, 2, 2, {"": Row(5, 0, 2)}))))
        ((entry,),) = look(tmp_path, "SELECT entry FROM log")
        assert dict(look(tmp_path, "SELECT * FROM counts")) == {'"\\é': -1, "": 5}
    assert json.loads(entry) == {
        "actor": ME,
        "rows": [[PEER, 3, 9, {'"\\é': [1, 2, 3]}], [ME, 2, 2, {"": [5, 0, 2]}]],
    }


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
    left = killed(tmp_path, '{"actor": "n1.me", "rows": [], "claims": [["s1", 7]]}')
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
        *("", "7", "[]", "{}", '{"actor": "a"}', '{"rows": []}'),
        *('{"actor": "", "rows": []}', '{"actor": 7, "rows": []}', '{"actor": "a", "rows": 7}'),
        *('{"actor": "a", "rows": [7]}', '{"actor": "a", "rows": [["a", 1, 1]]}'),
        *(f'{{"actor": "a", "rows": [["a", 1, 1, {bad}]]}}' for bad in ("7", "[]", '{"x": 7}', '{"x": [1, 2, 3, 4]}')),
        *(f'{{"actor": "a", "rows": [["a", {bad}, {{}}]]}}' for bad in ("[], 1", '1, "1"', "-1, 1", "1, 9.5")),
        *(f'{{"actor": "a", "rows": [["a", 1, 1, {{"x": {bad}}}]]}}' for bad in ("[-1, 0, 1]", '"abc"', "[1, 0, {}]")),
    ],
)  # fmt: skip
def test_an_entry_that_no_version_writes_is_damage(tmp_path: Path, entry: str) -> None:
    with opened(killed(tmp_path, entry)) as again:
        assert (again.recovered, again.set_aside is not None) == (None, True)
