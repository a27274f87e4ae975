"""Schedules of windows for the model of counters that end: all counts are there until the end, and nothing after it."""

from functools import partial

from tests.support.lives_cluster import COUNTERS, SHORT, Cluster, check, counting, steps
from tests.support.lives_rules import FORGET, GRACE, Node, remembered

WINDOW = 120_000


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
            rows = [row for _, row in node.rows(each)]
            until = (remembered(row, node.statement(each, row.life)) for row in rows)
            remember = any(end + GRACE > node.now for end in until)
            check(bool(stays or remember) or not rows, "something stays", node.actor, each)


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


def brought_forward(cluster: Cluster) -> None:
    """Deadlines are brought forward, also after deletes: what has ended does not come back.

    A node may be away meanwhile, and know only of the later ones; and who brings them forward may not know of one.
    """
    rng, lasts = cluster.rng, (WINDOW, 20 * WINDOW, 2 * FORGET)

    def operate(node: Node, counter: str, x: float) -> bool:
        if x < 0.25:
            cluster.act(node, lambda: node.add(counter, 1, rng.choice(lasts), rng.random() < 0.5))
        elif x < 0.33:
            cluster.act(node, lambda: node.delete(counter, rng.choice((0, 0, 7))))
        elif x < 0.4:
            cluster.act(node, lambda: node.expire(counter, rng.choice((0, *lasts))))
        return x < 0.4

    steps(cluster, rng.randint(5, 60), operate, SHORT)
    cluster.settle()
    cluster.away = rng.choice((None, *cluster.nodes))
    present = [node for node in cluster.nodes if node is not cluster.away]
    for counter in COUNTERS:
        node, other = rng.sample(present, 2)
        if rng.random() < 0.5:
            cluster.act(other, partial(other.expire, counter, 20 * WINDOW))
            cluster.pass_time(500)
        cluster.act(node, partial(node.expire, counter, WINDOW // 4))
    cluster.settle()
    cluster.pass_time(WINDOW // 4 + 1000)
    back_after = rng.choice((GRACE, 2 * GRACE, 10 * WINDOW, FORGET // 2))
    for later in (0, GRACE - 1000, 1000, 2 * GRACE, 10 * WINDOW, FORGET // 2, FORGET // 2 + 2 * GRACE, FORGET):
        cluster.pass_time(later)
        cluster.away = None if later >= back_after else cluster.away
        for moment in ("then", "once all have exchanged what they know"):
            for node in (each for each in cluster.nodes if each in present or moment != "then"):
                values = [node.value(each) for each in COUNTERS]
                check(node is cluster.away or not any(values), "what had ended is back", node.actor, later, moment)
            cluster.settle()
    cluster.nothing_stays("days later")


def counted_after(cluster: Cluster) -> None:
    """A deadline is brought forward, and what is counted after it stays, though the later deadline passes as well.

    A node is away meanwhile. It counted what nobody else knows of, and knows only of the later deadline. Who brings it
    forward may not know of that one.
    """
    rng, count = cluster.rng, dict.fromkeys(COUNTERS, 0)

    def count_one(node: Node, counter: str) -> None:
        cluster.act(node, partial(node.add, counter))
        count[counter] += 1

    def all_is_there(what: str) -> None:
        cluster.settle()
        for node in cluster.nodes:
            for counter in COUNTERS:
                check(node.value(counter) == count[counter], what, node.actor, counter, count[counter])

    steps(cluster, rng.randint(0, 20), counting(cluster, 0), SHORT)
    away, *present = rng.sample(cluster.nodes, len(cluster.nodes))
    first, second, *_ = present
    cluster.away, second = rng.choice(((None, first), (None, second), (second, second)))
    for counter in COUNTERS:
        cluster.act(first, partial(first.add, counter, 1, WINDOW))
    cluster.settle()
    cluster.away = away
    cluster.pass_time(500)  # so that the later setting has the later stamp, whatever the clocks
    sooner = rng.choice((1, 1000, 20_000, GRACE * 3 // 4, WINDOW - 1000))
    for counter in COUNTERS:
        cluster.act(away, partial(away.add, counter))
        cluster.act(second, partial(second.add, counter, 1, WINDOW - sooner))
    cluster.settle()
    cluster.pass_time(WINDOW - sooner + 1000)
    nearly = GRACE - 1500 + rng.randint(-200, 200)  # until all forget the later deadline, each by its clock
    for wait in rng.choice(((), (GRACE,), (sooner, nearly), (sooner + nearly,), (GRACE, WINDOW + GRACE))):
        for counter in COUNTERS:
            count_one(rng.choice(present), counter)
        cluster.settle()
        cluster.pass_time(wait)
    cluster.away = None
    all_is_there("counted after the end")
    for counter in COUNTERS:
        count_one(away, counter)
    all_is_there("counted after the end, there too")
    cluster.pass_time(WINDOW + 2 * GRACE)
    all_is_there("counted after the end, later")


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
