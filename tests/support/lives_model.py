"""Runs of the rules for counters that end: random schedules, and what must hold after them.

usage: python -m tests.support.lives_model --seeds 1000 [--first 0] [--mode delete ...] [--without RULE ...]
Prints the seeds that break a promise.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial

from tests.support.lives_cluster import COUNTERS, Backup, BrokenPromiseError, Cluster, check, copied
from tests.support.lives_log import Row
from tests.support.lives_rules import FORGET, GRACE, Broken, Node

WINDOW = 120_000

# Schedules. Each is a function of a cluster; it raises BrokenPromiseError.


def steps(
    cluster: Cluster,
    count: int,
    operate: Callable[[Node, str, float], bool],
    pauses: tuple[int, ...],
    keeps: bool = False,
) -> None:
    """So many random steps: an operation, or if that wants none, gossip between two nodes.

    `keeps`: nothing ends but by deletes.
    """
    rng = cluster.rng
    for _ in range(count):
        cluster.pass_time(rng.choice(pauses))
        node, counter = rng.choice(cluster.nodes), rng.choice(COUNTERS)
        if not operate(node, counter, rng.random()):
            other = rng.choice([each for each in cluster.nodes if each is not node])
            cluster.gossip(node, other)
            if keeps and rng.random() < 0.2:
                cluster.keeps(other)


def counting(cluster: Cluster, deletes: float = 0.0) -> Callable[[Node, str, float], bool]:
    """Adds of 1 and sometimes -1, deletes and SETs."""

    def operate(node: Node, counter: str, x: float) -> bool:
        if x < 0.36:
            cluster.act(node, lambda: node.add(counter, 1 if cluster.rng.random() < 0.85 else -1))
        elif x < 0.36 + deletes:
            then = cluster.rng.choice((0, 0, 0, 7))
            cluster.act(node, lambda: node.delete(counter, then))
        return x < 0.36 + deletes

    return operate


SHORT = (0, 1, 3, 50, 400)


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
    backups: dict[str, Backup] = {}

    def trouble(node: Node) -> None:
        x = cluster.rng.random()
        if x < 0.5:
            backups[node.actor] = copied(node.logs, cluster.memories[node.actor])
        else:
            cluster.lose_journal(node, backups.get(node.actor) if x < 0.85 else None)

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


def window(cluster: Cluster, if_none: bool = True, persist: float = 0.0, plainly: float = 0.0) -> None:
    """Windows: all counts are there until the end, and nothing after it."""
    rng, count = cluster.rng, dict.fromkeys(COUNTERS, 0)
    last = dict.fromkeys(COUNTERS, (0, 0))

    def operate(node: Node, counter: str, x: float) -> bool:
        if x < 0.4:
            ex = 0 if rng.random() < plainly else WINDOW
            cluster.act(node, lambda: node.add(counter, 1, ex, if_none))
            count[counter] += 1
        elif x < 0.4 + persist:
            cluster.act(node, lambda: node.expire(counter, rng.choice((0, 0, WINDOW))))
        row = node.own(counter)
        if row and x < 0.4 + persist:
            last[counter] = max(last[counter], (row.stamp, row.deadline))
        return x < 0.4 + persist

    steps(cluster, rng.randint(5, 60), operate, SHORT)
    cluster.settle()
    cluster.agree("at rest")
    check(all(node.value(each) == count[each] for node in cluster.nodes for each in COUNTERS), "at rest", count)
    cluster.pass_time(WINDOW + GRACE + 1000)
    if persist:
        cluster.settle()
    for node in cluster.nodes:
        for each in COUNTERS:
            stays = count[each] and not last[each][1]
            check(node.value(each) == (count[each] if stays else 0), "after the end", node.actor, each, last)
            check(bool(stays) or not any(node.rows(each)), "something stays", node.actor, each)


def again(cluster: Cluster) -> None:
    """Windows that follow each other: each counts what was added in it, whoever begins it and whatever they know.

    A node may be away for some of them, and counts alone meanwhile.
    """
    rng = cluster.rng
    for _ in range(5):
        count = {(node.actor, each): 0 for node in cluster.nodes for each in COUNTERS}

        def operate(node: Node, counter: str, x: float, count: dict[tuple[str, str], int] = count) -> bool:
            if x < 0.3:
                cluster.act(node, lambda: node.add(counter, 1, 30_000, cluster.rng.random() < 0.8))
                count[node.actor, counter] += 1
            return x < 0.3

        steps(cluster, rng.randint(1, 20), operate, SHORT)
        if rng.random() < 0.6:
            cluster.away = None
        cluster.settle()
        cluster.agree("in a window")
        present = [node for node in cluster.nodes if node is not cluster.away]
        for counter in COUNTERS:
            total = sum(count[node.actor, counter] for node in present)
            check(all(node.value(counter) == total for node in present), "in a window", counter, total)
        cluster.away = cluster.away or rng.choice((None, *cluster.nodes))
        cluster.pass_time(50_000 + rng.choice((0, GRACE - 20_000, GRACE - 19_500, 2 * GRACE)))


def refresh(cluster: Cluster) -> None:
    window(cluster, if_none=False)


def persisting(cluster: Cluster) -> None:
    window(cluster, if_none=cluster.rng.random() < 0.5, persist=0.1)


def late(cluster: Cluster) -> None:
    """A deadline for what was counted without one."""
    window(cluster, plainly=0.9)


def ahead(cluster: Cluster) -> None:
    """A node's clock jumps a day ahead, and back in the end. It ends nothing but at that node, and of its own."""
    rng = cluster.rng
    wrong = rng.choice(cluster.nodes)
    count = {(node.actor, counter): 0 for node in cluster.nodes for counter in COUNTERS}

    def operate(node: Node, counter: str, x: float) -> bool:
        if x < 0.4:
            cluster.act(node, lambda: node.add(counter, 1, WINDOW, True))
            count[node.actor, counter] += 1
        return x < 0.4

    steps(cluster, rng.randint(5, 30), operate, SHORT)
    wrong.skew += FORGET
    steps(cluster, rng.randint(5, 30), operate, SHORT)
    cluster.settle()
    for node in (each for each in cluster.nodes if each is not wrong):
        for counter in COUNTERS:
            own = count[wrong.actor, counter]
            total = sum(each for (_, of), each in count.items() if of == counter)
            check(total - own <= node.value(counter) <= total, "while a clock is ahead", node.actor, counter, total)
    cluster.pass_time(WINDOW + 2 * GRACE)
    cluster.settle()
    others = (each for each in cluster.nodes if each is not wrong)
    stays = [actor for node in others for each in COUNTERS for actor, _ in node.rows(each) if actor != wrong.actor]
    check(not stays, "a clock that is ahead kept windows of others", stays)
    wrong.skew -= FORGET
    cluster.pass_time(0)
    cluster.settle()
    cluster.agree("when it is right again")
    for _ in range(3):
        cluster.pass_time(FORGET + WINDOW + 2 * GRACE)
        cluster.settle()
    check(not any(any(node.rows(each)) for node in cluster.nodes for each in COUNTERS), "something stays")


