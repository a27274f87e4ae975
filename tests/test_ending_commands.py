"""Claim: `cluster` ends and deletes counters, says what is left of them, and deletes nothing by accident."""

import json
import os
import pty
import re

import pytest

from gossip_counter.cluster import counters
from gossip_counter.cluster.commands import deleting
from gossip_counter.cluster.wording import duration
from gossip_counter.node.endpoints.addresses import Address
from tests.support.commands import Commands
from tests.support.waiting import until


def test_a_counter_ends_and_read_says_what_is_left(cluster: Commands) -> None:
    cluster.up(1)
    assert cluster.ok("add", "5", "--counter=login", "--expire", "90") == "n1 counted +5 in login, which ends in 90 s\n"
    read = cluster.run("read", "--counter=login")
    assert (read.exit_code, read.stdout) == (0, "5\n")
    assert re.fullmatch(r"ends in (90|[78]\d) s\n", read.stderr)
    assert cluster.ok("add", "1", "--counter=login", "--expire=0.3", "--expire-if-new") == "n1 counted +1 in login\n"
    assert int(cluster.run("read", "--counter=login").stderr.split()[2]) > 60
    cluster.ok("add", "1", "--counter=login", "--expire=0.3")
    until(lambda: cluster.run("read", "--counter=login").stdout == "0\n")
    assert cluster.run("read", "--counter=login").stderr == "n1 knows of no add to login\n"


def test_bounds(cluster: Commands) -> None:
    cluster.up(1)
    cluster.ok("add", "5", "--lower", "-5", "--upper", "5")
    refused = cluster.refused("add", "1", "--upper=5")
    assert refused == "cluster: refused with error 22: not counted: the value would be 6, and upper is 5\n"
    assert "lower is 0" in cluster.refused("add", "-6", "--lower=0")
    assert cluster.ok("read") == "5\n"


@pytest.mark.parametrize("bad", ["0", "-1", "x", "nan", "inf", "1e30", "0.0001", "", "1e999999999", "5s", "True"])
def test_an_expiry_that_makes_no_sense_is_misused(cluster: Commands, bad: str) -> None:
    why = " ".join(cluster.misused("add", "1", f"--expire={bad}").split())
    assert "it must be from 0.001 to 9223372036854775 seconds" in why or f"{bad!r} is no number of seconds" in why


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--expire-if-new"], "it needs --expire"),
        (["--lower=6", "--upper=5"], "it must not be above --upper, 5"),
        (["--lower=1.5"], "is no whole number"),
        ([f"--upper={2**63}"], "it must be from -"),
    ],
)
def test_terms_that_make_no_sense_are_misused(cluster: Commands, options: list[str], why: str) -> None:
    assert why in " ".join(cluster.misused("add", "1", *options).split())


def test_deletes(cluster: Commands) -> None:
    cluster.up(2)
    for name in ("page:a", "page:b", "likes", "", "votes", "a*"):
        cluster.ok("add", "5", "--node=n1", f"--counter={name}")
    assert cluster.ok("delete", "likes", "--node=n1") == "n1 deleted likes\n"
    done = cluster.run("delete", "liked", "votes", "", "--node=n1")
    assert done == (0, "n1 deleted 2 counters\n", "n1 knows of no add to liked\n")
    again = cluster.run("delete", "", "--node=n1")
    assert again == (0, "", "n1 knows of no add to the default counter\n")

    refused = cluster.refused("delete", "page:*", "--node=n1")
    assert refused == "cluster: nothing was deleted: --yes deletes all counters that match page:*\n"
    assert cluster.ok("counters", "--node=n1") == "5  a*\n5  page:a\n5  page:b\n"
    assert cluster.ok("delete", "page:*", "--yes", "--node=n1") == "n1 deleted 2 counters\n"
    assert cluster.run("delete", "page:*", "-y", "--node=n1") == (0, "", "n1 knows of no counter that matches page:*\n")
    assert cluster.ok("delete", "a\\*", "--yes", "--node=n1") == "n1 deleted 1 counter\n"
    until(lambda: cluster.run("counters", "--node=n2").stdout == "")
    assert "Missing argument" in cluster.misused("delete")
    assert "at most 255 bytes" in " ".join(cluster.misused("delete", "x" * 256).split())


def test_more_counters_than_are_listed_and_deleted_at_once(cluster: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "PAGE", 3)
    monkeypatch.setattr(deleting, "AT_ONCE", 2)
    cluster.up(1)
    for name in ("x", *(f"c{i}" for i in range(7))):
        cluster.ok("add", "1", f"--counter={name}")
    assert cluster.ok("delete", "c*", "--yes") == "n1 deleted 7 counters\n"
    assert cluster.ok("counters") == "1  x\n"


@pytest.mark.parametrize(("answer", "value"), [("y", "0\n"), ("", "5\n")])
def test_a_terminal_is_asked_before_all_that_match_are_deleted(cluster: Commands, answer: str, value: str) -> None:
    cluster.up(1)
    cluster.ok("add", "5", "--counter=likes")
    ours, theirs = pty.openpty()
    with cluster.popen("delete", "l*", stdin=theirs) as deleting:
        os.close(theirs)
        os.write(ours, answer.encode() + b"\n")
        stdout, stderr = deleting.communicate()
    os.close(ours)
    assert "Delete 1 counter? [y/N]" in stdout
    assert (deleting.returncode, stderr) == ((0, "") if answer == "y" else (1, "cluster: nothing was deleted\n"))
    assert cluster.ok("read", "--counter=likes") == value


def test_full_state_gossip_refuses_with_a_sentence(cluster: Commands) -> None:
    cluster.up(1, "--gossip=full")
    cluster.ok("add", "5")
    why = "refused with error 10: full-state gossip can't end counters: start the nodes with delta gossip"
    assert cluster.refused("add", "1", "--expire=5") == cluster.refused("delete", "") == f"cluster: {why}\n"
    assert cluster.ok("read") == "5\n"


def test_a_list_of_counters_shows_what_is_left_of_those_that_end(
    cluster: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def left_ms(_: Address, names: list[str]) -> dict[str, int]:
        return {"a": 90_000, "b": 1234} if "b" in names else {}

    monkeypatch.setattr(counters, "left_ms", left_ms)
    cluster.up(1)
    for name in ("a", "b", "c"):
        cluster.ok("add", "1", f"--counter={name}")
    assert cluster.ok("counters") == "1   90 s left  a\n1  1.2 s left  b\n1              c\n"
    assert cluster.ok("counters", "c") == "1  c\n"
    listed = json.loads(cluster.ok("counters", "--json"))["counters"]
    assert listed[1:] == [{"name": "b", "value": 1, "left_ms": 1234}, {"name": "c", "value": 1, "left_ms": None}]


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (-5, "0.0 s"), (1234, "1.2 s"), (59_400, "59 s"), (119_000, "119 s"), (120_000, "2 min"),
        (7_199_000, "120 min"),
        (7_200_000, "2 h"), (172_800_000, "2 days"), (2**63 - 1, "106,751,991,167 days"),
    ],
)  # fmt: skip
def test_durations(ms: int, text: str) -> None:
    assert duration(ms) == text
