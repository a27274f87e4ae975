"""What peers asked us to confirm: that we hold rows of theirs durably.

Pure. A confirmation is a promise to somebody else's client, so it is given only for what is in our journal.
"""

from typing import NamedTuple

from gossip_counter.node.core.commits import UnderWay
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import Actor
from gossip_counter.node.core.effects import Outbox
from gossip_counter.node.core.messages import Confirm, Confirmed
from gossip_counter.node.core.state import State


class _Asked(NamedTuple):
    """What a peer asked, and until when it cares."""

    confirm: Confirm
    until_ns: int


class Confirmations:
    """By actor, how far its writes are durable here; by peer, what it waits for."""

    def __init__(self, config: Config, state: State, outbox: Outbox) -> None:
        """All that `state` holds must be durable."""
        self._config = config
        self._state = state
        self._outbox = outbox
        self._durable: dict[Actor, int] = {actor: state.complete_version(actor) for actor in state.digest()}
        """By actor, the version up to which every write is durable here."""
        self._asked: dict[str, _Asked] = {}

    def ask(self, confirm: Confirm, now_ns: int) -> None:
        """A peer waits for a confirmation."""
        self._asked[confirm.sender] = _Asked(confirm, now_ns + self._config.wait_ms * 1_000_000)

    def waits_for(self, rows: object) -> bool:
        """Whether a peer waits for one of these actors; `rows` shows which (`in`)."""
        return any(asked.confirm.actor in rows for asked in self._asked.values())  # type: ignore[operator]

    def persisted(self, done: UnderWay) -> None:
        """A commit is durable, and counts."""
        for stored in done.peers_rows:
            if stored.version >= stored.source_version:
                self._durable[stored.actor] = stored.version
        if done.rows:
            self._durable[done.actor] = self._state.complete_version(done.actor)

    def settle(self) -> None:
        """Confirm what is durable now."""
        for peer, (asked, _) in list(self._asked.items()):
            version = self._durable.get(asked.actor, 0)
            if version >= asked.version:
                del self._asked[peer]
                fingerprint = self._state.fingerprint
                self._outbox.send((peer,), Confirmed(self._config.name, fingerprint, asked.actor, version))

    def expire(self, now_ns: int) -> None:
        """Forget what nobody cares for any more."""
        self._asked = {peer: asked for peer, asked in self._asked.items() if asked.until_ns > now_ns}
