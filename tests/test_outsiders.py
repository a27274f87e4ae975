"""Claim: who else has the journal open, and a full disk, hold a node up no longer than they last, and cost no read."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from time import monotonic

import pytest

from gossip_counter.cluster.client import Client, RequestRefusedError
from gossip_counter.node.core.counts import Row
from gossip_counter.node.storage import commit_log, outsiders
from gossip_counter.node.storage.errors import JournalError, MustWaitError
from gossip_counter.node.storage.journal import Journal, Tuning
from tests.support.journals import ME, look, mine, opened, rows
from tests.support.nodes import running_node
from tests.support.processes import ask, node_process, udp_node
from tests.support.waiting import LIMIT_S, until

MB = 2**20
LIMIT = MB // 2
SMALL = Tuning(wal_bytes=LIMIT, identity_check_ns=0, checkpoint_pages=10)
"""Every limit is met after a few commits."""

NAMES = [f"c{i}" for i in range(100)]


def add(journal: Journal, version: int, may_wait: bool = True) -> None:
    """One more of each of a hundred counters, which takes 8 KB of the log."""
    journal.commit(mine(version * 100, *((name, Row(version, 0, version * 100)) for name in NAMES)), may_wait)


def add_until_refused(journal: Journal) -> tuple[int, str]:
    """How many commits succeeded, and why the next one did not."""
    for version in range(1, 10_000):
        try:
            add(journal, version)
        except JournalError as error:
            return version - 1, str(error)
    pytest.fail("every commit succeeded")


def is_added(journal: Journal, version: int) -> bool:
    try:
        add(journal, version)
    except JournalError:
        return False
    return True


def wal_bytes(directory: Path) -> int:
    return (directory / "journal.db-wal").stat().st_size


@contextmanager
def transaction(directory: Path, kind: str) -> Iterator[None]:
    """Somebody's, left open."""
    with closing(sqlite3.connect(directory / "journal.db", isolation_level=None)) as db:
        db.execute(f"BEGIN {kind}")
        db.execute("SELECT count(*) FROM log").fetchone()
        yield
        db.execute("ROLLBACK")


def show_free(patch: pytest.MonkeyPatch, free: int) -> None:
    """Let a disk have so many bytes left."""
    real = os.statvfs("/")
    found = os.statvfs_result((1, 1, real.f_blocks, free, free, *tuple(real)[5:10]))
    patch.setattr(os, "statvfs", lambda _: found)


# Readers.


def test_a_reader_who_stays_bounds_the_log_and_adds_go_on_once_it_is_gone(tmp_path: Path) -> None:
    with opened(tmp_path, SMALL) as made:
        with transaction(tmp_path, "DEFERRED"):
            done, reason = add_until_refused(made)
            assert LIMIT < wal_bytes(tmp_path) < LIMIT + 100_000
            assert "keeps a transaction open: end it" in reason
            assert made.wal_bytes == wal_bytes(tmp_path)
        add(made, done + 1)
        assert wal_bytes(tmp_path) < LIMIT // 4
    with opened(tmp_path) as again:
        assert rows(again.recovered) == {(ME, name): (done + 1, 0) for name in NAMES}


def test_a_reader_is_warned_of_long_before_it_costs_an_add(tmp_path: Path) -> None:
    with opened(tmp_path, SMALL) as made, transaction(tmp_path, "DEFERRED"):
        for version in range(1, 1000):
            add(made, version)
            if made.noticed:
                break
        assert "can't be emptied" in made.noticed["journal_wal_blocked"]
        assert LIMIT // 4 < made.wal_bytes < LIMIT // 2


def test_the_log_shrinks_once_a_reader_is_gone_that_was_below_the_limit(tmp_path: Path) -> None:
    with opened(tmp_path, Tuning(checkpoint_pages=10)) as made:
        with transaction(tmp_path, "DEFERRED"):
            for version in range(1, 60):
                add(made, version)
            assert wal_bytes(tmp_path) > 400_000
        for version in range(60, 63):
            add(made, version)
        assert wal_bytes(tmp_path) < 100_000


