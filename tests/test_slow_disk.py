"""Claim: a slow disk holds up no read, a failing one loses no add, and both let a node stop."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gossip_counter.cluster.client import Client, RequestRefusedError
from gossip_counter.cluster.ports import free_ports
from gossip_counter.node.core.effects import Commit
from gossip_counter.node.endpoints.redis.server import Listen
from gossip_counter.node.runtime.committer import QUICK_NS, Committer
from gossip_counter.node.runtime.node import Listeners
from gossip_counter.node.storage.journal import Journal
from tests.support.journals import ME
from tests.support.nodes import running_node
from tests.support.waiting import LIMIT_S

COMMIT = Commit(ME, ())


class PlannedJournal(Journal):
    """A journal that does what a test plans before each commit, and then says how long that took."""

    def __init__(self, directory: Path, before: Callable[[], None], says_ns: int) -> None:
        super().__init__(directory, "n1", "c")
        self.threads: list[threading.Thread] = []
        self._before = before
        self._says_ns = says_ns

    def commit(self, commit: Commit, may_wait: bool = True) -> None:
        self.threads.append(threading.current_thread())
        self._before()
        super().commit(commit, may_wait)
        self.took_ns = self._says_ns


class PlannedStore:
    """A store whose commits take as long as a test sets, or fail."""

    def __init__(self) -> None:
        self.took_ns = 0
        self.commits: list[Commit] = []
        self.error: Exception | None = None

    def commit(self, commit: Commit, may_wait: bool = True) -> None:
        self.commits.append(commit)
        if self.error:
            raise self.error


def test_a_committer_waits_for_a_quick_store_and_hands_a_slow_one_over_until_it_is_quick_again() -> None:
    store, ends = PlannedStore(), list[BaseException | None]()
    handed: list[Callable[[], None]] = []

    def aside(work: Callable[[], None], done: Callable[[BaseException | None], None]) -> None:
        def carry_out() -> None:
            work()
            done(None)

        handed.append(carry_out)

    committer = Committer(store, aside, ends.append)
    for took_ns in (QUICK_NS - 1, QUICK_NS, QUICK_NS):
        store.took_ns = took_ns
        committer.commit(COMMIT)
    assert (len(store.commits), len(ends), handed) == (3, 3, [])

    committer.commit(COMMIT)
    assert (len(store.commits), len(ends)) == (3, 3)
    store.took_ns = 0
    handed.pop()()
    assert (len(store.commits), len(ends)) == (4, 4)
    for _ in range(20):
        committer.commit(COMMIT)
        if handed:
            handed.pop()()
    committer.commit(COMMIT)
    assert (len(store.commits), len(ends), handed) == (25, 25, [])


def test_a_committer_reports_what_the_store_raises() -> None:
    store, ends = PlannedStore(), list[BaseException | None]()
    committer = Committer(store, lambda *_: None, ends.append)
    store.error = ValueError("the disk is gone")
    committer.commit(COMMIT)
    store.error = None
    committer.commit(COMMIT)
    assert ends == [ends[0], None]
    assert str(ends[0]) == "the disk is gone"


def test_without_a_store_commits_are_done_at_once() -> None:
    ends: list[BaseException | None] = []
    Committer(None, lambda *_: None, ends.append).commit(COMMIT)
    assert ends == [None]


@pytest.mark.parametrize("quick", [True, False])
def test_a_slow_disk_holds_up_no_read_and_a_quick_one_is_waited_for(tmp_path: Path, quick: bool) -> None:
    disk = threading.Event()
    disk.set()

    def wait_for_disk() -> None:
        assert disk.wait(LIMIT_S)

    journal = PlannedJournal(tmp_path, wait_for_disk, QUICK_NS - quick)

    async def live() -> None:
        async with running_node(journal) as address, await Client.connect(address, LIMIT_S) as client:
            for _ in range(3):
                await client.add(1)
            if not quick:
                disk.clear()
            add = asyncio.create_task(client.add(1))
            if not quick:
                assert await client.read() == 3
                assert not add.done()
                disk.set()
            await add
            assert await client.read() == 4

    with contextlib.closing(journal):
        asyncio.run(live())
    is_main = [thread is threading.main_thread() for thread in journal.threads]
    assert is_main[:2] == [True, True]
    assert is_main[3] is quick


def test_what_a_journal_raises_refuses_an_add_and_ends_nothing(tmp_path: Path) -> None:
    errors: list[Exception] = [ValueError("a bug")]

    def fail_once() -> None:
        if errors:
            raise errors.pop()

    journal = PlannedJournal(tmp_path, fail_once, 0)

    async def live() -> None:
        async with running_node(journal) as address, await Client.connect(address, LIMIT_S) as client:
            with pytest.raises(RequestRefusedError, match="a bug"):
                await client.add(5)
            await client.add(2)
            assert await client.read() == 2
            assert (await client.gossip_status())["internal_errors"] == 1

    with contextlib.closing(journal):
        asyncio.run(live())


def test_a_node_stops_though_its_disk_is_slow_and_clients_go_on(tmp_path: Path) -> None:
    """Each commit takes so long that the next one has gathered when it ends."""
    journal = PlannedJournal(tmp_path, lambda: time.sleep(0.01), QUICK_NS)  # the sleep is the disk
    port = free_ports(1)[0]
    answered = asyncio.Semaphore(0)

    async def count() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.closing(writer):
            while True:
                writer.write(b"INCR x\r\n")
                await reader.readline()
                answered.release()

    async def live() -> None:
        async with running_node(journal, Listeners(Listen("127.0.0.1", port))) as address:
            async with await Client.connect(address, LIMIT_S) as client:
                await client.read()  # it serves Redis clients before it reads this
            clients = [asyncio.create_task(count()) for _ in range(4)]
            for _ in range(20):
                await answered.acquire()
        for each in clients:
            each.cancel()
        await asyncio.wait(clients)

    with contextlib.closing(journal):
        asyncio.run(live())
