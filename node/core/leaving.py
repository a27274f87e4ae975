"""A member that leaves: it takes no more writes, gives others what it stores, and says that it left.

Pure. It hands over first. A member that is up has taken over once it confirmed, of every actor, what is wanted:

- Of an actor whose node is up: all that we knew of it when we began to leave. That node has what it wrote since.
- Of any other, ours among them: just the rows that we store, by the hash of their digest entry. A version would not
  show rows past a gap, nor which of two lives of a restored backup wrote it, nor what was forgotten.

All that are up are waited for, for some seconds. Then one is enough, and so is a complete version, since clocks that
differ make hashes differ; but not of rows of ours that may be another life's. If there is none, this node stays a
member, and takes writes again.

Who leaves confirms nothing, neither to those that wait for copies nor to others that leave: see `confirmations`.

Then it writes that it has left, durably, and sends that until they have seen it. Only then its leaving is answered.
"""

from collections.abc import Iterator
from typing import NamedTuple

from gossip_counter.node.core.admission import Admission
from gossip_counter.node.core.commits import Commits
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import Actor
from gossip_counter.node.core.effects import Client, Outbox
from gossip_counter.node.core.errors import NOT_SUPPORTED, TEMPORARILY_UNAVAILABLE, RequestError
from gossip_counter.node.core.gossip.ranges import entry_hash
from gossip_counter.node.core.identity import Identity
from gossip_counter.node.core.membership import Membership
from gossip_counter.node.core.messages import Confirm, Confirmed, ErrorReply, Leave, LeaveOk, Members
from gossip_counter.node.core.places import node_of
from gossip_counter.node.core.roster import Roster
from gossip_counter.node.core.state import State

PATIENCE_NS = 10_000_000_000
"""How long all are waited for, to take over and then to see that we left."""

CONFIRMS = 64
"""Questions to one member in one tick."""

NAMED = 30
"""Members that a reply names, so that it fits a datagram."""

REFUSAL = "this node is leaving the cluster: ask another member"
REMOVED = "this node was removed from its cluster: ask another member; to come back, it needs an empty data directory"


class Held(NamedTuple):
    """What a member stores durably of an actor: all up to `version`, and all that we stored when we were at `same`."""

    version: int = 0
    same: int = 0


class Wanted(NamedTuple):
    """What a member is to store of an actor."""

    actor: Actor
    version: int
    is_version_enough: bool

    def is_met_by(self, held: Held) -> bool:
        """Whether this is stored."""
        return held.same >= self.version or (self.is_version_enough and held.version >= self.version)


