"""What is done to a cluster, and when. Pure: the same plan has the same schedule."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from gossip_counter.bench.torture import disks

ACTIONS = {
    "kill": 4,
    "pause": 3,
    "partition": 2,
    "loss": 2,
    "kill all": 0.5,
    "copy": 1,
    "wipe": 0.5,
    "damage": 0.5,
    "move": 0.25,
    "back up": 0.25,
    "leave": 0.5,
    "remove": 0.25,
    "new address": 0.5,
}
"""How often each begins, relative to the others."""
ROTATE = {"rotate keys": 1}
"""The same, of a sealed cluster only."""
PER_SECOND = 1.5
APART_SHARE = 0.4
"""Of the copies of nodes, how many meet nobody at first."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long, of which seed, on what cluster. With `kill_all`, all nodes are killed so many times, and nothing else.

    `loss` is the share of gossip, 0 to 1, that is lost throughout.
    """

    seconds: float = 60.0
    seed: int = 7
    nodes: int = 5
    loss: float = 0.0
    clients: int = 32
    counters: int = 5
    kill_all: int = 0
    redis_clients: int = 8
    sealed: bool = False
    """Whether datagrams are sealed, and keys rotated too."""
    awaits_end: bool = True
    """Whether it goes on until all that ended must be forgotten: for some 80 seconds."""

    @property
    def names(self) -> list[str]:
        """The nodes."""
        return [f"n{i}" for i in range(1, self.nodes + 1)]

    @property
    def length_s(self) -> float:
        """How long it takes."""
        return self.kill_all * 1.0 + 0.5 if self.kill_all else self.seconds


@dataclass(frozen=True, slots=True)
class Step:
    """One thing done to the cluster, so many seconds after the start; `what` is its arguments."""

    at_s: float
    action: str
    what: str = ""

    def __str__(self) -> str:
        return f"{self.at_s:8.3f} s  {self.action} {self.what}".rstrip()


def schedule(plan: Plan) -> list[Step]:
    """All steps, in order."""
    rng = Random(f"torture {plan.seed}")
    steps = list(_kill_all(plan, rng) if plan.kill_all else _everything(plan, rng))
    return sorted((step for step in steps if step.at_s < plan.length_s), key=lambda step: step.at_s)


def _kill_all(plan: Plan, rng: Random) -> Iterator[Step]:
    for number in range(plan.kill_all):
        at = 0.5 + number + rng.random() * 0.3
        yield Step(at, "kill", ",".join(plan.names))
        yield Step(at + 0.05, "restart", ",".join(plan.names))


def _everything(plan: Plan, rng: Random) -> Iterator[Step]:
    at, number, names = 0.0, 0, plan.names
    actions = ACTIONS | (ROTATE if plan.sealed else {})
    while (at := at + rng.expovariate(PER_SECOND)) < plan.seconds:
        number += 1
        action = rng.choices(list(actions), list(actions.values()))[0]
        node, until = rng.choice(names), at + rng.uniform(0.1, 3.0)
        match action:
            case "kill all":
                everyone = ",".join(names)
                yield from (Step(at, "kill", everyone), Step(at + 0.1, "restart", everyone))
            case "partition":
                yield from (Step(at, "partition", _two_groups(names, rng)), Step(until, "heal"))
            case "loss":
                yield from (Step(at, "loss", f"{rng.uniform(0.1, 0.9):.2f}"), Step(until, "loss", f"{plan.loss}"))
            case "leave" | "remove":
                new = f"n{1 + max(int(name[1:]) for name in names)}"
                yield from (Step(at, action, node), Step(until, "join", new))
                names = [*(name for name in names if name != node), new]
            case "rotate keys":
                yield Step(at, action)
            case "copy":
                yield from _copy(at, f"{node} copy {number}", rng)
            case _:
                yield from _to_one(action, node, at, until, rng)


def _to_one(action: str, node: str, at: float, until: float, rng: Random) -> Iterator[Step]:
    """What happens to one node."""
    match action:
        case "kill":
            yield from (Step(at, "kill", node), Step(until, "restart", node))
        case "pause":
            yield from (Step(at, "pause", node), Step(until, "resume", node))
        case "damage":
            yield Step(at, "damage", f"{node} {rng.choice(disks.DAMAGE)}")
        case "wipe" | "new address":
            yield Step(at, action, node)
        case _:  # "move", "back up"
            yield from (Step(at, action, node), Step(at + rng.uniform(0.5, 10.0), "put back", _put_back(node, rng)))


def _copy(at: float, copy: str, rng: Random) -> Iterator[Step]:
    """A copy runs for some seconds, and may meet no other node until half of them are over."""
    length = rng.uniform(1.0, 6.0)
    if rng.random() < APART_SHARE:
        yield from (Step(at, "copy apart", copy), Step(at + length / 2, "meet", copy))
    else:
        yield Step(at, "copy", copy)
    yield Step(at + length, "end copy", copy)


def _put_back(node: str, rng: Random) -> str:
    return f"{node} {rng.choice(disks.PUT_BACK)}"


def _two_groups(names: list[str], rng: Random) -> str:
    names = rng.sample(names, len(names))
    size = rng.randrange(1, len(names))
    return f"{','.join(names[:size])}/{','.join(names[size:])}"
