"""The oracle: what clients asked for, what was replied, and whether that keeps every promise.

Pure. It knows nothing of how nodes work, only what they must never do:

1. *Nothing acknowledged is lost*, and 2. *nothing is counted twice*: every counter's increments, and its decrements,
   come to those acknowledged plus some subset of those whose outcome is unknown, less what may be lost together with a
   journal (see `losses`).
3. *Always available*: every request to a node that lived on is answered; an add is refused only by a failing disk.
4. Every value, be it of a read or the one after an add, lies between what was acknowledged at that node before (or at
   the one whose token it brought) and what had been asked for anywhere by then.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from gossip_counter.node.core.errors import TEMPORARILY_UNAVAILABLE, TIMEOUT

Known = Mapping[tuple[str, bool], int]
"""By counter, the sum of its increments (True) and of its decrements (False) that are known to be counted."""


class PromiseBroken(Exception):  # noqa: N818 a verdict
    """The cluster did what it promised never to do. The text names it."""


@dataclass(slots=True)
class _Request:
    node: str
    life: int
    counter: str
    delta: int | None
    """None for what is not an add."""
    increments: int = 0
    """The sum of the increments that a value in reply must include."""
    decrements: int = 0
    """And of the decrements."""
    has_token: bool = False


class Oracle:
    """Requests and their replies: the only witness that the verdict trusts. Request ids count from 1."""

    def __init__(self) -> None:
        self._next = 0
        self._open: dict[int, _Request] = {}
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

    @property
    def counters(self) -> list[str]:
        """All counters that a client asked to add to."""
        return sorted({counter for counter, _ in self._asked})

    def ask_add(self, node: str, life: int, counter: str, delta: int) -> int:
        """A client asks the node, in that life of it, to add; the request's id."""
        self._asked[counter, delta > 0] += abs(delta)
        msg_id = self._ask(node, life, counter, delta)
        self.must_include(msg_id, delta)
        return msg_id

    def ask_read(self, node: str, life: int, counter: str, token: Known | None = None) -> int:
        """A client asks for a value; the request's id. `token`: what the token that it brings along stands for."""
        return self._ask(node, life, counter, None, token)

    def ask_copies(self, node: str, life: int) -> int:
        """A client asks how many members store what it added; the request's id."""
        return self._ask(node, life, "", None)

    def must_include(self, msg_id: int, delta: int) -> None:
        """The value in reply to a request includes that of an add."""
        request = self._open[msg_id]
        request.increments += max(delta, 0)
        request.decrements += max(-delta, 0)

    def acknowledged_at(self, node: str) -> dict[tuple[str, bool], int]:
        """What one node acknowledged so far."""
        return {(counter, grew): total for (at, counter, grew), total in self._at_node.items() if at == node}

    def acknowledged(self, msg_id: int) -> tuple[str, int]:
        """An add was answered; its counter and delta."""
        request = self._open.pop(msg_id)
        assert request.delta is not None
        self._acknowledged[request.counter, request.delta > 0] += abs(request.delta)
        self._at_node[request.node, request.counter, request.delta > 0] += abs(request.delta)
        return request.counter, request.delta

    def replied(self, msg_id: int, value: int) -> None:
        """A read was answered. Raises `PromiseBroken` for a value that cannot be."""
        self.check_value(msg_id, value)
        del self._open[msg_id]

    def counted(self, msg_id: int) -> None:
        """A request for the number of copies was answered."""
        del self._open[msg_id]

    def check_value(self, msg_id: int, value: int) -> None:
        """Whether a counter can have this value in reply to an open request. Raises `PromiseBroken`."""
        request = self._open[msg_id]
        low = request.increments - self._asked[request.counter, False]
        high = self._asked[request.counter, True] - request.decrements
        if not low <= value <= high:
            raise PromiseBroken(f"{request.node} replied {value} for {request.counter}: possible are {low} to {high}")

    def failed(self, msg_id: int, code: int, text: str, disk_failed: bool) -> None:
        """A request was answered with an error. Raises `PromiseBroken` unless there was reason to."""
        request = self._open.pop(msg_id)
        if request.delta is not None and code == TIMEOUT:
            self._note_unknown(request)
        elif code != TEMPORARILY_UNAVAILABLE or not (disk_failed if request.delta is not None else request.has_token):
            raise PromiseBroken(f"{request.node} refused with error {code}: {text}")

    def unknown(self, msg_id: int) -> None:
        """No reply came, and none will be waited for."""
        self._note_unknown(self._open.pop(msg_id))

    def not_sent(self, msg_id: int) -> None:
        """A request was not even sent."""
        self._open.pop(msg_id)

    def crashed(self, node: str, life: int) -> None:
        """The outcome of what was open at that node is unknown now."""
        for msg_id, request in list(self._open.items()):
            if (request.node, request.life) == (node, life):
                self.unknown(msg_id)

    def may_be_lost(self, actor: str, counter: str, p: int, n: int) -> None:
        """No node stores that much of an actor's row any more, though datagrams under way may yet bring it."""
        for grew, most in ((True, p), (False, n)):
            key = actor, counter, grew
            self._may_be_lost[counter, grew] += max(0, most - self._lost_of[key])
            self._lost_of[key] = max(most, self._lost_of[key])

    def forget_acknowledged_at(self, node: str) -> None:
        """A node without its journal knows nothing of what it acknowledged until peers send it."""
        for key in [key for key in self._at_node if key[0] == node]:
            del self._at_node[key]

    def check_answered(self) -> None:
        """Every request to a node that lived on was answered. Raises `PromiseBroken`."""
        if self._open:
            raise PromiseBroken(f"never answered: {next(iter(self._open.values()))}")

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
            raise PromiseBroken(f"{node} replies {value} for {counter}, which has {totals[0]} less {totals[1]}")

    def _ask(self, node: str, life: int, counter: str, delta: int | None, token: Known | None = None) -> int:
        self._next += 1
        known = token or {}
        increments, decrements = (
            max(self._at_node[node, counter, grew], known.get((counter, grew), 0)) for grew in (True, False)
        )
        self._open[self._next] = _Request(node, life, counter, delta, increments, decrements, token is not None)
        return self._next

    def _note_unknown(self, request: _Request) -> None:
        if request.delta is not None:
            self._unknown[request.counter, request.delta > 0].append(abs(request.delta))

    def _possible(self, counter: str, grew: bool) -> int:
        """The possible totals as bits: bit t is set if t can be the total."""
        possible = 1 << self._acknowledged[counter, grew]
        for delta in self._unknown[counter, grew]:
            possible |= possible << delta
        for _ in range(self._may_be_lost[counter, grew]):
            possible |= possible >> 1
        return possible
