"""Faults put in on purpose, for tests: gossip that is lost, and peers that are cut off.

A request that is refused unless a node was started with `--faults`: `{"type": "fault", "msg_id", "loss", "cut"}` sets
what is wrong from now on, and is answered by `fault_ok`.
"""

from random import Random

from gossip_counter.node.codec import requests
from gossip_counter.node.core import limits
from gossip_counter.node.core.errors import MALFORMED, RequestError


class Faults:
    """What is wrong at the moment: the share of gossip lost, 0 to 1, and the peers neither heard nor spoken to."""

    def __init__(self, rng: Random, loss: float = 0.0, cut: frozenset[str] = frozenset()) -> None:
        self.loss = loss
        self.cut = cut
        self._rng = rng

    def stop(self, peer: str) -> bool:
        """Whether a datagram to this peer is lost."""
        return peer in self.cut or (self.loss > 0 and self._rng.random() < self.loss)

    def set(self, body: requests.Body) -> int:
        """Do what a `fault` body says; its `msg_id`. What it does not name is well again. Raises `RequestError`."""
        msg_id = requests.answerable(body)
        loss, cut = body.get("loss", 0), body.get("cut", ())
        if type(loss) not in (int, float) or not 0 <= loss <= 1:  # type: ignore[operator]  # a number, then
            raise RequestError(MALFORMED, "loss must be a number from 0 to 1", msg_id)
        if not isinstance(cut, list | tuple):
            raise RequestError(MALFORMED, f"cut must be an array of names, not {limits.kind(cut)}", msg_id)
        try:
            self.cut = frozenset(limits.nonempty_name(each, "each of cut") for each in cut)
        except ValueError as error:
            raise RequestError(MALFORMED, str(error), msg_id) from None
        self.loss = float(loss)  # type: ignore[arg-type]  # checked above
        return msg_id
