"""Claim: nobody makes a node send much to an address of which nothing shows that its owner asked for it."""

import asyncio
from collections.abc import Collection, Iterator
from dataclasses import replace
from random import Random

import msgpack
import pytest

from gossip_counter.node.codec import datagrams
from gossip_counter.node.core.cluster_id import ClusterId
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.gossip.messages import Join, Members, Push, Syn, SynAck
from gossip_counter.node.core.gossip.pulls import FAR
from gossip_counter.node.core.roster import MemberRecord
from gossip_counter.node.endpoints.addresses import Sockaddr, bind
from gossip_counter.node.endpoints.proofs import (
    ANSWER,
    FREE_BYTES,
    MARK,
    MOST_ADDRESSES,
    PROOF_NS,
    QUESTION,
    SECOND_NS,
    TOKEN_NS,
    Proofs,
)
from gossip_counter.node.endpoints.udp import UdpEndpoint
from gossip_counter.node.runtime.node import Node
from tests.support.replica import CLUSTER_ID, MS, fill, packed, with_checksum
from tests.support.udp import UdpNode, udp_endpoint

VICTIM = ("192.0.2.7", 4242)
READ = msgpack.packb({"type": "read", "msg_id": 1})


class Wire:
    """A node that lists n2, at an address that does not exist, and what it sends to each address."""

    def __init__(self, node: UdpNode) -> None:
        self.node = node
        self.sent: list[tuple[Sockaddr, bytes]] = []
        self.came = 0
        """Bytes that came in the victim's name."""

    def send_as_is(self, datagram: bytes, to: Sockaddr, *_: object) -> None:
        self.sent.append((to, datagram))

    def spoofed(self, datagram: bytes, now_ns: int = 0, source: Sockaddr = VICTIM) -> None:
        """A datagram arrives in the name of the victim."""
        replica, udp = self.node.replica, self.node.udp
        udp.at(now_ns)
        udp._handle(
            (datagram, source, b""), now_ns, lambda each, client: replica.step(each, client, now_ns), *self.node._refuse
        )
        self.came += len(datagram)
        self.advance(now_ns)

    def advance(self, now_ns: int = 0) -> None:
        """All commits succeed."""
        while ready := self.node.replica.ready(now_ns):
            for answer in ready.replies:
                self.node.udp.reply(answer.to, answer.reply)  # type: ignore[arg-type]
            for name, record in self.node.replica.roster.records.items():
                self.node.udp.peers.learned(name, [VICTIM] if record.addresses else [])
            for each in ready.sends:
                self.node.udp.gossip(each)
            if ready.commit:
                self.node.replica.persisted()

    def to_victim(self, kind: type | None = None) -> list[bytes]:
        """What was sent to the victim: all, or the gossip of one kind."""
        sent = [datagram for to, datagram in self.sent if to[0] == VICTIM[0]]
        if kind is None:
            return sent
        gossip = [each for each in sent if not each.startswith(MARK)]
        return [each for each in gossip if isinstance(datagrams.unpack(each, "c"), kind)]

    def questions(self) -> list[bytes]:
        """Those that went to the victim."""
        return [each for each in self.to_victim() if each.startswith(QUESTION)]

    @property
    def bytes_to_victim(self) -> int:
        return sum(map(len, self.to_victim()))


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    with udp_endpoint(n2=("127.0.0.1", 9)) as node:
        made = Wire(node)
        monkeypatch.setattr(node.udp, "_send_as_is", made.send_as_is)
        node.udp.peers.found("n2", [("127.0.0.1", 9)])
        made.advance()
        yield made


def unproven(secret: bytes = b"secret", peers: Collection[Sockaddr] = ()) -> Proofs:
    """Of a process that trusts no address; `peers` are those of its peers."""
    return Proofs(secret, lambda _: False, peers.__contains__)


def answered(question: bytes) -> bytes:
    return ANSWER + question[len(QUESTION) :]


def meet_n4(wire: Wire) -> None:
    """A record makes the victim's address that of a member; there are rows for it."""
    fill(wire.node.replica, FAR)
    wire.advance()
    wire.spoofed(packed(Members("n2", 1, (MemberRecord("n4", 1, 1, addresses=("192.0.2.7:4242",)),)))[0])


# Questions.


def test_an_answer_proves_the_address_that_was_asked_and_no_other() -> None:
    proofs, asked, other, asker = unproven(), ("192.0.2.1", 7), ("192.0.2.1", 8), ("192.0.2.9", 1)
    answer = unproven(peers=[asker]).receive(proofs.question(asked), asker)
    assert answer
    assert len(answer) == len(proofs.question(asked))
    for datagram, source in ((answer, other), (ANSWER + bytes(8), asked), (proofs.question(asked), asked)):
        proofs.receive(datagram, source)
        assert not (proofs.is_proven(asked) or proofs.is_proven(other))
    proofs.receive(answer, asked)
    assert proofs.is_proven(asked)