def test_a_reader_may_not_let_the_log_take_more_of_the_disk_than_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pages of the log must still fit into the file."""
    show_free(monkeypatch, 200_000)
    with opened(tmp_path, Tuning(identity_check_ns=0)) as made, transaction(tmp_path, "DEFERRED"):
        _, reason = add_until_refused(made)
        assert "keeps a transaction open" in reason
        assert wal_bytes(tmp_path) < 300_000


def test_the_event_loop_does_not_empty_a_long_log(tmp_path: Path) -> None:
    with opened(tmp_path, SMALL) as made:
        with transaction(tmp_path, "DEFERRED"):
            done, _ = add_until_refused(made)
        with pytest.raises(MustWaitError):
            add(made, done + 1, may_wait=False)
        assert wal_bytes(tmp_path) > LIMIT
        add(made, done + 1)
        add(made, done + 2, may_wait=False)


def test_who_has_the_journal_open_is_named(tmp_path: Path) -> None:
    if not Path("/proc/locks").exists():
        pytest.skip("this system does not list locks: nobody can be named")
    program = f"""
import sqlite3, sys
db = sqlite3.connect({str(tmp_path / "journal.db")!r}, isolation_level=None)
db.execute("BEGIN")
db.execute("SELECT * FROM log").fetchall()
print("reads", flush=True)
sys.stdin.readline()
"""
    with opened(tmp_path) as made, node_process(program=program) as process:
        assert process.stdout
        assert process.stdout.readline() == "reads\n"
        assert outsiders.name(made.path) == f"another process (pid {process.pid})"
        process.kill()
        process.wait()
        assert outsiders.name(made.path) == f"another process (find it with lsof {made.path})"


# Writers.


def test_the_event_loop_does_not_wait_for_a_lock(tmp_path: Path) -> None:
    with opened(tmp_path) as made:
        with transaction(tmp_path, "IMMEDIATE"):
            began = monotonic()
            with pytest.raises(MustWaitError, match="locked"):
                add(made, 1, may_wait=False)
            assert monotonic() - began < 1
            assert "has locked it: end that one" in made.noticed["journal_locked"]
        add(made, 1, may_wait=False)


def test_a_lock_that_lasts_is_waited_for_once(tmp_path: Path) -> None:
    with opened(tmp_path, Tuning(busy_s=0.5)) as made:
        for version in (1, 2):
            began = monotonic()
            with transaction(tmp_path, "IMMEDIATE"):
                for _ in range(4):
                    with pytest.raises(JournalError, match="locked"):
                        add(made, version)
            assert 0.5 <= monotonic() - began < 1.4
            add(made, version)


def test_a_lock_holds_up_no_read_and_refuses_an_add_only_if_it_lasts(tmp_path: Path) -> None:
    async def live() -> None:
        async with running_node(journal) as address, await Client.connect(address, LIMIT_S) as client:
            await client.add(1)
            with transaction(tmp_path, "IMMEDIATE"):
                short = asyncio.create_task(client.add(2))
                for _ in range(5):
                    assert await client.read() == 1
                assert not short.done()
            await short
            with transaction(tmp_path, "IMMEDIATE"):
                with pytest.raises(RequestRefusedError, match=r"another process .* has locked it") as refused:
                    await client.add(4)
                assert refused.value.code == 11
                assert await client.read() == 3
            await client.add(8)
            status = await client.gossip_status()
            assert (status["local_value"], status["commit_errors"], status["journal_locked"]) == (11, 1, 2)

    with closing(Journal(tmp_path, "n1", "c", Tuning(busy_s=0.3))) as journal:
        asyncio.run(asyncio.wait_for(live(), LIMIT_S))


def test_a_node_shows_a_log_that_cannot_be_emptied(tmp_path: Path) -> None:
    async def live() -> None:
        async with running_node(journal) as address, await Client.connect(address, LIMIT_S) as client:
            with transaction(tmp_path, "DEFERRED"):
                with pytest.raises(RequestRefusedError, match="keeps a transaction open: end it"):
                    for _ in range(200):
                        await client.add(1)
                status = await client.gossip_status()
                assert status["local_value"] == await client.read()
                assert status["journal_wal_blocked"] > 1
                assert status["journal_wal_bytes"] == wal_bytes(tmp_path)
            await client.add(1)
            assert await client.read() == status["local_value"] + 1

    tuning = Tuning(wal_bytes=100_000, identity_check_ns=0)
    with closing(Journal(tmp_path, "n1", "c", tuning)) as journal:
        asyncio.run(asyncio.wait_for(live(), LIMIT_S))


def test_a_real_node_serves_others_while_its_journal_is_locked(tmp_path: Path) -> None:
    with udp_node(data=tmp_path) as (_, address):
        adding = threading.Thread(target=ask, args=(address, lambda client: client.add(7)))
        with transaction(tmp_path, "IMMEDIATE"):
            adding.start()
            until(lambda: ask(address, Client.gossip_status)["adds"] == 1)
            assert ask(address, Client.read) == 0
            assert adding.is_alive(), "the add was answered first"
        adding.join(LIMIT_S)
        assert ask(address, Client.read) == 7


# A full disk.


def test_a_compaction_that_does_not_fit_refuses_no_add(tmp_path: Path) -> None:
    with opened(tmp_path, Tuning(compact_bytes=20_000)) as made:
        for version in range(1, 3):
            add(made, version)
        pages = made._db.execute("PRAGMA page_count").fetchone()[0]
        made._db.execute(f"PRAGMA max_page_count = {pages + 8}")
        done = 2
        with pytest.raises(JournalError, match=r"full.*free some space"):
            for version in range(3, 100):
                made.commit(mine(version * 100, *((f"{name}v{version}", Row(1, 0, version * 100)) for name in NAMES)))
                done = version
        assert done > 3
        made._db.execute("PRAGMA max_page_count = 1000000")
        for version in range(done + 1, done + 50):
            made.commit(mine(version * 100, *((f"{name}v{version}", Row(1, 0, version * 100)) for name in NAMES)))
        assert look(tmp_path, "SELECT count(*) FROM rows")[0][0] > 0
    with opened(tmp_path) as again:
        assert len(rows(again.recovered)) == 100 + (done + 49 - 2) * 100


def test_a_log_is_compacted_sooner_on_a_disk_with_little_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit_log, "SHORT_BYTES", 10_000)
    show_free(monkeypatch, 400_000)
    with opened(tmp_path) as made:
        for version in range(1, 120):
            add(made, version)
        assert look(tmp_path, "SELECT count(*) FROM log")[0][0] < 80


PROGRAM = """
import os, sqlite3, sys
from pathlib import Path
from gossip_counter.node.storage.errors import JournalError
from gossip_counter.node.storage.journal import Journal
from tests.support.waiting import until
from tests.test_outsiders import add, add_until_refused, is_added, transaction

