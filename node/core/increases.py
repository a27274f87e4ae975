"""An add with bounds and an expiry, as one write: what INCREX asks.

Pure. It is checked against what this node knows and what waits in its batch. That is exact at one node; what others
count in the same milliseconds can pass a bound.
"""

from dataclasses import dataclass

from gossip_counter.node.core.errors import RequestError
from gossip_counter.node.core.limits import MAX_COUNT


@dataclass(frozen=True, slots=True)
class Increase:
    """An add on these terms. Times are in milliseconds."""

    delta: int = 1
    lower: int = -MAX_COUNT
    upper: int = MAX_COUNT
    """The bounds of the value after it. Where it would leave them, nothing changes."""
    saturates: bool = False
    """It goes as far as the bound instead."""
    lasts_ms: int | None = None
    """So long from now the counter ends."""
    ends_ms: int | None = None
    """The counter ends at this Unix time; 0: never. None: nothing is said of it."""
    only_if_unset: bool = False
    """A deadline that there is stays as it is."""
    exists: bool | None = None
    """Only if the counter exists, or does not."""

    def __gt__(self, other: int) -> bool:
        """Never, so that nobody takes it for a number that is simply added up."""
        return False

    def deadline_ms(self, now_ms: int) -> int | None:
        """When the counter is to end; 0: never; None: nothing is said of it."""
        return self.ends_ms if self.lasts_ms is None else now_ms + self.lasts_ms

    def within(self, value: int) -> int | None:
        """The value that it makes of one; None: nothing changes."""
        after = value + self.delta
        if self.lower <= after <= self.upper:
            return after
        return min(max(after, self.lower), self.upper) if self.saturates else None


Increased = tuple[int, int]
"""The value after it, and what was added: 0 where it would have left the bounds."""

Outcome = int | Increased | RequestError | None
"""What a write comes to: a value, or why it was refused; None where whether the counter exists was against it."""
