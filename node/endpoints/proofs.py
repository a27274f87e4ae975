"""Who receives what is sent to an address, where datagrams are plain: nobody makes a node a mirror that floods others.

Pure. An address is *proven* if whoever it is of receives what is sent there: one that people listed, one of this
machine, as the system drops what comes from elsewhere in its name, and one that has answered a *question*. To any
other, about as many bytes are sent as have come from it and a few more, though a record names it. Where datagrams are
sealed, their tokens do all this: see `security/sealing.py`.

A question carries a token, a hash of the address under a secret of this process. Whoever sends it back receives there,
whatever else it knows: what other datagrams carry is seen by all who speak with a node. Nothing is kept of a question.
Only addresses of peers are answered: else any node could be proven to another that it has nothing to do with. An
answer is as long as its question, so it need not be counted, and gets through when nothing else does.

    mark    2 bytes, c1 02: begins no msgpack value, and nothing sealed
    kind    1: 0 is a question, 1 an answer
    token   8

Source: cookies as in DTLS, RFC 6347, section 4.2.1.
"""

from collections.abc import Callable
from hashlib import blake2b

from gossip_counter.node.core.gossip.messages import Gossip, Join, Members, Syn
from gossip_counter.node.endpoints.addresses import Sockaddr, is_loopback

MARK = b"\xc1\x02"
QUESTION, ANSWER = MARK + b"\0", MARK + b"\1"
TOKEN_BYTES = 8

SECOND_NS = 1_000_000_000
FREE_BYTES = 8192
"""Bytes that an unproven address gets in a second beyond what it sends: one reply of any kind, and no flood.

They are for replies, for questions, and for gossip that has to come first, or nobody could prove anything.
"""

MOST_ADDRESSES = 1024
"""Unproven addresses that are answered in a second, and proven ones that are remembered; peers' come beside these."""

TOKEN_NS = 300 * SECOND_NS
"""How long a token is given, and how much longer it is taken: an address may be another's then."""

PROOF_NS = 3600 * SECOND_NS
"""How long an address is proven."""


def is_of_a_proof(datagram: bytes) -> bool:
    """Whether this is a question or an answer."""
    return datagram.startswith(MARK) and len(datagram) == len(QUESTION) + TOKEN_BYTES


class Proofs:
    """What addresses have proven to this process, which has this secret, and what the others have used up."""

    def __init__(
        self, secret: bytes, is_trusted: Callable[[Sockaddr], bool], is_of_a_peer: Callable[[Sockaddr], bool]
    ) -> None:
        """`is_trusted`: whether an address is proven by other means."""
        self._secret = secret
        self._is_trusted = is_trusted
        self._is_of_a_peer = is_of_a_peer
        self._until_ns: dict[Sockaddr, int] = {}
        """By proven address, how long it is that."""
        self._credit: dict[Sockaddr, int] = {}
        """By unproven address, the bytes that came from there, less those that were sent there."""
        self._now_ns = 0
        self._second_ends_ns = 0

    def at(self, now_ns: int) -> None:
        """It is that time now, by a monotonic clock."""
        self._now_ns = now_ns
        if now_ns >= self._second_ends_ns:
            self._second_ends_ns = now_ns + SECOND_NS
            self._credit.clear()

    def is_proven(self, address: Sockaddr) -> bool:
        """Whether an address is proven."""
        has_answered = self._until_ns.get(address, -1) > self._now_ns
        return has_answered or is_loopback(address[0]) or self._is_trusted(address)

    # Questions and answers.

    def question(self, to: Sockaddr) -> bytes:
        """What to ask an address."""
        return QUESTION + self._token(to, self._now_ns // TOKEN_NS)

    def receive(self, datagram: bytes, source: Sockaddr) -> bytes | None:
        """Take a question or an answer; what to reply to a question."""
        if datagram.startswith(QUESTION):
            return ANSWER + datagram[len(QUESTION) :] if self._is_of_a_peer(source) else None
        period = self._now_ns // TOKEN_NS
        if datagram[len(ANSWER) :] in (self._token(source, period), self._token(source, period - 1)):
            self._until_ns.pop(source, None)
            self._until_ns[source] = self._now_ns + PROOF_NS
            self._forget_oldest()
        return None

    def _forget_oldest(self) -> None:
        """Forget the address that was proven first and is no peer's, if there are too many."""
        if len(self._until_ns) > MOST_ADDRESSES:
            others = (each for each in self._until_ns if not self._is_of_a_peer(each))
            self._until_ns.pop(next(others, ()), None)

    def _token(self, address: Sockaddr, period: int) -> bytes:
        return blake2b(f"{period} {address}".encode(), key=self._secret, digest_size=TOKEN_BYTES).digest()

    # What the others may have.

    def came(self, source: Sockaddr, size: int) -> bool:
        """A datagram of so many bytes came from there; whether it is handled if it is a request."""
        if self.is_proven(source):
            return True
        if not self._has_room(source):
            return False
        self._credit[source] = credit = self._credit.get(source, 0) + size
        return credit > -FREE_BYTES

    def may_send(self, to: Sockaddr, size: int, free: int) -> bool:
        """Whether so many bytes may be sent there, `free` beyond what came from an unproven address; they count."""
        if self.is_proven(to):
            return True
        credit = self._credit.get(to, 0)
        if size > credit + free or not self._has_room(to):
            return False
        self._credit[to] = credit - size
        return True

    def _has_room(self, address: Sockaddr) -> bool:
        return len(self._credit) < MOST_ADDRESSES or address in self._credit or self._is_of_a_peer(address)


def free_bytes(gossip: Gossip, is_for_member: bool) -> int:
    """How many bytes of this may be sent to an unproven address beyond what came from there.

    Somebody has to open an exchange. And who is no member any more is sent the record of that, once a tick.
    """
    opens = isinstance(gossip, Join) or (isinstance(gossip, Syn) and not gossip.answered)
    corrects = isinstance(gossip, Members) and not (gossip.boot or is_for_member)
    return FREE_BYTES if opens or corrects else 0
