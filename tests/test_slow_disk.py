"""Claim: a slow or failing disk holds up no read, and no commit is lost, whatever happens around it."""

import asyncio
import contextlib
import threading
import time
from pathlib import Path
from random import Random

import pytest

from gossip_counter.cluster.client import Client
from gossip_counter.cluster.ports import free_ports
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.replica import Commit
from gossip_counter.node.endpoints.redis import server as resp
from gossip_counter.node.runtime import node as udp
from gossip_counter.node.storage.journal import Journal
from tests.support.waiting import LIMIT_S


def test_a_node_that_is_told_to_stop_does_so_though_clients_go_on(tmp_path: Path) -> None:
    """Each commit takes so long that the next one has gathered when it ends."""

    async def live() -> None:
        journal = Journal(tmp_path, "n1", "c")
        bound = udp.bind(("127.0.0.1", 0))
        (port,) = free_ports(1)
        doors = udp.Doors(resp.Listen("127.0.0.1", port))
        node = udp.UdpNode(Config(name="n1", cluster="c"), bound, {}, Random(1), journal, None, doors)
        commit, answered = journal.commit, asyncio.Semaphore(0)

        def slow(asked: Commit) -> None:
            time.sleep(0.01)
            commit(asked)

        async def count() -> None:
            while True:
                try:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    break
                except ConnectionRefusedError:
                    await asyncio.sleep(0.01)
            with contextlib.closing(writer):
                while True:
                    writer.write(b"INCR x\r\n")
                    await reader.readline()
                    answered.release()

        journal.commit = slow  # type: ignore[method-assign, assignment]
        node._slowness = 2 * udp.SLOW
        running = asyncio.create_task(node.run())
        clients = [asyncio.create_task(count()) for _ in range(4)]
        for _ in range(20):
            await answered.acquire()
        node.stop()
        await asyncio.wait_for(running, LIMIT_S)
        for client in clients:
            client.cancel()
        await asyncio.wait(clients)
        journal.close()
        bound.close()

    asyncio.run(live())


def test_commits_go_on_whatever_becomes_of_the_figures_about_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def live() -> None:
        journal = Journal(tmp_path, "n1", "c")
        bound = udp.bind(("127.0.0.1", 0))
        node = udp.UdpNode(Config(name="n1", cluster="c"), bound, {}, Random(1), journal)
        monkeypatch.setattr(node, "_note_commit", lambda _: 1 // 0)
        monkeypatch.setattr(node.replica, "durable", lambda: 1 // 0)
        running = asyncio.create_task(node.run())
        async with await Client.connect(bound.getsockname(), timeout_s=LIMIT_S) as client:
            for value in (1, 2):
                await client.add(1)
                assert await client.read() == value
            assert (await client.gossip_status())["internal_errors"] == 4
        node.stop()
        await running
        journal.close()
        bound.close()

    asyncio.run(live())


@pytest.mark.parametrize("quick", [True, False])
def test_a_slow_disk_holds_up_no_read_and_a_quick_one_is_waited_for(tmp_path: Path, quick: bool) -> None:
    async def live() -> None:
        journal = Journal(tmp_path, "n1", "c")
        bound = udp.bind(("127.0.0.1", 0))
        node = udp.UdpNode(Config(name="n1", cluster="c"), bound, {}, Random(1), journal)
        disk, threads, commit = threading.Event(), [], journal.commit

        def slow(asked: Commit) -> None:
            threads.append(threading.current_thread())
            assert disk.wait(LIMIT_S)
            commit(asked)

        journal.commit = slow  # type: ignore[method-assign, assignment]
        for _ in range(2):
            node._note_commit(udp.QUICK_NS - quick)
        running = asyncio.create_task(node.run())
        async with await Client.connect(bound.getsockname(), timeout_s=LIMIT_S) as client:
            if quick:
                disk.set()
            add = asyncio.create_task(client.add(1))
            if not quick:
                assert await client.read() == 0
                assert not add.done()
                disk.set()
            await add
            assert await client.read() == 1
        assert [thread is threading.main_thread() for thread in threads] == [quick]
        node.stop()
        await running
        journal.close()
        bound.close()

    asyncio.run(live())
