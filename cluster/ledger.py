"""What clients asked for and what they were told, and what follows from it.

Pure. It knows nothing of how nodes work, only what they must never do.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from gossip_counter.node.core.errors import TEMPORARILY_UNAVAILABLE, TIMEOUT


class PromiseBroken(Exception):  # noqa: N818 a verdict
    """The cluster did what it promised never to do. The text says what."""


@dataclass(slots=True)
class _Asked:
    node: str
    life: int
    counter: str
    delta: int | None
    """None for a read."""
    low: int = 0
    """Of a read: the increments that it must show."""
    taken: int = 0
    """And the decrements."""
    with_token: bool = False


class Ledger:
    """What clients asked for and what they were told: the only witness the verdict trusts."""

    def __init__(self) -> None:
        self._next = 0
        self._open: dict[int, _Asked] = {}
        self._asked: Counter[tuple[str, bool]] = Counter()
        self._acknowledged: Counter[tuple[str, bool]] = Counter()
        self._at_node: Counter[tuple[str, str, bool]] = Counter()
        self._unknown: defaultdict[tuple[str, bool], list[int]] = defaultdict(list)
        self._may_be_lost: Counter[tuple[str, bool]] = Counter()
        self._lost_of: Counter[tuple[str, str, bool]] = Counter()

    @property
    def all_answered(self) -> bool:
        """Whether no request is open any more."""
        return not self._open

    def ask_add(self, node: str, life: int, counter: str, delta: int) -> int:
        """A client asks for an add; the request's id."""
        self._asked[counter, delta > 0] += abs(delta)
        return self._ask(_Asked(node, life, counter, delta))

    def ask_read(self, node: str, life: int, counter: str, token: Mapping[tuple[str, bool], int] | None = None) -> int:
        """A client asks for a value; the request's id. `token` is what one stands for that it brings along."""
        known = token or {}
        low, taken = (max(self._at_node[node, counter, grew], known.get((counter, grew), 0)) for grew in (True, False))
        return self._ask(_Asked(node, life, counter, None, low, taken, with_token=token is not None))

    def acknowledged_at(self, node: str) -> dict[tuple[str, bool], int]:
        """What one node acknowledged so far: by counter, increments (True) and decrements."""
        return {(counter, grew): total for (at, counter, grew), total in self._at_node.items() if at == node}

    def acknowledged(self, msg_id: int) -> tuple[str, int]:
        """An add was answered; its counter and delta."""
        asked = self._open.pop(msg_id)
        assert asked.delta is not None
        self._acknowledged[asked.counter, asked.delta > 0] += abs(asked.delta)
        self._at_node[asked.node, asked.counter, asked.delta > 0] += abs(asked.delta)
        return asked.counter, asked.delta

    def told(self, msg_id: int, value: int) -> None:
        """A read was answered. Raises `PromiseBroken`."""
        asked = self._open.pop(msg_id)
        low = asked.low - self._asked[asked.counter, False]
        high = self._asked[asked.counter, True] - asked.taken
        if not low <= value <= high:
            raise PromiseBroken(f"{asked.node} told {value} of {asked.counter}, which can only be from {low} to {high}")

    def failed(self, msg_id: int, code: int, text: str, disk_is_ill: bool) -> None:
        """A request was answered with an error. Raises `PromiseBroken` unless there was reason to."""
        asked = self._open.pop(msg_id)
        if asked.delta is not None and code == TIMEOUT:
            self._note_unknown(asked)
        elif code != TEMPORARILY_UNAVAILABLE or not (disk_is_ill if asked.delta is not None else asked.with_token):
            raise PromiseBroken(f"{asked.node} refused with error {code}: {text}")

    def unknown(self, msg_id: int) -> None:
        """No answer came, and none will be waited for."""
        self._note_unknown(self._open.pop(msg_id))

    def refused(self, msg_id: int) -> None:
        """A request was not even sent."""
        self._open.pop(msg_id)

    def crashed(self, node: str, life: int) -> None:
        """What was open at that node has no known outcome now."""
        for msg_id, asked in list(self._open.items()):
            if (asked.node, asked.life) == (node, life):
                self.unknown(msg_id)

    def lost(self, actor: str, counter: str, p: int, n: int) -> None:
        """So much of an actor's row nobody holds any more; datagrams under way may yet bring it."""
        for grew, most in ((True, p), (False, n)):
            key = actor, counter, grew
            self._may_be_lost[counter, grew] += max(0, most - self._lost_of[key])
            self._lost_of[key] = max(most, self._lost_of[key])

    def forget_acknowledged_at(self, node: str) -> None:
        """A node without its journal knows nothing of what it acknowledged until others tell it."""
        for key in [key for key in self._at_node if key[0] == node]:
            del self._at_node[key]

    def check_answered(self) -> None:
        """Every request to a node that lived on was answered. Raises `PromiseBroken`."""
        if self._open:
            raise PromiseBroken(f"never answered: {next(iter(self._open.values()))}")

    @property
    def counters(self) -> list[str]:
        """All counters that anybody added to."""
        return sorted({counter for counter, _ in self._asked})

    def check_totals(self, node: str, counter: str, totals: tuple[int, int], value: int) -> None:
        """Increments and decrements are those acknowledged, and some of the unknown ones; the value is what they make.

        Raises `PromiseBroken`.
        """
        for grew, total, side in ((True, totals[0], "increments"), (False, totals[1], "decrements")):
            if not self._possible(counter, grew) >> total & 1:
                raise PromiseBroken(
                    f"{counter} has {total} {side} at {node}: {self._acknowledged[counter, grew]} acknowledged,"
                    f" {self._unknown[counter, grew]} unknown, at most {self._may_be_lost[counter, grew]} lost with"
                    " journals"
                )
        if value != totals[0] - totals[1]:
            raise PromiseBroken(f"{node} tells {value} of {counter}, which has {totals[0]} less {totals[1]}")

    def _note_unknown(self, asked: _Asked) -> None:
        if asked.delta is not None:
            self._unknown[asked.counter, asked.delta > 0].append(abs(asked.delta))

    def _possible(self, counter: str, grew: bool) -> int:
        """The totals that can be, as bits: bit t is set if t can be the total."""
        possible = 1 << self._acknowledged[counter, grew]
        for delta in self._unknown[counter, grew]:
            possible |= possible << delta
        for _ in range(self._may_be_lost[counter, grew]):
            possible |= possible >> 1
        return possible

    def _ask(self, asked: _Asked) -> int:
        self._next += 1
        self._open[self._next] = asked
        return self._next
