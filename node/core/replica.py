"""The state machine: every decision a node makes.

Pure. `handle` takes a message and the time, `tick` and `wake` the time; all return effects, which are data for the
world around to carry out. It owns no socket, clock, disk or randomness: the same inputs and the same seed give the same
effects. `node.gossip` decides what is told to whom; here is what is counted, and when it may be acknowledged.

A write waits in a batch until it is durable. The state holds only what is, so no read shows, no delta carries and no
digest claims what a crash could still take back. While one batch is being committed, the next gathers: the world calls
`flush` at the end of each turn, and gets the next Commit when there is something to commit and none under way. Peers'
rows are stored lazily, in the same commits.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import NamedTuple

from gossip_counter.node.core import counts as counter
from gossip_counter.node.core import tokens as token
from gossip_counter.node.core.batch import Batch, Tally
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.counts import NOTHING, Counts, Row
from gossip_counter.node.core.errors import MALFORMED, NOT_SUPPORTED, TEMPORARILY_UNAVAILABLE, TIMEOUT, RequestError
from gossip_counter.node.core.gossip import Gossiper, Send
from gossip_counter.node.core.limits import MAX_COUNT
from gossip_counter.node.core.membership import Peers, Standing
from gossip_counter.node.core.messages import (
    Add,
    AddOk,
    Carrier,
    Confirm,
    Confirmed,
    Delta,
    ErrorReply,
    Gossip,
    GossipStatus,
    GossipStatusOk,
    Read,
    ReadOk,
    Reply,
    Request,
    Syn,
)
from gossip_counter.node.core.state import Actor, State, Stored, mint
from gossip_counter.node.core.stats import Stats
from gossip_counter.node.core.waiting import Client, Copies, Reads


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a journal gives back: the actor that this node last wrote as, and the rows of all actors."""

    actor: Actor
    stored: tuple[Stored, ...] = ()


class Answer(NamedTuple):
    """Send this reply to that client."""

    to: Client
    reply: Reply


class Commit(NamedTuple):
    """Make all of this durable, or nothing, then call `committed` or `not_committed`. No other Commit comes before.

    `actor` is what this node writes as. Of each actor, rows that are named replace those stored before.
    """

    actor: Actor
    stored: tuple[Stored, ...]


class Wake(NamedTuple):
    """Call `wake` at this time. It takes the place of one that was asked for and has not come yet."""

    at_ns: int


class Copied(NamedTuple):
    """Tell that client how many other members hold durably what it asked about (`wait_for_copies`)."""

    to: Client
    members: int


class RunOk(NamedTuple):
    """Tell that client that all adds of that run are durable, in writes of this actor up to this version."""

    to: Client
    run: int
    actor: Actor
    version: int


Effect = Answer | Copied | RunOk | Send | Wake | Commit

SMALL = 2**31
"""Adds below this are looked at all together, as long as every bound is far."""


class _UnderWay(NamedTuple):
    """A batch that is being committed: as whom, what our rows will be then, and peers' rows that go with it."""

    batch: Batch
    actor: Actor
    rows: dict[str, Counts]
    version: int
    learned: tuple[Stored, ...]


class _Owed(NamedTuple):
    """What a peer asked to be told, and until when it cares."""

    asked: Confirm
    until_ns: int


