"""A member that leaves: it takes no more writes, gives others what it stores, and says that it left.

Pure. It hands over first: members that are up confirm that they store durably all that it wrote, and all that it knows
of every other actor up to where it knew it when it began to leave. It waits for all of them for some seconds, and then
for one. If there is none, it stays a member, and takes writes again. Then it writes that it has left, durably, and
sends that until they have seen it. Only then its leaving is answered.
"""

from gossip_counter.node.core.admission import Admission
from gossip_counter.node.core.commits import Commits
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import Actor
from gossip_counter.node.core.effects import Client, Outbox
from gossip_counter.node.core.errors import NOT_SUPPORTED, TEMPORARILY_UNAVAILABLE, RequestError
from gossip_counter.node.core.identity import Identity
from gossip_counter.node.core.membership import Membership
from gossip_counter.node.core.messages import Confirm, Confirmed, ErrorReply, Leave, LeaveOk, Members
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
        self._wanted: dict[Actor, int] = {}
        """By actor of others, how far we knew it when we began to leave."""
        self._confirmed: dict[str, dict[Actor, int]] = {}
        """By member and actor, how far it is durable there."""
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
        if not self._up(now_ns):
            raise RequestError(
                TEMPORARILY_UNAVAILABLE, "no other member is up that could take over what this node stores: start one"
            )
        if not self._asked:
            self._until_ns = now_ns + PATIENCE_NS
            self._wanted = {actor: self._state.complete_version(actor) for actor in self._state.digest()}
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
        up, owed = self._up(now_ns), {}
        is_writing = self._commits.under_way is not None or self._commits.has_adds
        for peer in up:
            if missing := self._owed(peer):
                owed[peer] = missing
        done, is_late = up - owed.keys(), now_ns >= self._until_ns
        if done and not is_writing and (not owed or is_late):
            self._roster.leave()
            self._until_ns = now_ns + PATIENCE_NS
            self._unconfirmed = tuple(name for name in self._membership.names if name not in done)[:NAMED]
            self._commits.request()
        elif is_late:
            self._stay()
        for peer, missing in owed.items():
            for actor, version in missing[:CONFIRMS]:
                self._outbox.send((peer,), Confirm(self._config.name, self._state.fingerprint, actor, version))

    def _owed(self, peer: str) -> list[tuple[Actor, int]]:
        """What a member did not confirm yet."""
        wanted = self._wanted | {self._identity.actor: self._state.version(self._identity.actor)}
        confirmed = self._confirmed.get(peer, {})
        return [(actor, version) for actor, version in wanted.items() if confirmed.get(actor, 0) < version]

    def confirmed(self, message: Confirmed) -> None:
        """A member stores something durably."""
        if self._asked:
            by_actor = self._confirmed.setdefault(message.sender, {})
            if message.actor in self._wanted or message.actor == self._identity.actor:
                by_actor[message.actor] = max(message.version, by_actor.get(message.actor, 0))

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
