"""Claim: a Redis client gets one reply to each command, in the order of its commands, and sees its own writes."""

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gossip_counter.node.endpoints.redis.replies import NOT_AN_INTEGER, encode
from tests.support.redis import INCR_X, Bench, Client, command

GET_X = command("GET", "x")


def test_a_pipeline_is_answered_in_order_and_sees_its_own_writes() -> None:
    bench = Bench()
    client = bench.connect().sends(
        INCR_X * 100 + GET_X + command("INCRBY", "y", "7") + command("SET", "y", "many") + INCR_X
    )
    assert client.received == b""  # nothing is durable yet
    bench.persist()
    assert client.take() == b"".join(b":%d\r\n" % i for i in range(1, 101))
    bench.round()
    assert client.take() == b"$3\r\n100\r\n"
    bench.settle()
    assert [line[:5] for line in client.take().splitlines()] == [b":7", b"-ERR ", b":101"]


def test_adds_are_taken_while_adds_before_them_are_in_flight() -> None:
    bench = Bench()
    client = bench.connect().sends(INCR_X).sends(INCR_X)
    assert client.is_read
    bench.persist()
    assert client.take() == b":1\r\n"
    bench.persist()
    assert client.take() == b":2\r\n"


def test_adds_whose_commit_fails_are_refused_and_count_nothing() -> None:
    bench = Bench()
    client = bench.connect().sends(INCR_X * 2 + command("ECHO", "a"))
    bench.persist("the disk is full")
    bench.round()
    first, second, *rest = client.take().split(b"\r\n")
    assert first == second == b"-ERR not counted, because it can't be made durable: the disk is full"
    assert rest == [b"$1", b"a", b""]
    client.sends(INCR_X)
    bench.settle()
    assert client.take() == b":1\r\n"


def test_what_arrives_between_an_answer_and_the_commands_after_it_waits_its_turn() -> None:
    """TLS passes on what it has read, though it is not being read any more."""
    bench = Bench()
    client = bench.connect().sends(INCR_X + GET_X)
    bench.persist()
    client.sends(INCR_X)
    bench.settle()
    assert client.received == b":1\r\n$1\r\n1\r\n:2\r\n"


def test_nothing_overtakes_what_waits_for_its_turn() -> None:
    """The adds of a client that is alone are durable at once, which asks for another quantum."""
    bench = Bench(quick=True)
    client = bench.connect()
    for data in (INCR_X[:5], INCR_X[5:], GET_X, INCR_X):
        client.sends(data)
    reads = [client.is_read]
    bench.round()
    assert [*reads, client.is_read] == [False, True]
    assert client.received == b":1\r\n$1\r\n1\r\n:2\r\n"


@pytest.mark.parametrize("cut", range(1, len(INCR_X)))
def test_half_a_command_is_answered_when_the_rest_arrives(cut: int) -> None:
    bench = Bench(quick=True)
    client = bench.connect().sends(INCR_X[:cut])
    bench.round()
    assert client.received == b""
    client.sends(INCR_X[cut:])
    assert client.received == b":1\r\n"


def test_bytes_of_a_word_that_look_like_a_known_add_are_part_of_the_word() -> None:
    bench = Bench(quick=True)
    client = bench.connect().sends(INCR_X)
    bench.round()
    client.take()
    echo = command("ECHO", INCR_X * 3)
    head = len(echo) - len(INCR_X * 3 + b"\r\n")
    for data in (echo[:head], INCR_X, INCR_X, INCR_X, b"\r\n"):
        client.sends(data)
        bench.round()
    assert client.received == b"$%d\r\n%s\r\n" % (len(INCR_X * 3), INCR_X * 3)


@pytest.mark.parametrize(
    "junk",
    [
        b"*1000000000\r\n",
        b"*2\r\n$4\r\nINCR\r\n$536870912\r\n",
        b"*1\r\n*1000000000\r\n",
        b"*1\r\n:5\r\n",
        b"*x\r\n",
        b"x" * 100_000,
        command("ECHO", b"x" * 900_000)[:-5] + b"x" * 2_000_000,
    ],
    ids=lambda junk: repr(junk[:40]),
)
def test_what_is_no_command_ends_the_connection_after_what_came_before_it(junk: bytes) -> None:
    bench = Bench(quick=True)
    other = bench.connect()
    client = bench.connect().sends(INCR_X + junk + INCR_X)
    bench.round(100)
    assert client.received.startswith(b":1\r\n")
    assert client.received.splitlines()[-1].startswith(b"-ERR Protocol error: ")
    assert client.is_closed
    assert other.asks("GET", "x") == b"$1\r\n1\r\n"