def prolonged(cluster: Cluster) -> None:
    """A node forgets a life that goes on: it is away while others prolong it, or its clock is ahead for a while."""
    rng, count, lasts = cluster.rng, dict.fromkeys(COUNTERS, 0), WINDOW
    wrong: Node | None = None

    def operate(node: Node, counter: str, x: float) -> bool:
        if x < 0.4 and node is not wrong:
            cluster.act(node, lambda: node.add(counter, 1, lasts, True))
            count[counter] += 1
        elif x < 0.5 and node is not wrong and lasts > WINDOW:
            cluster.act(node, lambda: node.expire(counter, rng.choice((0, lasts))))
        return x < 0.5

    steps(cluster, rng.randint(5, 30), operate, SHORT)
    cluster.settle()
    wrong, lasts, is_away = rng.choice(cluster.nodes), 9 * WINDOW, rng.random() < 0.5
    cluster.away = wrong if is_away else None
    for node in (each for each in cluster.nodes if each is not wrong):
        for counter in COUNTERS:
            cluster.act(node, partial(node.expire, counter, lasts))
    steps(cluster, rng.randint(5, 30), operate, SHORT)
    wrong.skew += 0 if is_away else FORGET
    cluster.pass_time(WINDOW + 2 * GRACE if is_away else 1000)
    cluster.settle()
    wrong.skew -= 0 if is_away else FORGET
    cluster.away = None
    cluster.pass_time(0)
    steps(cluster, rng.randint(0, 9), operate, SHORT)
    cluster.settle()
    for node in cluster.nodes:
        for counter in COUNTERS:
            check(node.value(counter) == count[counter], "a life that goes on", node.actor, counter, count[counter])
    cluster.agree("while it goes on")


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
    "prolonged": prolonged, "behind": behind, "mixed": mixed, "skewed": mixed, "chaos": chaos,
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
