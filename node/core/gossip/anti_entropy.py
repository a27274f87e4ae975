"""Anti-entropy: SYN, SYN-ACK, ACK. It makes good whatever else was lost.

Pure. SYN carries a digest of what its sender holds. SYN-ACK answers with the rows that the sender lacks, and asks for
what we lack; ACK answers with those. Whoever finds no answer soon asks again, a few times. To a peer that was last
heard to hold the same, SYN carries one hash of all of that: two nodes in equal states exchange two small datagrams and
no rows, however many actors there are. A SYN with hashes that differ from ours is answered by SYNs about what differs,
see `ranges`.

Source: van Renesse et al., "Efficient reconciliation and flow control for anti-entropy protocols", LADIS 2008,
section 3; push-pull after Demers et al., PODC 1987, section 1.3.
"""

from dataclasses import dataclass
from random import Random

from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import Actor
from gossip_counter.node.core.effects import Client, Outbox
from gossip_counter.node.core.gossip.deltas import Deltas
from gossip_counter.node.core.gossip.messages import Ack, Delta, Gossip, Pull, Pulled, Rival, Syn, SynAck, boot_answered
from gossip_counter.node.core.gossip.pulls import FAR, Pulls
from gossip_counter.node.core.gossip.ranges import ALL, Described, DigestRanges, Range
from gossip_counter.node.core.gossip.repair import RepairCursors
from gossip_counter.node.core.holdings import NO_ENTRY, DigestEntry
from gossip_counter.node.core.identity import Identity
from gossip_counter.node.core.membership import Membership
from gossip_counter.node.core.places import NO_PLACE, Places, node_of
from gossip_counter.node.core.speakers import Speakers
from gossip_counter.node.core.start import Start
from gossip_counter.node.core.state import State
from gossip_counter.node.core.stats import Stats

RETRIES = 2
"""How often an exchange without an answer is begun again before the next tick's peers take over."""


@dataclass(slots=True)
class _Asked:
    """An exchange that waits for a peer's answer."""

    since_ns: int
    retry_ns: int
    digest: dict[Actor, DigestEntry] | None
    """The digest that we sent; None: it was of some actors only."""
    fingerprint: int
    retries_left: int = RETRIES


