"""How the list of members changes and spreads: who asks to join, what peers say of whom, who is removed.

Pure. SYNs carry the hash of the sender's list. Whoever receives another than its own replies with its records, as many
as fit some datagrams, picked at random; whoever has a newer record than one that arrives sends that back. Each peer is
sent such replies at most once a tick. A join is sent to all at once; a leaving and a removal to nobody before they are
durable, and then to all. The rest is left to SYNs.

Nothing is taken from those of another cluster, or who are no members, but these two:

- *Join*, from whoever is none yet. It is taken in only with our cluster's id, which it learns from a first answer; not
  while a process of its name is heard, and not if that life of it was removed. The answer is some records.
- The answer to our own Join, which carries our boot id.

Who was removed or has left, and sends as if it were a member, is sent the record of that: nothing else reaches it.

What a forged record can do, where there is no key: add names, up to `roster.MAX_MEMBERS`; have members tried at wrong
addresses, after those that people listed; make a node believe that one has left or was removed. No row changes by it. A
living member that has left by such a record, or is elsewhere, writes a later one; one that is removed by it does not:
it refuses writes, and logs that.
"""

from collections.abc import Callable
from random import Random
from typing import NamedTuple

from gossip_counter.node.core.cluster_id import OwnClusterId
from gossip_counter.node.core.commits import Commits
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.effects import Client, Outbox
from gossip_counter.node.core.errors import MALFORMED, NOT_SUPPORTED, TEMPORARILY_UNAVAILABLE, RequestError
from gossip_counter.node.core.gossip.messages import Gossip, Join, Members
from gossip_counter.node.core.identity import Identity
from gossip_counter.node.core.membership import Membership
from gossip_counter.node.core.messages import ErrorReply, Remove, RemoveOk
from gossip_counter.node.core.roster import MemberRecord, Roster
from gossip_counter.node.core.state import State
from gossip_counter.node.core.stats import Stats

MAX_REMOVALS = 64
"""Requests for removals that wait for the disk."""

TAKE_BACK_NS = 10_000_000_000
"""How often a record of another process of our name is replaced: while both run, nobody can know which will stay."""

ROUNDS_OF_ONE = 10
"""Ticks in which one is asked to take us in, before it is another's turn."""

OTHERS = 8
"""Records that a new member is sent beside its own and that of who took it in. The rest comes with gossip."""


class RefusedJoin(NamedTuple):
    """A node that was not taken in as a member, which may be this one; `source` is the other side."""

    name: str
    source: Client
    is_taken: bool = True
    """Whether another process of that name is a member and up; else the cluster's id is not settled here."""
    is_self: bool = False
    """Whether this node asked itself."""


