"""The list of members, as each node stores it: a small replicated map from names to records.

Pure. The record about a member is that member's own. It has when it joined (*life*), and has a version, which grows
with each change: a start, another address, another key, that it left. Of two records the one of the later life wins,
within a life the one of the higher version. A *removal* is what anybody may write about another: up to which life of a
name its processes are no members. It is merged by itself, by maximum, so no record of a removed life undoes it.

A life is when it began, in Unix milliseconds, with random bits behind. It lasts as long as the journal, which stores it
as soon as a member has it. Until then a node that learns that a former life of its name was removed begins its life
after that one, though its clock may be behind. One that goes on with the journal of the removed life learns that it is
no member any more.

A member that finds a record about itself that it did not write (of an earlier process, or forged) writes a later one;
but only once for each other process that runs under its name, and then once in a while: else two would do so in turn,
as fast as they gossip.

The members are those of the file or the command line, and those with a record, but for those who left or were removed.
"""

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from random import Random
from typing import Any, NamedTuple, Self

from gossip_counter.node.core.limits import MAX_COUNT, MAX_VERSION

MAX_MEMBERS = 500
"""Records of members that are stored. Those of further ones are dropped."""

MAX_GONE = 500
"""Records of such as left or were removed. Who did so first is forgotten beyond it: all nodes keep the same ones."""

MAX_BOOTS = 64
"""Processes of our own name that are distinguished."""

MAX_ADDRESSES = 4
"""Of one member."""

_RANDOM_BITS = 21
"""Behind the time in a life: 42 bits of milliseconds last until the year 2109."""


class MemberRecord(NamedTuple):
    """What is known of a member. All but the last two is written by itself."""

    name: str
    life: int = 0
    """0: nobody of that name was ever met."""
    version: int = 0
    has_left: bool = False
    boot: int = 0
    """The boot id of its process."""
    addresses: tuple[str, ...] = ()
    """HOST:PORT each. None: it is where its datagrams come from."""
    release: str = ""
    """The version of its program."""
    key: str = ""
    """The id of the key that it seals with."""
    removed: int = 0
    """Up to this life, the name was removed."""
    gone_ms: int = 0
    """When it left or was removed last, in Unix milliseconds; by the clock of who wrote that."""

    @property
    def is_removed(self) -> bool:
        """Whether this life of the name was removed."""
        return 0 < self.removed >= self.life

    @property
    def is_member(self) -> bool:
        """Whether it neither left nor was removed."""
        return not (self.has_left or self.is_removed)

    @property
    def since_ms(self) -> int:
        """When it joined first, by its clock, in Unix milliseconds."""
        return self.life >> _RANDOM_BITS

    def merged(self, other: Self) -> Self:
        """What both say together."""
        newer = max(self, other, key=lambda each: each.own_part)
        removed, gone_ms = max(self.removed, other.removed), max(self.gone_ms, other.gone_ms)
        return newer._replace(removed=removed, gone_ms=gone_ms)

    @property
    def own_part(self) -> tuple[Any, ...]:
        """What the member itself writes, the life and the version first."""
        return self[1:-2]


class Presence(NamedTuple):
    """What a node lets the others know of itself."""

    addresses: tuple[str, ...] = ()
    release: str = ""
    seeds: tuple[object, ...] = ()
    """Who is asked to take it in as a member, if it is none yet: clients, as adapters name them."""


