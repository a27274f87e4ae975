"""What gossip costs on the wire, by packing real messages: headers, digest entries, rows."""

from random import Random

from gossip_counter.node.codec import datagrams as wire
from gossip_counter.node.core.counts import Row
from gossip_counter.node.core.messages import Delta, Gossip, Push, Syn, SynAck
from gossip_counter.node.core.state import Held, mint

CLUSTER = "f00dcafe"
"""As long as the ids that `cluster up` gives."""
FINGERPRINT = 2**63
COUNTER = "likes:12345"


def measure() -> dict[str, int]:
    """Bytes, by what costs them: versions and counts in the thousands, 11-byte counter names, random epochs."""
    rng = Random(1)
    actors = [mint(f"n{i}", rng.getrandbits(63)) for i in range(1, 6)]
    digest = {actor: Held(2000, rng.getrandbits(64), 0) for actor in actors}
    one = dict(list(digest.items())[:1])
    return {
        "SYN of five nodes that hold something each": _bytes(Syn("n1", FINGERPRINT, digest)),
        "SYN-ACK when states are equal": _bytes(SynAck("n1", FINGERPRINT, (), {})),
        "one digest entry": _bytes(Syn("n1", FINGERPRINT, one)) - _bytes(Syn("n1", FINGERPRINT, {})),
        "push of one row": _bytes(_push(1)),
        "one row more": _bytes(_push(2)) - _bytes(_push(1)),
    }


def _push(rows: int) -> Push:
    """As a node pushes its latest writes: versions just above the last one pushed."""
    actor = mint("n1", Random(1).getrandbits(63))
    named = tuple((COUNTER, Row(1500, 0, 2001 + i)) for i in range(rows))
    return Push("n1", FINGERPRINT, (Delta(actor, 2000, named),))


def _bytes(message: Gossip) -> int:
    (datagram,) = wire.pack_gossip(message, CLUSTER, 1200, 1)
    return len(datagram)
