"""Claim: real processes keep every promise while nodes are killed, paused and cut off, and their disks fail."""

import asyncio
import time
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from gossip_counter.bench import torture
from gossip_counter.bench.torture import disks, movers
from gossip_counter.bench.torture.copies import Copies, Copy
from gossip_counter.bench.torture.trial import Trial
from gossip_counter.cluster import growth
from gossip_counter.cluster.client import NoAnswerError
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.manifest import Member
from gossip_counter.node.core.counts import ZERO, Row
from tests.support import journals


@pytest.mark.parametrize(
    "plan",
    [
        torture.Plan(seconds=2.5, nodes=3, seed=339, clients=8, awaits_end=False),
        pytest.param(torture.Plan(kill_all=5, seed=1, awaits_end=False), marks=pytest.mark.soak),
        pytest.param(torture.Plan(seconds=30, seed=5), marks=pytest.mark.soak),
        pytest.param(torture.Plan(seconds=30, seed=11, awaits_end=False), marks=pytest.mark.soak),
        pytest.param(torture.Plan(seconds=30, seed=3, sealed=True, awaits_end=False), marks=pytest.mark.soak),
        pytest.param(torture.Plan(seconds=30, seed=6, loss=0.3, awaits_end=False), marks=pytest.mark.soak),
    ],
    ids=["smoke", "kill all", "everything", "members come and go", "keys are rotated", "everything, 30 % loss"],
)
@pytest.mark.timeout(240)
def test_torture(plan: torture.Plan) -> None:
    verdict = asyncio.run(torture.run(plan, lambda _: None))
    assert verdict.broken is None
    assert verdict.acknowledged > 100
    assert verdict.reads > 10
    assert sum(verdict.redis.values()) > 10


def test_n5_leaves_n6_joins_n2_changes_its_address_and_nothing_is_lost_or_counted_twice() -> None:
    plan = torture.Plan(seconds=2.5, seed=57210, clients=8, awaits_end=False)
    moves = {("leave", "n5"), ("join", "n6"), ("new address", "n2"), ("kill", "n1")}
    assert moves <= {(step.action, step.what) for step in torture.schedule(plan)}
    verdict = asyncio.run(torture.run(plan, lambda _: None))
    assert verdict.broken is None
    assert verdict.members == ["n1", "n2", "n3", "n4", "n6"]
    assert verdict.acknowledged > 100


def test_a_schedule_is_the_same_for_the_same_seed() -> None:
    assert torture.schedule(torture.Plan(seed=1)) == torture.schedule(torture.Plan(seed=1))
    assert torture.schedule(torture.Plan(seed=1)) != torture.schedule(torture.Plan(seed=2))
    actions = {step.action for step in torture.schedule(torture.Plan(seconds=600))}
    assert actions == {
        *("kill", "restart", "pause", "resume", "partition", "heal", "loss", "wipe", "damage"),
        *("copy", "copy apart", "meet", "end copy", "move", "back up", "put back"),
        *("leave", "remove", "join", "new address"),
    }
    assert {step.action for step in torture.schedule(torture.Plan(seconds=600, sealed=True))} == actions | {
        "rotate keys"
    }


def test_a_copy_is_in_contact_only_while_its_original_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peers reply to the address in their lists: they hear of a copy's rows only beside its original."""

    async def confirmed(*_: object) -> bool:
        return True

    monkeypatch.setattr(Copies, "_set", confirmed)
    running, paused = {"n1": 11, "n2": 12, "n3": 13}, set[str]()
    cluster: Any = SimpleNamespace(
        settings=SimpleNamespace(loss=0.0),
        manifest=SimpleNamespace(cut_off_from=lambda _: ["n3"]),
        members=running,
        running=lambda: [SimpleNamespace(name=name, pid=pid) for name, pid in running.items() if name not in paused],
    )
    trial: Any = SimpleNamespace(cluster=cluster, nodes=list(running))

    def in_reach() -> list[tuple[int, int]]:
        return asyncio.run(Copies(trial)._in_reach("n1 copy 1", Copy("n1", cluster, is_apart=False)))

    assert in_reach() == [(11, 12)]
    paused.add("n1")
    assert in_reach() == []
    paused.clear()
    del running["n1"]
    assert in_reach() == []


