"""Well-formed messages of every kind, made by the encoders: what inputs begin as.

They are made anew for the protocol that this version speaks, so they never grow old.
"""

from dataclasses import replace

from gossip_counter.bench.fuzz.items import Item
from gossip_counter.node.codec import datagrams, json_lines
from gossip_counter.node.core.cluster_id import ClusterId
from gossip_counter.node.core.counts import Actor, Ended, EndingRow, NamedRow, Row, Seen, Taken
from gossip_counter.node.core.effects import Commit
from gossip_counter.node.core.gossip.messages import (
    Ack,
    Confirm,
    Confirmed,
    Delta,
    Gossip,
    Join,
    Members,
    Pull,
    Pulled,
    Push,
    Replicate,
    Rival,
    Syn,
    SynAck,
)
from gossip_counter.node.core.holdings import DigestEntry, Floors, Stored
from gossip_counter.node.core.limits import MAX_VERSION
from gossip_counter.node.core.roster import MemberRecord
from gossip_counter.node.endpoints.proofs import ANSWER, QUESTION, TOKEN_BYTES
from gossip_counter.node.security import header
from gossip_counter.node.security.keyring import Key, Keyring
from gossip_counter.node.storage import entries

CLUSTER = "c"
CLUSTER_ID = ClusterId(7, True)
NOW_MS = 1_700_000_000_000
"""What clocks say when an input begins, in Unix milliseconds."""

N1, N2, X = Actor("n1.a"), Actor("n2.b"), Actor("n3.x")
PLAIN: tuple[NamedRow, ...] = (("", Row(1, 0, 5)), ("likes", Row(2**40, 300, 6)), ("é\0", Row(0, 70_000, 2**40)))
DELETED = Taken(5, 2, (Seen(N2, 0, 5, 2), Seen(X, 3, 1, 0)), NOW_MS + 86_400_000)
ENDING: tuple[NamedRow, ...] = (
    ("likes", EndingRow(7, 1, 8, 0, NOW_MS + 3_000, NOW_MS - 5_000)),
    ("gone", EndingRow(7, 1, 9, 0, NOW_MS - 3_000, NOW_MS - 5_000)),
    ("deleted", EndingRow(7, 2, 11, taken=DELETED)),
    ("again", EndingRow(3, 0, 12, NOW_MS - 9, NOW_MS + 9, NOW_MS, 12, Taken(before=Ended(0, NOW_MS - 9, 1)))),
)
DELTAS = (
    Delta(N2, 0, PLAIN, 2**41),
    Delta(X, None, PLAIN + ENDING),
    Delta(X, 0, ENDING, 0, 15, Floors(14, 10), NOW_MS, True),
    Delta(N1, 0, (("own", Row(5, 0, 1)),)),
    Delta(N1, None, (("own", Row(9, 0, 9)),)),
)
DIGEST = {N1: DigestEntry(1, 5, 0), N2: DigestEntry(9, 2**64 - 1, 3), X: DigestEntry(MAX_VERSION, 1, 0)}

SECOND = MemberRecord("n2", 2**61, 3, boot=3, addresses=("192.0.2.2:7002",), release="1.0", key="ab")
HAS_LEFT = SECOND._replace(version=4, has_left=True)
FOURTH = MemberRecord("n4", 2**60, 1, boot=9, addresses=("192.0.2.4:7004", "four.example:7004"), release="1.0")
RECORDS = (SECOND, FOURTH, MemberRecord("n3", removed=5), MemberRecord("n1", 2**62, 9, boot=5))
"""Of members; the last is about the node that is sent it, which did not write that."""

BODIES: tuple[dict[str, object], ...] = (
    {"type": "add", "msg_id": 1, "delta": 5},
    {"type": "add", "msg_id": 2, "delta": -5, "counter": "likes", "copies": 2},
    {"type": "add", "msg_id": 3, "delta": 1, "counter": "soon", "expire_ms": 40, "expire_if_new": True},
    {"type": "add", "msg_id": 4, "delta": 2, "counter": "few", "lower": -1, "upper": 5},
    {"type": "delete", "msg_id": 5, "counter": "likes"},
    {"type": "read", "msg_id": 6, "counter": "likes"},
    {"type": "read", "msg_id": 7, "token": "AA"},
    {"type": "gossip_status", "msg_id": 8},
    {"type": "fault", "msg_id": 9, "cut": ["n2"]},
    {"type": "members", "msg_id": 10, "after": "n1"},
    {"type": "leave", "msg_id": 11},
    {"type": "remove", "msg_id": 12, "name": "n3"},
    {"type": "read_ok", "in_reply_to": 1, "msg_id": 3, "value": 2},
)


