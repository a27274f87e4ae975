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
from gossip_counter.node.core.cluster_id import ClusterId, OwnClusterId
from gossip_counter.node.core.counts import Actor, PlainRow, Row
from gossip_counter.node.core.dirty import DirtyRows
from gossip_counter.node.core.effects import Client, Commit, Outbox
from gossip_counter.node.core.errors import TEMPORARILY_UNAVAILABLE, RequestError
from gossip_counter.node.core.identity import Identity, Increment
from gossip_counter.node.core.messages import ErrorReply, Written
from gossip_counter.node.core.state import State, Stored
from gossip_counter.node.core.stats import Stats


@dataclass(slots=True)
class UnderWay:
    """A batch that is being committed: as whom, what our rows will be then, and peers' rows that go with it."""

    batch: Batch
    actor: Actor
    rows: dict[str, PlainRow]
    version: int
    peers_rows: tuple[Stored, ...]
    cluster_id: ClusterId | None


class Commits:
    """Batches on their way to the disk, one after the other."""

    def __init__(
        self,
        state: State,
        stats: Stats,
        identity: Identity,
        cluster_id: OwnClusterId,
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
        self._dirty = dirty
        self._outbox = outbox
        self._is_requested = False

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
        self.batch.new_rows = None  # what was no new row of the former actor is one now
        self.request()

    def request_if_needed(self) -> None:
        """Let the next commit begin if rows wait to be stored, or the journal names another actor or cluster."""
        is_named = self._identity.is_durable and not self._cluster_id.awaits_commit
        if self._dirty or self.batch.reapplied or not is_named:
            self._is_requested = True

    @property
    def has_adds(self) -> bool:
        """Whether the next commit would make rows of our own durable."""
        return bool(self._is_requested and not self.under_way and self.batch.net)

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
        self._is_requested = False
        actor, rows = self._identity.actor, dict[str, PlainRow]()
        version = self._state.version(actor)
        if batch.net:
            rows = batch.rows(self._durable_rows(actor, batch), version)
            self._dirty.discard(actor, rows)  # what a commit that failed may have left in the journal
        stored = peers_rows = self._dirty.take()
        if rows:
            version += len(rows)
            stored = (*peers_rows, Stored(actor, version, version, rows))
        cluster_id = self._cluster_id.unsaved
        self.under_way = UnderWay(batch, actor, rows, version, peers_rows, cluster_id)
        return Commit(actor, stored, cluster_id)

    def _durable_rows(self, actor: Actor, batch: Batch) -> list[PlainRow]:
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
            if pending.copies > 1 or pending.is_add:
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
        absorbed = list[Increment]()
        if done.actor != self._identity.actor:
            absorbed = self._identity.absorbed_from(done.actor, done.rows, done.batch)
        self._enter_state(done)
        self._identity.committed(done.actor, done.batch, absorbed)
        if done.cluster_id:
            self._cluster_id.saved(done.cluster_id)
        if absorbed:
            self._wait_again(done)
            self.reapply(absorbed)
            self.request()
        return done

    def _enter_state(self, done: UnderWay) -> None:
        """Take into the state what is durable now."""
        actor, state = done.actor, self._state
        # Where somebody else wrote as this actor, or a peer sent newer rows of it, ours can't just take their place.
        is_ours_alone = actor == self._identity.actor and state.version(actor) == done.version - len(done.rows)
        if not is_ours_alone or state.has_detached(actor):
            rows = [(counter, Row(*row)) for counter, row in done.rows.items()]
            state.merge(actor, state.version(actor), rows)
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
                counts.added(self.own_row_soon(counter), delta, 0)
            except ValueError:
                self._stats.not_reapplied += 1
            else:
                self.batch.new_rows = None
                self.batch.put(counter, delta)
                self.batch.reapplied.append((counter, delta))

    # The commit failed.

    def failed(self, reason: str) -> None:
        """The commit is not durable. Its writes are refused, and what it may have left in the journal is overwritten.

        So are those that gathered meanwhile: their values were computed from what is now discarded.
        """
        failed, self.under_way = self._not_yet_durable(), None
        refused = [failed.batch]
        if failed.batch.net:
            refused.append(self.batch)
            self.batch, self._is_requested = Batch(), False
        for stored in failed.peers_rows:
            self._dirty.add(stored.actor, stored.rows)
        if failed.rows:
            self._dirty.add(failed.actor, failed.rows)
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
                # An `Add` is one request; in a submitted write, what was refused before is counted already.
                self._stats.requests_refused += sum(type(each) is int for each in pending.values) or pending.is_add
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
        committing = self.under_way.batch.net.get(counter, 0) if self.under_way else 0
        return self._state.value(counter) + committing + self.batch.net.get(counter, 0)

    def is_waiting(self, counter: str) -> bool:
        """Whether a change of a counter waits to be durable."""
        return counter in self.batch.net or (self.committing is not None and counter in self.committing.net)

    def exists_soon(self, counter: str) -> bool:
        """Whether it has a row then."""
        return self.is_waiting(counter) or counter in self._state.totals

    def own_row_soon(self, counter: str) -> Row:
        """Our own row then; its version is an older one."""
        row: PlainRow = self._state.row(self._identity.actor, counter)
        under_way = self.under_way
        if under_way and under_way.actor == self._identity.actor:
            row = under_way.rows.get(counter, row)
        return counts.grown(row, *self.batch.of(counter))


def written(pending: Pending, actor: Actor, version: int, token: str | None = None) -> Written | ErrorReply:
    """The reply to a write whose commit is done, as what `actor` wrote up to `version`."""
    if pending.error:
        return refused(pending, pending.error)
    return Written(pending.request_id, pending.values, None if pending.is_reapplied else actor, version, token)


def refused(pending: Pending, error: RequestError) -> Written | ErrorReply:
    """The reply to a write that never counts. Of a submitted one, adds that had been refused keep their own reason."""
    if pending.is_add:
        return ErrorReply(pending.request_id, error.code, error.text)
    values = [each if isinstance(each, RequestError) else error for each in pending.values]
    return Written(pending.request_id, values, None, 0)
