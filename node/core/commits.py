"""The commit pipeline: writes gather in a batch, become rows, become durable, enter the state, and are acknowledged.

Pure. The state holds only what is durable, so no read shows, no delta carries and no digest claims what a crash could
still take back. While one batch is being committed, the next gathers. A batch goes through these steps:

    gathers -> `begin` -> under way -> `persisted` -> durable -> `apply` -> in the state, acknowledged

Replies to writes that wait for nothing else leave between `persisted` and `apply`: a client can go on while the state
is brought up to date and gossip is prepared. Peers' rows are stored lazily, in the same commits.
"""

from dataclasses import dataclass

from gossip_counter.node.core import counts
from gossip_counter.node.core.batch import Batch, Pending
from gossip_counter.node.core.cluster_id import OwnClusterId
from gossip_counter.node.core.counts import ZERO, Actor, AnyRow, EndingRow, HeldRow, as_row
from gossip_counter.node.core.dirty import DirtyRows
from gossip_counter.node.core.effects import Client, Commit, Outbox
from gossip_counter.node.core.errors import TEMPORARILY_UNAVAILABLE, RequestError
from gossip_counter.node.core.holdings import Stored
from gossip_counter.node.core.identity import Identity, Increment
from gossip_counter.node.core.lives import Lives
from gossip_counter.node.core.replies import accepted, refused, written
from gossip_counter.node.core.roster import Roster
from gossip_counter.node.core.state import State
from gossip_counter.node.core.stats import Stats


@dataclass(slots=True)
class UnderWay:
    """A batch that is being committed: as whom, what our rows will be then, and what goes with it."""

    batch: Batch
    actor: Actor
    rows: dict[str, HeldRow]
    version: int
    peers_rows: tuple[Stored, ...]
    commit: Commit


