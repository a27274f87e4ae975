"""Claim: a reply of any size is made in pieces: others keep their turns, and it is made no faster than it is read."""

import pytest

from gossip_counter.node.core.names import NameIndex
from gossip_counter.node.endpoints.redis.bounds import DEFAULT_BOUNDS
from gossip_counter.node.endpoints.redis.commands import COMMANDS
from gossip_counter.node.endpoints.redis.commands_keys import KEYS_A_STEP
from gossip_counter.node.endpoints.redis.commands_listing import MAX_SCANNED, NAMES_A_STEP, REFERENCE_BYTES
from gossip_counter.node.endpoints.redis.replies import bulk, head
from tests.support.redis import Bench, command

NAMES = [f"counter:{i:06}" for i in range(5000)]
ALL = head(len(NAMES)) + bulk(name.encode() for name in NAMES)
KEYS = command("KEYS", "*")
PING = command("PING")
PIECE_BYTES = NAMES_A_STEP * len(bulk([NAMES[0].encode()]))


class WatchedNames(NameIndex):
    """Notes how many names are looked at in one go."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self.add(names)
        self.looked_at: list[int] = []

    def after(self, cursor: int, most: int) -> tuple[list[str], int]:
        """As the index has it."""
        found = super().after(cursor, most)
        self.looked_at.append(len(found[0]))
        return found


def many_names(quantum_ns: int = 0, max_stuck_bytes: int = DEFAULT_BOUNDS.max_stuck_bytes) -> Bench:
    """A node with many counters."""
    return Bench(quick=True, node={"names": WatchedNames(NAMES), "value": dict.fromkeys(NAMES, 1).get},
                 quantum_ns=quantum_ns, max_stuck_bytes=max_stuck_bytes)  # fmt: skip


@pytest.mark.parametrize(
    ("sent", "reply"),
    [
        (KEYS, ALL),
        (command("KEYS", "counter:00001?"), head(10) + bulk(b"counter:00001%d" % i for i in range(10))),
        (command("SCAN", "0", "COUNT", "4000"), head(2) + bulk([b"4000"]) + head(4000)
         + bulk(name.encode() for name in NAMES[:4000])),
        (command("MGET", *NAMES, "none"), head(5001) + b"$1\r\n1\r\n" * 5000 + b"$-1\r\n"),
        (command("EXISTS", *NAMES, "none"), b":5000\r\n"),
        (command("TOUCH", *NAMES), b":5000\r\n"),
        (command("DEL", *["none"] * 5000), b":0\r\n"),
        (command("COMMAND", "INFO", *["none"] * 900), head(900) + b"$-1\r\n" * 900),
        (command("CONFIG", "GET", *["d*"] * 900), head(2) + bulk([b"databases", b"1"])),
    ],
    ids=lambda given: repr(given[:40]),
)  # fmt: skip
def test_a_reply_is_made_in_pieces_and_others_have_their_turns_between_them(sent: bytes, reply: bytes) -> None:
    bench = many_names()
    greedy, modest = bench.clients(2)
    greedy.sends(sent + PING)
    turns = 0
    for _ in range(2000):
        if greedy.received.endswith(b"PONG\r\n"):
            break
        before = len(greedy.received)
        modest.sends(PING)
        turns += 1
        bench.round()
        assert modest.take() == b"+PONG\r\n"
        assert len(greedy.received) - before <= PIECE_BYTES + 100
    assert greedy.received == reply + b"+PONG\r\n"
    assert turns > 10
    assert greedy.is_read
    assert bench.buffered == 0


def test_keys_looks_at_so_many_names_a_turn() -> None:
    names = WatchedNames(NAMES)
    bench = Bench(quick=True, quantum_ns=0, node={"names": names})
    client = bench.connect().sends(KEYS)
    while not client.received:
        assert max(names.looked_at) <= NAMES_A_STEP
        assert len(names.looked_at) <= 1
        names.looked_at.clear()
        bench.round()


def test_a_long_pattern_is_compared_with_fewer_names_a_turn() -> None:
    names = WatchedNames(NAMES)
    bench = Bench(quick=True, quantum_ns=0, node={"names": names})
    bench.connect().sends(command("KEYS", "*a" * 500))
    bench.round(3)
    assert max(names.looked_at) <= 4


def test_a_client_that_does_not_read_is_not_served_further() -> None:
    bench = many_names()
    client = bench.connect().sends(KEYS * 3)
    while not client.received:
        bench.round()
    client.session.block_output()
    sent = len(client.received)
    bench.round(100)
    assert len(client.received) == sent
    client.session.unblock_output()
    bench.round(300)
    assert client.received == ALL * 3


def test_sixty_clients_that_ask_for_everything_and_read_nothing_are_owed_little() -> None:
    """What a connection could not hand to the system is counted, as is what its reply is made of."""
    bench = many_names(max_stuck_bytes=20 * (PIECE_BYTES + len(NAMES) * REFERENCE_BYTES))
    deaf = bench.clients(60)
    modest = bench.connect()
    for client in deaf:
        client.sends(KEYS * 60)
    for _ in range(100):
        bench.round()
        modest.sends(PING)
        bench.round()
        assert modest.take() == b"+PONG\r\n"
        for client in deaf:
            client.unsent = len(client.received)
            if client.unsent and not client.session.output_full and client.session.is_open:
                client.session.block_output()
        assert bench.scheduler.buffered.blocked <= bench.bounds.max_stuck_bytes
    assert sum(len(client.received) for client in deaf) <= 60 * 2 * PIECE_BYTES
    left = [client for client in deaf if client.session.is_open]
    assert 10 < len(left) < 60
    for client in left:
        client.disconnects()
    assert bench.buffered == 0


def test_a_client_whose_reply_has_not_begun_is_sent_why_it_is_disconnected() -> None:
    bench = many_names(max_stuck_bytes=1000)
    client = bench.connect().sends(KEYS)
    bench.round(100)
    assert client.received.startswith(b"-ERR too much")
    assert client.is_closed


def test_a_client_whose_reply_has_begun_is_sent_nothing_in_the_midst_of_it() -> None:
    bench = many_names(max_stuck_bytes=len(NAMES) * REFERENCE_BYTES - 1, quantum_ns=25)
    client = bench.connect().sends(KEYS)
    assert client.is_closed
    assert client.received
    assert ALL.startswith(client.received)


def test_replies_to_adds_that_a_client_does_not_read_are_counted() -> None:
    bench = Bench(max_stuck_bytes=1000)
    client = bench.connect().sends(command("INCR", "x"))
    client.session.block_output()
    client.unsent = 5000
    bench.settle(3)
    assert client.is_aborted


def test_what_arrives_while_a_reply_is_made_waits_and_the_end_of_input_too() -> None:
    bench = many_names()
    client = bench.connect().sends(KEYS)
    assert not client.is_read
    client.sends(PING)
    client.ends_input()
    bench.round(100)
    assert client.received == ALL + b"+PONG\r\n"
    assert client.is_closed


def test_a_client_that_is_gone_is_made_no_reply() -> None:
    names = WatchedNames(NAMES)
    bench = Bench(quick=True, quantum_ns=0, node={"names": names})
    client = bench.connect().sends(KEYS)
    bench.round(3)
    client.disconnects()
    names.looked_at.clear()
    bench.round(5)
    assert names.looked_at == []
    assert bench.buffered == 0


def test_an_error_in_the_midst_of_a_reply_ends_the_connection() -> None:
    def value(name: str) -> int:
        if name == NAMES[KEYS_A_STEP + 1]:
            raise RuntimeError("planted")
        return 1

    bench = Bench(quick=True, quantum_ns=0, node={"value": value})
    client = bench.connect().sends(command("MGET", *NAMES))
    bench.round(100)
    assert client.is_aborted
    assert [type(error) for error in bench.errors] == [RuntimeError]


def longest(name: bytes) -> list[bytes | str]:
    arity = COMMANDS[name].arity
    return [name, *["1"] * ((20_000 if arity < 0 else arity) - 1)]


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_of_any_length_takes_many_steps_in_one_turn(name: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that are looked up are counted; other commands take no more than a thousand words."""
    looked_up: list[str] = []
    bench = Bench(quick=True, quantum_ns=0, node={"value": looked_up.append})
    client = bench.connect().sends(command(*longest(name)))
    for _ in range(3000):
        bench.round()
        assert len(looked_up) <= KEYS_A_STEP
        looked_up.clear()
        if client.received:
            break
    assert client.received


def test_scan_never_looks_at_more_than_so_many_names() -> None:
    names = WatchedNames([f"{i}" for i in range(MAX_SCANNED + 5)])
    bench = Bench(quick=True, node={"names": names})
    bench.connect().sends(command("SCAN", "0", "COUNT", "1000000000"))
    assert names.looked_at == [MAX_SCANNED]
