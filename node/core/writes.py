"""Adds on their way into a batch: what each of them comes to, or why it is refused.

Pure. Here is settled what an INCR answers: this node's value after it, counting all that was added before, be it
durable or not. It is sent once that is durable.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gossip_counter.node.core import counts
from gossip_counter.node.core.admission import Admission
from gossip_counter.node.core.batch import Batch
from gossip_counter.node.core.commits import Commits
from gossip_counter.node.core.counts import EndingRow, HeldRow, counts_nothing
from gossip_counter.node.core.errors import MALFORMED, NOT_SUPPORTED, PRECONDITION_FAILED, RequestError
from gossip_counter.node.core.identity import Identity
from gossip_counter.node.core.increases import Increase, Outcome
from gossip_counter.node.core.limits import MAX_COUNT
from gossip_counter.node.core.lives import Lives
from gossip_counter.node.core.state import State
from gossip_counter.node.core.stats import Stats

Value = int | RequestError

Write = tuple[str, int | Increase]
"""A counter, and what is added to it."""


class Writes:
    """Puts adds into the batch that gathers."""

    def __init__(
        self,
        state: State,
        stats: Stats,
        identity: Identity,
        admission: Admission,
        commits: Commits,
        claims_versions: bool,
    ) -> None:
        self._claims_versions = claims_versions
        self._state = state
        self._stats = stats
        self._identity = identity
        self._admission = admission
        self._commits = commits

    def put(self, writes: Sequence[Write]) -> list[Outcome]:
        """Take adds; for each the value after it, or why it was refused and changes nothing."""
        self._stats.adds += len(writes)
        batch, committing, values = self._commits.batch, self._commits.committing, list[Outcome]()
        small = self._admission.unchecked_below(len(writes), batch, committing)
        batch.unchecked += small * len(writes)
        batch.new_rows = None if small else batch.new_rows
        net, value, special = batch.net, self._value_after_commit(committing), self._state.special
        last: Write = "", 0
        again = 0
        delta: Any  # an Increase lies between no numbers
        for write in writes:
            if write is last:  # a pipeline often has the same many times
                again += 1
                continue
            if again:
                values += self._put_again(*last, again, small)
                again = 0
            counter, delta = last = write
            if 0 < delta < small and counter not in special:
                net[counter] = added = net.get(counter, 0) + delta
                values.append(value(counter, 0) + added)
            else:
                values.append(self._put_any(counter, delta))
        return values + self._put_again(*last, again, small) if again else values

    def _put_again(self, counter: str, delta: int | Increase, times: int, small: int) -> list[Outcome]:
        """What has just been added, some times more."""
        if isinstance(delta, Increase) or not 0 < delta < small or counter in self._state.special:
            return [self._put_any(counter, delta) for _ in range(times)]
        before = self._commits.value_soon(counter)
        self._commits.batch.net[counter] += delta * times
        return list(range(before + delta, before + delta * times + 1, delta))

    def _put_any(self, counter: str, delta: int | Increase) -> Outcome:
        return self.increase(counter, delta) if isinstance(delta, Increase) else self.put_one(counter, delta)

    def put_one(self, counter: str, delta: int) -> Value:
        """Take one add, whatever it is, with every check."""
        if delta and counter in self._state.special and (going_on := self._commits.going_on(counter)):
            own, value = going_on
            if self._just_grows(own, delta) and abs(value + delta) <= MAX_COUNT:
                self._commits.grow(counter, own, delta)
                return value + delta
        value = self._commits.value_soon(counter) + delta
        try:
            if not -MAX_COUNT <= value <= MAX_COUNT:
                raise RequestError(MALFORMED, f"the value would pass {MAX_COUNT}")
            if delta:
                self.add(counter, delta)
        except RequestError as error:
            self._stats.requests_refused += 1
            return error
        return value

    def add(self, counter: str, delta: int) -> None:
        """Add to our own row in the batch. Raises `RequestError` where it has no room; then nothing has changed."""
        commits, batch = self._commits, self._commits.batch
        self._admission.check_place()
        if commits.ends_soon(counter):
            self._put_row(counter, lambda lives: lives.added(self._identity.actor, delta, commits.is_first), delta)
            return
        own = commits.own_row_soon(counter)
        if is_new := counts_nothing(own):
            self._admission.check_room(self._identity.actor, batch, commits.committing)
        self._admission.check_add(own, delta)
        if is_new and batch.new_rows is not None:
            batch.new_rows += 1
        batch.add(counter, delta)
        if not self._is_far_from_large(own, counter, abs(delta)):
            self._note_size(counter)

    # Counters that end.

    @property
    def now_ms(self) -> int:
        """The time that they end by, in Unix milliseconds."""
        return self._state.ends.now_ms

    def expire(self, counter: str, deadline_ms: int) -> None:
        """Have a counter end at a time, in Unix milliseconds; 0: never. Raises `RequestError`."""
        actor, is_first = self._identity.actor, self._commits.is_first
        self._put_row(counter, lambda lives: lives.expiring(actor, deadline_ms, is_first))

    def delete(self, counter: str) -> None:
        """Take away all that is known of a counter, which makes room. Raises `RequestError`."""
        actor, is_first = self._identity.actor, self._commits.is_first
        latest_ms = self._state.ends.latest_ms
        self._put_row(counter, lambda lives: lives.deleted(actor, is_first, latest_ms), makes_room=True)

    def add_on_terms(self, counter: str, terms: Increase) -> None:
        """Add within bounds, and let the counter end. To add 0 makes no counter.

        Raises `RequestError`, also where a bound would be passed; then nothing has changed.
        """
        value, deadline_ms = self._commits.value_soon(counter), terms.deadline_ms(self.now_ms)
        if deadline_ms:
            self._check_can_end()
            if deadline_ms > MAX_COUNT:
                most = MAX_COUNT - self.now_ms
                raise RequestError(MALFORMED, f"expire_ms must be at most {most}: a deadline is below 2**63")
        if terms.within(value) is None:
            after = value + terms.delta
            bound = f"lower is {terms.lower}" if after < terms.lower else f"upper is {terms.upper}"
            raise RequestError(PRECONDITION_FAILED, f"not counted: the value would be {after}, and {bound}")
        if terms.delta or self._commits.exists_soon(counter):
            self._increase(counter, terms)

    def check_room(self, counters: Iterable[str]) -> None:
        """Whether all of these can be written to, the new ones among them. Raises `RequestError`."""
        commits = self._commits
        if new := sum(not commits.exists_soon(counter) for counter in counters):
            self._admission.check_room(self._identity.actor, commits.batch, commits.committing, new)

    def delete_if_there(self, counter: str) -> bool:
        """Delete a counter, if there is such a one; whether there was. Raises `RequestError`."""
        self._check_can_end()
        if existed := self._commits.exists_soon(counter):
            self.delete(counter)
        return existed

    def create(self, counter: str) -> None:
        """Have a counter that nobody wrote to exist, with the value 0. Raises `RequestError`."""
        self.add(counter, 1)
        self.add(counter, -1)

    def increase(self, counter: str, terms: Increase) -> Outcome:
        """Take an add with bounds and an expiry; what it comes to, or why it was refused and changes nothing."""
        going_on = self._commits.going_on(counter)
        if going_on and terms.exists is not False:
            own, value = going_on
            after = terms.within(value)
            if after is None:
                return value, 0
            says_nothing = (terms.lasts_ms is None and terms.ends_ms is None) or (terms.only_if_unset and own.deadline)
            if says_nothing and self._just_grows(own, after - value):
                if after != value:
                    self._commits.grow(counter, own, after - value)
                return after, after - value
        try:
            began = self._begin_window(counter, terms)
            return self._increase(counter, terms) if began is None else began
        except RequestError as error:
            self._stats.requests_refused += 1
            return error

    def _begin_window(self, counter: str, terms: Increase) -> Outcome:
        """Let a counter of which nothing is known begin with its deadline, as `_increase` does in more steps.

        None: it is not so simple. Raises `RequestError`.
        """
        commits, state, now_ms = self._commits, self._state, self._state.ends.now_ms
        if terms.exists or counter in state.totals or counter in state.special or commits.is_waiting(counter):
            return None
        after, deadline_ms = terms.within(0), terms.deadline_ms(now_ms)
        if not after or abs(after) >= counts.LARGE or deadline_ms is None or not now_ms < deadline_ms <= MAX_COUNT:
            return None
        self._admission.check_place()
        self._check_can_end()
        self._admission.check_room(self._identity.actor, commits.batch, commits.committing)
        if commits.batch.new_rows is not None:
            commits.batch.new_rows += 1
        born = 0 if commits.is_first else counts.PENDING
        row = EndingRow(max(after, 0), max(-after, 0), 0, now_ms, deadline_ms, now_ms, born)
        commits.put_ending(counter, row, after)
        return after, after

    def _just_grows(self, own: EndingRow, delta: int) -> bool:
        """Whether an add to our row of a counter that ends may be taken, and the row stays small."""
        is_small = own.p + delta < counts.LARGE and own.n - delta < counts.LARGE
        return is_small and self._claims_versions and not self._admission.takes_none

    def _increase(self, counter: str, terms: Increase) -> Outcome:
        commits, now_ms = self._commits, self._state.ends.now_ms
        exists, value = commits.exists_soon(counter), commits.value_soon(counter)
        if terms.exists not in {None, exists}:
            return None
        after, deadline_ms = terms.within(value), terms.deadline_ms(now_ms)
        if after is None:
            return value, 0
        if deadline_ms:
            self._check_can_end()
        if after != value:
            self.add(counter, after - value)
        elif not exists:
            self.create(counter)
        self._end_after(counter, deadline_ms, terms.only_if_unset)
        return after, after - value

    def _end_after(self, counter: str, deadline_ms: int | None, only_if_unset: bool) -> None:
        if deadline_ms is None:
            return
        now_ms, before_ms = self._state.ends.now_ms, self._commits.lives_soon(counter).deadline
        if (only_if_unset and before_ms) or deadline_ms == before_ms:
            return
        if 0 < deadline_ms <= now_ms:
            self.delete(counter)
        else:
            self.expire(counter, deadline_ms)

    def _check_can_end(self) -> None:
        if not self._claims_versions:
            raise RequestError(NOT_SUPPORTED, "full-state gossip can't end counters: start the nodes with delta gossip")

    def _put_row(
        self, counter: str, change: Callable[[Lives], EndingRow], delta: int = 0, makes_room: bool = False
    ) -> None:
        """Change our own row of a counter that ends, or ends from now on. Raises `RequestError`."""
        commits = self._commits
        self._admission.check_place()
        self._check_can_end()
        is_new = counts_nothing(commits.own_row_soon(counter))
        if is_new and not makes_room:
            self._admission.check_room(self._identity.actor, commits.batch, commits.committing)
        try:
            row = change(commits.lives_soon(counter))
        except ValueError as error:
            raise RequestError(MALFORMED, str(error)) from None
        if is_new and commits.batch.new_rows is not None:
            commits.batch.new_rows += 1
        commits.put_ending(counter, row, delta)

    def _is_far_from_large(self, own: HeldRow, counter: str, size: int) -> bool:
        """Whether a counter is small and stays so, by its own row before an add of this size; nothing is summed up.

        What is not in the state yet stands in our own row, so it can't make up for what lacks to a large value.
        """
        far, special = counts.LARGE // 4, self._state.special
        is_small = own[0] + size < far and own[1] + size < far and -far < self._state.value(counter) < far
        return is_small and counter not in special

    def _note_size(self, counter: str) -> None:
        commits, special = self._commits, self._state.special
        is_large = counts.is_large(commits.own_row_soon(counter)) or abs(commits.value_soon(counter)) >= counts.LARGE
        if is_large:
            special.setdefault(counter, 0)
        else:
            special.pop(counter, None)

    def _value_after_commit(self, committing: Batch | None) -> Callable[[str, int], int]:
        """This node's value once what is being committed is durable; or the default, of a counter that has none."""
        value = self._state.totals.get
        if committing is None:
            return value
        soon = committing.net.get
        return lambda counter, default: value(counter, default) + soon(counter, 0)
