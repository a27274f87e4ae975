"""A journal that is damaged in any way gives all that was committed, or is set aside; it never gives a wrong count."""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from zlib import crc32

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gossip_counter.node.core.counts import Row
from gossip_counter.node.core.errors import ConfigError
from gossip_counter.node.core.limits import MAX_COUNT
from gossip_counter.node.storage.journal import Tuning
from tests.support.journals import IN_MEMORY, ME, Rows, change, files, look, mine, opened, put_back, rows


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
        assert len(list(tmp_path.glob("journal.db.damaged-?"))) == 1 + bool(harm)


def test_a_row_that_is_not_as_it_was_written_is_noticed(tmp_path: Path) -> None:
    with opened(tmp_path) as made:
        made.commit(mine(1, ("", Row(1, 0, 1))))
    change(tmp_path, "UPDATE rows SET p = 2")
    with opened(tmp_path) as again:
        assert again.recovered is None
        assert again.set_aside is not None


@pytest.mark.parametrize("key", ["actor", "compacted", "journal", "node", "path", "place", "rows"])
def test_what_a_journal_says_of_itself_is_noticed_if_it_is_not_as_it_was_written(tmp_path: Path, key: str) -> None:
    with opened(tmp_path) as made:
        made.commit(mine(1, ("", Row(1, 0, 1))))
    change(tmp_path, f"UPDATE meta SET value = '9' || value WHERE key = '{key}'")
    with opened(tmp_path) as again:
        assert (again.recovered, again.damage) == (None, f"its {key!r} is not as it was written")


@pytest.mark.parametrize("bad", ["'x'", "-1", "0.5"])
def test_a_row_that_no_version_writes_is_damage_whatever_its_checksum(tmp_path: Path, bad: str) -> None:
    with opened(tmp_path) as made:
        made.commit(mine(1, ("", Row(1, 0, 1))))
    with opened(tmp_path):
        pass  # the log is in the tables now
    (values,) = look(tmp_path, f"SELECT {bad}, n, version, ending, actor FROM rows")
    checksum = crc32(f"{values[:4]} {len(values[4])} {values[4]}".encode())
    change(tmp_path, f"UPDATE rows SET p = {bad}, checksum = {checksum}")
    change(
        tmp_path,
        f"UPDATE meta SET value = '{checksum}', checksum = {crc32(f'() 4 rows{checksum}'.encode())} WHERE key = 'rows'",
    )
    with opened(tmp_path) as again:
        assert (again.recovered, again.damage) == (None, f"a row must be integers from 0 to {MAX_COUNT}")


def test_rows_of_an_actor_without_versions_are_damage(tmp_path: Path) -> None:
    with opened(tmp_path) as made:
        made.commit(mine(1, ("", Row(1, 0, 1))))
    change(tmp_path, "DELETE FROM actors")
    with opened(tmp_path) as again:
        assert (again.recovered, again.set_aside is not None) == (None, True)


@pytest.mark.parametrize("gone", [1, 2, 3])
def test_an_entry_that_is_missing_from_the_log_is_noticed(tmp_path: Path, gone: int) -> None:
    with opened(tmp_path) as made:
        for version in (1, 2, 3):
            made.commit(mine(version, ("", Row(version, 0, version))))
        left = files(tmp_path)
    put_back(tmp_path, left)
    change(tmp_path, f"DELETE FROM log WHERE id = {gone}")
    with opened(tmp_path) as again:
        assert (again.recovered, again.set_aside is not None) == (None, True)


class History:
    """A journal as a crash leaves it, with a write-ahead log."""

    def __init__(self, seed: int) -> None:
        self.directory = TemporaryDirectory(dir=IN_MEMORY)
        self.committed: Rows = {}
        self._path = Path(self.directory.name)
        rng = Random(seed)
        with opened(self._path, Tuning(checkpoint_pages=20, compact_bytes=4000)) as made:
            for version in range(1, 60):
                names = [f"counter {rng.randrange(200)}" for _ in range(rng.randrange(1, 20))]
                self.committed |= {(ME, name): (version, 0) for name in names}
                made.commit(mine(version, *((name, Row(version, 0, version)) for name in dict.fromkeys(names))))
            self._left = files(self._path)

    def after(self, suffix: str, harm: bytes) -> Rows | None:
        """The rows that are recovered when a file holds `harm`; None if the journal was set aside or refused."""
        put_back(self._path, self._left | {f"journal.db{suffix}": harm})
        try:
            with opened(self._path) as found:
                return None if found.set_aside else rows(found.recovered)
        except ConfigError:
            return None

    def file(self, suffix: str) -> bytes:
        return self._left[f"journal.db{suffix}"]


@pytest.fixture(scope="module")
def history() -> Iterator[History]:
    made = History(1)
    assert len(made.file("-wal")) > 20_000
    assert len(made.file("")) > 8000
    with made.directory:
        yield made


@settings(max_examples=100, deadline=None)
@given(suffix=st.sampled_from(["", "-wal"]), share=st.floats(0, 1))
def test_a_journal_cut_off_at_any_byte_loses_nothing_unnoticed(history: History, suffix: str, share: float) -> None:
    intact = history.file(suffix)
    recovered = history.after(suffix, intact[: int(share * len(intact))])
    assert recovered in (None, history.committed)
    if share == 1:
        assert recovered == history.committed


@settings(max_examples=100, deadline=None)
@given(suffix=st.sampled_from(["", "-wal"]), share=st.floats(0, 0.999999), value=st.integers(0, 255))
@example(suffix="", share=0.14770599098584977, value=128)  # in the text of the schema, which errors quote
def test_a_journal_with_a_changed_byte_loses_nothing_unnoticed(
    history: History, suffix: str, share: float, value: int
) -> None:
    harmed = bytearray(history.file(suffix))
    harmed[int(share * len(harmed))] = value
    recovered = history.after(suffix, bytes(harmed))
    assert recovered in (None, history.committed)


def test_a_page_that_lost_rows_is_noticed(history: History) -> None:
    """The number of cells of a page stands in two bytes of its header, which no checksum of a row covers."""
    intact = history.file("")
    for page in range(4096, len(intact), 4096):
        for byte in (page + 3, page + 4):
            for bit in range(8):
                harmed = bytearray(intact)
                harmed[byte] ^= 1 << bit
                recovered = history.after("", bytes(harmed))
                assert recovered in (None, history.committed)
