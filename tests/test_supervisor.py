"""Claim: a node that dies is restarted at once, and after longer and longer waits if it keeps dying."""

import asyncio
from pathlib import Path

import pytest

from gossip_counter.cluster.manifest import Manifest, Member, Settings
from gossip_counter.cluster.monitor import DEAD, UP, NodeView, Snapshot
from gossip_counter.cluster.processes import Cluster
from gossip_counter.cluster.supervisor import MAX_WAIT_S, MIN_WAIT_S, STABLE_S, Supervisor


class NoProcesses(Cluster):
    """A cluster whose nodes are always dead, and answer at once when they are started."""

    def __init__(self, manifest: Manifest) -> None:
        super().__init__(manifest)
        self.starts = 0

    def start(self, member: Member) -> None:
        self.starts += 1

    async def ready(self, member: Member) -> dict[str, object]:
        return {}


@pytest.fixture
def cluster(tmp_path: Path) -> NoProcesses:
    manifest = Manifest.create(tmp_path, 1, Settings())
    manifest.is_up, manifest.members["n1"].port = True, 7101
    manifest.save()
    return NoProcesses(manifest)


def seen(state: str) -> Snapshot:
    return Snapshot([NodeView("n1", 0, state, "")])


def waits(supervisor: Supervisor, cluster: NoProcesses, deaths: int, now_s: float = 1000.0) -> list[float]:
    """Seconds from each death to the restart; the node dies again as soon as it is up."""
    found = []
    for number in range(1, deaths + 1):
        died_s, starts = now_s, cluster.starts
        while cluster.starts == starts:
            asyncio.run(supervisor.tend(seen(DEAD), now_s))
            now_s += 0.25
        found.append(now_s - 0.25 - died_s)
        assert cluster.starts == starts + 1, number
        asyncio.run(supervisor.tend(seen(UP), now_s))
    return found


def test_waits_double_up_to_a_bound(cluster: NoProcesses) -> None:
    found = waits(Supervisor(cluster), cluster, 10)
    assert found[:4] == [0, MIN_WAIT_S, 2 * MIN_WAIT_S, 4 * MIN_WAIT_S]
    assert found[-2:] == [MAX_WAIT_S, MAX_WAIT_S]


def test_a_node_that_was_stable_is_restarted_at_once_again(cluster: NoProcesses) -> None:
    supervisor = Supervisor(cluster)
    waits(supervisor, cluster, 3)
    asyncio.run(supervisor.tend(seen(UP), 2000.0 + STABLE_S))
    assert waits(supervisor, cluster, 2, 3000.0) == [0, MIN_WAIT_S]


def test_nothing_is_started_in_a_cluster_that_was_taken_down_or_replaced(cluster: NoProcesses) -> None:
    supervisor = Supervisor(cluster)
    saved = Manifest.load(cluster.manifest.directory)
    saved.is_up = False
    saved.save()
    assert asyncio.run(supervisor.tend(seen(DEAD), 0.0)) == []
    saved.is_up, saved.id = True, "another"
    saved.save()
    assert asyncio.run(supervisor.tend(seen(DEAD), 100.0)) == []
    assert cluster.starts == 0


def test_what_cannot_be_started_is_one_line(cluster: NoProcesses) -> None:
    (cluster.manifest.directory / "cluster.json").unlink()
    (line,) = asyncio.run(Supervisor(cluster).tend(seen(DEAD), 0.0))
    assert line.startswith("n1 can't be started again now: no cluster is up")
