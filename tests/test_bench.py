"""The benchmarks as commands: exact sums, exit codes, JSON; never their speed."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
from hypothesis import given
from hypothesis import strategies as st

from bench.report import percentile
from tests.processes import LIMIT_S, until


def bench(*arguments: str) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [sys.executable, "-m", "bench.cli", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in done.stderr
    return done


def told(*arguments: str) -> dict[str, Any]:
    done = bench(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    parsed: dict[str, Any] = json.loads(done.stdout)
    return parsed


def test_converge_counts_every_increment_on_every_node() -> None:
    result = told("converge", "--increments=1000", "--runs=2", "--seed=3")
    assert (result["nodes"], result["increments"], result["expected"], result["seed"]) == (5, 1000, 1000, 3)
    assert len(result["runs"]) == 2
    for run in result["runs"]:
        assert run["agreed"]
        assert run["values"] == dict.fromkeys(("n1", "n2", "n3", "n4", "n5"), 1000)
        assert run["convergence_ms"] > 0
        assert set(run["datagrams_sent"]) == set(run["bytes_sent"]) == set(run["values"])
    assert set(result["convergence_ms"]) == {"p50", "p99", "max"}


def test_converge_mixes_in_decrements() -> None:
    result = told("converge", "--increments=101", "--decrements", "-n3", "--interval-ms=10", "--fanout=1")
    assert (result["decrements"], result["expected"]) == (50, 51)
    assert set(result["runs"][0]["values"].values()) == {51}


def test_converge_of_one_node_and_of_nothing() -> None:
    assert told("converge", "--increments=10", "-n1")["runs"][0]["values"] == {"n1": 10}
    assert told("converge", "--increments=0", "-n2")["expected"] == 0


def test_nodes_that_do_not_agree_are_named_and_fail_the_run() -> None:
    done = bench("converge", "--increments=50", "-n3", "--fanout=0", "--timeout-s=0.5", "--json")
    assert done.returncode == 1
    assert "not agreed on 50" in done.stderr
    assert "n1=" in done.stderr
    result = json.loads(done.stdout)
    assert (result["agreed"], result["convergence_ms"], result["runs"][0]["agreed"]) == (False, None, False)


def test_the_tables_are_for_people() -> None:
    done = bench("converge", "--increments=10", "-n2", "--interval-ms=10")
    assert "1 of 1 runs agreed on 10" in done.stdout
    assert "convergence" in done.stdout
    assert "agreed after" in done.stderr


def test_throughput_and_rest_tell_what_they_measured() -> None:
    rate = told("throughput", "--seconds=0.1", "--runs=2", "--window=4")
    assert rate["adds_per_second"]["median"] > 0
    assert len(rate["adds_per_second"]["runs"]) == 2
    cost = told("rest", "-n2", "--seconds=1", "--runs=1")
    assert cost["memory_mb"]["max"] > 1
    assert cost["start_s"]["max"] > 0


def test_an_interrupted_benchmark_leaves_nothing_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.cli", "converge", "--fanout=0", "--timeout-s=60"]
    environment = {"TMPDIR": str(tmp_path), "PATH": ""}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as running:
        nodes = until(
            lambda: [*psutil.Process(running.pid).children()] if len(list(tmp_path.glob("*/logs/*"))) == 5 else []
        )
        running.send_signal(signal.SIGINT)
        _, stderr = running.communicate(timeout=LIMIT_S)
    assert running.returncode == 130
    assert "stopped (SIGINT)" in stderr
    assert not [each for each in nodes if each.is_running()]
    assert list(tmp_path.iterdir()) == []


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_percentile_is_the_least_figure_that_covers_its_share(figures: list[float], share: float) -> None:
    found = percentile(figures, share)
    assert found in figures
    assert sum(each <= found for each in figures) >= share * len(figures) - 1e-9