class Replica:
    """One member of the cluster. Without `recovered` it begins a new epoch."""

    def __init__(self, config: Config, rng: Random, now_ns: int, recovered: Recovered | None = None) -> None:
        self.config = config
        self.state = State()
        self.stats = Stats()
        self._rng = rng
        self._actor = recovered.actor if recovered else mint(config.name, rng.getrandbits(63))
        self._saved: dict[Actor, int] = {}
        """By actor, the version up to which every write is durable here."""
        for stored in recovered.stored if recovered else ():
            self.state.restore(stored)
            self._saved[stored.actor] = self.state.whole(stored.actor)
        if self.state.ahead(self._actor):  # we had learned of a former life, and ended before the new epoch was durable
            self._actor = mint(config.name, rng.getrandbits(63))
        self._inherited = recovered.actor if recovered else None
        """The actor that an earlier life wrote as too: peers may hold later rows of it than we do."""
        self._written = Tally()
        """What this life added under that actor."""
        self._durable_actor = self._inherited
        self._gossip = Gossiper(config, self.state, self.stats, rng, now_ns, self._actor)
        self._rounds = 0
        self._batch = Batch()
        self._committing: _UnderWay | None = None
        self._save_soon = False
        self._wake_ns: int | None = None
        wait_ns = config.wait_ms * 1_000_000
        first_ask_ns = config.push_window_us * 1000  # when the rows themselves go out
        self._copies = Copies(config.peers, wait_ns, first_ask_ns, config.retry_ms * 1_000_000)
        self._reads = Reads(self.state, wait_ns)
        self._issued = self.state.digest(), token.issue(self.state)
        self._owed: dict[str, _Owed] = {}

    # What the world calls.

    def begin(self, now_ns: int) -> list[Effect]:
        """The first call: ask peers what they hold. Until they answered or were given up, no add is committed.

        A journal that is older than what peers were once told is found out here, before anything is written on top.
        """
        return self._then_wake([*self._gossip.begin(now_ns)])

    def tick(self, now_ns: int) -> list[Effect]:
        """One gossip round, due every `gossip_interval_ms`."""
        self._rounds += 1
        renamed = self._durable_actor not in (None, self._actor)
        self._save_soon = self._save_soon or renamed or bool(self._gossip.unsaved or self._batch.recounted)
        return self._then_wake([*self._gossip.tick(now_ns)])

    def wake(self, now_ns: int) -> list[Effect]:
        """What a `Wake` effect asked for has come."""
        self._wake_ns = None
        effects: list[Effect] = [*self._gossip.wake(now_ns), *self._ask_for_copies(now_ns)]
        effects += [self._too_few_copies(add.client, add.msg_id, add.copies) for add in self._copies.overdue(now_ns)]
        effects += self._answer_reads()
        effects += [Copied(client, held) for client, held in self._copies.counted(now_ns)]
        self._owed = {peer: owed for peer, owed in self._owed.items() if owed.until_ns > now_ns}
        for each in self._reads.overdue(now_ns):
            self.stats.timeouts += 1
            text = f"this node does not hold all that the token stands for after {self.config.wait_ms} ms: ask again"
            effects.append(Answer(each.client, ErrorReply(each.read.msg_id, TEMPORARILY_UNAVAILABLE, text)))
        return self._then_wake(effects)

    def handle(self, message: Request | Gossip, client: Client, now_ns: int) -> list[Effect]:
        """Take one message. A request is answered, be it with an error, an add once it is durable; gossip is not."""
        match message:
            case Add() | Read() | GossipStatus():
                try:
                    return self._answer(message, client, now_ns)
                except RequestError as error:
                    return self.refuse(error, message.msg_id, client)
            case Confirm():
                return self._then_wake(self._confirm(message, now_ns))
            case Confirmed():
                return self._then_wake(self._confirmed(message))
            case _:
                return self._then_wake(self._exchange(message, now_ns))

    def add_run(self, client: Client, number: int, adds: Sequence[tuple[str, int]]) -> list[int | RequestError]:
        """Take many adds, each (counter, delta); a RunOk with that number answers them once all of them are durable.

        For each, this node's value after it, or why it was refused and changes nothing. Should the disk fail, an
        ErrorReply with that number refuses them all.
        """
        batch, told = self._batch, list[int | RequestError]()
        net, value = batch.net, self._value_once_committed()
        small = self._small(len(adds))
        batch.at_most += small * len(adds)
        batch.new_rows = None if small else batch.new_rows
        last, again = ("", 0), 0
        for add in adds:
            if add is last:  # a pipeline often says the same many times
                again += 1
                continue
            if again:
                told += self._add_again(*last, again, small)
                again = 0
            name, delta = last = add
            if 0 < delta < small:
                net[name] = grown = net.get(name, 0) + delta
                told.append(value(name, 0) + grown)
            else:
                told.append(self._add_one(name, delta))
                if abs(delta) >= small > 0:
                    small = self._small(len(adds))
        if again:
            told += self._add_again(*last, again, small)
        batch.waiting.append((client, number, 0))
        self.stats.adds += len(told)
        return told

    def _add_again(self, name: str, delta: int, times: int, small: int) -> Iterable[int | RequestError]:
        """What has been added just now, some times more."""
        if not 0 < delta < small:
            return [self._add_one(name, delta) for _ in range(times)]
        before = self._value_soon(name)
        self._batch.net[name] += delta * times
        return range(before + delta, before + delta * times + 1, delta)

    def _add_one(self, name: str, delta: int) -> int | RequestError:
        value = self._value_soon(name) + delta
        try:
            if not -MAX_COUNT <= value <= MAX_COUNT:
                raise RequestError(MALFORMED, f"the value would pass {MAX_COUNT}")
            if delta:
                self._write(name, delta)
        except RequestError as error:
            self.stats.requests_refused += 1
            return error
        return value

    def _small(self, adds: int) -> int:
        """Below what so many adds, be it to new counters, stay far from every bound: none of them need be looked at."""
        rows, counted = self.state.row_count + adds, self.state.counted + adds * SMALL
        for batch in (self._batch, self._committing.batch if self._committing else None):
            if batch:
                rows, counted = rows + len(batch.net), counted + batch.at_most
        return SMALL if rows <= self.config.max_rows and counted <= MAX_COUNT else 0

    def refuse(self, error: RequestError, msg_id: int, client: Client) -> list[Effect]:
        """Answer a request with the error it met; nothing has changed."""
        self.stats.requests_refused += 1
        return [Answer(client, ErrorReply(msg_id, error.code, error.text))]

    def flush(self) -> list[Effect]:
        """The end of a turn: begin the next commit, if there is something to commit and none is under way."""
        wary = self._actor == self._inherited and self._gossip.unheard
        if self._committing or wary or not (self._batch.waiting or self._save_soon):
            return []
        batch, self._batch = self._batch, Batch()
        unsaved, self._gossip.unsaved = self._gossip.unsaved, {}
        self._save_soon = False
        actor, version, rows = self._actor, self.state.version(self._actor), dict[str, Counts]()
        if batch.net:
            rows = batch.rows(self._held(batch.net), version)
        if actor in unsaved:  # what a commit that failed may have left; what is written now takes its place
            unsaved[actor].difference_update(rows)
        stored = learned = tuple(self._to_store(*each) for each in unsaved.items()) if unsaved else ()
        if rows:
            version += len(rows)
            stored = (*learned, Stored(actor, version, version, rows))
        self._committing = _UnderWay(batch, actor, rows, version, learned)
        return [Commit(actor, stored)]

    def durable(self) -> list[Effect]:
        """The last `Commit` is durable: the answers that need not wait for what `committed` does, which must come next.

        A client that waits for nothing else can go on meanwhile.
        """
        done = self._committing
        if done is None or done.actor != self._actor:  # which may call for counting again first
            return []
        waiting, done.batch.waiting = done.batch.waiting, []
        answers: list[Effect] = []
        for each in waiting:
            if each[2]:
                done.batch.waiting.append(each)
            else:
                answers.append(RunOk(each[0], each[1], done.actor, done.version))
        return answers

    def committed(self, now_ns: int) -> list[Effect]:
        """The last `Commit` is durable: its adds count, their writers are answered, and peers hear of them."""
        done = self._end_commit()
        batch = done.batch
        self.stats.commits += 1
        self._durable_actor = done.actor
        self.stats.recounted += sum(abs(delta) for _, delta in batch.recounted)
        # Whoever else writes as our actor makes us another at once: else there is nothing to look for.
        swallowed = self._swallowed(done) if done.actor != self._actor else []
        self._count(done)
        self._note_saved(done)
        if done.actor == self._inherited:
            self._note_written(batch, swallowed)
        if done.rows:
            self._gossip.wrote(done.actor, now_ns)
        if swallowed:
            # Acknowledged only when what the maximum took is counted again, under the actor we are now.
            self._batch.recounted_for += [*batch.recounted_for, *batch.waiting]
            self._recount(swallowed)
            self._save_soon = True
            return self._then_wake(self._confirm_owed())
        effects = self._acknowledge(done, now_ns)
        if self._owed:
            effects += self._confirm_owed()
        return self._then_wake(effects + self._answer_reads())

    def not_committed(self, reason: str) -> list[Effect]:
        """The last `Commit` failed: its adds are refused, and what it may have left in the journal is overwritten.

        So are those that gathered meanwhile: runs among them were told values on top of what now never counts.
        """
        failed = self._end_commit()
        refused = [failed.batch]
        if failed.batch.net:
            refused.append(self._batch)
            self._batch = Batch()
        for stored in failed.learned:
            self._gossip.unsaved.setdefault(stored.actor, set()).update(stored.rows)
        if failed.rows:
            self._gossip.unsaved.setdefault(failed.actor, set()).update(failed.rows)
        for batch in refused:
            self._batch.recounted_for += batch.recounted_for
            self._recount(batch.recounted)
        error = RequestError(TEMPORARILY_UNAVAILABLE, f"not counted, because it can't be made durable: {reason}")
        waiting = [each for batch in refused for each in batch.waiting]
        return [effect for client, msg_id, _ in waiting for effect in self.refuse(error, msg_id, client)]

    @property
    def actor(self) -> Actor:
        """Who this node writes as."""
        return self._actor

    def wait_for_copies(
        self, client: Client, written: tuple[Actor, int], members: int, deadline_ns: int, now_ns: int
    ) -> list[Effect]:
        """Tell the client how many other members hold durably all that was `written` then, as soon as so many do.

        At the deadline it is told how many are known to; of a former epoch's writes at once that none are, since nobody
        confirms those any more.
        """
        actor, version = written
        held = self._copies.held(version) if actor == self._actor else 0
        if held >= members or actor != self._actor:
            return [Copied(client, held)]
        self._copies.wait_count(client, version, members, deadline_ns, now_ns)
        return self._then_wake([])

    def forget(self, client: Client) -> None:
        """This client is gone, and waits for no copies any more."""
        self._copies.forget(client)

    @property
    def rounds(self) -> int:
        """Gossip rounds so far."""
        return self._rounds

    @property
    def is_ready(self) -> bool:
        """Whether an add would be committed at once: peers have told what they hold, or were given up."""
        return not (self._actor == self._inherited and self._gossip.unheard)

    @property
    def peers(self) -> Peers:
        """What is known of the other members."""
        return self._gossip.peers

    def gossip_facts(self, now_ns: int) -> dict[str, object]:
        """What INFO tells of gossip."""
        peers = self._gossip.peers
        told = {
            "name": self.config.name,
            "cluster": self.config.cluster,
            "members": len(self.config.peers) + 1,
            "peers_synced": peers.synced,
            "convergence_ms": "" if peers.convergence_ms is None else f"{peers.convergence_ms:.1f}",
            "epoch": self._actor,
            "rounds": self._rounds,
            "rows": self.state.row_count,
        }
        return told | {f"peer{i}": _fact(each) for i, each in enumerate(peers.standings(now_ns))}

    # Requests.

    def _answer(self, request: Request, client: Client, now_ns: int) -> list[Effect]:
        match request:
            case Add():
                return self._add(request, client)
            case Read():
                return self._read(request, client, now_ns)
            case GossipStatus():
                return [Answer(client, self._status(request))]

    def _add(self, add: Add, client: Client) -> list[Effect]:
        if add.copies > 1:
            self._check_copies(add.copies)
        self.stats.adds += 1
        if not add.delta:
            return [self._add_ok(client, add.msg_id)]
        self._write(add.counter, add.delta)
        self._batch.waiting.append((client, add.msg_id, add.copies))
        return []

    def _write(self, name: str, delta: int) -> None:
        """Add to our own row in the batch. Raises `RequestError`."""
        held = self._own_soon(name)
        if is_new := not (held.p or held.n):
            self._check_room()
        try:
            counter.added(held, delta, 0)
        except ValueError as error:
            raise RequestError(MALFORMED, str(error)) from None
        if is_new and self._batch.new_rows is not None:
            self._batch.new_rows += 1
        self._add_to_batch(name, delta)

    def _add_to_batch(self, name: str, delta: int) -> None:
        self._batch.add(name, delta)
        self._batch.at_most += abs(delta)

    def _check_copies(self, copies: int) -> None:
        members = len(self.config.peers) + 1
        if copies > members:
            raise RequestError(MALFORMED, f"copies must be from 1 to {members}, the members of this cluster")
        if self.config.gossip == "full":
            raise RequestError(NOT_SUPPORTED, "full-state gossip can't tell what peers hold: copies must be 1")

    def _read(self, read: Read, client: Client, now_ns: int) -> list[Effect]:
        self.stats.reads += 1
        if read.token is not None and not token.includes(token.reach(self.state), read.token):
            if self.config.gossip == "full":
                raise RequestError(NOT_SUPPORTED, "full-state gossip claims no versions: leave out token")
            if not self._reads.wait(client, read, now_ns):
                raise RequestError(TEMPORARILY_UNAVAILABLE, "too many reads wait for what their tokens stand for")
            return self._then_wake([])
        return self._tell(read, client)

    def _answer_reads(self) -> list[Effect]:
        """The reads that waited for what is held now."""
        if self._reads.due_ns is None:
            return []
        return [effect for each in self._reads.ready() for effect in self._tell(each.read, each.client)]

    def _tell(self, read: Read, client: Client) -> list[Effect]:
        value = self.state.value(read.counter)
        if abs(value) > MAX_COUNT:
            text = f"the value is beyond {MAX_COUNT}, what a reply can hold"
            return self.refuse(RequestError(NOT_SUPPORTED, text), read.msg_id, client)
        return [Answer(client, ReadOk(read.msg_id, value, self._token()))]

    def _add_ok(self, client: Client, msg_id: int) -> Answer:
        return Answer(client, AddOk(msg_id, self._token()))

    def _token(self) -> str | None:
        """What is held now, for clients to carry elsewhere; made once a merge."""
        if self.config.gossip == "full":
            return None
        held, issued = self._issued
        if held is not self.state.digest():
            held, issued = self._issued = self.state.digest(), token.issue(self.state)
        return issued

    # What peers say.

    def _exchange(self, message: Carrier | Syn, now_ns: int) -> list[Effect]:
        recount = [] if isinstance(message, Syn) else self._older_than(message.deltas)
        effects: list[Effect] = [*self._gossip.handle(message, now_ns)]
        if self._gossip.own_actor_is_older:
            effects += self._begin_epoch()
        self._recount(recount)
        self._save_soon = self._save_soon or bool(recount)
        if any(owed.asked.actor in self._gossip.unsaved for owed in self._owed.values()):
            self._save_soon = True
        return [*effects, *self._answer_reads()]

    def _confirm(self, asked: Confirm, now_ns: int) -> list[Effect]:
        """A peer waits for copies: make durable what is not yet, and fetch what is missing."""
        if asked.sender not in self._gossip.peers:
            self.stats.strangers += 1
            return []
        self._owed[asked.sender] = _Owed(asked, now_ns + self.config.wait_ms * 1_000_000)
        if self.state.whole(asked.actor) < asked.version:
            return [*self._gossip.ask((asked.sender,), now_ns)]
        self._save_soon = self._save_soon or asked.actor in self._gossip.unsaved
        return self._confirm_owed()

    def _confirm_owed(self) -> list[Effect]:
        """Tell peers that what they asked about is durable now."""
        effects: list[Effect] = []
        for peer, (asked, _) in list(self._owed.items()):
            saved = self._saved.get(asked.actor, 0)
            if saved >= asked.version:
                del self._owed[peer]
                told = Confirmed(self.config.name, self.state.fingerprint, asked.actor, saved)
                effects.append(Send((peer,), told))
        return effects

    def _confirmed(self, told: Confirmed) -> list[Effect]:
        """A peer holds so much of our actor durably. It must have shown that it has none of that from a former life."""
        if told.actor != self._actor:
            return []
        if told.version > self.state.version(self._actor):
            self.stats.future_digests += 1
            return self._begin_epoch()
        if self._actor == self._inherited and told.sender not in self._gossip.agreeing:
            return []
        answers = [self._add_ok(add.client, add.msg_id) for add in self._copies.confirmed(told.sender, told.version)]
        return [*answers, *(Copied(client, held) for client, held in self._copies.counted())]

    def _ask_for_copies(self, now_ns: int) -> list[Effect]:
        peers, version = self._copies.to_ask(now_ns)
        if not peers:
            return []
        return [Send(peers, Confirm(self.config.name, self.state.fingerprint, self._actor, version))]

    def _too_few_copies(self, client: Client, msg_id: int, copies: int) -> Answer:
        self.stats.timeouts += 1
        text = (
            f"not known to be held durably by {copies} members in time ({self.config.wait_ms} ms): the increment stays,"
            " and will spread, so adding again would count it twice"
        )
        return Answer(client, ErrorReply(msg_id, TIMEOUT, text))

    # Commits.

    def _end_commit(self) -> _UnderWay:
        done, self._committing = self._committing, None
        if done is None:
            raise RuntimeError("nothing was being committed")
        return done

    def _acknowledge(self, done: _UnderWay, now_ns: int) -> list[Effect]:
        """Answer those who wait for a batch that is durable here; some want more copies."""
        effects: list[Effect] = []
        shared = None
        for client, msg_id, copies in (*done.batch.recounted_for, *done.batch.waiting):
            if not copies:
                effects.append(RunOk(client, msg_id, done.actor, done.version))
            elif copies > 1 and done.actor != self._actor:
                effects.append(self._too_few_copies(client, msg_id, copies))  # it was another who wrote it
            elif copies > 1:
                self._copies.wait(client, msg_id, copies, done.version, now_ns)
            else:
                shared = shared or self._token()
                effects.append(Answer(client, AddOk(msg_id, shared)))
        return effects

    def _count(self, done: _UnderWay) -> None:
        """Take into the state what is durable now."""
        actor, state = done.actor, self.state
        # Somebody else wrote as this actor, which made us another, or showed a later row of it that counts no more.
        if actor != self._actor or state.ahead(actor):
            rows = [(name, Row(*counts)) for name, counts in done.rows.items()]
            state.merge(actor, state.version(actor), rows)
        elif done.rows:
            state.write(actor, done.rows, done.batch.net, done.batch.counted)

    def _held(self, names: Collection[str]) -> list[Counts]:
        """Our durable rows of some counters; where none stands ahead, there is less to do."""
        actor, state = self._actor, self.state
        return [state.row(actor, name) for name in names] if state.ahead(actor) else state.prefix(actor, names)

    def _to_store(self, actor: Actor, names: set[str]) -> Stored:
        rows = {name: self.state.row(actor, name) for name in sorted(names)}
        return Stored(actor, self.state.version(actor), self.state.target(actor), rows)

    def _note_saved(self, done: _UnderWay) -> None:
        for stored in done.learned:
            if stored.version >= stored.target:
                self._saved[stored.actor] = stored.version
        if done.rows:
            self._saved[done.actor] = self.state.whole(done.actor)

    def _note_written(self, batch: Batch, swallowed: list[tuple[str, int]]) -> None:
        """Keep count of what rides on rows of an actor that may be older; what was swallowed already does not."""
        self._written.include(batch)
        for name, delta in swallowed:
            self._written.forget(name, delta)

    def _value_once_committed(self) -> Callable[[str, int], int]:
        """This node's value once what is being committed is durable; or another, of a counter that has none."""
        value = self.state.totals.get
        if self._committing is None:
            return value
        soon = self._committing.batch.net.get
        return lambda name, default: value(name, default) + soon(name, 0)

    def _value_soon(self, name: str) -> int:
        """This node's value once all that waits here is durable."""
        return self._value_once_committed()(name, 0) + self._batch.net.get(name, 0)

    def _own_soon(self, name: str) -> Row:
        """Our own row as it will be once all that waits is durable; its version is none."""
        held, committing = self.state.row(self._actor, name), self._committing
        if committing and committing.actor == self._actor:
            held = Row(*committing.rows.get(name, held))
        plus, minus = self._batch.of(name)
        return Row(held.p + plus, held.n + minus)

    def _check_room(self) -> None:
        """Whether a new row fits once all that waits is durable; only near the bound are these counted, and only once.

        Raises `RequestError`.
        """
        batch, committing = self._batch, self._committing.rows if self._committing else {}
        if self.state.row_count + len(batch.net) + len(committing) < self.config.max_rows:
            return
        if batch.new_rows is None:
            waiting = batch.net.keys() | committing.keys()
            batch.new_rows = sum(self.state.row(self._actor, name) is NOTHING for name in waiting)
        if self.state.row_count + batch.new_rows >= self.config.max_rows:
            raise RequestError(TEMPORARILY_UNAVAILABLE, f"this node holds max_rows ({self.config.max_rows}) rows")

    # Epochs.

    def _begin_epoch(self) -> list[Effect]:
        """Someone wrote under our name what we never did: a former life, restored or copied. From now on, be another.

        Counting on under the same actor would let the maximum swallow every increment until the new total passes the
        old one. Writes that are being committed are seen to when they are durable.
        """
        self.stats.new_epochs += 1
        self._batch.new_rows = None  # what was no new row of the former actor is one now
        self._actor = mint(self.config.name, self._rng.getrandbits(63))
        self._gossip.begin_epoch(self._actor)
        self._save_soon = True  # so that no later life is that former one again
        adds, counts = self._copies.begin_epoch()
        effects: list[Effect] = [self._too_few_copies(add.client, add.msg_id, add.copies) for add in adds]
        return effects + [Copied(client, 0) for client in counts]

    def _older_than(self, deltas: tuple[Delta, ...]) -> list[tuple[str, int]]:
        """What these rows of a former life would swallow of the adds that this life made under the same actor.

        A larger total than ours was never ours, so of what we added on top of the common past it has nothing, and the
        maximum will have none of it. (A smaller one may be an echo of ours: then nothing is lost but what it had.)
        """
        taken = []
        for actor, name, row in ((delta.actor, *named) for delta in deltas for named in delta.rows):
            plus, minus = self._written.of(name) if actor == self._inherited else (0, 0)
            if not (plus or minus):
                continue
            mine = self.state.row(actor, name)
            p, n = (plus if row.p > mine.p else 0), (minus if row.n > mine.n else 0)
            for swallowed in ((name, delta) for delta in (p, -n) if delta):
                self._written.forget(*swallowed)
                taken.append(swallowed)
        return taken

    def _swallowed(self, done: _UnderWay) -> list[tuple[str, int]]:
        """What the maximum will take from a batch because another wrote the same rows while it was being committed."""
        taken = []
        for name, (ours_p, ours_n, _) in done.rows.items():
            other = self.state.row(done.actor, name)
            plus, minus = done.batch.of(name)
            # What the others' count is above ours of before, but no more than what we added.
            p, n = min(plus, other.p - (ours_p - plus)), min(minus, other.n - (ours_n - minus))
            taken += [(name, sign * swallowed) for sign, swallowed in ((1, p), (-1, n)) if swallowed > 0]
        return taken

    def _recount(self, swallowed: list[tuple[str, int]]) -> None:
        """Count again what was swallowed, under the actor we are now."""
        for name, delta in swallowed:
            try:
                counter.added(self._own_soon(name), delta, 0)
            except ValueError:
                self.stats.uncounted += 1
            else:
                self._batch.new_rows = None
                self._add_to_batch(name, delta)
                self._batch.recounted.append((name, delta))

    # Status.

    def _status(self, request: GossipStatus) -> GossipStatusOk:
        rows = list(self.state.rows_of(request.counter))
        peers = self._gossip.peers
        return GossipStatusOk(
            in_reply_to=request.msg_id,
            local_value=_within_reply(self.state.value(request.counter)),
            gossip_rounds=self._rounds,
            peers_synced=peers.synced,
            convergence_ms=peers.convergence_ms,
            increments=_within_reply(sum(row.p for row in rows)),
            decrements=_within_reply(sum(row.n for row in rows)),
            counters=self.state.counters,
            rows=self.state.row_count,
            counted=_within_reply(self.state.counted),
            unsaved=self.unsaved,
            fingerprint=f"{self.state.fingerprint:016x}",
            state_since_ns=peers.state_since_ns,
            name=self.config.name,
            cluster=self.config.cluster,
            stats=asdict(self.stats),
        )

    @property
    def unsaved(self) -> int:
        """Peers' rows that are not durable yet."""
        under_way = self._committing.learned if self._committing else ()
        return sum(map(len, self._gossip.unsaved.values())) + sum(len(stored.rows) for stored in under_way)

    def _then_wake(self, effects: list[Effect]) -> list[Effect]:
        """These effects, and a Wake when something is due before the one that was last asked for."""
        wake_ns = self._wake_ns
        for due_ns in (self._gossip.due_ns, self._copies.due_ns, self._reads.due_ns):
            if due_ns is not None and (wake_ns is None or due_ns < wake_ns):
                wake_ns = due_ns
        if wake_ns is not None and wake_ns != self._wake_ns:
            self._wake_ns = wake_ns
            effects.append(Wake(wake_ns))
        return effects


def _fact(peer: Standing) -> str:
    state = "level" if peer.level else "unheard" if peer.behind_ms is None else "behind"
    behind = "" if peer.behind_ms is None else f",versions_behind={peer.versions},ms_behind={peer.behind_ms:.0f}"
    return f"name={peer.name},state={state}{behind}"


def _within_reply(value: int) -> int:
    """Sums over nodes may pass 64 bits, which a reply can't hold; then the nearest that it can."""
    return max(-MAX_COUNT, min(value, MAX_COUNT))
