"""Every message that nodes send each other, as data.

Pure. `node/codec/datagrams.py` has their form on the wire.
"""

from dataclasses import dataclass, field

from gossip_counter.node.core.cluster_id import ClusterId
from gossip_counter.node.core.counts import Actor, NamedRow
from gossip_counter.node.core.holdings import NO_FLOORS, DigestEntry, Floors, Part
from gossip_counter.node.core.roster import MemberRecord


@dataclass(frozen=True, slots=True)
class Delta:
    """Rows of one actor, ascending in version: all those above `since` up to `reach`.

    `source_version` is the version of the state that they were cut from, where that is later. `since` None: these rows
    claim nothing, and stand in any order. Up to `floors`, what the sender does not have it has forgotten.
    """

    actor: Actor
    since: int | None
    rows: tuple[NamedRow, ...]
    source_version: int = 0
    upto: int = 0
    """How far it reaches where that is above the last row: later ones were forgotten."""
    floors: Floors = NO_FLOORS
    clock_ms: int = 0
    """By what time it has, in Unix milliseconds."""
    is_whole: bool = False
    """Whether all contiguous rows are here that the sender stores above `since`."""

    @property
    def reach(self) -> int:
        """The version up to which all rows are here."""
        return max(self.upto, self.rows[-1][1].version if self.rows else 0)


@dataclass(frozen=True, slots=True)
class _FromPeer:
    """What all gossip has."""

    cluster_id: ClusterId | None = field(default=None, compare=False, kw_only=True)
    """The sender's. The outbox states it; None: the sender's endpoint states none (stdin/stdout)."""


@dataclass(frozen=True, slots=True)
class Replicate(_FromPeer):
    """Full-state gossip: the rows of a whole state, or some of them, claiming nothing. `fingerprint` is that of the
    sender's whole state, or None where the rows are all that is known of it.
    """

    sender: str
    fingerprint: int | None
    deltas: tuple[Delta, ...]


@dataclass(frozen=True, slots=True)
class Syn(_FromPeer):
    """What the sender holds of the actors above `above` up to `upto` ("" and None: no bound).

    It opens an exchange, or goes into the detail of what differs. Either `digest` has all of them, or `parts` divide
    the range, and the last ends where it does. What is too large for one datagram is sent in several ranges.
    """

    sender: str
    fingerprint: int
    digest: dict[Actor, DigestEntry]
    above: str = ""
    upto: str | None = None
    boot: int = 0
    """A random number, below 2**32, of the sender's process."""
    clock_ms: int = 0
    """The sender's clock, in Unix milliseconds: its hashes are made for that time, see `ends`. 0: it gives none."""
    parts: tuple[Part, ...] = ()
    answered: int = 0
    """The boot id of the SYN that this answers; 0: none."""
    members: int = 0
    """The hash of the sender's list of members."""


@dataclass(frozen=True, slots=True)
class SynAck(_FromPeer):
    """Answers Syn: rows that its sender lacks, and what we lack of theirs, as the version to go on from."""

    sender: str
    fingerprint: int
    deltas: tuple[Delta, ...]
    wants: dict[Actor, int]
    boot: int = 0
    """That of the SYN, which may have come from another process than the one this reaches."""


@dataclass(frozen=True, slots=True)
class Ack(_FromPeer):
    """Answers SynAck: the rows that were wanted."""

    sender: str
    fingerprint: int
    deltas: tuple[Delta, ...]


@dataclass(frozen=True, slots=True)
class Push(_FromPeer):
    """News, unasked."""

    sender: str
    fingerprint: int
    deltas: tuple[Delta, ...]


@dataclass(frozen=True, slots=True)
class Confirm(_FromPeer):
    """Asks whether all writes of an actor up to `version`, or just what `entry_hash` is of if not 0, are durable."""

    sender: str
    fingerprint: int
    actor: Actor
    version: int
    entry_hash: int = 0


@dataclass(frozen=True, slots=True)
class Confirmed(_FromPeer):
    """Answers Confirm: every write up to `version` is stored durably, and so is what Confirm's `entry_hash` is of."""

    sender: str
    fingerprint: int
    actor: Actor
    version: int
    entry_hash: int = 0


@dataclass(frozen=True, slots=True)
class Rival(_FromPeer):
    """Answers Syn where another process speaks under the name of its sender: that one's boot id.

    `wants` is what we lack of the receiver's rows. No rows go to it: it may not be the member that we know.
    """

    sender: str
    fingerprint: int
    boot: int
    wants: dict[Actor, int]


@dataclass(frozen=True, slots=True)
class Pull(_FromPeer):
    """Asks for at most so many bytes of rows, the oldest of each actor above a version. `number` is a random one."""

    sender: str
    fingerprint: int
    number: int
    window: int
    wants: dict[Actor, int]


@dataclass(frozen=True, slots=True)
class Pulled(_FromPeer):
    """Answers Pull. On the way it is several datagrams, numbered from 0."""

    sender: str
    fingerprint: int
    number: int
    deltas: tuple[Delta, ...]
    part: int = 0
    is_last: bool = True


@dataclass(frozen=True, slots=True)
class Join(_FromPeer):
    """Asks to be taken in as a member, with the record about the sender. `boot` comes back in the answer."""

    sender: str
    fingerprint: int
    boot: int
    record: MemberRecord


@dataclass(frozen=True, slots=True)
class Members(_FromPeer):
    """Records of members. `boot`: of the Join that it answers, else 0. `is_taken`: another process has that name."""

    sender: str
    fingerprint: int
    records: tuple[MemberRecord, ...]
    boot: int = 0
    is_taken: bool = False
    sent_to: str = ""
    """The address to which it is sent, as the sender's endpoint writes it: the receiver may know none of its own."""


Carrier = Replicate | SynAck | Ack | Push | Pulled
"""Gossip that carries rows."""

Gossip = Carrier | Syn | Pull | Rival | Confirm | Confirmed | Join | Members


def boot_answered(message: Gossip) -> int:
    """The boot id of the SYN that a message answers; 0: it answers none, or another kind."""
    return message.answered if isinstance(message, Syn) else message.boot if isinstance(message, SynAck) else 0


def is_answer(message: Gossip) -> bool:
    """Whether a message is sent only by who has received some."""
    return isinstance(message, SynAck | Ack | Pulled | Confirmed | Rival) or boot_answered(message) > 0
