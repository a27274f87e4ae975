"""Datagrams at one node: plain, and sealed.

The control byte of an item, from its lowest bit: who sends it (2 bits), how it is dressed (3), whether it is given a
good version and checksum (1, 0 for yes), whether more time passes after it (1), whether a round begins then (1).
"""

from random import Random
from zlib import crc32

from gossip_counter.bench.fuzz import agreement
from gossip_counter.bench.fuzz.in_memory import HERE, MS, PEERS, InMemory
from gossip_counter.bench.fuzz.items import Item, split
from gossip_counter.bench.fuzz.samples import CLUSTER
from gossip_counter.bench.fuzz.wrong import check
from gossip_counter.cluster.sim import recomputed
from gossip_counter.node.codec.datagrams import VERSION
from gossip_counter.node.core.errors import SealError
from gossip_counter.node.core.messages import Add, ErrorReply
from gossip_counter.node.endpoints.addresses import Sockaddr
from gossip_counter.node.endpoints.proofs import is_of_a_proof
from gossip_counter.node.security.keyring import Key, Keyring
from gossip_counter.node.security.sealing import Sealing

ALIVE = "alive"
"""A counter that no sample names: it must count whatever came before."""

SOURCES: tuple[Sockaddr, ...] = (PEERS["n2"], PEERS["n3"], ("127.0.0.1", 9), ("198.51.100.7", 9))
REFUSED = ("no_key", "unknown_key", "retired_key", "forged", "replayed", "unbound", "worthless_dropped")
"""How datagrams are counted that are not sealed for this process."""
STEP_MS, LEAP_MS = 7, 900


def repaired(content: bytes) -> bytes:
    """Gossip with the version that is spoken here, and a checksum that is right."""
    if content[:1] < b"\x90" or content[:1] > b"\x9f":
        return content
    content = content[:1] + bytes([VERSION]) + content[2:-4]
    return content + crc32(content).to_bytes(4, "big")


def dressing(item: Item) -> tuple[bytes, int]:
    """The datagram of an item, and how it is dressed."""
    content = item.content if item.control & 32 else repaired(item.content)
    return content, item.control >> 2 & 7


def _pass_time(node: InMemory, item: Item) -> None:
    leaps = item.control & 64
    node.pass_time((LEAP_MS if leaps else STEP_MS) * MS)
    if leaps and item.control & 128:
        node.tick()


def _check_end(node: InMemory) -> None:
    """Whatever came: what is kept is what the rows come to, and the node counts on."""
    recomputed.check(node.replica.state)
    node.replies.clear()
    node.replica.step(Add(1, 1, ALIVE), "client", node.now_ns)
    node.advance()
    errors = [each.text for each in node.replies if isinstance(each, ErrorReply)]
    if errors != [node.replica.closed]:
        check(len(node.replies) == 1 and not errors, "an add is not acknowledged:", node.replies)
        check((node.replica.value(ALIVE) or 0) > 0, "an add does not count")
    recomputed.check(node.replica.state)
    check(node.stats.internal_errors == 0, "an error was not expected")


# Plain.


def try_plain(data: bytes) -> int:
    """Datagrams without keys: anything may be believed, nothing may go wrong. Returns how many there were."""
    node = InMemory()
    count = 0
    for count, item in enumerate(split(data), 1):
        datagram, _ = dressing(item)
        # One in four: it takes longer than the node does.
        was_taken = bool(count % 4) or is_of_a_proof(datagram) or agreement.of_datagram(datagram)
        bad = _refused_plain(node)
        _receive_plain(node, datagram, SOURCES[item.control & 3])
        check(was_taken or _refused_plain(node) == bad + 1, "what can't be read is not counted:", datagram)
        check(node.stats.datagrams_in == count, "a datagram is not counted:", datagram)
        _pass_time(node, item)
    _check_end(node)
    return count


def _refused_plain(node: InMemory) -> int:
    stats = node.stats
    return stats.bad_input + stats.foreign_gossip + stats.no_key + stats.worthless_dropped


def _receive_plain(node: InMemory, datagram: bytes, source: Sockaddr) -> None:
    node.receive(datagram, source)
    node.socket.sent.clear()


# Sealed.

