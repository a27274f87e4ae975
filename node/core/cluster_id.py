"""Which cluster this node belongs to, beyond its name: two clusters of one name must not merge.

Pure. People choose names, and an address may be given to another machine: a wrong entry in one list of members would be
enough to make two clusters count as one, for ever. So each cluster has an id, a random number that every gossip
datagram carries, and *nothing is merged from a sender with another id than ours*.

Nobody hands the id out. A node whose journal names none mints one, which is *provisional*: it gives way to a smaller
one and to a *settled* one. A node settles its id once every member of its list has replied with that id, and never
changes it then. Ids of new nodes only shrink, so the id that all of them have replied with is the least that any of
them minted: no two can be settled in one cluster. For that, the journal stores the id with the next commit after each
change, and an id counts as settled for others only once that is durable here: nobody may rely on what a crash could
take back. A copied journal keeps its id: it is of the same cluster.

A node takes another id only from a reply to what it asked itself, or from a whole state in full-state gossip, where
nobody asks. It asks those in its own list, and replies go to the address in the list of whoever replies. So one wrong
address captures nobody: both lists would have to be wrong. Others are merely replied to, or asked:

    theirs                 ours           what happens to a message of theirs
    the same                              it is handled
    settled                settled        it is refused
    settled, or smaller    provisional    a reply: we take their id, and handle it; else we ask them
    any other                             to a SYN we reply, so that they take ours

A SYN of the last kind is refused too if that member speaks from another address with our id: then this is not the
member, and what we reply would reach the member in its place.

What this does not see:

- A node without a journal takes the id, and the rows, of a cluster that lists its address under its name if its own
  list names a member of that cluster: for that cluster it is its member, come back without its journal. In full-state
  gossip the first half is enough.
- Clusters that each have a settled id can't be joined. All nodes but those of one must begin with empty journals.
- A member that never replied keeps the others from settling. What is provisional is kept apart as well, but gives way
  where both lists are wrong.
"""

from collections.abc import Collection
from enum import Enum, auto
from random import Random
from typing import NamedTuple, Self

from gossip_counter.node.core import limits


class ClusterId(NamedTuple):
    """An id as gossip carries it and journals store it."""

    number: int
    """Below 2**63."""
    is_settled: bool

    @property
    def text(self) -> str:
        """The number as people see it, in hexadecimal."""
        return f"{self.number:016x}"

    def packed(self) -> int:
        """Both as one number below 2**64."""
        return 2 * self.number + self.is_settled

    @classmethod
    def unpacked(cls, packed: object) -> Self:
        """What `packed` made that number of. Raises `ValueError` for anything else."""
        number = limits.whole(packed, "cluster id", 0, 2**64 - 1)
        return cls(number >> 1, bool(number & 1))


class Handling(Enum):
    """What is to be done with a message, by its sender's cluster id."""

    TAKE = auto()
    """It is of this cluster."""
    REPLY = auto()
    """Its sender should take our id: if it asks something, reply, and take nothing of it."""
    ASK = auto()
    """We should take its sender's id: ask that member, and take nothing of it."""
    REFUSE = auto()
    """Its sender is of another cluster."""


class OwnClusterId:
    """This node's cluster id, from start to end."""

    def __init__(
        self, members: Collection[str], stored: ClusterId | None, entropy: Random, joins: bool = False
    ) -> None:
        """`members` are the others; `stored` is what the journal names. Who `joins` a cluster has its id from there."""
        self._members = frozenset(members)
        self._stored = stored
        self._ours = stored or ClusterId(entropy.getrandbits(63), False)
        """Once it is settled it never changes any more, be it durable or not."""
        self._joins = joins
        self._agreeing = set[str]()
        """Members that have replied with our present id."""
        if not joins:
            self._settle_if_all_agree()

    def set_members(self, members: Collection[str]) -> None:
        """The others are these now. Who joins takes part in nothing until then."""
        self._members = frozenset(members)
        if self._members or not self._joins:
            self._settle_if_all_agree()

    @property
    def shown(self) -> ClusterId:
        """What gossip carries; asked for each message."""
        return self._ours._replace(is_settled=False) if self.awaits_commit else self._ours

    @property
    def unagreed(self) -> tuple[str, ...]:
        """The members that have not replied with our id yet, which keeps it from being settled."""
        return () if self._ours.is_settled else tuple(sorted(self._members - self._agreeing))

    @property
    def unsaved(self) -> ClusterId | None:
        """What the next commit is to store, if the journal does not have it."""
        return None if self._ours == self._stored else self._ours

    @property
    def awaits_commit(self) -> bool:
        """Whether peers wait for it to be durable. What is provisional is stored when a commit comes."""
        return self._ours.is_settled and bool(self._members) and self._ours != self._stored

    def saved(self, stored: ClusterId) -> None:
        """The journal has this."""
        self._stored = stored

    def receive(self, theirs: ClusterId, sender: str, is_reply: bool) -> Handling:
        """A message of a member with this id has arrived; `is_reply` if we asked for it."""
        number, is_settled = self._ours
        if theirs.number != number:
            if is_settled and theirs.is_settled:
                return Handling.REFUSE
            if is_settled or not (theirs.is_settled or theirs.number < number):
                return Handling.REPLY
            if not is_reply:
                return Handling.ASK
            self._ours = ClusterId(theirs.number, False)
            self._agreeing.clear()
        if is_reply and not is_settled:
            self._agreeing.add(sender)
            self._settle_if_all_agree()
        return Handling.TAKE

    def _settle_if_all_agree(self) -> None:
        if self._agreeing >= self._members:
            self._ours = self._ours._replace(is_settled=True)
