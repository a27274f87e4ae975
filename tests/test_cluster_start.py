"""Claim: a start of a cluster that fails leaves nothing behind, and one that succeeds names what to do next."""

import asyncio
import errno
from pathlib import Path

import pytest

from gossip_counter.cluster.commands import lifecycle
from gossip_counter.cluster.manifest import Member, Settings
from gossip_counter.cluster.processes import Cluster
from tests.support.commands import Commands


def test_waits_for_nodes_end_before_an_error_stops_the_nodes(
    cluster: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each wait holds a socket, and to end the nodes takes files: where files are few, nodes were left running."""
    waiting: set[str] = set()

    async def ready(_: Cluster, member: Member) -> None:
        if member.name == "n1":
            await asyncio.sleep(0)
            raise OSError(errno.EMFILE, "Too many open files")
        waiting.add(member.name)
        try:
            await asyncio.Event().wait()
        finally:
            waiting.remove(member.name)

    still_waiting: list[set[str]] = []
    monkeypatch.setattr(Cluster, "_spawn", lambda *_: None)
    monkeypatch.setattr(Cluster, "ready", ready)
    monkeypatch.setattr(Cluster, "stop_all", lambda _: still_waiting.append(set(waiting)))
    cluster.directory.mkdir(parents=True)
    with pytest.raises(OSError, match="Too many open files"):
        asyncio.run(Cluster.create(cluster.directory, 3, 0, Settings()).start_all())
    assert still_waiting == [set()]


def test_the_commands_to_try_next_name_the_directory_where_they_need_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COUNTER_DIR", str(tmp_path))
    lifecycle.report_next(tmp_path)
    assert "--dir" not in capsys.readouterr().out
    lifecycle.report_next(tmp_path / "an other")
    assert capsys.readouterr().out.endswith(f", cluster down, each with --dir '{tmp_path}/an other'\n")
    monkeypatch.delenv("COUNTER_DIR")
    lifecycle.report_next(Path(".counter"))
    assert "--dir" not in capsys.readouterr().out
