"""What `bench throughput` measures, on a small scale: both endpoints, a whole cluster, and beside Redis."""

from pathlib import Path

import pytest

from gossip_counter.bench import against_redis, throughput
from gossip_counter.bench.against_redis import Comparison, Pair
from tests.support.bench import bench, figures
from tests.support.commands import Done

SHORT = ("throughput", "--runs=1", "--seconds=0.1")


def of(*options: str) -> Done:
    return bench(*SHORT, *options)


def test_both_endpoints_with_and_without_journals(tmp_path: Path) -> None:
    picture = tmp_path / "endpoints.svg"
    found = figures(*SHORT, "--counters=100", "--plot", str(picture))
    modes = {"udp, durable", "udp, in memory", "resp, durable", "resp, in memory"}
    assert modes <= found.keys()
    for mode in modes:
        assert found[mode]["adds_per_second"]["median"] > 0
        assert 0 < found[mode]["latency_ms"]["p50"] <= found[mode]["latency_ms"]["p99"]
    assert "<svg" in picture.read_text()


def test_one_endpoint_in_memory() -> None:
    done = of("--endpoint=resp", "--ephemeral")
    assert "64 adds under way from 8 clients over 1 counter, 1 run of 0.1 s" in " ".join(done.stdout.split())
    assert "resp, in memory" in done.stdout
    assert "durable" not in done.stdout
    assert "udp" not in done.stdout


def test_a_cluster_counts_exactly_and_agrees() -> None:
    found = figures(*SHORT, "-n2")
    assert found["lost"] == [0]
    assert found["acknowledged adds/s, all nodes"]["p50"] > 0


def test_a_total_that_is_not_exact_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    async def lossy(*_: object) -> throughput.ClusterRates:
        return throughput.ClusterRates(2, throughput.Load(), 0.1, [throughput.ClusterRate(1000, 1, [2], lost=3)])

    monkeypatch.setattr(throughput, "measure_cluster", lossy)
    done = of("-n2")
    assert done.exit_code == 1
    assert "total exact in 0 of 1 runs" in done.stdout
    assert done.stderr == "bench: totals were not what was acknowledged: off by [3]\n"


def test_beside_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    if program := against_redis.missing():
        pytest.skip(f"{program.upper()} IS NOT INSTALLED: apt-get install redis-server redis-tools")
    monkeypatch.setattr(against_redis, "CASES", {"-c 50 -P 64": 60_000, "-c 1 -P 1": 1})
    monkeypatch.setattr(against_redis, "LEAST_REQUESTS", 500)  # fewer may take no time, as Redis measures it
    found = figures(*SHORT, "--redis")
    for kind in ("durable", "in memory"):
        assert found[kind].keys() == against_redis.CASES.keys()
        for case in found[kind].values():
            assert case["ratio"] == pytest.approx(case["node_per_second"][0] / case["redis_per_second"][0], abs=0.01)


def test_the_ratio_is_the_median_of_the_pairs_ratios() -> None:
    pairs = [Pair(100, 50), Pair(90, 100), Pair(300, 100)]
    assert Comparison(3, {"durable": {"-c 1": pairs}}).as_json()["durable"]["-c 1"]["ratio"] == 2


def test_without_redis_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    done = of("--redis")
    assert done.exit_code == 1
    assert "apt-get install redis-server" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--redis", "-n", "3"], "--nodes"),
        (["--endpoint", "http"], "--endpoint"),
        (["--plot", "x.txt"], "x.txt"),
        (["-n", "3", "--ephemeral"], "--durable / --ephemeral"),
        (["--window", "64", "--clients", "10"], "multiple of --clients"),
    ],
    ids=" ".join,
)
def test_what_makes_no_sense_is_refused(options: list[str], named: str) -> None:
    done = of(*options)
    assert done.exit_code != 0
    assert named in " ".join(done.stderr.split())
    assert done.stdout == ""
