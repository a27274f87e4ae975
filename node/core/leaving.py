"""A member that leaves: it takes no more writes, gives others what it stores, and says that it left.

Pure. It hands over first. A member that is up has taken over once it confirmed, of every actor, what is wanted:

- Of an actor whose node is up: all that we knew of it when we began to leave. That node has what it wrote since.
- Of any other, ours among them: just the rows that we store, by the hash of their digest entry. A version would not
  show rows past a gap, nor which of two lives of a restored backup wrote it, nor what was forgotten.

All that are up are waited for, as long as confirmations come in and for some seconds after the last. Then one is
enough, and so is a complete version, since clocks that differ make hashes differ; but not of rows of ours that may be
another life's. If there is none, this node stays a member, and takes writes again.

Who leaves confirms nothing, neither to those that wait for copies nor to others that leave: see `confirmations`.

Then it writes that it has left, durably, and sends that until they have seen it. Only then its leaving is answered.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from gossip_counter.node.core.admission import Admission
from gossip_counter.node.core.commits import Commits
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import Actor
from gossip_counter.node.core.effects import Client, Outbox
from gossip_counter.node.core.errors import NOT_SUPPORTED, TEMPORARILY_UNAVAILABLE, RequestError
from gossip_counter.node.core.gossip.messages import Confirm, Confirmed, Members
from gossip_counter.node.core.gossip.ranges import entry_hash
from gossip_counter.node.core.holdings import DigestEntry
from gossip_counter.node.core.identity import Identity
from gossip_counter.node.core.membership import Membership
from gossip_counter.node.core.messages import ErrorReply, Leave, LeaveOk
from gossip_counter.node.core.places import node_of
from gossip_counter.node.core.roster import Roster
from gossip_counter.node.core.state import State

PATIENCE_NS = 10_000_000_000
"""How long we wait after the last new confirmation, and then for all to see that we left."""

CONFIRMS = 64
"""Questions to one member in one tick."""

MOST_REQUESTS = 64
"""Requests to leave that wait for their replies."""

NAMED = 30
"""Members that a reply names, so that it fits a datagram."""

REFUSAL = "this node is leaving the cluster: ask another member"
REMOVED = "this node was removed from its cluster: ask another member; to come back, it needs an empty data directory"


class Confirmation(NamedTuple):
    """What a member stores durably of an actor: all up to `version`, and all that we stored when we were at `same`."""

    version: int = 0
    same: int = 0


class Wanted(NamedTuple):
    """What a member is to store of an actor."""

    actor: Actor
    version: int
    is_version_enough: bool

    def is_met_by(self, confirmation: Confirmation) -> bool:
        """Whether this is stored."""
        is_version_met = self.is_version_enough and confirmation.version >= self.version
        return is_version_met or confirmation.same >= self.version


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
        self._requests: dict[tuple[Client, int], None] = {}
        """Who waits for us to leave: the client, and the id of its request."""
        self._known: dict[Actor, int] = {}
        """By actor, the version at which somebody who is complete has all that we had when we began to leave."""
        self._confirmed: dict[str, dict[Actor, Confirmation]] = {}
        """By member and actor."""
        self._missing: defaultdict[str, dict[Actor, None]] = defaultdict(dict)
        """By member, the actors of which it has still to confirm what is wanted; just asked ones last."""
        self._looked_at: dict[Actor, DigestEntry] = {}
        """What we stored when we last looked for what is missing."""
        self._were_up: set[str] = set()
        """The members that were up then."""
        self._has_progress = False
        """Whether a member has confirmed more than before, since the last tick."""
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
        return self._roster.own.has_left and not self._requests

    def ask(self, request: Leave, client: Client, now_ns: int) -> None:
        """Leave. Raises `RequestError`."""
        if self._config.gossip == "full":
            raise RequestError(NOT_SUPPORTED, "with full-state gossip the list of members stays as it is")
        if self._roster.own.is_removed:
            raise RequestError(TEMPORARILY_UNAVAILABLE, REMOVED)
        asked = client, request.msg_id
        if asked in self._requests:
            return  # it was sent again, and is answered once
        if len(self._requests) >= MOST_REQUESTS:
            raise RequestError(
                TEMPORARILY_UNAVAILABLE, f"{MOST_REQUESTS} requests to leave wait already: wait for their replies"
            )
        if not self._up(now_ns):
            raise RequestError(
                TEMPORARILY_UNAVAILABLE, "no other member is up that could take over what this node stores: start one"
            )
        if not self._requests:
            self._until_ns = now_ns + PATIENCE_NS
            self._known = {actor: self._state.covering_version(actor) for actor in self._state.digest()}
            self._admission.closed = REFUSAL
        self._requests[asked] = None

    def tick(self, now_ns: int) -> None:
        """One gossip round is due."""
        if not self._requests:
            return
        if self._roster.own.is_removed:
            self._give_up(REMOVED)
        elif self._roster.own.has_left:
            self._announce(now_ns)
        else:
            self._hand_over(now_ns)

    def _up(self, now_ns: int) -> set[str]:
        return {name for name in self._membership.names if self._membership.is_up(name, now_ns)}

    # Handing over.

    def _hand_over(self, now_ns: int) -> None:
        if self._has_progress:
            self._has_progress, self._until_ns = False, now_ns + PATIENCE_NS
        up, is_late = self._up(now_ns), now_ns >= self._until_ns
        self._look_for_missing(up, is_late)
        for peer in up:
            self._ask_for_missing(peer, up, is_late)
        if done := self._done(up, is_late):
            self._roster.leave(self._state.ends.now_ms)
            self._until_ns = now_ns + PATIENCE_NS
            self._unconfirmed = tuple(name for name in self._membership.names if name not in done)[:NAMED]
            self._commits.request()
        elif is_late:
            self._stay()

    def _done(self, up: set[str], is_late: bool) -> set[str]:
        """The members that have taken over, if that is enough to leave; else none."""
        ready = {peer for peer in up if not self._missing[peer]}
        if self._is_writing or not (ready if is_late else ready == up):
            return set()
        wanted = [self._wanted(actor, up, is_late) for actor in self._state.digest()]
        for peer in ready:  # once more, before we leave
            self._missing[peer] = dict.fromkeys(self._missing_at(peer, wanted))
        done = {peer for peer in ready if not self._missing[peer]}
        return done if is_late or done == up else set()

    @property
    def _is_writing(self) -> bool:
        """Whether rows of our own are on their way to the journal, or will be: what was taken may be acknowledged."""
        batch, under_way = self._commits.batch, self._commits.under_way
        return bool(batch.net or batch.ending or (under_way and under_way.rows))

    def _look_for_missing(self, up: set[str], is_late: bool) -> None:
        """Look at the actors that changed since we last looked; at all if other members are up than were then."""
        digest, before = self._state.digest(), self._looked_at if up == self._were_up else {}
        if digest is not before:
            changed = [actor for actor, entry in digest.items() if before.get(actor) is not entry]
            wanted = [self._wanted(actor, up, is_late) for actor in changed]
            for peer in up:
                self._missing[peer].update(dict.fromkeys(self._missing_at(peer, wanted)))
            self._looked_at, self._were_up = digest, up

    def _missing_at(self, peer: str, wanted: Iterable[Wanted]) -> list[Actor]:
        """The actors of which a member has not confirmed yet what is wanted."""
        confirmed = self._confirmed.get(peer, {})
        return [each.actor for each in wanted if not each.is_met_by(confirmed.get(each.actor, Confirmation()))]

    def _ask_for_missing(self, peer: str, up: set[str], is_late: bool) -> None:
        """Ask a member for those that it was asked for longest ago: one that it can't confirm keeps no other out."""
        missing, asked = self._missing[peer], 0
        for actor in list(missing):
            del missing[actor]
            wanted = self._wanted(actor, up, is_late)
            if self._missing_at(peer, (wanted,)):
                missing[actor] = None
                self._outbox.send((peer,), self._question(wanted))
                asked += 1
            if asked == CONFIRMS:
                return

    def _question(self, wanted: Wanted) -> Confirm:
        actor, version, is_version_enough = wanted
        is_complete = self._state.complete_version(actor) >= version
        hashed = 0 if is_version_enough and is_complete else self._hash(actor)
        return Confirm(self._config.name, self._state.fingerprint, actor, version, hashed)

    def _wanted(self, actor: Actor, up: set[str], is_late: bool) -> Wanted:
        """What has to be stored elsewhere of an actor."""
        has_owner = node_of(actor) in up
        version = self._known.get(actor, 0) if has_owner else self._state.covering_version(actor)
        return Wanted(actor, version, has_owner or (is_late and not self._may_be_of_other_lives(actor)))

    def _may_be_of_other_lives(self, actor: Actor) -> bool:
        """Whether rows that others store of our versions need not be those that we do."""
        is_ours, is_new = node_of(actor) == self._config.name, not self._identity.is_inherited
        return is_ours and not (is_new and actor == self._identity.actor)

    def confirmed(self, message: Confirmed) -> None:
        """A member stores something durably."""
        if self._requests and message.actor in self._state:
            by_actor = self._confirmed.setdefault(message.sender, {})
            before = by_actor.get(message.actor, Confirmation())
            is_same = message.entry_hash == self._hash(message.actor)
            same = self._state.covering_version(message.actor) if is_same else 0
            now = Confirmation(max(message.version, before.version), max(same, before.same))
            if now != before:
                by_actor[message.actor], self._has_progress = now, True

    def _hash(self, actor: Actor) -> int:
        return entry_hash(actor, self._state.entry(actor))

    def _stay(self) -> None:
        names = f"{', '.join(self._membership.names):.400}"
        self.stayed = text = (
            f"no member has confirmed that it stores all that this one does ({names}); it stays a member, and takes"
            f" writes again, since {PATIENCE_NS // 10**9} s brought no further confirmation:"
            " try again once they are up and take rows"
        )
        self._give_up(text)
        self._admission.closed = ""

    def _give_up(self, text: str) -> None:
        for client, msg_id in self._requests:
            self._outbox.reply(client, ErrorReply(msg_id, TEMPORARILY_UNAVAILABLE, text))
        self._requests.clear()
        self._confirmed.clear()  # a member may lose its disk until we are asked to leave again
        self._missing.clear()
        self._looked_at = {}

    # Having left.

    def _announce(self, now_ns: int) -> None:
        if self._roster.unsaved:
            self._commits.request()
            return
        unseen = tuple(name for name in self._up(now_ns) if name not in self._seen_by)
        if unseen and (now_ns < self._until_ns or not self._seen_by):
            record = (self._roster.own,)
            self._outbox.send(unseen, Members(self._config.name, self._state.fingerprint, record))
            return
        for client, msg_id in self._requests:
            self._outbox.reply(client, LeaveOk(msg_id, self._unconfirmed))
        self._requests.clear()

    def seen(self, message: Members) -> None:
        """A member sends records; perhaps ours, as it is now."""
        if self._roster.own.has_left and self._roster.own in message.records:
            self._seen_by.add(message.sender)
