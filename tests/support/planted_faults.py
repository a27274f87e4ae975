"""Faults to plant into a node, each through a public seam: what the simulator must find."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from gossip_counter.cluster.sim import process
from gossip_counter.node.codec import datagrams
from gossip_counter.node.core import actor_log, epochs, identity, replica, speakers, state, tokens
from gossip_counter.node.core.batch import Tally
from gossip_counter.node.core.counts import Actor, NamedRow, Row, as_row
from gossip_counter.node.core.detached import DetachedRows
from gossip_counter.node.core.effects import Client, Commit, Ready, Send
from gossip_counter.node.core.gossip.delta import DeltaGossip
from gossip_counter.node.core.gossip.messages import Confirm, Confirmed
from gossip_counter.node.core.holdings import DigestEntry
from gossip_counter.node.core.messages import CopiesOk, Reply, Written
from gossip_counter.node.core.replica import Replica
from gossip_counter.node.endpoints.envelopes import Envelopes
from gossip_counter.node.endpoints.redis.batcher import Batcher
from gossip_counter.node.endpoints.redis.session import Session
from gossip_counter.node.runtime.committer import Committer, Done, Store
from gossip_counter.node.security import header, sealing
from gossip_counter.node.security.sealing import Address, Contact, Sealing

Plant = Callable[[pytest.MonkeyPatch], None]


# Merging.


def merge_by_sum(patch: pytest.MonkeyPatch) -> None:
    plant_merge(
        patch, lambda mine, theirs: Row(mine.p + theirs.p, mine.n + theirs.n, max(mine.version, theirs.version))
    )


def merge_forgets_n(patch: pytest.MonkeyPatch) -> None:
    plant_merge(patch, lambda mine, theirs: Row(max(mine.p, theirs.p), mine.n, max(mine.version, theirs.version)))


def merge_takes_the_last_to_come(patch: pytest.MonkeyPatch) -> None:
    plant_merge(patch, lambda _, theirs: theirs)


def plant_merge(patch: pytest.MonkeyPatch, merged: Callable[[Row, Row], Row]) -> None:
    patch.setattr(actor_log, "merged", lambda mine, theirs: mine if mine == theirs else merged(mine, theirs))


def truncated_delta_claims_everything(patch: pytest.MonkeyPatch) -> None:
    """The version is raised to that of the state which the delta was cut from, not to that of the last row sent."""
    merge = actor_log.ActorLog.merge

    def credulous(self: actor_log.ActorLog, since: int | None, rows: Any, source_version: int, reach: int) -> Any:
        joins = since is not None and since <= self.version
        changes = merge(self, since, rows, source_version, reach)
        if joins:
            self.version = max(self.version, source_version)
        return changes

    patch.setattr(actor_log.ActorLog, "merge", credulous)
    equal_versions_are_taken_for_equal_state(patch)


def gap_is_ignored(patch: pytest.MonkeyPatch) -> None:
    merge = state.State.merge

    def careless(self: state.State, actor: Actor, since: int | None, rows: Any, source: int = 0) -> list[NamedRow]:
        return merge(self, actor, 0 if since is not None else None, rows, source)

    patch.setattr(state.State, "merge", careless)
    equal_versions_are_taken_for_equal_state(patch)


def equal_versions_are_taken_for_equal_state(patch: pytest.MonkeyPatch) -> None:
    """Digests carry no hashes."""
    digest = state.State.digest

    def versions(self: state.State) -> dict[Actor, DigestEntry]:
        return {actor: DigestEntry(entry.version) for actor, entry in digest(self).items()}

    patch.setattr(state.State, "digest", versions)


def detached_rows_are_not_sent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(DetachedRows, "sample", lambda *_: ())


def rows_are_made_up(patch: pytest.MonkeyPatch) -> None:
    merge = state.State.merge

    def inventive(self: state.State, actor: Actor, since: int | None, rows: Any, source: int = 0) -> list[NamedRow]:
        merge(self, Actor("somebody"), None, [(counter, Row(1, 1, 1)) for counter, _ in rows])
        return merge(self, actor, since, rows, source)

    patch.setattr(state.State, "merge", inventive)


# Gossip.


def plant_strategy(patch: pytest.MonkeyPatch, strategy: type[DeltaGossip]) -> None:
    patch.setitem(replica.STRATEGIES, "delta", strategy)


def push_without_anti_entropy(patch: pytest.MonkeyPatch) -> None:
    class NoAntiEntropy(DeltaGossip):
        def tick(self, now_ns: int) -> None:
            pass

    plant_strategy(patch, NoAntiEntropy)


def the_actor_outlives_the_journal(patch: pytest.MonkeyPatch) -> None:
    class Stubborn(DeltaGossip):
        def receive(self, message: Any, source: Any, now_ns: int) -> bool:
            super().receive(message, source, now_ns)
            return False

    patch.setattr(identity, "mint", lambda name, _: Actor(name))
    plant_strategy(patch, Stubborn)


def a_rival_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(epochs.Epochs, "met_rival", lambda *_: None)


def a_second_speaker_is_not_noticed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(speakers.Speakers, "heard", lambda *_: None)


def an_inherited_actor_is_written_as_though_nobody_can_tell(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(epochs.Epochs, "begin_if_nobody_can_tell", lambda _: None)


def an_epoch_is_begun_for_nothing(patch: pytest.MonkeyPatch) -> None:
    class Nervous(DeltaGossip):
        def receive(self, message: Any, source: Any, now_ns: int) -> bool:
            super().receive(message, source, now_ns)
            return True

    plant_strategy(patch, Nervous)


def answers_have_no_bound(patch: pytest.MonkeyPatch) -> None:
    pack = datagrams.pack_gossip
    patch.setattr(datagrams, "pack_gossip", lambda message, cluster, budget, _: pack(message, cluster, budget, 10**6))


def what_was_absorbed_is_not_reapplied(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(identity.Identity, "absorbed_by", lambda *_: [])


# Commits.


def plant_committer(patch: pytest.MonkeyPatch, made: Callable[[Store | None, Any, Done], Committer]) -> None:
    patch.setattr(process, "Committer", made)


def answer_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    """The committer reports that a commit is durable as soon as it has begun."""

    class Hasty(Committer):
        def __init__(self, store: Any, aside: Any, done: Done) -> None:
            super().__init__(store, aside, done)
            self.store, self.aside, self.done = store, aside, done

        def commit(self, commit: Commit) -> None:
            self.aside(lambda: self.store.commit(commit), lambda _: None)
            self.done(None)

    plant_committer(patch, Hasty)


def a_failed_commit_is_taken_for_a_success(patch: pytest.MonkeyPatch) -> None:
    plant_committer(patch, lambda store, aside, done: Committer(store, aside, lambda _: done(None)))


def own_rows(ready: Ready, actor: Actor) -> list[NamedRow]:
    """Those of a commit that is about to begin."""
    stored = ready.commit.stored if ready.commit else ()
    return [(counter, as_row(row)) for each in stored if each.actor == actor for counter, row in each.rows.items()]


def a_failed_commit_counts_all_the_same(patch: pytest.MonkeyPatch) -> None:
    ready, persisted = Replica.ready, Replica.persisted
    rows: dict[Replica, list[NamedRow]] = {}

    def observed(self: Replica, now_ns: int) -> Ready | None:
        found = ready(self, now_ns)
        if found and found.commit:
            rows[self] = own_rows(found, self.actor)
        return found

    def careless(self: Replica, error: str | None = None) -> None:
        persisted(self, error)
        if error:
            self.state.merge(self.actor, self.state.version(self.actor), rows[self])

    patch.setattr(Replica, "ready", observed)
    patch.setattr(Replica, "persisted", careless)


def reads_show_what_is_not_durable(patch: pytest.MonkeyPatch) -> None:
    ready = Replica.ready

    def early(self: Replica, now_ns: int) -> Ready | None:
        found = ready(self, now_ns)
        if found and (rows := own_rows(found, self.actor)):
            self.state.merge(self.actor, None, rows)
        return found

    patch.setattr(Replica, "ready", early)


def the_second_write_of_a_batch_forgets_the_first(patch: pytest.MonkeyPatch) -> None:
    add = Tally.add

    def forgetful(self: Tally, name: str, delta: int) -> None:
        self.net.pop(name, None)
        self.minus.pop(name, None)
        add(self, name, delta)

    patch.setattr(Tally, "add", forgetful)


def decrements_are_lost(patch: pytest.MonkeyPatch) -> None:
    add = Tally.add
    patch.setattr(Tally, "add", lambda self, name, delta: add(self, name, max(delta, 0)))


# Copies and tokens.


def copies_are_confirmed_from_memory(patch: pytest.MonkeyPatch) -> None:
    step, ready = Replica.step, Replica.ready
    confirmations: dict[Replica, list[Send]] = {}

    def hasty(self: Replica, message: Any, client: Client, now_ns: int) -> None:
        step(self, message, client, now_ns)
        if isinstance(message, Confirm) and (version := self.state.complete_version(message.actor)) >= message.version:
            confirmed = Confirmed(self.config.name, self.state.fingerprint, message.actor, version)
            confirmations.setdefault(self, []).append(Send((message.sender,), confirmed))

    def with_confirmations(self: Replica, now_ns: int) -> Ready | None:
        found, sends = ready(self, now_ns), confirmations.pop(self, [])
        if not sends:
            return found
        return found._replace(sends=[*found.sends, *sends]) if found else Ready([], sends, None, None)

    patch.setattr(Replica, "step", hasty)
    patch.setattr(Replica, "ready", with_confirmations)


def a_token_is_not_waited_for(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tokens.Reach, "has", lambda *_: True)


# Redis clients.


def wait_counts_one_member_too_many(patch: pytest.MonkeyPatch) -> None:
    deliver = Session.deliver

    def generous(self: Session, reply: Reply) -> None:
        deliver(self, CopiesOk(reply.in_reply_to, reply.members + 1) if isinstance(reply, CopiesOk) else reply)

    patch.setattr(Session, "deliver", generous)


def clients_get_each_others_replies(patch: pytest.MonkeyPatch) -> None:
    plant_values(patch, lambda values: values[::-1])


def an_add_is_answered_with_the_value_before_it(patch: pytest.MonkeyPatch) -> None:
    plant_values(patch, lambda values: [value - 1 if isinstance(value, int) else value for value in values])


def plant_values(patch: pytest.MonkeyPatch, changed: Callable[[Sequence[Any]], Sequence[Any]]) -> None:
    deliver = Batcher.deliver

    def confused(self: Batcher, reply: Reply) -> None:
        if isinstance(reply, Written):
            reply = Written(reply.in_reply_to, changed(reply.values), reply.actor, reply.version)
        deliver(self, reply)

    patch.setattr(Batcher, "deliver", confused)


def a_redis_client_reads_before_its_adds_are_durable(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Session, "in_flight", property(lambda _: 0, lambda *_: None))


def a_datagram_for_another_process_is_taken(patch: pytest.MonkeyPatch) -> None:
    def trusting(self: Sealing, plain: bytes, source: Address, sender: bytes, cipher: Any) -> Contact:
        return self._young.meet(source, sender, cipher, plain[sealing._THEIRS])

    patch.setattr(Sealing, "_bound", trusting)


def what_does_not_open_is_taken_as_it_is(patch: pytest.MonkeyPatch) -> None:
    opened = Envelopes.opened

    def credulous(self: Envelopes, datagram: bytes, *rest: Any) -> bytes | None:
        return opened(self, datagram, *rest) or datagram[header.OVERHEAD - header.TAG_BYTES : -header.TAG_BYTES] or None

    patch.setattr(Envelopes, "opened", credulous)
