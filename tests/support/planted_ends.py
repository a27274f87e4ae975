"""Faults to plant into the rules of counters that end: what the schedules with replicas must find."""

from collections.abc import Iterator
from typing import Any

import pytest

from gossip_counter.node.core import counts, lives
from gossip_counter.node.core.actor_log import ActorLog
from gossip_counter.node.core.counts import PENDING, Actor, EndingRow, HeldRow, numbered
from gossip_counter.node.core.ends import Ends
from gossip_counter.node.core.gossip import intake
from gossip_counter.node.core.holdings import NO_FLOORS, Floors, Statement
from gossip_counter.node.core.lives import FORGET_MS, Lives
from gossip_counter.node.core.state import State

FAR_MS = 1000 * FORGET_MS


def floors_are_not_inherited(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ActorLog, "inherit", lambda *_: None)


def forgotten_rows_are_not_refused(patch: pytest.MonkeyPatch) -> None:
    take = ActorLog._take

    def credulous(self: ActorLog, rows: Any, upto: int, going_on: Any) -> Any:
        floors, self.floors = self.floors, NO_FLOORS
        changes = take(self, rows, upto, going_on)
        self.floors = floors
        return changes

    patch.setattr(ActorLog, "_take", credulous)


def a_floor_counts_beyond_what_is_complete(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ActorLog, "forgotten", property(lambda self: self.floors))


def unnamed_rows_stay(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(State, "_forget_unnamed", lambda *_: None)


def unnamed_rows_of_our_own_stay(patch: pytest.MonkeyPatch) -> None:
    forget = State._forget_unnamed

    def proud(self: State, actor: Actor, *rest: Any) -> None:
        if actor != self.owner:
            forget(self, actor, *rest)

    patch.setattr(State, "_forget_unnamed", proud)


def unnamed_rows_of_cut_deltas_go(patch: pytest.MonkeyPatch) -> None:
    merge = State.merge

    def hasty(self: State, actor: Actor, since: int | None, rows: Any, *rest: Any) -> Any:
        statement = Statement(since or 0, {counter for counter, _ in rows})
        given: tuple[Any, ...] = (*rest[:3], statement)
        return merge(self, actor, since, rows, *given)

    patch.setattr(State, "merge", hasty)


def a_marker_goes_with_what_needs_it(patch: pytest.MonkeyPatch) -> None:
    def drop(self: State, actor: Actor, statement: Statement, floors: Floors) -> None:
        forget(self, actor, statement, floors)
        self.adopted.clear()

    forget = State._forget_unnamed
    patch.setattr(State, "_forget_unnamed", drop)


def deletes_are_not_noted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lives, "noted", lambda *_: None)


def markers_are_forgotten_though_needed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lives, "needed", lambda *_: {})


def markers_are_forgotten_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lives, "FORGET_MS", 0)


def lineages_are_not_born(patch: pytest.MonkeyPatch) -> None:
    def unborn(row: EndingRow, version: int) -> HeldRow:
        return numbered(row._replace(born=0) if row.born == PENDING else row, version)

    patch.setattr(counts, "numbered", unborn)


def a_marker_spares_earlier_lineages(patch: pytest.MonkeyPatch) -> None:
    taken = Lives.taken

    def sparing(self: Lives, actor: Actor, row: EndingRow) -> tuple[int, int]:
        seen = self._seen.get(actor)
        return row.taken[:2] if seen and seen.born > row.born else taken(self, actor, row)

    patch.setattr(Lives, "taken", sparing)


def deleted_rows_stay(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lives, "is_covered", lambda *_: False)


def a_deleter_keeps_its_totals(patch: pytest.MonkeyPatch) -> None:
    deleted = Lives.deleted

    def keeping(self: Lives, me: Actor, *rest: Any) -> EndingRow:
        row, old = deleted(self, me, *rest), self.rows.get(me)
        if old is None or old.born == PENDING:
            return row
        return row._replace(p=old.p, n=old.n, born=old.born, taken=row.taken._replace(p=old.taken.p, n=old.taken.n))

    patch.setattr(Lives, "deleted", keeping)


def lives_are_not_joined(patch: pytest.MonkeyPatch) -> None:
    def apart(self: Lives) -> dict[int, tuple[int, int]]:
        said: dict[int, tuple[int, int]] = {}
        for row in self.rows.values():
            said[row.life] = max(said.get(row.life, (0, 0)), (row.stamp, row.deadline))
        return said

    patch.setattr(Lives, "_latest_settings", apart)


def lives_are_not_named(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lives, "_next_life", lambda _: 0)


def lives_of_the_future_are_joined(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lives, "LIKE_MS", FAR_MS)


def rows_of_lives_that_go_on_are_dropped(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lives, "goes_on", lambda *_: False)


def deleted_rows_are_taken_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ActorLog, "forgotten", property(lambda self: Floors(self.floors.upto(self.complete_version)[0])))


def unlike_clocks_tell_what_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(intake, "LIKE_MS", FAR_MS)
    rows_of_lives_that_go_on_are_dropped(patch)  # which would make up for it


def only_our_own_clock_counts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Ends, "met", lambda *_: None)


def empty_rows_stay(patch: pytest.MonkeyPatch) -> None:
    forgotten = Lives.forgotten

    def keeping(self: Lives) -> Any:
        return {actor for actor in forgotten(self) if not self.rows[actor].stamp or self.rows[actor].deadline}

    patch.setattr(Lives, "forgotten", keeping)


def lives_have_no_grace(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lives, "GRACE_MS", 0)


def deleted_rows_still_set_a_deadline(patch: pytest.MonkeyPatch) -> None:
    def setting(_: Lives, _actor: Actor, row: EndingRow) -> Iterator[tuple[int, tuple[int, int]]]:
        yield row.life, (row.stamp, row.deadline)
        if before := row.taken.before:
            yield before.life, (before.stamp, before.deadline)

    patch.setattr(Lives, "_settings", setting)


def earlier_deadlines_are_not_remembered(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lives, "_with_deadline", lambda _, row, stamp, deadline: row._replace(stamp=stamp, deadline=deadline))


def later_deadlines_are_not_remembered(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lives, "_overruled_ms", lambda *_: 0)


def lives_go_in_parts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lives, "_setters", lambda *_: {})


def rows_stay_for_those_that_would_go_with_them(patch: pytest.MonkeyPatch) -> None:
    may_go = Lives._may_go

    def clinging(self: Lives, actor: Actor, row: EndingRow, is_empty: bool) -> bool:
        others = {self.latest(each.life) for of, each in self.rows.items() if of != actor and self.is_over(each.life)}
        sets_their_end = any(self.latest(life) in others for life, _ in self._settings(actor, row))
        return may_go(self, actor, row, is_empty) and not (sets_their_end or self.needed(actor, row.taken))

    patch.setattr(Lives, "_may_go", clinging)


def rows_that_end_others_are_dropped(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lives, "_ends_others", lambda *_: False)
