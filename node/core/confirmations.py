"""What peers asked us to confirm: that we hold rows of theirs durably.

Pure. A confirmation is a promise to somebody else's client, so it is given only for what is in our journal, and not
while we leave or once we are no member: what we then get, we hand over to nobody.
"""

from typing import NamedTuple

from gossip_counter.node.core.admission import Admission
from gossip_counter.node.core.commits import Commits, UnderWay
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import Actor
from gossip_counter.node.core.dirty import DirtyRows
from gossip_counter.node.core.effects import Outbox
from gossip_counter.node.core.gossip.messages import Confirm, Confirmed
from gossip_counter.node.core.gossip.ranges import entry_hash
from gossip_counter.node.core.state import State


class _Asked(NamedTuple):
    """What a peer asked, and until when it cares."""

    confirm: Confirm
    until_ns: int


class Confirmations:
    """By actor, how far its writes are durable here; by peer, what it waits for."""

    def __init__(
        self, config: Config, state: State, admission: Admission, commits: Commits, dirty: DirtyRows, outbox: Outbox
    ) -> None:
        """All that `state` holds must be durable."""
        self._config = config
        self._state = state
        self._admission = admission
        self._commits = commits
        self._dirty = dirty
        self._outbox = outbox
        self._durable: dict[Actor, int] = {actor: state.complete_version(actor) for actor in state.digest()}
        """By actor, the version up to which every write is durable here."""
        self._asked: dict[str, _Asked] = {}

    def ask(self, confirm: Confirm, now_ns: int) -> None:
        """A peer waits for a confirmation."""
        self._asked[confirm.sender] = _Asked(confirm, now_ns + self._config.wait_ms * 1_000_000)

    def lacks(self, confirm: Confirm) -> bool:
        """Whether we hold other than what is to be confirmed."""
        is_complete = self._state.complete_version(confirm.actor) >= confirm.version
        return not (self._is_same(confirm) if confirm.entry_hash else is_complete)

    def _is_same(self, confirm: Confirm) -> bool:
        """Whether we hold just what the sender does, which asks for that."""
        return confirm.entry_hash == entry_hash(confirm.actor, self._state.entry(confirm.actor))

    def _is_stored(self, actor: Actor) -> bool:
        """Whether the journal has all that we hold of an actor."""
        under_way = self._commits.under_way.peers_rows if self._commits.under_way else ()
        return actor not in self._dirty and all(stored.actor != actor for stored in under_way)

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
        if self._admission.closed:
            self._asked.clear()
        for peer, (asked, _) in list(self._asked.items()):
            actor, version = asked.actor, self._durable.get(asked.actor, 0)
            same = asked.entry_hash if asked.entry_hash and self._is_same(asked) else 0
            if (same and self._is_stored(actor)) or (not same and version >= asked.version):
                del self._asked[peer]
                fingerprint = self._state.fingerprint
                self._outbox.send((peer,), Confirmed(self._config.name, fingerprint, actor, version, same))

    def expire(self, now_ns: int) -> None:
        """Forget what nobody cares for any more."""
        self._asked = {peer: asked for peer, asked in self._asked.items() if asked.until_ns > now_ns}
