"""Runs of the rules for counters that end: random schedules, and what must hold after them.

usage: python -m tests.support.lives_model --seeds 1000 [--first 0] [--mode delete ...] [--without RULE ...]
Prints the seeds that break a promise.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial

from tests.support.lives_cluster import (
    COUNTERS,
    SHORT,
    Backup,
    BrokenPromiseError,
    Cluster,
    check,
    copied,
    counting,
    steps,
)
from tests.support.lives_log import Row
from tests.support.lives_rules import FORGET, GRACE, Node
from tests.support.lives_view import Broken
from tests.support.lives_windows import (
    again,
    ahead,
    brought_forward,
    counted_after,
    late,
    persisting,
    prolonged,
    refresh,
    window,
)

# Schedules. Each is a function of a cluster; it raises BrokenPromiseError.


def plain(cluster: Cluster) -> None:
    steps(cluster, cluster.rng.randint(5, 60), counting(cluster), SHORT, keeps=True)
    cluster.settle()
    cluster.account("at rest")


def deleting(cluster: Cluster, trouble: Callable[[Node], object] = lambda _: None, often: float = 0.0) -> None:
    """Deletes, remembered for a day and forgotten, and counting that goes on meanwhile."""
    rng, operate = cluster.rng, counting(cluster, 0.1)

    def or_trouble(node: Node, counter: str, x: float) -> bool:
        if x > 1 - often:
            trouble(node)
        return x > 1 - often or operate(node, counter, x)

    steps(cluster, rng.randint(5, 60), or_trouble, SHORT, keeps=True)
    cluster.settle()
    cluster.account("at rest")
    cluster.pass_time(rng.choice((FORGET + 1000, FORGET - 1500)))
    cluster.settle()
    steps(cluster, rng.randint(5, 25), counting(cluster), (50, 150, 400, 5000), keeps=True)
    cluster.pass_time(GRACE)
    steps(cluster, 15, counting(cluster), SHORT, keeps=True)
    cluster.settle()
    cluster.account("a day later")
    cluster.pass_time(2 * GRACE)
    cluster.settle()
    cluster.nothing_stays("a day later")
    steps(cluster, 20, or_trouble, SHORT, keeps=True)
    cluster.settle()
    cluster.account("after a new beginning")


def dead(cluster: Cluster) -> None:
    deleting(cluster, cluster.die, cluster.rng.choice((0.02, 0.06)))


def lost(cluster: Cluster) -> None:
    """Journals are lost, or come back from a backup."""
    backups: dict[str, tuple[Backup, int]] = {}
    old: list[Backup] = []

    def trouble(node: Node) -> None:
        x = cluster.rng.random()
        if x < 0.5:
            backups[node.actor] = copied(node.logs, cluster.memories[node.actor]), cluster.time
            return
        backup, taken_at = backups.get(node.actor, (None, 0)) if x < 0.85 else (None, 0)
        if backup and cluster.time - taken_at > FORGET // 2:
            old.append(backup)
        for each in old:  # what was deleted of these is remembered no longer, once who remembered it is lost
            cluster.returned |= cluster.only_in(each, node)
        cluster.lose_journal(node, backup)

    deleting(cluster, trouble, 0.06)


def replayed(cluster: Cluster) -> None:
    """Datagrams arrive once more, up to days later: what was deleted stays so, though the counter's life goes on."""
    cluster.keeps_sent = True
    counts = counting(cluster, 0.1)

    def operate(node: Node, counter: str, x: float) -> bool:
        if x > 0.95:
            cluster.replay()
        elif x > 0.9:
            cluster.act(node, partial(node.expire, counter, cluster.rng.choice((0, 30 * FORGET, 60 * FORGET))))
        return x > 0.9 or counts(node, counter, x)

    for _ in range(2):
        steps(cluster, cluster.rng.randint(5, 40), operate, SHORT, keeps=True)
        cluster.settle()
        cluster.account("at rest")
        cluster.pass_time(FORGET + 2 * GRACE)
        cluster.settle()
    for _ in range(20):
        cluster.replay()
    cluster.settle()
    cluster.account("after old datagrams")


def absent(cluster: Cluster) -> None:
    """A node comes back after the others forgot what they deleted meanwhile."""
    rng, operate = cluster.rng, counting(cluster, 0.1)
    steps(cluster, rng.randint(5, 40), operate, SHORT, keeps=True)
    cluster.settle()
    cluster.away = rng.choice(cluster.nodes)
    before = cluster.own_rows()
    steps(cluster, rng.randint(5, 40), operate, SHORT, keeps=True)
    cluster.settle()
    cluster.returned = cluster.own_rows() - before
    for node in [each for each in cluster.nodes if each is not cluster.away]:
        if rng.random() < 0.3:
            cluster.lose_journal(node, None)
            cluster.settle()
        cluster.pass_time(FORGET)
        cluster.settle()
    cluster.returned |= cluster.own_rows() - before
    cluster.away = None
    cluster.settle()
    cluster.account("back again")
    steps(cluster, rng.randint(5, 20), counting(cluster), SHORT, keeps=True)
    cluster.settle()
    cluster.account("counting again")
    for _ in range(2):
        cluster.pass_time(FORGET + 2 * GRACE)
        cluster.settle()
    cluster.account("a day later")
    cluster.nothing_stays("a day later")


