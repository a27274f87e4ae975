"""The members as people see them: who each is, where, and how it stands.

Pure. A member is *up*, *suspect* or *down* by when it was last heard; nobody is removed because of that.
"""

from collections.abc import Iterable
from typing import Any

from gossip_counter.node.core.membership import Membership, Standing
from gossip_counter.node.core.roster import MemberRecord, Roster

STATES = ("up", "suspect", "down", "left", "removed")

PAGE_BYTES = 1200
"""Of the members in one reply, about: who sends few bytes gets few. One that takes more goes alone."""


Page = tuple[tuple[dict[str, Any], ...], bool]
"""Members as maps, and whether there are more."""


def page(roster: Roster, membership: Membership, now_ns: int, after: str = "") -> Page:
    """The members after a name, in order. Who left or was removed is among them."""
    standings = {each.name: each for each in membership.standings(now_ns)}
    names = sorted(name for name in {roster.name, *roster.records, *standings} if name > after)
    listed, room = list[dict[str, Any]](), PAGE_BYTES
    for name in names:
        entry = _entry(roster.records.get(name) or MemberRecord(name), standings.get(name))
        room -= len(repr(entry).encode())
        if listed and room < 0:
            break
        listed.append(entry)
    return tuple(listed), len(listed) < len(names)


def _entry(record: MemberRecord, standing: Standing | None) -> dict[str, Any]:
    return {
        "name": record.name,
        "addresses": list(record.addresses),
        "state": state_of(record, standing),
        "since_ms": record.since_ms or None,
        "boot": f"{record.boot:08x}" if record.boot else None,
        "version": record.release or None,
        "key": record.key or None,
        "skew_ms": standing.skew_ms if standing else None,
        "silent_ms": round(standing.silent_ms) if standing and standing.heard else None,
    }


def state_of(record: MemberRecord, standing: Standing | None) -> str:
    """up, suspect, down, left or removed. Without a standing it is this node itself."""
    if record.is_removed:
        return "removed"
    if record.has_left:
        return "left"
    return standing.state if standing else "up"


def by_state(roster: Roster, standings: Iterable[Standing]) -> dict[str, int]:
    """How many members stand how, this node included, and how many have left or were removed."""
    counts, listed = dict.fromkeys(STATES, 0), {each.name: each for each in standings}
    for name in {roster.name, *roster.records, *listed}:
        counts[state_of(roster.records.get(name) or MemberRecord(name), listed.get(name))] += 1
    return counts