def test_a_node_that_has_replied_that_it_stays_takes_adds_again(monkeypatch: pytest.MonkeyPatch) -> None:
    stays, no_answer = ClusterError("n1 has not left"), NoAnswerError("n1 did not answer")
    assert refusing(monkeypatch, stays) == [False, True, False]
    assert refusing(monkeypatch, stays, stays) == [False, True, False, True, False]
    assert refusing(monkeypatch, no_answer, stays) == [False, True, True, True, True]


def refusing(monkeypatch: pytest.MonkeyPatch, *outcomes: Exception) -> list[bool]:
    """Whether a node may refuse adds before, while and after it is asked to leave, each time with such an outcome."""
    n1, seen = Member("n1"), list[bool]()

    async def ready(_: Member) -> None:
        look()
        if len(seen) > 2 * len(outcomes):
            cluster.members.clear()
            raise ClusterError("is asked no more")

    async def leave(*_: object) -> None:
        look()
        raise outcomes[len(seen) // 2 - 1]

    def look() -> None:
        seen.append(trial.may_refuse("n1", time.monotonic()))

    cluster: Any = SimpleNamespace(members={"n1": n1}, process=lambda _: True, ready=ready)
    trial = Trial(torture.Plan(), cluster, lambda _: None)
    copies: Any = SimpleNamespace(have_one=lambda _: False)
    monkeypatch.setattr(growth, "leave", leave)
    monkeypatch.setattr(movers, "RETRY_S", 0.001)
    asyncio.run(movers.Movers(trial, copies)._leave(n1))
    return seen


# Disks.

FILES = {disks.JOURNAL: b"rows", disks.LOG: b"more rows", disks.MARK: b"how far"}


def directory(path: Path, files: dict[str, bytes]) -> Path:
    path.mkdir(parents=True)
    for name, content in files.items():
        (path / name).write_bytes(content)
    return path


def content(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def inode(path: Path) -> int:
    return (path / disks.JOURNAL).stat().st_ino


def test_a_copy_has_all_but_what_nodes_set_aside(tmp_path: Path) -> None:
    source = directory(tmp_path / "n1", FILES | {"journal.db.damaged-1": b"?"})
    assert disks.copy(source, tmp_path / "copy")
    assert content(tmp_path / "copy") == FILES
    assert not disks.copy(tmp_path / "no such", tmp_path / "empty")


def test_a_journal_names_the_counter_of_each_row_once_its_node_has_stopped(tmp_path: Path) -> None:
    with journals.opened(tmp_path) as journal:
        journal.commit(journals.mine(2, ("likes", Row(1, 0, 1)), ("window", Row(2, 0, 2))))
        journal.commit(journals.mine(3, ("window", ZERO)))
    assert disks.counters(tmp_path) == ["likes"]


def test_a_moved_directory_has_other_inodes_and_the_old_one_is_the_backup(tmp_path: Path) -> None:
    data, backup = directory(tmp_path / "n1", FILES), tmp_path / "backups" / "n1"
    old = inode(data)
    for _ in range(2):
        disks.move(data, backup)
        assert content(data) == content(backup) == FILES
        assert inode(backup) == old != inode(data)
        old = inode(data)


@pytest.mark.parametrize("how", disks.PUT_BACK)
def test_a_backup_takes_the_place_of_what_is_there(tmp_path: Path, how: str) -> None:
    data, backup = (
        directory(tmp_path / "n1", FILES | {"later": b"gone"}),
        directory(tmp_path / "old", {disks.JOURNAL: b"r"}),
    )
    present, earlier = inode(data), inode(backup)
    disks.put_back(data, backup, how)
    assert content(data) == {disks.JOURNAL: b"r"}
    if how == "in place":
        assert inode(data) == present
    else:
        assert (inode(data) == earlier) == (how == "renamed")
    assert backup.exists() == (how != "renamed")


@pytest.mark.parametrize("how", disks.DAMAGE)
def test_damage_changes_one_file_and_leaves_its_inode(tmp_path: Path, how: str) -> None:
    data = directory(tmp_path / "n1", FILES)
    action, name = how.split()
    before = (data / name).stat().st_ino
    assert disks.damage(data, how, Random(1))
    harmed = content(data)
    assert {each: harmed[each] for each in FILES if each != name} == {
        each: FILES[each] for each in FILES if each != name
    }
    if action == "remove":
        assert name not in harmed
    else:
        assert harmed[name] != FILES[name]
        assert (len(harmed[name]) < len(FILES[name])) == (action == "truncate")
        assert (data / name).stat().st_ino == before
    assert not disks.damage(tmp_path / "no such", how, Random(1))
