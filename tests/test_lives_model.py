"""Claim: the rules for counters that end keep the promises, and each of them is needed."""

import pytest

from tests.support.lives_log import Log, Row
from tests.support.lives_model import MODES, run
from tests.support.lives_rules import FORGET, GRACE, Node
from tests.support.lives_view import Broken

SEEDS = 25

FOUND = {
    "lineages": ("delete", 2),
    "base": ("delete", 10),
    "cover": ("dead", 4),
    "earlier lineages": ("dead", 992),
    "needed markers": ("lost", 12),
    "adoption": ("lost", 967),
    "idle": ("skewed", 258),
    "floors": ("absent", 0),
    "own rows": ("absent", 9),
    "refusal": ("absent", 4),
    "inherited floors": ("absent", 144),
    "whole": ("dead", 180),
    "joined lives": ("persist", 4),
    "old names": ("again", 2),
    "new names": ("again", 2),
    "future lives": ("ahead", 15),
    "unlike clocks": ("ahead", 0),
    "latest time": ("behind", 4),
    "lives go on": ("prolonged", 0),
    "earlier deadlines": ("brought forward", 16),
    "later deadlines": ("counted after", 28),
    "margin": ("counted after", 15),
    "others go on": ("counted after", 13),
    "whole lives": ("brought forward", 7),
    "ends of others": ("brought forward", 11),
    "deletes are final": ("replayed", 2),
}
"""By rule, the first seed of a mode that breaks a promise without it."""

MAKES_UP_FOR = {"unlike clocks": "lives go on"}
"""Rules that hide in the schedules that another one is missing."""


@pytest.mark.parametrize("mode", MODES)
def test_promises_hold_in_random_schedules(mode: str) -> None:
    assert {seed: found for seed in range(SEEDS) if (found := run(seed, mode))} == {}


@pytest.mark.parametrize("rule", FOUND)
def test_a_rule_that_is_left_out_is_missed(rule: str) -> None:
    mode, seed = FOUND[rule]
    others = frozenset(MAKES_UP_FOR.get(rule, "").splitlines())
    assert run(seed, mode, others) is None
    assert run(seed, mode, others | {rule})


def test_a_log_that_is_not_complete_does_not_tell_what_was_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(496, "dead") is None
    monkeypatch.setattr(Log, "forgotten", property(lambda log: log.floor))
    assert run(496, "dead")


@pytest.mark.parametrize("seed", [13050, 19278])
def test_what_an_old_backup_brings_back_is_told_apart_from_what_comes_back_by_itself(seed: int) -> None:
    assert run(seed, "lost") is None


@pytest.mark.parametrize("seed", [401, 1556])
def test_nodes_agree_though_the_writer_of_a_cut_delta_is_gone(seed: int) -> None:
    assert run(seed, "chaos") is None


def test_what_is_overruled_by_an_empty_row_goes_when_that_row_goes() -> None:
    assert run(96086, "mixed") is None


def test_who_never_heard_the_time_of_others_learns_it_with_the_first_exchange() -> None:
    assert run(20767, "behind") is None


def exchange(sender: Node, receiver: Node) -> None:
    """All that the sender stores, each log from the start."""
    for actor, log in sender.logs.items():
        receiver.receive(log.delta(actor, 0, 9), True)
    receiver.react()


def nodes(*names: str, broken: Broken = frozenset()) -> list[Node]:
    return [Node(name, broken, now=FORGET) for name in names]


def let_pass(ms: int, *among: Node) -> None:
    for node in among:
        node.now += ms
        node.forget()


def late_row_of_a_life_that_ended(broken: Broken) -> int:
    """The value where a row arrives after its life, and the row that set the deadline, were forgotten."""
    one, other, third = nodes("n1", "n2", "n3", broken=broken)
    one.add("a")
    exchange(one, other)
    other.expire("a", 1000)
    exchange(other, third)
    exchange(other, one)
    one.add("a")
    late = one.logs["n1"].delta("n1", 0, 9)
    let_pass(1000 + GRACE, one, other, third)
    third.receive(late, True)
    return third.value("a")


def test_every_write_copies_the_deadline_so_that_a_row_tells_by_itself_when_it_goes() -> None:
    assert late_row_of_a_life_that_ended(frozenset()) == 0
    assert late_row_of_a_life_that_ended(frozenset(["copied deadlines"])) == 2


def late_row_of_an_earlier_lineage(broken: Broken) -> int:
    """The value where a row arrives, claiming nothing, whose lineage ended before the one that was deleted."""
    (node,) = nodes("n1", broken=broken)
    log = node.logs["n2"] = Log(rows={"a": Row(version=5, p=3, born=5)})
    node.delete("a")
    log.rows["a"] = Row(version=1, p=9)
    node.changed()
    return node.value("a")


def test_a_delete_covers_the_lineages_before_the_one_it_saw() -> None:
    assert late_row_of_an_earlier_lineage(frozenset()) == 0
    assert late_row_of_an_earlier_lineage(frozenset(["earlier lineages"])) == 9


def value_after_who_ended_it_counts_again(broken: Broken) -> int:
    """The value where the only row that says that a life is over moves on to the next one."""
    one, other = nodes("n1", "n2", broken=broken)
    one.add("a")
    exchange(one, other)
    other.add("a")
    exchange(other, one)
    one.expire("a", 1000)
    let_pass(1000, one, other)
    one.add("a")
    exchange(one, other)
    return other.value("a")


def test_who_ended_a_life_says_so_until_it_is_forgotten() -> None:
    assert value_after_who_ended_it_counts_again(frozenset()) == 1
    assert value_after_who_ended_it_counts_again(frozenset(["before"])) == 2
