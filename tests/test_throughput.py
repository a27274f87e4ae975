"""What `bench throughput` measures, on a small scale: both doors, a whole cluster, and beside Redis."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gossip_counter.bench import against_redis


def bench(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [
        sys.executable,
        "-m",
        "gossip_counter.bench",
        "throughput",
        "--runs",
        "1",
        "--seconds",
        "0.2",
        *arguments,
    ]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def told(*arguments: str) -> dict[str, Any]:
    done = bench(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_both_doors_with_and_without_journals(tmp_path: Path) -> None:
    picture = tmp_path / "doors.svg"
    found = told("--counters", "100", "--plot", str(picture))
    modes = {"udp, durable", "udp, in memory", "resp, durable", "resp, in memory"}
    assert modes <= found.keys()
    assert all(found[mode]["adds_per_second"]["median"] > 0 for mode in modes)
    assert "<svg" in picture.read_text()


def test_one_door_in_memory() -> None:
    found = told("--door", "resp", "--ephemeral")
    assert [key for key in found if "," in key] == ["resp, in memory"]


def test_a_cluster_counts_exactly_and_agrees() -> None:
    found = told("-n", "3")
    assert found["lost"] == [0]
    assert found["acknowledged adds/s, all nodes"]["p50"] > 0


def test_beside_redis() -> None:
    if program := against_redis.missing():
        pytest.skip(f"{program.upper()} IS NOT INSTALLED: apt-get install redis-server redis-tools")
    found = told("--redis")
    for kind in ("durable", "in memory"):
        assert found[kind].keys() == against_redis.CASES.keys()
        for case in found[kind].values():
            assert case["ratio"] == pytest.approx(case["node_per_second"][0] / case["redis_per_second"][0], abs=0.01)


def test_without_redis_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    done = bench("--redis")
    assert done.returncode == 1
    assert "apt-get install redis-server" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--redis", "-n", "3"], "--nodes"),
        (["--door", "http"], "--door"),
        (["--plot", "x.txt"], "x.txt"),
        (["-n", "3", "--ephemeral"], "--durable / --ephemeral"),
        (["--window", "64", "--clients", "10"], "multiple of --clients"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str], said: str) -> None:
    done = bench(*arguments)
    assert done.returncode != 0
    assert said in " ".join(done.stderr.split())
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