directory = Path(sys.argv[1])
made = Journal(directory, "n1", "c")
with transaction(directory, "DEFERRED"):
    done, reason = add_until_refused(made)
    assert "keeps a transaction open" in reason, reason
until(lambda: is_added(made, done + 1))

junk = directory / "junk"
with junk.open("wb", buffering=0) as file:
    try:
        while file.write(bytes(4096)):
            pass
    except OSError:
        pass
try:
    for version in range(done + 2, done + 9999):
        add(made, version)
except JournalError as error:
    assert "free some space on its disk" in str(error), error
else:
    raise SystemExit("it was never full")
junk.unlink()
until(lambda: is_added(made, version))
for each in range(version + 1, version + 100):
    add(made, each)
made.close()
print("resumed")
"""


def test_adds_resume_by_themselves_once_a_full_disk_has_room(tmp_path: Path) -> None:
    mount = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=2m none "$1" && exec "$2" -c "$3" "$1"', "sh"]
    mount += [str(tmp_path), sys.executable]
    if not shutil.which("unshare") or subprocess.run([*mount, ""], capture_output=True, check=False).returncode:
        pytest.skip("NOT TESTED: a small disk can't be mounted here, which takes root and unshare")
    found = subprocess.run([*mount, PROGRAM], capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert (found.stdout, found.returncode) == ("resumed\n", 0), found.stderr
