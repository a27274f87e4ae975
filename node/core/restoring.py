"""From what a journal holds to the state that it was when it was stored.

Pure.
"""

from bisect import bisect_right
from collections.abc import Iterable

from gossip_counter.node.core import counts
from gossip_counter.node.core.actor_log import by_version
from gossip_counter.node.core.holdings import Stored
from gossip_counter.node.core.limits import MAX_VERSION
from gossip_counter.node.core.state import State


def restored(stored: Iterable[Stored]) -> State:
    """The state of which a journal holds this of each actor."""
    state = State()
    for each in stored:
        _restore(state, each)
    return state


def _restore(state: State, stored: Stored) -> None:
    rows = sorted(((counter, counts.takeable(row)) for counter, row in stored.rows.items()), key=by_version)
    upto = bisect_right(rows, min(stored.version, MAX_VERSION - 1), key=by_version)
    # A detached row hides the older one that it replaces: the version is that of the last row we can still give,
    # and what it hides we no longer hold.
    source_version = min(MAX_VERSION, max(stored.source_version, rows[-1][1].version if rows else 0))
    # What it forgot hides nothing, and may have been the last.
    reach = stored.version if stored.floors.forgotten and upto == len(rows) else 0
    state.merge(stored.actor, 0, rows[:upto], source_version, reach)
    state.merge(stored.actor, None, rows[upto:])
    state.inherit(stored.actor, stored.floors)
