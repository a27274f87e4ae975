"""Between a datagram and what travels: sealed if there are keys, plain if not."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from gossip_counter.node.core.errors import SealError
from gossip_counter.node.endpoints.addresses import Sockaddr, shown
from gossip_counter.node.security import header
from gossip_counter.node.security.keyring import Keyring

if TYPE_CHECKING:  # a third of the start-up, for those who have keys
    from gossip_counter.node.security.sealing import Sealing

QUIET = ("", "unbound")
"""What happens at each start and restart, and is no reason for a line in the log."""


class Envelopes:
    """Opens what arrives, seals what leaves. `note(kind, text, *args)` counts and logs what is refused."""

    def __init__(self, sealing: "Sealing | None", note: Callable[..., None], count: Callable[[str], None]) -> None:
        """`count` counts without a line in the log."""
        self._sealing = sealing
        self._note = note
        self._count = count

    def use(self, ring: Keyring) -> None:
        """Seal and open with these keys from now on, if datagrams are sealed at all."""
        if self._sealing:
            self._sealing.use(ring)

    @property
    def are_sealed(self) -> bool:
        """Whether datagrams are sealed: then what goes to an unproven address is as small as what came from there."""
        return self._sealing is not None

    @property
    def overhead(self) -> int:
        """Bytes that are added to each datagram."""
        return header.OVERHEAD if self._sealing else 0

    def opened(
        self, datagram: bytes, source: Sockaddr, asked: bytes, answer: Callable[[bytes, Sockaddr, bytes], None]
    ) -> bytes | None:
        """What a datagram holds; None if it is dropped, or has done its work.

        `answer` sends something back, from the address that was `asked`.
        """
        if self._sealing is None:
            if header.is_sealed(datagram):
                self._note("no_key", "a sealed datagram from %s: start this node with --keys FILE too", shown(source))
                return None
            return datagram
        try:
            return self._sealing.unseal(datagram, source[:2]) or None
        except SealError as error:
            if error.kind not in QUIET:
                self._note(error.kind, "%s (from %s)", error, shown(source))
            elif error.kind:
                self._count(error.kind)
            if error.answer:
                answer(error.answer, source, asked)
            return None

    def knows(self, to: Sockaddr) -> bool:
        """Whether what is sent there now is more than a greeting."""
        return self._sealing is None or self._sealing.knows(to[:2])

    def proves(self, source: Sockaddr) -> bool:
        """Whether a holder of the keys has shown that it receives what is sent there."""
        return self._sealing is not None and self._sealing.knows(source[:2])

    def sealed(self, datagram: bytes, to: Sockaddr) -> bytes:
        """What to send; with keys, a greeting in its place if nothing can be sealed for that address yet."""
        if self._sealing is None:
            return datagram
        return self._sealing.seal(datagram, to[:2]) or self._sealing.greeting(to[:2])