class Roster:
    """The records at one node. Without `presence` it writes none about itself, and stores those of the others."""

    def __init__(
        self, name: str, listed: Iterable[str], stored: Iterable[MemberRecord] = (), presence: Presence | None = None
    ) -> None:
        """`listed` are the others, as people listed them; `stored` is what the journal has."""
        self.name = name
        self.records = {record.name: record for record in stored}
        for old in too_old(self.records, name):
            del self.records[old]
        self.hash = 0
        """Equal for equal records; 0 for none."""
        self.revision = 0
        """Counts changes."""
        for record in self.records.values():
            self.hash ^= _hash(record)
        self._listed = set(listed)
        self._presence = presence
        self._ours = self.own
        """What is true of this process, but for the life, the version and who removed it."""
        self._unsaved = set[str]()
        self._withheld = set[str]()
        """Names whose records are not sent yet: this node has removed them, or leaves, and that is not durable."""
        self.is_new = not self.own.life
        """Whether nobody else is known to have a record of this life."""
        self._answered = set[int]()
        """Other processes of our name whose records we have replaced, by their boot ids."""

    @property
    def own(self) -> MemberRecord:
        """The record about this node."""
        return self.records.get(self.name) or MemberRecord(self.name)

    @property
    def others(self) -> tuple[str, ...]:
        """The names of the other members, in order."""
        names = self._listed | self.records.keys()
        return tuple(sorted(name for name in names if name != self.name and self.is_member(name)))

    def is_member(self, name: str) -> bool:
        """Whether a name is listed or has a record, and neither left nor was removed."""
        record = self.records.get(name)
        return record.is_member if record else name in self._listed

    # What this node writes.

    def begin(self, boot: int, unix_ms: int, entropy: Random) -> None:
        """A process begins. One that had left comes back."""
        if self._presence:
            addresses, release, _ = self._presence
            life = self.own.life or min(unix_ms << _RANDOM_BITS | entropy.getrandbits(_RANDOM_BITS), MAX_COUNT)
            places = addresses[:MAX_ADDRESSES]
            self._ours = self.own._replace(has_left=False, boot=boot, addresses=places, release=release)
            self._write(max(life, 1), self.own.version)

    def use_key(self, key: str) -> None:
        """This node seals with another key now."""
        if self._presence and self.own.life and key != self._ours.key:
            self._write(self.own.life, self.own.version, key=key)

    def use_address(self, address: str) -> None:
        """Others reach this node here, HOST:PORT, as it turns out."""
        if self._presence and self.own.life and address not in self._ours.addresses:
            self._write(self.own.life, self.own.version, addresses=(address,))

    def leave(self, unix_ms: int) -> MemberRecord:
        """This node is no member any more. Its record."""
        self.note_known()
        self._withheld.add(self.name)
        self._write(self.own.life, self.own.version, has_left=True, gone_ms=unix_ms)
        return self.own

    def take_back(self) -> None:
        """Replace a record of another process of our name that was let stand: that one may have ended."""
        if self._presence and self.own.life and self.own.boot != self._ours.boot and not self.own.is_removed:
            self._write(self.own.life, self.own.version)

    def remove(self, name: str, unix_ms: int) -> MemberRecord:
        """Another is no member any more, whatever it writes. Its record."""
        record = self.records.get(name) or MemberRecord(name)
        removed = max(record.life, record.removed) or min(max(unix_ms, 1) << _RANDOM_BITS, MAX_COUNT)
        self._withheld.add(name)
        self._put(record._replace(removed=removed, gone_ms=max(unix_ms, record.gone_ms)))
        return self.records[name]

    @property
    def shown(self) -> dict[str, MemberRecord]:
        """By name, the records that others may have."""
        if not self._withheld:
            return self.records
        return {name: record for name, record in self.records.items() if name not in self._withheld}

    def _write(self, life: int, version: int, **changes: Any) -> None:
        """Write the next record after this version of a life, with what is true of this process, and with changes."""
        self._ours = self._ours._replace(**changes)
        if version < MAX_VERSION:
            version += 1
        elif life < MAX_COUNT:
            life, version = life + 1, 1
        gone_ms = max(self.own.gone_ms, self._ours.gone_ms)
        self._put(self._ours._replace(life=life, version=version, removed=self.own.removed, gone_ms=gone_ms))

    # What others write.

    def merge(self, records: Iterable[MemberRecord]) -> list[MemberRecord]:
        """Take in records; those that have changed. Others may be forgotten for them: `revision` counts that too."""
        news = []
        for record in records:
            known = self.records.get(record.name)
            if not self._has_room(record, known):
                continue
            if record.name == self.name and self._presence:
                self._answer(record)
            else:
                self._put(known.merged(record) if known else record)
            if self.records.get(record.name) != known:
                news.append(self.records[record.name])
        self._forget_oldest()
        return [record for record in news if record.name in self.records]

    def _has_room(self, record: MemberRecord, known: MemberRecord | None) -> bool:
        """Whether there is room for a further member, if this makes one."""
        is_new = not (known and known.is_member) and (known.merged(record) if known else record).is_member
        if record.name == self.name or not is_new or len(self.records) < MAX_MEMBERS:
            return True
        return sum(each.is_member for each in self.records.values()) < MAX_MEMBERS

    def _forget_oldest(self) -> None:
        for name in too_old(self.records, self.name):
            self.hash ^= _hash(self.records.pop(name))
            self._listed.discard(name)  # or it would be a member again
            self.revision += 1

    def _answer(self, theirs: MemberRecord) -> None:
        """Somebody has this record about us."""
        removed, gone_ms = max(theirs.removed, self.own.removed), max(theirs.gone_ms, self.own.gone_ms)
        ours = self.own._replace(removed=removed, gone_ms=gone_ms)
        if removed > ours.life and self.is_new and removed < MAX_COUNT:
            ours = ours._replace(life=removed + 1)  # it was a former life that was removed
        self._put(ours)
        if theirs.life == ours.life and theirs.boot == ours.boot:
            self.note_known()
        if theirs.own_part <= ours.own_part or self.own.is_removed:
            return
        if self._may_replace(theirs):
            self._write(theirs.life, theirs.version)
        else:
            self._put(theirs._replace(removed=removed, gone_ms=gone_ms))

    def _may_replace(self, theirs: MemberRecord) -> bool:
        """Whether to write a later record about us than this one."""
        is_first = theirs.boot not in self._answered and len(self._answered) < MAX_BOOTS
        if theirs.boot != self._ours.boot:
            self._answered.add(theirs.boot)
        return is_first or theirs.has_left or theirs.boot == self._ours.boot

    def note_known(self) -> None:
        """A member has our record: this life is one that can be removed."""
        if self.is_new and self.own.life:
            self.is_new = False
            self._unsaved.add(self.name)

    def _put(self, record: MemberRecord) -> None:
        known = self.records.get(record.name)
        if record == known:
            return
        self.hash ^= _hash(record) ^ (_hash(known) if known else 0)
        self.records[record.name] = record
        self.revision += 1
        if record.name != self.name or not self.is_new:
            self._unsaved.add(record.name)

    # What is durable.

    @property
    def unsaved(self) -> tuple[MemberRecord, ...]:
        """The records that the journal does not have."""
        return tuple(self.records[name] for name in sorted(self._unsaved) if name in self.records)

    def saved(self, records: Iterable[MemberRecord]) -> None:
        """The journal has these."""
        saved = {record.name for record in records if self.records.get(record.name) == record}
        self._unsaved -= saved
        self._withheld -= saved


def too_old(records: Mapping[str, MemberRecord], own_name: str = "") -> list[str]:
    """The names to forget, of those that left or were removed; our own stays."""
    if len(records) <= MAX_GONE:
        return []
    gone = [each for each in records.values() if not each.is_member and each.name != own_name]
    gone.sort(key=lambda each: (each.gone_ms, each.name))
    return [each.name for each in gone[: max(0, len(gone) - MAX_GONE)]]


def _hash(record: MemberRecord) -> int:
    return int.from_bytes(blake2b(repr(tuple(record)).encode("utf-8", "surrogatepass"), digest_size=8).digest())