def messages(cluster_id: ClusterId = CLUSTER_ID) -> list[Gossip]:
    """Gossip of every kind, as a member sends it."""
    made: list[Gossip] = [Push("n2", 7, (each,)) for each in DELTAS]
    made += [
        Replicate("n2", 7, DELTAS[:2]), Syn("n2", 7, DIGEST, boot=3, clock_ms=NOW_MS), Syn("n2", 7, {}, "a", "b"),
        SynAck("n2", 7, DELTAS, {N1: 0, X: 9}, 3), Ack("n3", 7, DELTAS[1:3]), Confirm("n2", 7, N1, 1),
        Confirm("n3", 7, X, 40, 5), Confirmed("n2", 7, N1, 1, 5), Rival("n2", 7, 3, {N1: 0}),
        Join("n4", 7, 9, FOURTH), Join("n1", 7, 3, RECORDS[-1]),
        Members("n2", 7, RECORDS), Members("n3", 7, (HAS_LEFT,)),
        Members("n2", 7, (MemberRecord("n1", removed=2**62),)), Members("n2", 7, (), 3, True, "10.0.0.4:7100"),
        Syn("n2", 7, {}, boot=3, clock_ms=NOW_MS, members=2**64 - 1),
        Pull("n2", 7, 5, 19_200, {N1: 0, X: 9}), Pulled("n2", 7, 5, DELTAS[:2]), Pulled("n3", 7, 2**32 - 1, ()),
    ]  # fmt: skip
    return [replace(each, cluster_id=cluster_id) for each in made]


def _packed(message: Gossip, cluster: str) -> bytes:
    """The first datagram of a message."""
    return datagrams.pack_gossip(message, cluster, 1200, 1)[0]


def of_datagrams(
    cluster: str = CLUSTER, cluster_id: ClusterId = CLUSTER_ID, left_out: tuple[type[Gossip] | str, ...] = ()
) -> list[Item]:
    """Datagrams as members and clients send them; `left_out` are kinds of gossip, and types of requests."""
    gossip = [each for each in messages(cluster_id) if type(each) not in left_out]
    bodies = [each for each in BODIES if each["type"] not in left_out]
    unsettled = replace(gossip[0], cluster_id=ClusterId(9, False))
    packed = [_packed(each, cluster) for each in (*gossip, unsettled)]
    foreign = _packed(gossip[0], "another")
    as_if_sealed = header.PREFIX + bytes(range(header.OVERHEAD + 9 - len(header.PREFIX)))
    proofs = [kind + bytes(TOKEN_BYTES) for kind in (QUESTION, ANSWER)]
    return [Item(0, each) for each in (*packed, foreign, as_if_sealed, *proofs, *map(datagrams.pack_body, bodies))]


def of_lines() -> list[Item]:
    """JSON lines as Maelstrom sends them."""
    vectors = {"p_counters": {"n1": 3, "n2": 4}, "n_counters": {"n2": 1}}
    bodies: list[dict[str, object]] = [
        *BODIES,
        {"type": "init", "msg_id": 1, "node_id": "n1", "node_ids": ["n1", "n2", "n3"]},
        {"type": "replicate", "msg_id": 1, **vectors},
        {"type": "replicate", **vectors, "counters": {"likes": vectors}},
    ]
    lines = [json_lines.pack("n2", "n1", each)[:-1] for each in bodies]
    return [Item(0, each) for each in (*lines, b"", b"[]", b'{"src": "c1", "body": {}}')]


def of_entries() -> list[Item]:
    """Entries of a journal's log."""
    rows = dict(PLAIN + ENDING)
    commits = [
        Commit(N1, (Stored(N1, 1, 1, {"own": (5, 0, 1)}),)),
        Commit(N1, (Stored(X, 12, 20, rows, Floors(5, 3)), Stored(N2, 0, 0, {"": (0, 0, 0)})), CLUSTER_ID),
        Commit(N1, ()),
        Commit(N1, (), CLUSTER_ID, RECORDS),
    ]
    return [Item(0, entries.encode(each).encode()) for each in commits]


def of_keyrings() -> list[Item]:
    """Files of keys."""
    one, two = Key(bytes(range(32)), NOW_MS // 1000), Key(b"k" * 32, 5)
    rings = [Keyring((one,)), Keyring((one, two), (b"abcd",))]
    return [Item(0, each.encode()) for each in rings]