class AntiEntropy:
    """This node's side of every exchange."""

    def __init__(
        self,
        config: Config,
        state: State,
        stats: Stats,
        rng: Random,
        identity: Identity,
        membership: Membership,
        deltas: Deltas,
        repair: RepairCursors,
        pulls: Pulls,
        start: Start,
        places: Places,
        outbox: Outbox,
    ) -> None:
        self._config = config
        self._state = state
        self._stats = stats
        self._rng = rng
        self._identity = identity
        self._membership = membership
        self._deltas = deltas
        self._repair = repair
        self._pulls = pulls
        self._start = start
        self._places = places
        self._ranges = DigestRanges(state)
        self.speakers = Speakers(stats)
        self._outbox = outbox
        self.agreeing: set[str] = set()
        """Peers that have said in this life what they hold of our actor, and it was no more than we do."""
        self._asked: dict[str, _Asked] = {}
        self._answer_ns: dict[str, float] = {}
        """By peer, how long its answers take, on average."""

    def forget(self, peer: str) -> None:
        """Who was a peer is none any more."""
        self.agreeing.discard(peer)
        for by_peer in (self.speakers.by_name, self._asked, self._answer_ns):
            by_peer.pop(peer, None)
        self._repair.forget(peer)
        self._pulls.forget(peer)
        self._outbox.paths.forget(peer)

    def ask(self, peers: tuple[str, ...], now_ns: int) -> None:
        """Begin an exchange with these."""
        self._outbox.paths.at(now_ns)
        for peer in peers:
            self._expect(peer, now_ns)
        self._send_syn(peers, now_ns)

    def is_asking(self, peer: str) -> bool:
        """Whether an exchange with this peer waits for its answer."""
        return peer in self._asked

    # What arrives.

    def is_ours(self, answer: Gossip) -> bool:
        """Whether this answers us, and not another process that speaks under our name, or did before us."""
        return boot_answered(answer) == self._identity.boot

    def reply(self, syn: Syn) -> None:
        """Answer a SYN, to the address in our list, and note nothing about its sender."""
        if self._may_answer(syn.sender):
            lacks, wants = ({}, {}) if syn.parts else self._compared(syn)
            self._outbox.send((syn.sender,), self._syn_ack(syn, self._deltas.answer(lacks, syn.sender), wants))

    def receive_syn(self, syn: Syn, source: Client, now_ns: int) -> bool:
        """Answer a SYN; whether its sender holds more of our own actor than we ever wrote."""
        other = self.speakers.heard(syn.sender, syn.boot, source, now_ns)
        if self.is_ours(syn):
            self._answered(syn.sender, now_ns)
            self._start.answered(syn.sender)
        if not self._may_answer(syn.sender):
            return False
        is_for_sender = other is None or self.speakers.is_first(syn.sender, syn.boot)
        wants = dict[Actor, int]()
        if not syn.parts:
            wants = self._answer(syn, is_for_sender, now_ns)
        elif is_for_sender:
            self._compare(syn, now_ns)
        if other:
            self._outbox.send((source,), Rival(self._config.name, self._state.fingerprint, other.boot, wants))
        if syn.sender in self._start.awaited:
            self.ask((syn.sender,), now_ns)  # it may not have been there yet when we did so first
        return not syn.parts and self._is_behind(syn)

    def _answer(self, syn: Syn, is_for_sender: bool, now_ns: int) -> dict[Actor, int]:
        """Answer digest entries, if the answer would reach their sender; what we want of it."""
        lacks, wants = self._compared(syn)
        if not is_for_sender:
            return wants
        if self._only_lacks_much(syn) and self._describe(_range(syn), syn):
            return wants  # it will pull what it lacks
        deltas = self._deltas.answer(lacks, syn.sender)
        if deltas:
            stored = {each.actor: syn.digest.get(each.actor, NO_ENTRY) for each in deltas}
            self._outbox.paths.answered(syn.sender, stored, now_ns)
        if to_ask := self._pull(syn, wants, now_ns):
            self._expect(syn.sender, now_ns)
        self._outbox.send((syn.sender,), self._syn_ack(syn, deltas, to_ask))
        return wants

    def _only_lacks_much(self, syn: Syn) -> bool:
        """Whether the sender of digest entries is far behind and has no news, be there a place for it here or not: if
        each had some for the other, and no place, they would describe themselves to each other for ever.
        """
        is_far_behind = self._membership.versions_behind[syn.sender] > FAR
        return is_far_behind and all(each.version <= self._state.version(actor) for actor, each in syn.digest.items())

    def _pull(self, syn: Syn, wants: dict[Actor, int], now_ns: int) -> dict[Actor, int]:
        """Pull what we lack, if that is much; what to ask for besides."""
        version, digest = self._state.version, syn.digest
        ahead = {each: digest[each].version for each, at in wants.items() if at == version(each) and each in digest}
        self._pulls.begin(syn.sender, ahead, now_ns)
        return {each: at for each, at in wants.items() if not self._pulls.brings(syn.sender, each, ahead.get(each, 0))}

    def receive_pull(self, pull: Pull, now_ns: int) -> None:
        """Answer a pull, at the address in our list."""
        if self._may_answer(pull.sender):
            self._outbox.paths.answered(pull.sender, pull.wants, now_ns, is_pull=True)
            self._pulls.answer(pull, now_ns)

    def receive_pulled(self, pulled: Pulled, now_ns: int) -> None:
        """Part of an answer to a pull was merged. What else is lacking after the last, the next exchange shows."""
        if self._pulls.receive(pulled, now_ns):
            self.ask((pulled.sender,), now_ns)

    def _compare(self, syn: Syn, now_ns: int) -> None:
        """Answer hashes: with what we hold of the parts that differ, in random order, as far as there is room."""
        sender, actor, differing = syn.sender, self._identity.actor, self._ranges.differing(syn.above, syn.parts)
        if _is_in_range(actor, syn) and not any(actor in each for each in differing):
            self._has_ours(sender, self._state.entry(actor))
        if not differing:
            if _range(syn) == ALL:
                self._membership.versions_behind[sender] = 0
            self._outbox.send((sender,), self._syn_ack(syn))
            return
        for each in self._rng.sample(differing, len(differing)):
            if not self._describe(each, syn):
                return
            self._asks_of_some((sender,), now_ns)

    def _describe(self, about: Range, syn: Syn) -> bool:
        """Answer a SYN with what we hold of a range, if there is room for that before the next tick."""
        detail = self._syn(about, self._ranges.describe(about), syn.boot)
        is_sent = self._deltas.may_describe(syn.sender, detail)
        if is_sent:
            self._outbox.send((syn.sender,), detail)
        self._stats.answers_withheld += not is_sent
        return is_sent

    def _syn_ack(self, syn: Syn, deltas: tuple[Delta, ...] = (), wants: dict[Actor, int] | None = None) -> SynAck:
        return SynAck(self._config.name, self._state.fingerprint, deltas, wants or {}, syn.boot)

    def receive_syn_ack(self, syn_ack: SynAck, now_ns: int) -> None:
        """Answer a SYN-ACK, whose rows are merged already, with the rows that its sender lacks."""
        if not self.is_ours(syn_ack):
            return
        asked, is_about_us = self._answered(syn_ack.sender, now_ns), self._asks_about_us(syn_ack.sender)
        self._start.answered(syn_ack.sender)
        if self._identity.actor in syn_ack.wants or syn_ack.fingerprint == self._state.fingerprint:
            self.agreeing.add(syn_ack.sender)
        lacking = self._lacking(syn_ack, asked)
        if lacking.get(self._identity.actor) == NO_PLACE:
            self._places.refused_by(syn_ack.sender)
        if deltas := self._deltas.answer({each: at for each, at in lacking.items() if at != NO_PLACE}, syn_ack.sender):
            self._outbox.send((syn_ack.sender,), Ack(self._config.name, self._state.fingerprint, deltas))
        if is_about_us and syn_ack.fingerprint != self._state.fingerprint:
            self.ask((syn_ack.sender,), now_ns)  # about all others

    def receive_rival(self, rival: Rival) -> None:
        """Send whoever takes another process for us the rows that it lacks; to its own address, whoever sent this."""
        if self._may_answer(rival.sender) and (deltas := self._deltas.answer(rival.wants, rival.sender)):
            self._outbox.send((rival.sender,), Ack(self._config.name, self._state.fingerprint, deltas))

    def _may_answer(self, peer: str) -> bool:
        """Whether to answer what comes in a peer's name: who floods this node in its name does not flood the peer."""
        is_answered = self._deltas.may_answer(peer)
        self._stats.answers_withheld += not is_answered
        return is_answered

    def receive_ack(self, ack: Ack, now_ns: int) -> None:
        """An exchange is over."""
        self._answered(ack.sender, now_ns)

    # Time.

    @property
    def due_ns(self) -> int | None:
        """When `wake` should be called, if at all."""
        return min((asked.retry_ns for asked in self._asked.values()), default=None)

    def wake(self, now_ns: int) -> None:
        """Begin exchanges again that found no answer."""
        if again := tuple(peer for peer in list(self._asked) if self._retries(peer, now_ns)):
            self._send_syn(again, now_ns)

    def _retries(self, peer: str, now_ns: int) -> bool:
        asked = self._asked[peer]
        if asked.retry_ns > now_ns:
            return False
        if peer not in self._membership:  # it has left meanwhile, or was removed
            del self._asked[peer]
            return False
        if not asked.retries_left:
            self._outbox.paths.was_silent(peer, now_ns)
            del self._asked[peer]
            return False
        asked.retries_left -= 1
        asked.retry_ns += asked.retry_ns - asked.since_ns
        return True

    def _expect(self, peer: str, now_ns: int) -> None:
        """Note that an answer should come; how soon, its earlier ones tell."""
        patience = max(self._config.retry_ms * 1_000_000, int(2 * self._answer_ns.get(peer, 0)))
        self._asked[peer] = _Asked(now_ns, now_ns + patience, self._state.digest(), self._state.fingerprint)
        self._outbox.wake_at(now_ns + patience)

    def _asks_of_some(self, peers: tuple[str, ...], now_ns: int) -> None:
        """Note that peers are asked about some actors. If they are asked already, no later answer is waited for."""
        for peer in peers:
            if peer not in self._asked:
                self._expect(peer, now_ns)
            self._asked[peer].digest = None

    def _answered(self, peer: str, now_ns: int) -> _Asked | None:
        asked = self._asked.pop(peer, None)
        if asked:
            # Counted from the first time of asking, so never too short for a peer that answers late.
            took = now_ns - asked.since_ns
            self._answer_ns[peer] = 0.875 * self._answer_ns.get(peer, took) + 0.125 * took
        return asked

    # Messages.

    def _send_syn(self, peers: tuple[str, ...], now_ns: int) -> None:
        """Ask these, who are expected to answer."""
        about_us = [peer for peer in peers if self._asks_about_us(peer)]
        others = [peer for peer in peers if peer not in about_us]
        level = tuple(peer for peer in others if self._membership.is_level(peer))
        if level:
            self._outbox.send(level, self._syn(ALL, Described({}, self._ranges.root)))
        if unlike := tuple(peer for peer in others if peer not in level):
            syn = self._syn(ALL, self._ranges.describe(ALL))
            self._outbox.send(unlike, syn)
            if syn.parts and self._identity.actor in self._state:
                about_us += [peer for peer in unlike if not self._places.are_known_at(peer)]
        if about_us:
            self._asks_of_some(tuple(about_us), now_ns)
            self._outbox.send(tuple(about_us), self._syn_about_us())

    def _asks_about_us(self, peer: str) -> bool:
        """Whether this peer is asked about our own actor only, before anything is written as that.

        An answer about all actors comes in parts, has room for some, and may begin with others: it would not show in
        time that the peer holds more of ours.
        """
        return self._identity.is_inherited and self._start.asks(peer)

    def _syn_about_us(self) -> Syn:
        """What we hold of our own actor: the only one of its length in that range."""
        actor = self._identity.actor
        above = actor[:-1] + chr(ord(actor[-1]) - 1)
        return self._syn(Range(above, actor), Described({actor: self._state.entry(actor)}))

    def _syn(self, about: Range, described: Described, answered: int = 0) -> Syn:
        me, fingerprint, boot, now_ms = (
            self._config.name, self._state.fingerprint, self._identity.boot, self._state.ends.now_ms
        )  # fmt: skip
        digest, parts = described
        members = self._membership.roster_hash()
        return Syn(me, fingerprint, digest, *about, boot, now_ms, parts, answered, members)

    def _compared(self, syn: Syn) -> tuple[dict[Actor, int], dict[Actor, int]]:
        """What they lack, and what we do: of each actor, the rows above a version."""
        lacks, wants = dict[Actor, int](), dict[Actor, int]()
        behind = 0
        ours, is_like = self._ranges.entries(_range(syn)), self._state.ends.is_like(syn.clock_ms)
        for actor in sorted(actor for actor in {*ours, *syn.digest} if _is_in_range(actor, syn)):
            mine, theirs = ours.get(actor, NO_ENTRY), syn.digest.get(actor, NO_ENTRY)
            if mine.version > theirs.version:
                lacks[actor] = theirs.version
                behind += mine.version - theirs.version
            elif mine.version < theirs.version:
                if self._places.has_place(actor):
                    wants[actor] = self._repair.resume(syn.sender, actor, mine.version, theirs.version)
                elif node_of(actor) == syn.sender:
                    wants[actor] = NO_PLACE
            elif not is_like:
                continue  # hashes made for unlike times
            elif mine.version and mine.hash != theirs.hash:
                wants[actor] = self._repair.compare(syn.sender, actor, mine.version)
            elif mine.detached != theirs.detached and self._places.has_place(actor):
                lacks[actor] = wants[actor] = mine.version
        self._membership.versions_behind[syn.sender] = behind
        return lacks, wants

    def _is_behind(self, syn: Syn) -> bool:
        """Whether the sender of a SYN holds more of our own actor than we ever wrote."""
        actor = self._identity.actor
        if not _is_in_range(actor, syn):
            return False
        if syn.digest.get(actor, NO_ENTRY).version > self._state.version(actor):
            self._stats.future_digests += 1
            return True
        self._has_ours(syn.sender, syn.digest.get(actor, NO_ENTRY))
        return False

    def _has_ours(self, peer: str, entry: DigestEntry) -> None:
        """A peer sent what it holds of our own actor, and it is no more than we do."""
        if entry != NO_ENTRY:
            self._places.stored_by(peer)
        self.agreeing.add(peer)

    def _lacking(self, syn_ack: SynAck, asked: _Asked | None) -> dict[Actor, int]:
        """What the sender of a SYN-ACK lacks: what it asked for, and what another answer brought us since we asked.

        Of an actor it does not mention it holds what our digest said, or it would have given or wanted something. Where
        that is not so, as for actors out of a SYN's range, what it gets is detached there and claims nothing.
        """
        if asked is None or asked.digest is None or asked.fingerprint == self._state.fingerprint:
            return syn_ack.wants
        mentioned = {delta.actor for delta in syn_ack.deltas} | syn_ack.wants.keys()
        sent = asked.digest
        gained = {
            actor: sent.get(actor, NO_ENTRY).version
            for actor, entry in self._state.digest().items()
            if actor not in mentioned and entry.version > sent.get(actor, NO_ENTRY).version
        }
        return syn_ack.wants | gained


def _range(syn: Syn) -> Range:
    return Range(syn.above, syn.upto)


def _is_in_range(actor: Actor, syn: Syn) -> bool:
    """Whether a SYN says what its sender holds of an actor: those out of its range are for another message."""
    return actor in _range(syn)
