"""Who receives what is sent to an address, where datagrams are plain: nobody makes a node a mirror that floods others.

Pure. An address is *proven* if whoever it is of receives what is sent there: one that people listed, one of this
machine, in whose name nobody elsewhere can send, and one that has answered a *question*. To any other, about as many
bytes are sent as have come from it, though a record names it. Where datagrams are sealed, their tokens do all this:
see `security/sealing.py`.

A question carries a token, a hash of the address under a secret of this process. Whoever sends it back receives there,
whatever else it knows: what other datagrams carry is seen by all who speak with a node. Nothing is kept of a question,
and the answer is as long as that.

    mark    2 bytes, c1 02: begins no msgpack value, and nothing sealed
    kind    1: 0 is a question, 1 an answer
    token   8

Source: cookies as in DTLS, RFC 6347, section 4.2.1.
"""

from collections.abc import Callable
from hashlib import blake2b

from gossip_counter.node.core.gossip.messages import Gossip, Join, Members, Syn
from gossip_counter.node.endpoints.addresses import Sockaddr

MARK = b"\xc1\x02"
QUESTION, ANSWER = MARK + b"\0", MARK + b"\1"
TOKEN_BYTES = 8

SECOND_NS = 1_000_000_000
FREE_BYTES = 8192
"""Bytes that an unproven address gets in a second beyond what it sends: one reply of any kind, and no flood.

They are for replies, for questions, and for gossip that has to come first, or nobody could prove anything.
"""

MOST_ADDRESSES = 1024
"""Unproven addresses that are answered in a second, and such as have answered that are remembered: who did so first is
forgotten beyond it, and asked again.
"""


def is_of_a_proof(datagram: bytes) -> bool:
    """Whether this is a question or an answer."""
    return datagram.startswith(MARK) and len(datagram) == len(QUESTION) + TOKEN_BYTES


class Proofs:
    """What addresses have proven to this process, which has this secret, and what the others have used up."""

    def __init__(self, secret: bytes, is_trusted: Callable[[Sockaddr], bool]) -> None:
        """`is_trusted`: whether an address is proven by other means."""
        self._secret = secret
        self._is_trusted = is_trusted
        self._answered: dict[Sockaddr, None] = {}
        self._credit: dict[Sockaddr, int] = {}
        """By unproven address, the bytes that came from there, less those that were sent there."""
        self._second_ends_ns = 0

    def at(self, now_ns: int) -> None:
        """It is that time now, by a monotonic clock."""
        if now_ns >= self._second_ends_ns:
            self._second_ends_ns = now_ns + SECOND_NS
            self._credit.clear()

    def are_had_of(self, address: Sockaddr) -> bool:
        """Whether an address is proven."""
        return address[:2] in self._answered or is_of_this_machine(address) or self._is_trusted(address)

    # Questions and answers.

    def question(self, to: Sockaddr) -> bytes:
        """What to ask an address."""
        return QUESTION + self._token(to)

    def receive(self, datagram: bytes, source: Sockaddr) -> bytes | None:
        """Take a question or an answer; what to reply to a question."""
        if datagram.startswith(QUESTION):
            return ANSWER + datagram[len(QUESTION) :]
        if datagram == ANSWER + self._token(source):
            self._answered[source[:2]] = None
            if len(self._answered) > MOST_ADDRESSES:
                del self._answered[next(iter(self._answered))]
        return None

    def _token(self, address: Sockaddr) -> bytes:
        return blake2b(repr(address[:2]).encode(), key=self._secret, digest_size=TOKEN_BYTES).digest()

    # What the others may have.

    def came(self, source: Sockaddr, size: int) -> bool:
        """A datagram of so many bytes came from there; whether it is handled if it is a request."""
        if self.are_had_of(source):
            return True
        credit = self._credit.get(source)
        if credit is None and len(self._credit) >= MOST_ADDRESSES:
            return False
        self._credit[source] = (credit or 0) + size
        return self._credit[source] > -FREE_BYTES

    def may_send(self, to: Sockaddr, size: int, free: int) -> bool:
        """Whether so many bytes may be sent there, `free` beyond what came from an unproven address; they count."""
        if self.are_had_of(to):
            return True
        credit = self._credit.get(to)
        if credit is None and len(self._credit) >= MOST_ADDRESSES:
            return False
        if is_sent := size <= (credit or 0) + free:
            self._credit[to] = (credit or 0) - size
        return is_sent


def free_bytes(gossip: Gossip, is_for_member: bool) -> int:
    """How many bytes of this may be sent to an unproven address beyond what came from there.

    Somebody has to open an exchange. And who is no member any more is sent the record of that, once a tick.
    """
    opens = isinstance(gossip, Join) or (isinstance(gossip, Syn) and not gossip.answered)
    corrects = isinstance(gossip, Members) and not (gossip.boot or is_for_member)
    return FREE_BYTES if opens or corrects else 0


def is_of_this_machine(source: Sockaddr) -> bool:
    """Whether this is a loopback address: the system drops what comes from elsewhere in its name."""
    return str(source[0]).startswith(("127.", "::ffff:127.")) or source[0] == "::1"
