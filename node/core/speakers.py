"""Which processes speak under the name of each member. There should be one.

Pure. Each start of a process has a random *boot id*, which stands in every SYN. Two processes that speak at the same
time from two addresses are the two halves of a *fork*: a machine was cloned, or moved while its old self still runs. If
they wrote as one actor, the maximum would absorb what one of them adds. So each is sent the boot id of the other.

A process that speaks from the address of another has taken its place: no two can have one address.
"""

from dataclasses import dataclass

from gossip_counter.node.core.effects import Client
from gossip_counter.node.core.stats import Stats

SPEAKING_NS = 3_000_000_000
"""A process that was silent for so long has ended."""

MAX_SPEAKERS = 4
"""Processes under one name that are distinguished."""


@dataclass(slots=True)
class Speaker:
    """A process that speaks under a member's name."""

    boot: int
    source: Client
    heard_ns: int


class Speakers:
    """By member, those who were heard of late, in the order in which they began."""

    def __init__(self, stats: Stats) -> None:
        self.by_name: dict[str, list[Speaker]] = {}
        self._stats = stats

    def heard(self, name: str, boot: int, source: Client, now_ns: int) -> Speaker | None:
        """One speaks under that name; another that does so too, if there is one."""
        speakers = self.by_name[name] = [
            each
            for each in self.by_name.get(name, ())
            if each.boot == boot or (each.source != source and now_ns < each.heard_ns + SPEAKING_NS)
        ]
        known = next((each for each in speakers if each.boot == boot), None)
        if known:
            known.source, known.heard_ns = source, now_ns
        elif len(speakers) < MAX_SPEAKERS:
            self._stats.forks += bool(speakers)
            speakers.append(Speaker(boot, source, now_ns))
        return next((each for each in speakers if each.boot != boot), None)

    def is_first(self, name: str, boot: int) -> bool:
        """Whether it is this process that peers' messages to that member are for."""
        return self.by_name[name][0].boot == boot

    def elsewhere(self, name: str, source: Client, now_ns: int) -> Client | None:
        """Where a process speaks from under that name, if there is one that does so from another place than this."""
        places = (each.source for each in self.by_name.get(name, ()) if now_ns < each.heard_ns + SPEAKING_NS)
        return next((place for place in places if place != source), None)

    def forks(self, now_ns: int) -> list[tuple[str, list[Client]]]:
        """Members under whose names several processes speak, and where each does so from."""
        speaking = {
            name: [each.source for each in speakers if now_ns < each.heard_ns + SPEAKING_NS]
            for name, speakers in self.by_name.items()
        }
        return [(name, sources) for name, sources in speaking.items() if len(sources) > 1]