def test_another_process_has_other_questions() -> None:
    first, second, asked = unproven(), unproven(b"another"), ("192.0.2.1", 7)
    second.receive(answered(first.question(asked)), asked)
    assert not second.is_proven(asked)


def test_an_address_is_proven_for_a_time_and_so_is_a_token_good() -> None:
    proofs, asked = unproven(), ("192.0.2.1", 7)
    answer = answered(proofs.question(asked))
    proofs.at(TOKEN_NS)
    proofs.receive(answer, asked)
    proofs.at(PROOF_NS)
    assert proofs.is_proven(asked)
    proofs.at(TOKEN_NS + PROOF_NS)
    proofs.receive(answer, asked)
    assert not proofs.is_proven(asked), "whoever has that address now did not ask for anything"


def test_so_many_addresses_that_have_answered_are_remembered_beside_those_of_peers() -> None:
    sources = [("192.0.2.1", port) for port in range(1, MOST_ADDRESSES + 11)]
    proofs = unproven(peers=sources[:5])
    for source in sources:
        proofs.receive(answered(proofs.question(source)), source)
    assert [source for source in sources if not proofs.is_proven(source)] == sources[5:15]


def test_a_question_is_answered_at_a_peer_whatever_was_sent_there_before(wire: Wire) -> None:
    """Else two that know each other from records, and open exchanges with each other, would never prove anything."""
    meet_n4(wire)
    for now_ns in range(0, SECOND_NS, SECOND_NS // 10):
        wire.node.replica.tick(now_ns)
        wire.advance(now_ns)
    wire.sent.clear()
    wire.spoofed(QUESTION + bytes(8), SECOND_NS - 1)
    assert ANSWER + bytes(8) in wire.to_victim()


def test_a_node_does_not_prove_its_address_to_one_it_has_nothing_to_do_with(wire: Wire) -> None:
    for _ in range(100):
        wire.spoofed(QUESTION + bytes(8))
    assert not wire.to_victim()


def test_a_flood_of_addresses_leaves_room_for_those_of_peers(wire: Wire) -> None:
    meet_n4(wire)
    for port in range(MOST_ADDRESSES):
        wire.spoofed(READ, 2 * SECOND_NS, ("198.51.100.1", port))
    wire.sent.clear()
    wire.spoofed(packed(Syn("n4", 1, {}, boot=5))[0], 2 * SECOND_NS)
    assert wire.questions()


def test_who_is_not_heard_is_asked_on(wire: Wire) -> None:
    meet_n4(wire)
    for now_ns in range(0, 60 * SECOND_NS, SECOND_NS // 10):
        wire.node.udp.at(now_ns)
        wire.node.replica.tick(now_ns)
        wire.sent.clear()
        wire.advance(now_ns)
    for _ in range(10):
        wire.node.replica.tick(now_ns)
        wire.advance(now_ns)
    assert wire.to_victim(Syn)


def test_each_tick_begins_anew_what_may_be_sent() -> None:
    async def live() -> None:
        with bind(("127.0.0.1", 0)) as bound:
            node = Node(
                Config(name="n1"),
                lambda made, log: UdpEndpoint(bound, {}, made.config, Random(7), made.stats, log.note),
                Random(7),
            )
            proofs = node._udp._proofs
            assert proofs.may_send(VICTIM, FREE_BYTES, FREE_BYTES)
            node._tick()
            assert proofs.may_send(VICTIM, FREE_BYTES, FREE_BYTES)

    asyncio.run(live())


# Requests.


def test_an_unproven_address_gets_little_more_than_it_sends() -> None:
    proofs, source, sent, got = unproven(), ("192.0.2.1", 7), 0, 0
    for now_ns in range(0, 10 * SECOND_NS, SECOND_NS // 2000):
        proofs.at(now_ns)
        sent += len(READ)
        if proofs.came(source, len(READ)) and proofs.may_send(source, 6400, FREE_BYTES):
            got += 6400
    assert 0 < got <= sent + 10 * FREE_BYTES


def test_so_many_unproven_addresses_are_answered_in_a_second() -> None:
    proofs, sources = unproven(), [(f"192.0.2.{i % 256}", i) for i in range(5000)]
    proofs.at(0)
    assert sum(proofs.came(source, 20) for source in sources) == MOST_ADDRESSES
    assert sum(proofs.may_send(source, 20, 0) for source in sources) == MOST_ADDRESSES
    proofs.at(SECOND_NS)
    assert proofs.came(sources[-1], 20)


def test_who_sends_from_this_machine_receives_here() -> None:
    proofs = unproven()
    assert all(proofs.is_proven((host, 1)) for host in ("127.0.0.1", "::1", "::ffff:127.0.0.2"))
    assert not any(proofs.is_proven((host, 1)) for host in ("10.0.0.1", "::2", "::ffff:10.0.0.1", "fe80::1%eth0"))


def test_an_unproven_client_that_asks_now_and_then_is_always_answered(wire: Wire) -> None:
    for number in range(200):
        wire.spoofed(msgpack.packb({"type": "read", "msg_id": number}), number * SECOND_NS // 20)
    assert len(wire.to_victim()) == 200


def test_the_list_of_members_is_no_amplifier(wire: Wire) -> None:
    long = tuple("a" * 290 + f"{number}:7101" for number in range(4))
    wire.node.replica.roster.merge(MemberRecord("x" * 250 + str(number), 5, 5, True, 1, long) for number in range(40))
    request = msgpack.packb({"type": "members", "msg_id": 1, "after": "n9"})
    wire.spoofed(request)
    assert 0 < wire.bytes_to_victim <= 4096
    for _ in range(100):
        wire.spoofed(request)
    assert wire.bytes_to_victim <= wire.came + FREE_BYTES
    assert wire.node.replica.stats.answers_withheld > 90


# Members.


@pytest.mark.parametrize("record", [MemberRecord("x", 1, 1), MemberRecord("x", 1, 1, addresses=("192.0.2.7:4242",))])
def test_a_forged_member_is_no_amplifier(wire: Wire, record: MemberRecord) -> None:
    fill(wire.node.replica, 2000)
    wire.advance()
    wire.node.replica.roster.merge(MemberRecord(f"old-{number}", 1, 1, True) for number in range(300))
    wire.spoofed(packed(Members("n2", 1, (record,)))[0])
    for number in range(200):
        wire.spoofed(packed(Syn("x", 1, {}, boot=5, members=1))[0], number * MS)
        if number % 100 == 0:
            wire.node.replica.tick(number * MS)
            wire.advance(number * MS)
    assert not wire.to_victim(Push)
    assert wire.bytes_to_victim <= wire.came + FREE_BYTES


def test_a_member_that_only_a_record_names_is_answered_in_full_once_it_has_proven_to_be_there(wire: Wire) -> None:
    replica = wire.node.replica
    meet_n4(wire)
    replica.tick(0)
    wire.advance()
    wire.sent.clear()
    syn = packed(Syn("n4", 1, {}, boot=5))[0]
    wire.spoofed(syn)
    assert not wire.to_victim(SynAck)
    question = wire.questions()[0]
    wire.spoofed(packed(SynAck("n4", 1, (), {}, boot=replica._identity.boot))[0])  # which anybody can learn
    wire.spoofed(ANSWER + bytes(8))
    wire.spoofed(syn)
    assert not wire.to_victim(SynAck)
    assert wire.bytes_to_victim <= wire.came
    wire.spoofed(answered(question))
    wire.spoofed(syn)
    assert sum(map(len, wire.to_victim(SynAck))) > 1200


# Joins.


def unpadded(join: Join) -> bytes:
    value = msgpack.unpackb(packed(join)[0][:-4])
    return with_checksum(msgpack.packb([*value[:-1], b""]))


def test_a_join_in_anothers_name_is_no_amplifier(wire: Wire) -> None:
    records = [MemberRecord(f"old-{number:04}", 2**62, 3, False, number, ("10.0.0.1:7101",)) for number in range(20)]
    wire.node.replica.roster.merge(records)
    wire.node.replica._set_members(0)
    join = unpadded(Join("old-0001", 1, 1, MemberRecord("old-0001", 2**62)))
    for port in range(1024, 2024):
        wire.spoofed(join, source=(VICTIM[0], port))
    assert not wire.to_victim(Members)
    assert wire.bytes_to_victim <= wire.came
    for _ in range(100):
        wire.spoofed(join)
    assert wire.bytes_to_victim <= wire.came


def test_a_join_is_answered_at_once(wire: Wire) -> None:
    """It is padded, so that there are as many bytes to answer with."""
    joins = Join("n4", 0, 5, MemberRecord("n4", 7, 1, addresses=("192.0.2.7:4242",)))
    wire.spoofed(datagrams.pack_gossip(replace(joins, cluster_id=ClusterId(0, False)), "c", 1200, 16)[0])
    wire.spoofed(packed(joins)[0])
    wire.spoofed(packed(joins)[0])  # the first was taken in, and had to become durable
    sent = [each for datagram in wire.to_victim() if isinstance(each := datagrams.unpack(datagram, "c"), Members)]
    first, last = (each for each in sent if each.boot == 5)
    assert (first.sent_to, first.cluster_id) == ("192.0.2.7:4242", CLUSTER_ID)
    assert "n4" in [record.name for record in last.records]
