"""Each benchmark measures what it claims, exactly, and says it in every form; never how fast it is."""

import asyncio
import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from random import Random
from statistics import mean
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, RenderableType

from gossip_counter.bench import converge, cost, judge, recover, spread, torture, workload
from gossip_counter.bench.ideal import time_until_all_know
from gossip_counter.bench.parallel import for_each_seed
from gossip_counter.bench.report import percentile
from tests.support.bench import a_run, bench, comparison_of_modes, figures
from tests.support.waiting import LIMIT_S, until


def text_of(table: RenderableType) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(table)
    return " ".join(captured.get().split())


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate in this process: workers take longer to start than small simulations to end."""
    for module in (spread, judge):
        monkeypatch.setattr(module, "for_each_seed", map)


# converge


def test_converge_counts_every_add_on_every_node() -> None:
    result = figures("converge", "--increments=101", "--decrements", "-n2", "--runs=2", "--seed=3", "--interval-ms=10")
    assert (result["nodes"], result["increments"], result["decrements"], result["seed"]) == (2, 101, 50, 3)
    assert result["expected"] == 51
    assert len(result["runs"]) == 2
    for run in result["runs"]:
        assert run["agreed"]
        assert run["values"] == dict.fromkeys(("n1", "n2"), 51)
        assert run["convergence_ms"] >= 0
        assert set(run["datagrams_sent"]) == set(run["bytes_sent"]) == set(run["values"])
    assert set(result["convergence_ms"]) == {"p50", "p99", "max"}


@pytest.mark.parametrize("options", [["--no-push", "--loss=0.3"], ["--fanout=0", "--counters=50"]], ids=" ".join)
def test_converge_in_other_modes(options: list[str]) -> None:
    (run,) = figures("converge", "--increments=60", "-n2", "--interval-ms=20", *options)["runs"]
    assert run["agreed"]
    assert run["values"] == {"n1": 60, "n2": 60}


def test_nothing_to_count_converges_at_once() -> None:
    (run,) = figures("converge", "--increments=0", "-n1")["runs"]
    assert (run["convergence_ms"], run["values"]) == (0, {"n1": 0})


def test_converge_against_full_state(tmp_path: Path) -> None:
    picture = tmp_path / "converge.png"
    done = bench("converge", "--increments=20", "-n2", "--against-full", "--interval-ms=20", "--plot", str(picture))
    assert done.exit_code == 0
    assert done.stdout.count("1 of 1 runs agreed on 20") == 2
    assert "run 2 of 2: agreed " in done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_nodes_that_do_not_agree_are_named_and_fail_the_run() -> None:
    """All gossip is lost, as was asked: or pushes alone would agree in a moment."""
    options = ("--increments=50", "-n2", "--loss=1", "--timeout-s=0.3", "--interval-ms=3600000", "--json")
    done = bench("converge", *options)
    assert done.exit_code == 1
    assert "bench: run 1: not agreed on 50 within 0.3 s" in done.stderr
    assert "n1=" in done.stderr
    result = json.loads(done.stdout)
    assert (result["agreed"], result["convergence_ms"], result["runs"][0]["agreed"]) == (False, None, False)


def test_the_ratio_of_both_modes_is_that_of_their_medians() -> None:
    comparison = comparison_of_modes([1, 2, 90], [150, 170, None])
    assert comparison.ratio == comparison.as_json()["full_to_delta_p50"] == 75
    assert "75.0 times" in text_of(comparison.table())
    assert comparison_of_modes([None], [150]).ratio is None


def test_agreement_before_the_last_acknowledgement_arrived_is_said_in_words() -> None:
    assert a_run(0).in_words == "agreed before the last acknowledgement arrived"
    assert a_run(0.5).in_words == "agreed after 0.5 ms"
    shown = text_of(converge.Series(workload.Plan(), [a_run(0), a_run(2)]).table())
    assert "from the last acknowledgement to agreement (at once: before it arrived)" in shown
    assert "convergence │ at once │ 2.0 │ 2.0" in shown
    assert "at once" not in text_of(converge.Series(workload.Plan(), [a_run(2)]).table())


def test_one_of_a_thing_is_no_plural() -> None:
    shown = text_of(converge.Series(workload.Plan(nodes=1, increments=1), [a_run(1)]).table())
    assert "1 node, 1 increment, 0 decrements" in shown


def test_a_run_that_did_not_agree_names_values_or_else_states() -> None:
    assert a_run(None, value=9).difference == "n2=9"
    assert "n1=aa, n2=bb" in a_run(None).difference


# recover and cost


def test_recover_measures_a_death() -> None:
    recovered = figures("recover", "--death=wiped", "-n2", "--counters=20", "--runs=1")
    assert recovered.keys() == {"nodes", "counters", "name_bytes", "runs", "wiped"}
    assert recovered["wiped"]["answers_s"]["max"] > 0
    assert recovered["wiped"]["level_s"]["max"] >= 0
    assert recovered["wiped"]["rows"]["max"] > 20
    assert recovered["wiped"]["quiet"]["p50"] > 0
    assert recovered["wiped"]["megabytes_in"]["max"] > 0


@pytest.mark.soak
def test_recover_measures_every_death() -> None:
    recovered = figures("recover", "-n3", "--counters=100", "--runs=1")
    assert all(recovered[death]["answers_s"]["max"] > 0 for death in recover.Death)


def test_recover_tables_say_who_died() -> None:
    one = [recover.Recovery(0.5, 0.25, 1_500_000, 2000, [7.5], [8.5])]
    shown = text_of(recover.Recoveries(5, recover.Load(1000, 35), 1, dict.fromkeys(recover.Death, one)).table())
    assert "one of 5 nodes killed, its journal lost, 1,000 counters, 2,000 rows, 1 run" in shown
    assert "others are fed │ 8.5 │ 8.5 │ 8.5 │" in shown
    assert "all 5 nodes killed at once" in shown
    assert shown.count("1.50") == 9


def test_cost_measures_each_part_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "SETTLE_S", 0)
    rest = figures("cost", "--only=rest", "-n2", "--seconds=1", "--runs=1")
    assert list(rest) == ["rest"]
    assert rest["rest"]["memory_mb"]["max"] > 1
    assert rest["rest"]["start_s"]["max"] > 0
    memory = figures("cost", "--only=memory", "--counters=10000", "--runs=1")
    assert list(memory) == ["memory"]
    assert 100 < memory["memory"]["bytes_per_row"]["max"] < memory["memory"]["bytes_per_expiring_row"]["max"] < 10_000
    wire = figures("cost", "--only=wire")
    assert list(wire) == ["wire"]
    assert wire["wire"]["SYN of five nodes that hold something each"] < 210
    assert wire["wire"]["SYN to a node of equal state, 4,000 actors"] < 80
    assert 1000 < wire["wire"]["all SYNs that find the one of 4,000 actors that differs"] < 1500


def test_cost_shows_all_that_was_measured() -> None:
    rest, memory = cost.Rest(0.5, [1.25], [31_500_000]), cost.Growth(1000, 4300, 10)
    kinds = {cost.PLAIN: [memory], cost.EXPIRING: [memory]}
    shown = text_of(cost.Costs(cost.Plan(runs=1), [rest], kinds, {"one row more": 17}).table())
    for part in (
        "5 nodes at rest, watched for 5 s in 1 run",
        "31.50",
        "bytes per row │ 330",
        "one row more │ 17",
    ):
        assert part in shown


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--only=wire", "--counters=5"], "--counters"),
        (["--only=memory", "-n2"], "--nodes"),
        (["--only=rest", "--counters=5"], "--counters"),
        (["--only=disk"], "--only"),
    ],
)
def test_cost_refuses_options_of_parts_that_are_not_measured(options: list[str], named: str) -> None:
    done = bench("cost", *options)
    assert done.exit_code == 2
    assert named in done.stderr
    assert done.stdout == ""


# torture


def test_torture_tells_its_verdict_in_every_form(monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts: Iterator[str | None] = iter([None, None, "n1 lost 3"])

    async def run(plan: torture.Plan, watch: Any) -> torture.Verdict:
        watch(torture.Progress(plan))
        return torture.Verdict(
            plan, 1000, 20, 300, {"deletes": 9}, {"kill": 2}, ["n1"], 0.25, {"n1": 30.0}, {"n1": 0.5}, next(verdicts)
        )

    monkeypatch.setattr(torture, "run", run)
    kept = bench("torture", "--seconds=5")
    assert kept.exit_code == 0
    assert "every promise was kept" in " ".join(kept.stdout.split())
    assert "9 deletes" in kept.stdout
    assert figures("torture", "--kill-all=2")["seconds"] == 2.5
    broken = bench("torture", "--seconds=5", "--json")
    assert broken.exit_code == 1
    assert json.loads(broken.stdout)["broken"] == "n1 lost 3"
    *steps, last = broken.stderr.splitlines()
    assert steps == [str(step) for step in torture.schedule(torture.Plan(seconds=5))]
    assert last == "bench: n1 lost 3"


def test_torture_refuses_what_makes_no_sense() -> None:
    quiet = next(seed for seed in count() if not torture.schedule(torture.Plan(seconds=1, seed=seed)))
    for options, named in ((["--kill-all=2", "--seconds=5"], "--kill-all"), (["--seconds=1"], "--seconds")):
        done = bench("torture", f"--seed={quiet}", *options)
        assert done.exit_code == 2
        assert named in done.stderr


@pytest.mark.soak
def test_torture_of_a_small_cluster_ends_well() -> None:
    verdict = asyncio.run(
        torture.run(torture.Plan(seconds=5, seed=4, nodes=3, clients=4, awaits_end=False), lambda _: None)
    )
    assert verdict.broken is None
    assert verdict.acknowledged > 0


# sim and judge


@pytest.mark.usefixtures("one_process")
def test_sim_tells_time_and_cost(tmp_path: Path) -> None:
    picture = tmp_path / "spread.svg"
    options = ("sim", "--nodes=3,5", "--loss=0,0.3", "--runs=2", "--counters=20", "--no-push")
    result = figures(*options, "--plot", str(picture))
    assert "<svg" in picture.read_text()
    assert [(each["nodes"], each["loss"]) for each in result["results"]] == [(3, 0), (3, 0.3), (5, 0), (5, 0.3)]
    for each in result["results"]:
        assert 0 < each["convergence_ms"]["mean"] <= each["convergence_ms"]["max"]
        assert each["bytes_per_node"] > each["row_bytes_per_node"] > 0
    assert figures(*options) == result
    assert "ideal" in bench("sim", "--runs=2", "--gossip=full").stdout


@pytest.mark.parametrize(
    "bad", [["--nodes=0"], ["--nodes=x"], ["--loss=1.5"], ["--gossip=loud"], ["--plot=/no/folder/p.svg"]], ids=" ".join
)
def test_sim_refuses_what_makes_no_sense(bad: list[str]) -> None:
    done = bench("sim", "--runs=1", *bad)
    assert done.exit_code != 0
    assert done.stdout == ""


@pytest.mark.usefixtures("one_process")
def test_judge_keeps_count() -> None:
    assert bench("judge", "--seeds=1", "--scenario=restored").stdout.startswith(
        "1 of 1 runs kept every promise; each took "
    )


@pytest.mark.usefixtures("one_process")
def test_judge_prints_the_command_that_replays_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "judge_one", lambda names, seed: judge.Verdict(names[0], seed, "a promise", 0.1))
    replay = "bench judge --scenario crowd --first-seed 8 --seeds 1"
    done = bench("judge", "--seeds=2", "--first-seed=7", "--scenario=crowd")
    assert done.exit_code == 1
    assert replay in done.stderr
    assert "0 of 2 runs" in done.stdout
    result = json.loads(bench("judge", "--seeds=2", "--first-seed=7", "--scenario=crowd", "--json").stdout)
    assert (result["runs"], result["kept"], result["broken"][1]["replay"]) == (2, 0, replay)


# what all share


MISUSES = [
    ("nothing", "No such command 'nothing'"),
    ("converge -n 0", "greater than or equal to 1"),
    ("converge --runs 0", "--runs"),
    ("converge --increments -1", "--increments"),
    ("converge --loss 2", "--loss"),
    ("converge --loss nan", "--loss"),
    ("converge --timeout-s nan", "--timeout-s"),
    ("converge --gossip full --against-full", "full state is what it would be compared with"),
    ("converge --plot picture.txt", "picture.txt must end in .svg, .png or .pdf"),
    ("converge --plot ''", "must end in .svg, .png or .pdf"),
    ("converge --plot no/folder/p.svg", "choose a name in a folder that exists"),
    ("converge --json --plot no/folder/p.svg", "choose a name in a folder that exists"),
    ("converge more", "unexpected extra argument"),
    ("throughput --redis --nodes 2", "makes no sense beside --redis"),
    ("throughput --redis --window 2", "makes no sense beside --redis"),
    ("throughput --nodes 2 --endpoint udp", "makes no sense beside --nodes"),
    ("throughput --nodes 2 --plot p.svg", "makes no sense beside --nodes"),
    ("throughput --window 63 --clients 8", "must be a multiple of --clients, 8"),
    ("throughput --seconds 0", "--seconds"),
    ("throughput --seconds nan", "--seconds"),
    ("throughput --endpoint tcp", "is not one of 'udp', 'resp'"),
    ("cost --only wire --runs 3", "makes no sense beside --only wire"),
    ("recover -n 1", "greater than or equal to 2"),
    ("recover --death none", "is not one of 'clean', 'wiped', 'all'"),
    ("recover --plot p", "must end in .svg, .png or .pdf"),
    ("torture --seconds nan", "--seconds"),
    ("torture --loss 1", "--loss"),
    ("sim --nodes 5,", "is not a list of numbers, such as 5,25"),
    ("sim --nodes 0", "each must be from 1 to 5000"),
    ("sim --loss nan", "each must be from 0 to 0.99"),
    ("sim --delay-ms 0", "--delay-ms"),
    ("sim --plot p", "must end in .svg, .png or .pdf"),
    ("judge --seeds 0", "--seeds"),
    ("judge --first-seed -1", "--first-seed"),
    ("judge --scenario none", "--scenario"),
    ("judge --plot p.svg", "No such option: --plot"),
]


@pytest.mark.parametrize(("arguments", "error"), MISUSES, ids=ascii)
def test_options_that_make_no_sense_are_exit_code_2(arguments: str, error: str) -> None:
    done = bench(*shlex.split(arguments))
    assert (done.exit_code, done.stdout) == (2, "")
    assert error in done.stderr


@pytest.mark.parametrize("command", ["converge", "sim"])
def test_push_is_refused_where_there_is_none(command: str) -> None:
    done = bench(command, "--gossip=full", "--push")
    assert done.exit_code == 2
    assert "--push: it is for delta gossip only: leave out --gossip full" in done.stderr


def process(*arguments: str, **options: Any) -> "subprocess.Popen[str]":
    """A `bench` process, for what a command in this process can't show."""
    command = [sys.executable, "-m", "gossip_counter.bench", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def test_a_judge_that_is_interrupted_leaves_no_worker() -> None:
    with process("judge", "--seeds=100000") as running:
        # The workers, and the process that multiprocessing keeps to clean up after all.
        workers = until(lambda: each if len(each := psutil.Process(running.pid).children()) >= 2 else [])
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=LIMIT_S)
    assert running.returncode == 128 + signal.SIGTERM
    until(lambda: not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in workers))


def test_an_interrupted_benchmark_leaves_nothing_behind(tmp_path: Path) -> None:
    environment = {"TMPDIR": str(tmp_path), "PATH": ""}
    with process("converge", "-n2", "--fanout=0", "--no-push", "--timeout-s=60", env=environment) as running:
        nodes = until(
            lambda: [*psutil.Process(running.pid).children()] if len(list(tmp_path.glob("*/logs/*"))) == 2 else []
        )
        running.send_signal(signal.SIGINT)
        _, stderr = running.communicate(timeout=LIMIT_S)
    assert running.returncode == 130
    assert "stopped (SIGINT)" in stderr
    assert not [each for each in nodes if each.is_running()]
    assert list(tmp_path.iterdir()) == []


def test_seeds_run_on_all_processors_and_their_results_come_in_order() -> None:
    assert list(for_each_seed(abs, range(-3, 3))) == [3, 2, 1, 0, 1, 2]


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