def test_quit_is_the_last_command() -> None:
    bench = Bench(quick=True)
    client = bench.connect().sends(INCR_X + command("QUIT") + INCR_X)
    bench.round(3)
    assert (client.received, client.is_closed) == (b":1\r\n+OK\r\n", True)


def test_everything_is_answered_after_the_end_of_input_and_then_the_connection_closes() -> None:
    bench = Bench()
    client = bench.connect().sends(INCR_X + GET_X + INCR_X[:9])
    client.ends_input()
    assert not client.is_closed
    bench.settle(3)
    assert (client.received, client.is_closed) == (b":1\r\n$1\r\n1\r\n", True)
    idle = bench.connect()
    idle.ends_input()
    assert idle.is_closed


@pytest.mark.parametrize("bounds", [{"quantum_ns": 0}, {"quantum_bytes": 14, "chunk_bytes": 14}])
def test_commands_that_wait_for_their_turn_at_the_end_of_input_are_answered(bounds: dict[str, Any]) -> None:
    bench = Bench(**bounds)
    client = bench.connect().sends(command("PING") * 9)
    client.ends_input()
    bench.round(20)
    assert (client.received, client.is_closed) == (b"+PONG\r\n" * 9, True)


def test_known_adds_before_the_end_of_input_are_answered_too() -> None:
    bench = Bench()
    client = bench.connect().sends(INCR_X)
    bench.settle(2)
    client.sends(INCR_X)
    client.ends_input()
    assert not client.is_closed
    bench.settle(2)
    assert (client.received, client.is_closed) == (b":1\r\n:2\r\n", True)


def test_a_client_that_is_gone_gets_nothing_more_and_its_adds_count() -> None:
    bench = Bench()
    client = bench.connect().sends(INCR_X + GET_X)
    client.disconnects()
    bench.settle(2)
    assert client.received == b""
    assert bench.buffered == 0
    assert bench.replica.value("x") == 1


def test_nothing_is_kept_for_a_connection_that_was_closed() -> None:
    bench = Bench(quick=True)
    client = bench.connect().sends(command("QUIT") + command("PING") * 1000)
    client.sends(INCR_X)
    assert client.received == b"+OK\r\n"
    assert bench.buffered == 0
    assert bench.replica.value("x") is None


def test_an_unexpected_error_ends_one_connection_and_leaves_others_their_replies() -> None:
    """Their adds share a commit."""
    bench = Bench(node={"names": None})  # so that DBSIZE raises
    first, second = bench.clients(2)
    first.sends(INCR_X + command("DBSIZE"))
    second.sends(INCR_X)
    bench.settle(3)
    assert (first.received, first.is_aborted) == (b":1\r\n", True)
    assert (second.received, second.is_aborted) == (b":2\r\n", False)
    assert [type(error) for error in bench.errors] == [TypeError]


@pytest.mark.parametrize("auth", [command("AUTH", "%s"), b"AUTH %s\r\n", b"AUTH %s\n"])
def test_the_limits_of_an_authenticated_client_hold_from_the_command_after_auth(auth: bytes) -> None:
    def sends(password: bytes, cut: int) -> Client:
        bench = Bench(password=b"secret")
        data = auth.replace(b"$2", b"$6") % password + command("MGET", "\n*", *["x"] * 1999) + command("PING")
        client = bench.connect().sends(data[:cut]).sends(data[cut:])
        bench.round(9)
        return client

    for cut in range(len(auth) + 6):
        client = sends(b"secret", cut)
        assert client.received == b"+OK\r\n*2000\r\n" + b"$-1\r\n" * 2000 + b"+PONG\r\n"
        assert not client.is_closed
    client = sends(b"guess!", 0)
    assert client.received.startswith(b"-WRONGPASS")
    assert client.received.endswith(b"unauthenticated multibulk length\r\n")
    assert client.is_closed


# Everything at once.