def behind(cluster: Cluster) -> None:
    """A node's clock is two days behind, and right in the end, if it lives: its deletes are remembered."""
    wrong = cluster.rng.choice(cluster.nodes)
    steps(cluster, 10, counting(cluster), SHORT, keeps=True)
    cluster.settle()
    wrong.skew -= 2 * FORGET
    steps(cluster, cluster.rng.randint(5, 40), counting(cluster, 0.15), SHORT, keeps=True)
    if cluster.rng.random() < 0.5:
        cluster.die(wrong)
        steps(cluster, 20, counting(cluster), SHORT, keeps=True)
    cluster.settle()
    cluster.account("while a clock is behind")
    wrong.skew += 2 * FORGET
    cluster.pass_time(0)
    cluster.settle()
    cluster.account("when it is right again")
    for _ in range(4):
        cluster.pass_time(FORGET + 2 * GRACE)
        cluster.settle()
    cluster.account("days later")
    cluster.nothing_stays("days later")


def mixed(cluster: Cluster, trouble: Callable[[Node], object] = lambda _: None, often: float = 0.0) -> None:
    """Everything at once: all agree, row by row, now and at every later time, and nothing that ends stays."""
    rng = cluster.rng
    counts = counting(cluster, 0.05)

    def operate(node: Node, counter: str, x: float) -> bool:
        if x < 0.15:
            cluster.act(node, lambda: node.add(counter, 1, 30_000, True))
        elif x < 0.2:
            cluster.act(node, lambda: node.add(counter, 1, rng.choice((20_000, 90_000))))
        elif x < 0.23:
            cluster.act(node, lambda: node.expire(counter, rng.choice((0, 0, 15_000, 40_000))))
        elif x > 1 - often:
            trouble(node)
        else:
            return counts(node, counter, x)
        return True

    steps(cluster, rng.randint(10, 80), operate, rng.choice((SHORT, (*SHORT, 5_000, 40_000))))
    for later in (0, 1000, 30_000, 30_000, 60_000, 90_000, FORGET + 2 * GRACE, 1000):
        cluster.pass_time(later)
        while any(abs(end - GRACE - cluster.time) <= 1000 for node in cluster.nodes for end in ends_of(node)):
            cluster.pass_time(2000)  # not in the moment of an end
        cluster.settle()
        cluster.agree(f"{later} ms later")
    cluster.nothing_stays("a day later")
    stays = [row for node in cluster.nodes for each in COUNTERS for _, row in node.rows(each) if ends(node, each, row)]
    check(not stays, "something stays that is over", stays)


def ends(node: Node, counter: str, row: Row) -> bool:
    return node.statement(counter, row.life)[1] > 0


def ends_of(node: Node) -> list[int]:
    rows = [row for each in COUNTERS for _, row in node.rows(each)]
    return [end + GRACE for row in rows for end in (row.deadline, row.before[2]) if end]


def chaos(cluster: Cluster) -> None:
    """The same, with nodes that die and journals that are lost."""

    def trouble(node: Node) -> None:
        if cluster.rng.random() < 0.3:
            cluster.die(node)
        else:
            cluster.lose_journal(node, None)

    mixed(cluster, trouble, 0.03)


MODES: dict[str, Callable[[Cluster], None]] = {
    "plain": plain, "window": window, "refresh": refresh, "persist": persisting, "late": late, "again": again,
    "delete": deleting, "dead": dead, "lost": lost, "replayed": replayed, "absent": absent, "ahead": ahead,
    "prolonged": prolonged, "brought forward": brought_forward,
    "counted after": counted_after, "behind": behind, "mixed": mixed, "skewed": mixed, "chaos": chaos,
}  # fmt: skip


def run(seed: int, mode: str, broken: Broken = frozenset()) -> str | None:
    """Run one schedule; what it breaks, if anything."""
    try:
        MODES[mode](Cluster(seed, broken, skew=0 if mode == "mixed" else 200))
    except BrokenPromiseError as error:
        return " ".join(str(each) for each in error.args)
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--mode", choices=MODES, action="append")
    parser.add_argument("--without", action="append", default=[], metavar="RULE")
    given = parser.parse_args()
    for mode in given.mode or MODES:
        bad = 0
        for seed in range(given.first, given.first + given.seeds):
            if found := run(seed, mode, frozenset(given.without)):
                bad += 1
                sys.stdout.write(f"{mode} {seed}: {found[:300]}\n")
        sys.stdout.write(f"{mode}: {bad} bad of {given.seeds} seeds from {given.first}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