RING, OTHERS = Keyring((Key(b"1" * 32, 1),)), Keyring((Key(b"2" * 32, 2),))
AS_IS, SEALED, FLIPPED, OTHER_KEY, REPLAYED, UNBOUND, CUT, ELSEWHERE = range(8)


class Member:
    """A process that has the keys, and what it sealed."""

    def __init__(self, node: InMemory, at: Sockaddr, number: int) -> None:
        self.sealing, self.at = Sealing(RING, CLUSTER, Random(number)), at
        self.last = b""
        node.receive(self.sealing.greeting(HERE[:2]), at)
        for answer, to in node.sent():
            if to == at:
                self.take(answer)

    def take(self, datagram: bytes) -> None:
        """Take what the node sent."""
        try:
            self.sealing.unseal(datagram, HERE[:2])
        except SealError as error:
            check(error.kind in ("", "unbound"), "the node sent what does not open:", error)

    def sealed(self, content: bytes) -> bytes:
        """Sealed for the node."""
        datagram = self.sealing.seal(content, HERE[:2])
        check(datagram is not None, "the node did not answer a greeting")
        return datagram or b""


class Senders:
    """Members and others, at one node with keys."""

    def __init__(self, node: InMemory) -> None:
        self._members = [Member(node, at, number) for number, at in enumerate(SOURCES[:3], 2)]
        self._other = Sealing(OTHERS, CLUSTER, Random(8))
        self._earlier = InMemory(Sealing(RING, CLUSTER, Random(1)))
        """The process that the node was before."""
        self._of_earlier = Member(self._earlier, SOURCES[0], 9)

    def dress(self, item: Item) -> tuple[bytes, Sockaddr, bool]:
        """A datagram, where it comes from, and whether it is sealed for the node by a member at this address."""
        content, kind = dressing(item)
        member = self._members[(item.control & 3) % 3]
        unsealed = {
            AS_IS: lambda: content, OTHER_KEY: lambda: self._other.greeting(HERE[:2]) + content,
            REPLAYED: lambda: member.last, UNBOUND: lambda: self._of_earlier.sealed(content),
        }  # fmt: skip
        if kind in unsealed:
            return unsealed[kind](), SOURCES[0] if kind == UNBOUND else member.at, False
        datagram = member.sealed(content)
        if kind == SEALED:
            member.last = datagram
            return datagram, member.at, True
        if kind == ELSEWHERE:
            return datagram, SOURCES[3], False
        at = (len(content) * 7 + item.control) % len(datagram)
        if kind == CUT:
            return datagram[:at], member.at, False
        return datagram[:at] + bytes([datagram[at] ^ 1 << at % 8]) + datagram[at + 1 :], member.at, False

    def take(self, node: InMemory) -> None:
        """What the node has sent arrives."""
        by_address = {member.at: member for member in self._members}
        for datagram, to in node.sent():
            if to in by_address:
                by_address[to].take(datagram)


def try_sealed(data: bytes) -> int:
    """Datagrams at a node with keys: what is not sealed for it changes nothing. Returns how many there were."""
    node = InMemory(Sealing(RING, CLUSTER, Random(5)))
    senders = Senders(node)
    greetings, count = node.stats.datagrams_in, 0
    for count, item in enumerate(split(data), 1):
        datagram, source, is_sealed = senders.dress(item)
        before, refused = _all_of(node), _refused(node)
        node.receive(datagram, source)
        check(is_sealed or _all_of(node) == before, "what is not sealed has changed the state:", datagram)
        check(is_sealed or _refused(node) == refused + 1, "what is not sealed is not counted:", datagram)
        check(not is_sealed or _refused(node) == refused, "what is sealed was refused:", datagram)
        senders.take(node)
        check(node.stats.datagrams_in == greetings + count, "a datagram is not counted:", datagram)
        _pass_time(node, item)
        senders.take(node)
    _check_end(node)
    return count


def _refused(node: InMemory) -> int:
    return sum(getattr(node.stats, kind) for kind in REFUSED)


def _all_of(node: InMemory) -> tuple[object, ...]:
    replica, state = node.replica, node.replica.state
    kept = state.fingerprint, state.row_count, state.counted, state.digest(), replica.actor, replica.cluster_id
    return (
        *kept,
        replica.roster.hash,
        replica.closed,
        len(state.totals),
        replica.membership.skew_ms,
        node.stats.adds,
        node.stats.commits,
    )