class MemberChanges:
    """Everything about the list that goes over the network. `changed` is called when the members are others."""

    def __init__(
        self,
        config: Config,
        state: State,
        stats: Stats,
        rng: Random,
        identity: Identity,
        cluster_id: OwnClusterId,
        roster: Roster,
        membership: Membership,
        commits: Commits,
        outbox: Outbox,
        changed: Callable[[int], None],
    ) -> None:
        self._config = config
        self._rng = rng
        self._state = state
        self._stats = stats
        self._identity = identity
        self._cluster_id = cluster_id
        self._roster = roster
        self._membership = membership
        self._commits = commits
        self._outbox = outbox
        self._changed = changed
        self._seeds: tuple[Client, ...] = ()
        self.is_joining = False
        """Whether we ask to be taken in as a member."""
        self.is_outside = False
        """Whether nobody may count on us as a member before that is answered."""
        self.refused_join: RefusedJoin | None = None
        """The last one."""
        self._rounds = 0
        self._checks = 0
        """In how many rounds our `seeds` are still asked although we are members: one may be of another cluster."""
        self._take_back_ns = 0
        self._answered = set[Client]()
        """Who was sent records since the last tick."""
        self._removing = list[tuple[Client, Remove]]()
        self._joined_as: int | None = None
        """The cluster id that our last Join carried."""

    def begin(self, now_ns: int, is_other_life: bool, seeds: tuple[Client, ...]) -> None:
        """This node starts. It asks to be taken in if it had left, or if it has `seeds`, known already or not."""
        self._seeds = seeds
        self._checks = len(seeds) * ROUNDS_OF_ONE if len(seeds) > 1 else 0
        self.is_joining = is_other_life or bool(seeds)
        self.is_outside = is_other_life or bool(seeds and self._roster.is_new)
        self._join(now_ns)

    def tick(self, now_ns: int) -> None:
        """One gossip round is due."""
        self._answered.clear()
        if now_ns >= self._take_back_ns:
            self._take_back_ns = now_ns + TAKE_BACK_NS
            self._roster.take_back()
        self._join(now_ns)

    @property
    def asks_seeds(self) -> bool:
        """Whether those that people named to be asked first still are."""
        return self.is_joining or self._checks > 0

    def _join(self, now_ns: int) -> None:
        if not self.asks_seeds:
            self._seeds = ()  # the endpoint forgets them too
        asked: tuple[Client, ...] = (*self._seeds, *self._membership.names)
        if not asked or self._roster.own.is_removed:
            return
        self._outbox.paths.at(now_ns)
        if self.is_joining:
            at = self._rounds // ROUNDS_OF_ONE % len(asked)
            self._rounds += 1
            self._send_join((asked[at],))
        elif self._checks and self._cluster_id.shown.is_settled and self._roster.own.is_member:
            self._checks -= 1
            self._send_join((self._seeds[self._checks // ROUNDS_OF_ONE],))

    def _send_join(self, to: tuple[Client, ...]) -> None:
        fingerprint, self._joined_as = self._state.fingerprint, self._cluster_id.shown.number
        self._outbox.send(to, Join(self._config.name, fingerprint, self._identity.boot, self._roster.own))

    # What others send.

    def receive_join(self, join: Join, source: Client, now_ns: int) -> None:
        """Somebody asks to be taken in."""
        if join.boot == self._identity.boot and not self.is_joining:
            return  # one of our seeds is ourselves
        name, shown, roster = join.sender, self._cluster_id.shown, self._roster
        is_certain = shown.is_settled and self._cluster_id.unsaved is None
        if shown.is_settled and not is_certain:
            self._commits.request()  # a crash could take the id back; the other asks again
        if name != join.record.name or self._is_static or not (roster.own.is_member and is_certain):
            self._stats.joins_refused += 1
            self.refused_join = RefusedJoin(name, source, is_taken=False)
            return
        known, is_taken = roster.records.get(name), self._is_taken(join, now_ns)
        is_ours = join.cluster_id is not None and join.cluster_id.number == shown.number
        if is_taken:
            self._stats.joins_refused += 1
            self.refused_join = RefusedJoin(name, source, is_self=join.boot == self._identity.boot)
        elif is_ours and not (known and known.merged(join.record).is_removed):
            self._take((join.record,), now_ns, is_own=True)
            known = roster.records.get(name)
            if known in roster.unsaved:  # it asks again, and is answered once we can't forget it
                self._commits.request()
                return
            self._stats.joins_refused += known is None  # the list is full
        records: tuple[MemberRecord, ...] = (roster.own,)
        if name in roster.shown and not is_taken:  # and a few others, or all would be lost with us
            names = [each for each in self._membership.names if each != name and each in roster.shown]
            records = (roster.own, *(roster.shown[each] for each in (name, *names[:OTHERS])))
        fingerprint = self._state.fingerprint
        self._outbox.send((source,), Members(self._config.name, fingerprint, records, join.boot, is_taken))

    def _is_taken(self, join: Join, now_ns: int) -> bool:
        """Whether another process of that name is a member and was heard just now."""
        if join.sender == self._config.name:
            return True
        known = self._roster.records.get(join.sender)
        is_same = known is not None and known.life == join.record.life
        return not is_same and self._membership.is_up(join.sender, now_ns)

    def is_answer(self, message: Gossip) -> bool:
        """Whether this answers our Join, as long as we ask to be taken in."""
        return self.is_joining and self.answers_us(message)

    def answers_us(self, message: Gossip) -> bool:
        """Whether this answers a Join of ours."""
        return isinstance(message, Members) and message.boot == self._identity.boot

    def seed_answered(self) -> None:
        """The one of our seeds that was asked last has answered: it is the next one's turn."""
        self._checks -= self._checks % ROUNDS_OF_ONE

    def receive(self, message: Members, source: Client, now_ns: int) -> None:
        """Take in records of a member, or of who answers our Join."""
        if self._is_static:
            return
        is_answer = self.is_answer(message)
        if is_answer and message.is_taken:
            self.refused_join = RefusedJoin(self._config.name, source)
            return
        self._take(message.records, now_ns)
        if is_answer:
            self._was_answered(message, source)
        if message.sender in self._membership:
            shown = self._roster.shown
            newer = [ours for each in message.records if (ours := shown.get(each.name, each)) != each]
            if newer and message.sender not in self._answered:
                self._answered.add(message.sender)
                self._send((message.sender,), tuple(newer))
        elif not is_answer:
            self.correct(message, source)

    def _was_answered(self, message: Members, source: Client) -> None:
        """We are members once somebody's records say so; else we ask again, at once if we have their cluster id now."""
        own = self._roster.own
        if any(each.name == own.name and each.life == own.life and not each.is_removed for each in message.records):
            self.is_joining = self.is_outside = False
        elif not own.is_removed and self._cluster_id.shown.number != self._joined_as:
            self._send_join((source,))

    def correct(self, message: Gossip, source: Client) -> None:
        """Send who is no member any more the record of that, at most once a tick; and no record to one who has our
        cluster's id and is not known: who took it in was gone before anybody else learned of it.
        """
        record, theirs, shown = self._roster.shown.get(message.sender), message.cluster_id, self._cluster_id.shown
        is_lost = theirs is not None and theirs.number == shown.number and shown.is_settled
        if (record or is_lost) and source not in self._answered and not self._is_static:
            self._answered.add(source)
            self._send((source,), (record,) if record else ())

    def compare(self, peer: str, theirs: int) -> None:
        """A peer's list has this hash. If it is another one, it is sent as many of our records as there is room for."""
        if theirs == self._roster.hash:
            self._roster.note_known()
            return
        records = list(self._roster.shown.values())
        if records and peer not in self._answered and peer in self._membership:
            self._answered.add(peer)
            self._send((peer,), tuple(self._rng.sample(records, len(records))))

    def _take(self, records: tuple[MemberRecord, ...], now_ns: int, is_own: bool = False) -> None:
        revision = self._roster.revision
        news = self._roster.merge(records)
        self.note_doubts(records)
        if self._roster.revision == revision:
            return
        self._changed(now_ns)
        if self._roster.own.is_removed:
            self._commits.request()  # the next process of this journal need not ask
        if is_own:
            self._send(self._membership.names, tuple(news))

    def note_doubts(self, records: tuple[MemberRecord, ...]) -> None:
        """Ask to be taken in if others do not know us, or take us for one that left or was removed."""
        own = self._roster.own
        is_known = bool(records) and all(each.name != own.name or each.is_member for each in records)
        if own.is_member and own.life and not is_known:
            self.is_joining = self.is_outside = True

    def _send(self, to: tuple[Client, ...], records: tuple[MemberRecord, ...]) -> None:
        if to:
            self._outbox.send(to, Members(self._config.name, self._state.fingerprint, records))

    # What people ask.

    def remove(self, request: Remove, client: Client, now_ns: int) -> None:
        """Remove a member that is gone for good. Raises `RequestError`."""
        name = request.name
        self._check_is_dynamic()
        if name == self._config.name:
            raise RequestError(MALFORMED, f"{name} is this node itself: let it leave, or ask another to remove it")
        record = self._roster.records.get(name)
        if name not in self._membership and not (record and record.is_removed):
            known = ", ".join(self._membership.names) or "none"
            raise RequestError(MALFORMED, f"there is no other member {name!r:.80}: there are {known:.400}")
        if self._membership.is_up(name, now_ns):
            raise RequestError(TEMPORARILY_UNAVAILABLE, f"{name} is up: let it leave, or stop it first")
        if name in self._membership and not self._membership.is_missed(name, now_ns):
            text = f"this node has just started, and does not know yet whether {name} is up: ask again in some seconds"
            raise RequestError(TEMPORARILY_UNAVAILABLE, text)
        if len(self._removing) >= MAX_REMOVALS:
            raise RequestError(TEMPORARILY_UNAVAILABLE, "too many removals at once: ask again")
        if name in self._membership:
            self._roster.remove(name, self._state.ends.now_ms)
            self._changed(now_ns)
        self._removing.append((client, request))
        self._commits.request()

    @property
    def _is_static(self) -> bool:
        return self._config.gossip == "full"

    def _check_is_dynamic(self) -> None:
        if self._is_static:
            raise RequestError(NOT_SUPPORTED, "with full-state gossip the list of members stays as it is")

    def persisted(self) -> None:
        """A commit is durable, and perhaps what was asked for in it."""
        if self._removing and not self._roster.unsaved:
            names = {request.name for _, request in self._removing}
            records = [self._roster.records[name] for name in sorted(names) if name in self._roster.records]
            self._send(self._membership.names, tuple(records))
            for client, request in self._removing:
                self._outbox.reply(client, RemoveOk(request.msg_id))
            self._removing.clear()

    def failed(self, reason: str) -> None:
        """A commit is not durable, and so is nothing that was asked for in it. The next one has it all the same."""
        for client, request in self._removing:
            text = f"the removal of {request.name:.80} is not durable yet, ask again: {reason}"
            self._outbox.reply(client, ErrorReply(request.msg_id, TEMPORARILY_UNAVAILABLE, text))
        self._removing.clear()
