"""What clients asked for and what they were told, and what follows from it.

Pure. It knows nothing of how nodes work, only what they must never do.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

from node.replica import Replica


class PromiseBroken(Exception):  # noqa: N818 a verdict
    """The cluster did what it promised never to do. The text says what."""


@dataclass(slots=True)
class _Asked:
    node: str
    life: int
    counter: str
    delta: int | None
    """None for a read."""


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

    def ask_read(self, node: str, life: int, counter: str) -> int:
        """A client asks for a value; the request's id."""
        return self._ask(_Asked(node, life, counter, None))

    def acknowledged(self, msg_id: int) -> None:
        """An add was answered."""
        asked = self._open.pop(msg_id)
        assert asked.delta is not None
        self._acknowledged[asked.counter, asked.delta > 0] += abs(asked.delta)
        self._at_node[asked.node, asked.counter, asked.delta > 0] += abs(asked.delta)

    def told(self, node: str, body: dict[str, Any]) -> None:
        """A read was answered, or anything was with an error."""
        asked = self._open.pop(body["in_reply_to"])
        if body["type"] != "read_ok":
            raise PromiseBroken(f"{node} refused: {body}")
        counter, value = asked.counter, body["value"]
        low = self._at_node[node, counter, True] - self._asked[counter, False]
        high = self._asked[counter, True] - self._at_node[node, counter, False]
        if not low <= value <= high:
            raise PromiseBroken(f"{node} told {value} of {counter}, which can only be from {low} to {high}")

    def crashed(self, node: str, life: int) -> None:
        """What was open at that node has no known outcome now."""
        for msg_id, asked in list(self._open.items()):
            if (asked.node, asked.life) == (node, life):
                del self._open[msg_id]
                if asked.delta is not None:
                    self._unknown[asked.counter, asked.delta > 0].append(abs(asked.delta))

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

    def check_totals(self, replica: Replica) -> None:
        """Every counter's increments and decrements are those acknowledged, and some of the unknown ones.

        Raises `PromiseBroken`.
        """
        for counter, grew in self._asked:
            rows = list(replica.state.rows_of(counter))
            total = sum(row.p if grew else row.n for row in rows)
            if not self._possible(counter, grew) >> total & 1:
                side, known = "increments" if grew else "decrements", self._acknowledged[counter, grew]
                raise PromiseBroken(
                    f"{counter} has {total} {side}: {known} acknowledged, {self._unknown[counter, grew]} unknown,"
                    f" at most {self._may_be_lost[counter, grew]} lost with journals"
                )
        for counter in {counter for counter, _ in self._asked}:
            rows = list(replica.state.rows_of(counter))
            if replica.state.value(counter) != sum(row.p - row.n for row in rows):
                raise PromiseBroken(f"the total kept of {counter} is not that of its rows")

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
