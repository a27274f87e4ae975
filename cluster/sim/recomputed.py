"""What a state keeps beside its rows, computed once more from these rows alone.

Pure. Totals, names, hashes and counts are kept up to date by each merge, at the cost of the rows that it brings; here
they cost all rows.
"""

from collections.abc import Iterator
from itertools import chain

from gossip_counter.cluster.sim.oracle import PromiseBroken
from gossip_counter.node.core.actor_log import WRAP
from gossip_counter.node.core.counts import Actor, NamedRow, as_row, row_hash
from gossip_counter.node.core.holdings import DigestEntry
from gossip_counter.node.core.limits import MAX_COUNT
from gossip_counter.node.core.state import State

ALL = 2**62


def check(state: State) -> None:
    """Compare what is kept with what the rows come to. Raises `PromiseBroken`."""
    for what, kept, computed in chain(_sizes(state), _values(state), _hashes(state), shortcuts(state)):
        if kept != computed:
            raise PromiseBroken(f"{what}: {kept!r:.200} is kept, and the rows come to {computed!r:.200}")


Comparison = tuple[str, object, object]
"""What is compared, as it is kept, and as the rows have it."""


def shortcuts(state: State) -> Iterator[Comparison]:
    """What is kept of lives, so that not each add looks at all rows, and what a look at them gives."""
    lives = {counter: state.lives(counter) for counter in state.totals}
    yield "counters that expire", state.ends.expiring, sum(each.deadline > 0 for each in lives.values())
    for counter, each in lives.items():
        own = each.rows.get(state.owner) if state.owner else None
        if own and state.owner and state.ends.goes_on(counter, own) and own.p < MAX_COUNT:
            yield f"an add to {counter!r}", own._replace(p=own.p + 1), each.added(state.owner, 1, False)


def _sizes(state: State) -> Iterator[Comparison]:
    rows = list(state)
    yield "rows", state.row_count, len(rows)
    yield "rows, each once", len(rows), len({(actor, counter) for actor, counter, _ in rows})
    if not state.ends.are_seen:  # else rows may have begun again from zero, or be gone
        yield "sum of all p and n", state.counted, sum(row.p + row.n for _, _, row in rows)


def _values(state: State) -> Iterator[Comparison]:
    counters = {counter for _, counter, _ in state}
    values = {counter: state.lives(counter).value for counter in counters}
    yield "totals", dict(state.totals), {counter: value for counter, value in values.items() if value is not None}
    yield "names", sorted(state.names), sorted(state.totals)


def _hashes(state: State) -> Iterator[Comparison]:
    yield "fingerprint", state.fingerprint, _sum(state, ((actor, (name, row)) for actor, name, row in state))
    for actor, entry in state.digest().items():
        contiguous = state.newer(actor, -1, ALL)
        versions = [row.version for _, row in contiguous]
        yield f"order of {actor}'s rows", versions, sorted(versions)
        yield f"{actor}'s rows by name", sorted(contiguous), sorted(_contiguous(state, actor))
        yield f"{actor}'s rows above its version", [each for each in versions if each > state.version(actor)], []
        parts = contiguous, state.log(actor).detached.items()
        hashes = (_sum(state, ((actor, each) for each in part)) for part in parts)
        yield f"digest entry of {actor}", entry, DigestEntry(state.version(actor), *hashes)
        yield f"rows of {actor} that are in no hash", *_left_out(state, actor)


def _contiguous(state: State, actor: Actor) -> list[NamedRow]:
    return [(counter, as_row(row)) for counter, row in state.log(actor).rows.items()]


def _sum(state: State, rows: Iterator[tuple[Actor, NamedRow]]) -> int:
    hashed = (row_hash(actor, *named) for actor, named in rows if named[0] not in state.log(actor).unhashed)
    return sum(hashed) % WRAP


def _left_out(state: State, actor: Actor) -> tuple[set[str], set[str]]:
    """Counters whose rows are kept out of the hashes, and those of which the clock has it so now."""
    lives = {counter: state.lives(counter) for counter, _ in state.log(actor)}
    unhashed = {counter for counter, each in lives.items() if state.ends.is_unhashed(each, each.rows[actor])}
    return state.log(actor).unhashed, unhashed