WORDS = st.sampled_from([b"", b"x", b"\r\n*", b"a\r\n*2\r\n$4\r\nINCR\r\n$1\r\nb", b"x" * 300])
Commands = list[tuple[bytes, ...]]
COMMANDS = st.lists(
    st.one_of(
        st.tuples(st.just(b"INCR"), st.sampled_from([b"a", b"b", b"\r\n*"])),
        st.tuples(st.just(b"INCRBY"), st.sampled_from([b"a", b"b"]), st.sampled_from([b"0", b"-3", b"7", b"x"])),
        st.tuples(st.just(b"GET"), st.sampled_from([b"a", b"b", b"\r\n*"])),
        st.tuples(st.just(b"ECHO"), WORDS),
        st.tuples(st.just(b"PING")),
    ),
    max_size=25,
)
ROUND, DURABLE, DEAF, HEARS = -1, -2, -3, -4
STEPS = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 40) | st.sampled_from([ROUND, DURABLE, DEAF, HEARS, 400])), max_size=40
)
"""Which client, and how much of what it sends is read; or a round of the loop, the end of a commit, or whether the
client reads its replies.
"""


def answered_alone(commands: Commands) -> bytes:
    """The replies to these commands if each is executed before the next is sent."""
    values: dict[bytes, int] = {}
    replies: list[Any] = []
    for verb, *words in commands:
        match verb:
            case b"GET":
                replies.append(b"%d" % values[words[0]] if words[0] in values else None)
            case b"ECHO":
                replies.append(words[0])
            case b"PING":
                replies.append("PONG")
            case _ if words[1:] == [b"x"]:
                replies.append(NOT_AN_INTEGER)
            case _:
                delta = int(words[1]) if words[1:] else 1
                replies.append(values.get(words[0], 0) + delta)
                if delta:
                    values[words[0]] = replies[-1]
    return b"".join(encode(each, 2) for each in replies)


def of_its_own(commands: Commands, client: int) -> Commands:
    """The same about counters that nobody else names."""
    return [(verb, words[0] + b"%d" % client, *words[1:]) if words and verb != b"ECHO" else (verb, *words)
            for verb, *words in commands]  # fmt: skip


def in_bytes(commands: Commands, typed: set[int]) -> bytes:
    """As a client sends them, some as one types."""
    return b"".join(
        b" ".join(words) + b"\n" if i in typed and all(map(bytes.isalnum, words)) else command(*words)
        for i, words in enumerate(commands)
    )


def act(bench: Bench, clients: list[Client], left: list[bytes], number: int, step: int) -> None:
    """One step of the schedule; `left` is what each client has yet to send."""
    client = clients[number]
    if step >= 0 and left[number] and client.is_read:
        data, left[number] = left[number][:step], left[number][step:]
        client.sends(data)
    elif step == ROUND:
        bench.round()
    elif step == DURABLE:
        bench.persist()
    elif step in (DEAF, HEARS) and client.session.output_full is (step == HEARS):
        (client.session.block_output if step == DEAF else client.session.unblock_output)()


@settings(max_examples=300, deadline=None)
@example(([(b"INCR", b"a"), (b"ECHO", b"")], []), {1}, [], 1, 1, 1, False)
@given(
    st.tuples(COMMANDS, COMMANDS), st.sets(st.integers(0, 24)), STEPS, st.integers(1, 60), st.integers(1, 3),
    st.sampled_from([1, 30, 300, 10**6]), st.booleans(),
)  # fmt: skip
def test_whatever_is_said_however_it_comes_is_answered_as_if_said_alone(
    commands: tuple[Commands, Commands],
    typed: set[int],
    steps: list[tuple[int, int]],
    chunk: int,
    chunks: int,
    queued: int,
    quick: bool,
) -> None:
    """Cut anywhere, over any rounds and commits, by clients that read or not, with bounds that are always reached."""
    bench = Bench(
        quick, quantum_bytes=2 * chunk, chunk_bytes=chunk, max_chunks=chunks, batch_adds=3, max_adds=4, quantum_ns=0,
        max_queued_bytes=queued,
    )  # fmt: skip
    clients = bench.clients(2)
    left = [in_bytes(of_its_own(each, client), typed) for client, each in enumerate(commands)]
    expected = list(map(answered_alone, commands))
    rounds = range(60 + len(left[0]) + len(left[1]))
    for number, step in [*steps, (0, HEARS), (1, HEARS)]:
        act(bench, clients, left, number, step)
    for _ in rounds:
        if [client.received for client in clients] == expected and not any(left):
            break
        for number, step in [(0, 50), (1, 50), (0, ROUND), (0, DURABLE)]:
            act(bench, clients, left, number, step)
    bench.settle(3)
    assert (bench.buffered, bench.scheduler.batcher.in_flight, bench.scheduler.batcher.is_full) == (0, 0, False)
    assert [client.is_read for client in clients] == [True, True]
    assert [client.received for client in clients] == expected
    assert bench.errors == []