class Leaving:
    """This node's way out."""

    def __init__(
        self,
        config: Config,
        state: State,
        identity: Identity,
        admission: Admission,
        roster: Roster,
        membership: Membership,
        commits: Commits,
        outbox: Outbox,
    ) -> None:
        self._config = config
        self._state = state
        self._identity = identity
        self._admission = admission
        self._roster = roster
        self._membership = membership
        self._commits = commits
        self._outbox = outbox
        self._asked: list[tuple[Client, int]] = []
        """Who waits for us to leave."""
        self._known: dict[Actor, int] = {}
        """By actor, the version at which somebody who is complete has all that we had when we began to leave."""
        self._confirmed: dict[str, dict[Actor, Held]] = {}
        """By member and actor."""
        self._seen_by: set[str] = set()
        """Who knows that we left."""
        self._until_ns = 0
        self._unconfirmed: tuple[str, ...] = ()
        """Members that did not confirm when that was enough of waiting."""
        self.stayed = ""
        """Why this node could not leave, until that is logged."""

    @property
    def has_left(self) -> bool:
        """Whether we are no member any more, and all that is to be done about it is done."""
        return self._roster.own.has_left and not self._asked

    def ask(self, request: Leave, client: Client, now_ns: int) -> None:
        """Leave. Raises `RequestError`."""
        if self._config.gossip == "full":
            raise RequestError(NOT_SUPPORTED, "with full-state gossip the list of members stays as it is")
        if self._roster.own.is_removed:
            raise RequestError(TEMPORARILY_UNAVAILABLE, REMOVED)
        if not self._up(now_ns):
            raise RequestError(
                TEMPORARILY_UNAVAILABLE, "no other member is up that could take over what this node stores: start one"
            )
        if not self._asked:
            self._until_ns = now_ns + PATIENCE_NS
            self._known = {actor: self._state.covering_version(actor) for actor in self._state.digest()}
            self._admission.closed = REFUSAL
        self._asked.append((client, request.msg_id))

    def tick(self, now_ns: int) -> None:
        """One gossip round is due."""
        if not self._asked:
            return
        if self._roster.own.is_removed:
            self._give_up(REMOVED)
        elif self._roster.own.has_left:
            self._tell(now_ns)
        else:
            self._hand_over(now_ns)

    def _up(self, now_ns: int) -> set[str]:
        return {name for name in self._membership.names if self._membership.is_up(name, now_ns)}

    # Handing over.

    def _hand_over(self, now_ns: int) -> None:
        up, owed, is_late = self._up(now_ns), {}, now_ns >= self._until_ns
        wanted = list(self._wanted(up, is_late))
        for peer in up:
            if missing := self._owed(peer, wanted):
                owed[peer] = missing
        done = up - owed.keys()
        if done and not self._is_writing and (not owed or is_late):
            self._roster.leave(self._state.ends.now_ms)
            self._until_ns = now_ns + PATIENCE_NS
            self._unconfirmed = tuple(name for name in self._membership.names if name not in done)[:NAMED]
            self._commits.request()
        elif is_late:
            self._stay()
        for peer, missing in owed.items():
            for actor, version, is_version_enough in missing[:CONFIRMS]:
                is_complete = self._state.complete_version(actor) >= version
                hashed = 0 if is_version_enough and is_complete else self._hash(actor)
                self._outbox.send((peer,), Confirm(self._config.name, self._state.fingerprint, actor, version, hashed))

    @property
    def _is_writing(self) -> bool:
        """Whether rows of our own are on their way to the journal."""
        under_way = self._commits.under_way
        return self._commits.has_adds or (under_way is not None and bool(under_way.rows))

    def _wanted(self, up: set[str], is_late: bool) -> Iterator[Wanted]:
        """What has to be stored elsewhere."""
        for actor in self._state.digest():
            has_owner = node_of(actor) in up
            version = self._known.get(actor, 0) if has_owner else self._state.covering_version(actor)
            yield Wanted(actor, version, has_owner or (is_late and not self._may_be_of_other_lives(actor)))

    def _may_be_of_other_lives(self, actor: Actor) -> bool:
        """Whether rows that others store of our versions need not be those that we do."""
        is_ours, is_new = node_of(actor) == self._config.name, not self._identity.is_inherited
        return is_ours and not (is_new and actor == self._identity.actor)

    def _owed(self, peer: str, wanted: list[Wanted]) -> list[Wanted]:
        """What a member did not confirm yet."""
        confirmed = self._confirmed.get(peer, {})
        return [each for each in wanted if not each.is_met_by(confirmed.get(each.actor, Held()))]

    def confirmed(self, message: Confirmed) -> None:
        """A member stores something durably."""
        if self._asked and message.actor in self._state:
            by_actor = self._confirmed.setdefault(message.sender, {})
            held = by_actor.get(message.actor, Held())
            is_same = message.entry_hash == self._hash(message.actor)
            same = self._state.covering_version(message.actor) if is_same else 0
            by_actor[message.actor] = Held(max(message.version, held.version), max(same, held.same))

    def _hash(self, actor: Actor) -> int:
        return entry_hash(actor, self._state.entry(actor))

    def _stay(self) -> None:
        names = f"{', '.join(self._membership.names):.400}"
        self.stayed = text = (
            f"no member has confirmed within {PATIENCE_NS // 10**9} s that it stores all that this one does ({names});"
            " it stays a member, and takes writes again: try again once they are up and take rows"
        )
        self._give_up(text)
        self._admission.closed = ""

    def _give_up(self, text: str) -> None:
        for client, msg_id in self._asked:
            self._outbox.reply(client, ErrorReply(msg_id, TEMPORARILY_UNAVAILABLE, text))
        self._asked.clear()
        self._confirmed.clear()

    # Having left.

    def _tell(self, now_ns: int) -> None:
        if self._roster.unsaved:
            self._commits.request()
            return
        unseen = tuple(name for name in self._up(now_ns) if name not in self._seen_by)
        if unseen and (now_ns < self._until_ns or not self._seen_by):
            record = (self._roster.own,)
            self._outbox.send(unseen, Members(self._config.name, self._state.fingerprint, record))
            return
        for client, msg_id in self._asked:
            self._outbox.reply(client, LeaveOk(msg_id, self._unconfirmed))
        self._asked.clear()

    def seen(self, message: Members) -> None:
        """A member sends records; perhaps ours, as it is now."""
        if self._roster.own.has_left and self._roster.own in message.records:
            self._seen_by.add(message.sender)
