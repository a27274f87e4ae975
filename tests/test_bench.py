"""The benchmarks as commands: exact sums, exit codes, JSON; never their speed."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from random import Random
from statistics import mean
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from gossip_counter.bench import simulate
from gossip_counter.bench.cli import app as bench_app
from gossip_counter.bench.ideal import time_until_all_know
from gossip_counter.bench.report import percentile
from tests.support.waiting import LIMIT_S, until


def bench(*arguments: str) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [sys.executable, "-m", "gossip_counter.bench", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
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
        assert run["convergence_ms"] >= 0
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
    done = bench("converge", "--increments=50", "-n3", "--loss=1", "--timeout-s=0.5", "--json")
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


@pytest.mark.parametrize(
    "options", [["--gossip=full"], ["--no-push"], ["--fanout=0"], ["--loss=0.3"], ["--counters=50"]], ids=" ".join
)
def test_converge_in_every_mode(options: list[str]) -> None:
    result = told("converge", "--increments=200", "-n4", "--interval-ms=20", *options)
    assert result["runs"][0]["values"] == dict.fromkeys(("n1", "n2", "n3", "n4"), 200)


def test_converge_against_full_state() -> None:
    result = told("converge", "--increments=50", "-n2", "--against-full", "--interval-ms=20")
    assert (result["gossip"], result["full"]["gossip"]) == ("delta", "full")
    assert len(result["full"]["runs"]) == 1


def test_sim_tells_time_and_cost() -> None:
    result = told("sim", "--nodes=3,5", "--loss=0,0.3", "--runs=4", "--counters=20", "--no-push")
    assert [(each["nodes"], each["loss"]) for each in result["results"]] == [(3, 0), (3, 0.3), (5, 0), (5, 0.3)]
    for each in result["results"]:
        assert 0 < each["convergence_ms"]["mean"] <= each["convergence_ms"]["max"]
        assert each["bytes_per_node"] > each["row_bytes_per_node"] > 0
    assert told("sim", "--runs=4") == told("sim", "--runs=4")
    assert "ideal" in bench("sim", "--runs=2", "--gossip=full").stdout


@pytest.mark.parametrize(
    "bad", [["--nodes=0"], ["--nodes=x"], ["--loss=1.5"], ["--gossip=loud"], ["--plot=/no/folder/p.svg"]]
)
def test_sim_refuses_what_makes_no_sense(bad: list[str]) -> None:
    done = bench("sim", "--runs=1", *bad)
    assert done.returncode != 0
    assert done.stdout == ""


def test_pictures_are_drawn(tmp_path: Path) -> None:
    spread, converge = tmp_path / "spread.svg", tmp_path / "converge.png"
    bench("sim", "--nodes=3,5", "--runs=2", "--plot", str(spread))
    assert "<svg" in spread.read_text()
    bench("converge", "--increments=10", "-n2", "--plot", str(converge))
    assert converge.read_bytes().startswith(b"\x89PNG")


def test_judge_keeps_count() -> None:
    assert bench("judge", "--seeds=3").stdout.startswith("3 of 3 runs kept every promise; each took ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_judge_can_be_interrupted_and_leaves_no_worker(number: int) -> None:
    command = [sys.executable, "-m", "gossip_counter.bench", "judge", "--seeds=100000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        # The workers, and the process that multiprocessing keeps to tidy up after all.
        workers = until(lambda: each if len(each := psutil.Process(running.pid).children()) >= 2 else [])
        running.send_signal(number)
        running.communicate(timeout=LIMIT_S)
    assert running.returncode == 128 + number
    until(lambda: not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in workers))


def test_judge_prints_the_command_that_replays_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulate, "judge_one", lambda names, seed: simulate.Verdict(names[0], seed, "a promise", 0.1))
    monkeypatch.setattr(simulate, "side_by_side", map)
    done = CliRunner().invoke(bench_app, ["judge", "--seeds=2", "--first-seed=7", "--scenario=crowd"])
    assert done.exit_code == 1
    assert "bench judge --scenario crowd --first-seed 8 --seeds 1" in done.stderr
    assert "0 of 2 runs" in done.stdout


def test_recover_memory_and_sizes_tell_what_they_measured() -> None:
    recovered = told("recover", "-n3", "--counters=100", "--runs=1")
    for death in ("clean", "wiped", "all"):
        assert recovered[death]["level_s"]["max"] >= 0
        assert recovered[death]["answers_s"]["max"] > 0
    assert told("memory", "--counters=1000", "--runs=1")["bytes_per_row"]["max"] > 0
    assert told("sizes")["SYN of five nodes that hold something each"] < 200


def test_rest_tells_what_it_measured() -> None:
    cost = told("rest", "-n2", "--seconds=1", "--runs=1")
    assert cost["memory_mb"]["max"] > 1
    assert cost["start_s"]["max"] > 0


def test_an_interrupted_benchmark_leaves_nothing_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gossip_counter.bench", "converge", "--fanout=0", "--no-push", "--timeout-s=60"]
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


def test_the_ideal_of_push_and_of_push_pull() -> None:
    """Five nodes, fanout 2, timers of their own: push alone about 126 ms on average, push-pull 78 ms."""
    rng = Random(1)
    for pull, expected in ((False, 126), (True, 78)):
        took = mean(time_until_all_know(5, 2, 100, pull, rng) for _ in range(3000))
        assert abs(took - expected) < 5


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_percentile_is_the_least_figure_that_covers_its_share(figures: list[float], share: float) -> None:
    found = percentile(figures, share)
    assert found in figures
    assert sum(each <= found for each in figures) >= share * len(figures) - 1e-9


@pytest.mark.parametrize("command", ["converge", "sim"])
def test_push_is_refused_where_there_is_none(command: str) -> None:
    done = bench(command, "--gossip=full", "--push")
    assert done.returncode == 1
    assert done.stderr == "bench: --push is for delta gossip only: leave it out, or leave out --gossip full\n"


def test_loss_that_is_asked_for_is_lost() -> None:
    """Pushes alone would agree in a moment, and nothing else comes within the hour."""
    done = bench("converge", "--loss=1", "--increments=5", "--timeout-s=1", "--interval-ms=3600000")
    assert done.returncode == 1
    assert "not agreed" in done.stderr