class Commits:
    """Batches on their way to the disk, one after the other."""

    def __init__(
        self,
        state: State,
        stats: Stats,
        identity: Identity,
        cluster_id: OwnClusterId,
        roster: Roster,
        dirty: DirtyRows,
        outbox: Outbox,
    ) -> None:
        self.batch = Batch()
        """What gathers."""
        self.under_way: UnderWay | None = None
        self.is_durable = False
        """Whether the one under way is durable, and has still to enter the state."""
        self._state = state
        self._stats = stats
        self._identity = identity
        self._cluster_id = cluster_id
        self._roster = roster
        self._dirty = dirty
        self._outbox = outbox
        self._is_requested = False
        self._lives_soon: dict[str, Lives] = {}
        """Those of counters that end that were asked for since the batch began to gather or the state changed."""
        self._looks = 0
        state.ends.awaits = self._awaits

    def wait(self, pending: Pending) -> None:
        """Let a write, whose adds are in the batch, wait until it is durable."""
        self.batch.waiting.append(pending)
        self._is_requested = True

    def wait_for_that_under_way(self, pending: Pending) -> None:
        """Let a client that has seen what is being committed wait until that is durable."""
        if self.under_way is None:
            raise RuntimeError("nothing is being committed")
        self.under_way.batch.waiting.append(pending)

    def request(self) -> None:
        """Let the next commit begin though no new write waits for it."""
        self._is_requested = True

    def begin_epoch(self) -> None:
        """We write as another actor from now on, which must be durable: no later life may be the former one again."""
        batch = self.batch
        batch.new_rows = None  # what was no new row of the former actor is one now
        self._lives_soon.clear()
        for counter, row in batch.ending.items():
            plus, minus = batch.ended.of(counter)
            # Of what the batch adds, the part that came after a delete in it.
            p, n = min(plus, row.p - row.taken.p), min(minus, row.n - row.taken.n)
            batch.ending[counter] = row._replace(p=p, n=n, born=0, taken=row.taken._replace(p=0, n=0))
        self.request()

    def request_if_needed(self, is_leaving: bool = False) -> None:
        """Let the next commit begin if rows or members wait to be stored, or the journal names another actor or id."""
        self.react(is_leaving)
        is_named = self._identity.is_durable and not self._cluster_id.awaits_commit
        if self._dirty or self._roster.unsaved or self.batch.reapplied or not is_named:
            self._is_requested = True

    @property
    def has_adds(self) -> bool:
        """Whether the next commit would make rows of our own durable."""
        return bool(self._is_requested and not self.under_way and (self.batch.net or self.batch.ending))

    @property
    def dirty_rows(self) -> int:
        """Peers' rows that are not durable yet."""
        peers_rows = self.under_way.peers_rows if self.under_way else ()
        return len(self._dirty) + sum(len(stored.rows) for stored in peers_rows)

    def begin(self) -> Commit | None:
        """The next commit, if there is something to commit and none is under way."""
        if self.under_way or not self._is_requested:
            return None
        batch, self.batch = self.batch, Batch()
        self._lives_soon.clear()  # rows get their versions now
        self._is_requested = False
        actor, rows = self._identity.actor, dict[str, HeldRow]()
        version = self._state.version(actor)
        if batch.net or batch.ending:
            held = self._durable_rows(actor, batch)
            rows = batch.rows(held, version)
            if self._state.ends.are_seen:
                rows = self._with_lives(rows, held)
            ending = enumerate(batch.ending.items(), version + len(rows) + 1)
            rows.update((counter, counts.numbered(row, number)) for number, (counter, row) in ending)
            self._dirty.discard(actor, rows)  # what a commit that failed may have left in the journal
        stored = peers_rows = self._dirty.take()
        if rows:
            version += len(rows)
            stored = (*peers_rows, Stored(actor, version, version, rows, self._state.floors(actor)))
        commit = Commit(actor, stored, self._cluster_id.unsaved, self._roster.unsaved)
        self.under_way = UnderWay(batch, actor, rows, version, peers_rows, commit)
        return commit

    def _with_lives(self, rows: dict[str, HeldRow], held: list[HeldRow]) -> dict[str, HeldRow]:
        """Rows of counters that do not end, where others do: we may have forgotten older ones of the same counters."""
        made = dict[str, HeldRow]()
        for (counter, (p, n, version, *_)), before in zip(rows.items(), held, strict=True):
            made[counter] = row = p, n, version
            if isinstance(before, EndingRow):
                made[counter] = before._replace(p=p, n=n, version=version)
            elif before is ZERO:
                life = self._state.lives(counter).life_to_join(ends=True)
                born = 0 if self.is_first else version
                made[counter] = EndingRow(*row, life, born=born) if life or born else row
        return made

    def _durable_rows(self, actor: Actor, batch: Batch) -> list[HeldRow]:
        """Our durable rows of the counters of a batch; where none is detached, there is less to do."""
        if self._state.has_detached(actor):
            return [self._state.row(actor, counter) for counter in batch.net]
        return self._state.contiguous(actor, batch.net)

    # The commit succeeded.

    def persisted(self) -> None:
        """The commit is durable. Replies that wait for nothing else leave."""
        done = self._not_yet_durable()
        self.is_durable = True
        if done.actor != self._identity.actor:
            return  # max-merge may have absorbed some of it, which must be durable again first
        waiting, done.batch.waiting = done.batch.waiting, []
        for pending in waiting:
            if pending.copies > 1 or pending.is_request:
                done.batch.waiting.append(pending)
            else:
                self._outbox.reply(pending.client, written(pending, done.actor, done.version))

    def apply(self) -> UnderWay:
        """Let the durable commit enter the state. What is left in its `batch.waiting` can be acknowledged.

        If another life wrote the same rows meanwhile, those writes wait for the next commit instead, which re-applies
        what max-merge absorbed.
        """
        done = self.under_way
        if done is None or not self.is_durable:
            raise RuntimeError("no commit is durable")
        self.under_way, self.is_durable = None, False
        self._stats.commits += 1
        for _, delta in done.batch.reapplied:
            self._stats.reapplied += abs(delta)
        refused = self._identity.refused(done.actor, done.rows, done.batch)
        absorbed = self._identity.absorbed_from(done.actor, done.rows, done.batch, refused)
        self._enter_state(done, refused)
        self._identity.committed(done.actor, done.batch, absorbed)
        if done.commit.cluster_id:
            self._cluster_id.saved(done.commit.cluster_id)
        self._roster.saved(done.commit.members)
        if absorbed:
            self._wait_again(done)
            self.reapply(absorbed)
            self.request()
        return done

    def _enter_state(self, done: UnderWay, refused: set[str]) -> None:
        """Take into the state what is durable now, but for some rows; the next commit stores what is there then."""
        actor, state = done.actor, self._state
        # Where somebody else wrote as this actor, or a peer sent newer rows of it, ours can't just take their place.
        is_ours_alone = actor == self._identity.actor and state.version(actor) == done.version - len(done.rows)
        if refused or not is_ours_alone or state.has_detached(actor):
            rows = [(counter, as_row(row)) for counter, row in done.rows.items() if counter not in refused]
            state.merge(actor, state.version(actor), rows)
            self._dirty.add(actor, done.rows)
        elif done.rows:
            state.write(actor, done.rows, done.batch.net, done.batch.counted)

    def _wait_again(self, done: UnderWay) -> None:
        waiting, done.batch.waiting = done.batch.waiting, []
        for pending in waiting:
            pending.is_reapplied = True
        self.batch.waiting[:0] = waiting

    def reapply(self, absorbed: list[Increment]) -> None:
        """Add again what max-merge absorbed, as the actor that we are now."""
        for counter, delta in absorbed:
            try:
                self._add_again(counter, delta)
            except ValueError:
                self._stats.not_reapplied += 1
            else:
                self.batch.reapplied.append((counter, delta))

    def _add_again(self, counter: str, delta: int) -> None:
        counts.added(self.own_row_soon(counter), delta, 0)
        self.batch.new_rows = None
        if self.ends_soon(counter):
            self.put_ending(counter, self.lives_soon(counter).added(self._identity.actor, delta, self.is_first), delta)
        else:
            self.batch.put(counter, delta)

    # The commit failed.

    def failed(self, reason: str) -> None:
        """The commit is not durable. Its writes are refused, and what it may have left in the journal is overwritten.

        So are those that gathered meanwhile: their values were computed from what is now discarded.
        """
        failed, self.under_way = self._not_yet_durable(), None
        self._lives_soon.clear()
        refused = [failed.batch]
        if failed.rows:
            refused.append(self.batch)
            self.batch, self._is_requested = Batch(), False
        for stored in failed.peers_rows:
            self._dirty.add(stored.actor, stored.rows)
        if failed.rows:
            self._dirty.add(failed.actor, failed.rows)
        self._state.look_at(counter for batch in refused for counter in batch.ending)
        for batch in refused:
            self.reapply(batch.reapplied)  # with the next tick or write: a disk that fails is not asked at once again
        error = RequestError(TEMPORARILY_UNAVAILABLE, f"not counted, because it can't be made durable: {reason}")
        self._refuse([pending for batch in refused for pending in batch.waiting], error)

    def _refuse(self, waiting: list[Pending], error: RequestError) -> None:
        """Refuse writes, but for those that were durable once and are re-applied: these stay, and what waits behind
        them of the same clients is refused after them.
        """
        behind = set[Client]()
        for pending in waiting:
            if pending.is_reapplied:
                behind.add(pending.client)
            elif not pending.error:
                # A request is one; in a submitted write, what was refused before is counted already.
                self._stats.requests_refused += accepted(pending.values) or pending.is_request
                pending.error = error
            if pending.client in behind:
                self.batch.waiting.append(pending)
            else:
                self._outbox.reply(pending.client, refused(pending, error))

    # What will be, once all that waits is durable.

    @property
    def committing(self) -> Batch | None:
        """The batch under way."""
        return self.under_way.batch if self.under_way else None

    def _not_yet_durable(self) -> UnderWay:
        if self.under_way is None or self.is_durable:
            raise RuntimeError("nothing is being committed")
        return self.under_way

    def value_soon(self, counter: str) -> int:
        """This node's value then."""
        if counter in self._state.special:
            return self.lives_soon(counter).value or 0
        committing = self.under_way.batch.net.get(counter, 0) if self.under_way else 0
        return self._state.value(counter) + committing + self.batch.net.get(counter, 0)

    def is_waiting(self, counter: str) -> bool:
        """Whether a change of a counter waits to be durable."""
        return counter in self.batch or (self.committing is not None and counter in self.committing)

    def exists_soon(self, counter: str) -> bool:
        """Whether there is such a counter then."""
        if counter in self._state.special:
            return self.lives_soon(counter).value is not None
        is_waiting = counter in self.batch.net or (self.under_way and counter in self.under_way.batch.net)
        return bool(is_waiting) or counter in self._state.totals

    def own_row_soon(self, counter: str) -> AnyRow:
        """Our own row then; its version is an older one."""
        row: HeldRow = self._state.row(self._identity.actor, counter)
        under_way = self.under_way
        if under_way and under_way.actor == self._identity.actor:
            row = under_way.rows.get(counter, row)
        return self.batch.ending.get(counter) or counts.grown(row, *self.batch.of(counter))

    # Counters that end.

    @property
    def is_first(self) -> bool:
        """Whether our first row of a counter is surely the first: we have forgotten none."""
        return not self._state.floors(self._identity.actor).forgotten

    def ends_soon(self, counter: str) -> bool:
        """Whether a counter ends or was deleted, as far as is known now or then: a life that is over may go on here."""
        return self._awaits(counter) or (counter in self._state.special and self.lives_soon(counter).ends)

    def _awaits(self, counter: str) -> bool:
        """Whether our row of a counter that ends is on its way."""
        return counter in self.batch.ending or (self.under_way is not None and counter in self.under_way.batch.ending)

    def going_on(self, counter: str) -> tuple[EndingRow, int] | None:
        """Our own row of a counter that ends, and its value then, where an add changes nothing beside.

        Nothing is summed up for it. None: a look at all rows is needed.
        """
        state, me, under_way = self._state, self._identity.actor, self.under_way
        held = state.row(me, counter)
        if not isinstance(held, EndingRow) or not state.ends.goes_on(counter, held):
            return None
        own: HeldRow | None = self.batch.ending.get(counter)
        if own is None and under_way:
            own = under_way.rows.get(counter) if under_way.actor == me else ZERO
        if own is None:
            return held, state.value(counter)
        if not isinstance(own, EndingRow) or own[3:] != held[3:]:
            return None
        return own, state.value(counter) + own.p - held.p - own.n + held.n

    def grow(self, counter: str, row: EndingRow, delta: int) -> None:
        """Add to our own row, which `going_on` gave."""
        grown = (row.p + delta, row.n) if delta > 0 else (row.p, row.n - delta)
        self.batch.ending[counter] = EndingRow._make(grown + row[2:])
        self._lives_soon.pop(counter, None)
        self.batch.ended.add(counter, delta)

    def lives_soon(self, counter: str) -> Lives:
        """The rows of a counter then."""
        if self._looks != self._state.looks:
            self._looks = self._state.looks
            self._lives_soon.clear()
        lives = self._lives_soon.get(counter)
        if lives is None:
            lives = self._make_lives_soon(counter)
            if lives.ends and counter in self._state.special:  # so that `put_ending` alone changes it
                self._lives_soon[counter] = lives
        return lives

    def _make_lives_soon(self, counter: str) -> Lives:
        rows, own = self._state.ends.rows(counter), self.own_row_soon(counter)
        if counts.counts_nothing(own):
            return Lives(rows, self._state.ends.now_ms)
        if not (isinstance(own, EndingRow) or own.version or self.is_first):
            # The row that these adds were made to may have been forgotten since: they begin a new one.
            life = Lives(rows, self._state.ends.now_ms).life_to_join(ends=True)
            own = counts.as_ending(own)._replace(life=life, born=counts.PENDING)
        return Lives(rows | {self._identity.actor: own}, self._state.ends.now_ms)

    def put_ending(self, counter: str, row: EndingRow, delta: int = 0) -> None:
        """Write our own row of a counter that ends; `delta` is what was added with it."""
        self._state.special.setdefault(counter, 0)
        self._state.ends.are_seen = True
        self.batch.put_row(counter, row)
        self._lives_soon.pop(counter, None)
        if delta:
            self.batch.ended.add(counter, delta)

    def react(self, is_leaving: bool = False) -> None:
        """Note in our rows, but not in our last ones, what deletes took of them; keep markers that others forgot."""
        state, me = self._state, self._identity.actor
        for counter, seen in state.adopted.items():
            self.put_ending(counter, self.lives_soon(counter).adopted(me, self.is_first, seen))
        state.adopted.clear()
        for counter in () if is_leaving else list(state.unsaid):
            if noted := self.lives_soon(counter).noted(me):
                self.put_ending(counter, noted)
            elif not state.lives(counter).noted(me):
                state.unsaid.discard(counter)
        if self.batch.ending:
            self.request()
