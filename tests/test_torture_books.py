"""Claim: the books of torture find every value that can't be of a counter that ends, and no other."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import pytest

from gossip_counter.bench.torture import redis_clients
from gossip_counter.bench.torture.books import MOST_ADDS, TOLERANCE_MS, WINDOW_MS, Books, Kind, Write
from gossip_counter.cluster.sim.oracle import PromiseBroken
from gossip_counter.node.core.lives import GRACE_MS, LIKE_MS

KEPT, WINDOW, PAIR = "kept:0:0", "window:0:0", ("pair:0:0:left", "pair:0:0:right")
NOW = 1_000_000.0
SECOND = 1000


@contextmanager
def found(what: str) -> Iterator[None]:
    with pytest.raises(PromiseBroken, match=what):
        yield


class Told(Books):
    """Books in which an add is one line."""

    def add(self, node: str, counter: str, value: int | None, at_ms: float = NOW, lasts_ms: int = 0) -> Write:
        """An add and the value in reply; None: there was no reply."""
        write = self.ask_add(node, (counter,), at_ms, lasts_ms)
        if value is None:
            self.unknown(write)
        else:
            self.added(write, [value], at_ms + 1)
        return write

    def delete(self, node: str, counter: str, value: int | None) -> None:
        write = self.ask_delete(node, counter)
        if value is None:
            self.unknown(write)
        else:
            self.deleted(write, value, NOW)

    def shows(self, value: int, counter: str = KEPT, at_ms: float = NOW) -> None:
        """At rest, the only counter has this value."""
        self.check("n9", {counter: value}, at_ms, at_ms)

    def replies(self, node: str, value: int, counter: str = KEPT, at_ms: float = NOW) -> None:
        self.read(node, counter, value, self.ledgers[counter].known(node), at_ms, at_ms)


@pytest.fixture
def books() -> Told:
    return Told()


# Counters that are kept.


def test_an_add_without_a_reply_may_count_and_an_acknowledged_one_does(books: Told) -> None:
    books.add("n1", KEPT, 0b1)
    books.add("n2", KEPT, None)
    books.not_sent(books.ask_add("n1", (KEPT,), NOW))
    books.shows(0b01)
    books.shows(0b11)
    with found("1 is missing"):
        books.shows(0b10)
    with found("100 is too much"):
        books.shows(0b101)


def test_an_add_that_counts_twice_is_found(books: Told) -> None:
    books.add("n1", KEPT, 0b1)
    with found("10 is too much"):
        books.shows(0b1 + 0b1)


def test_a_reply_shows_what_it_adds_and_what_its_node_acknowledged(books: Told) -> None:
    books.add("n1", KEPT, 0b1)
    books.add("n2", KEPT, 0b10)  # n2 may not know of it yet
    with found(": 1 is missing"):
        books.replies("n1", 0b10)
    with found("100 is missing"):
        books.add("n1", KEPT, 0b1)
    books.replies("n2", 0b110)
    books.replies("n3", 0)


def test_what_a_delete_saw_does_not_come_back_and_what_it_did_not_see_stays(books: Told) -> None:
    books.add("n1", KEPT, 0b1)
    books.add("n2", KEPT, 0b10)
    books.delete("n1", KEPT, 0b1)
    books.shows(0b10)
    with found("1 is too much"):
        books.shows(0b11)
    with found("10 is missing"):
        books.shows(0)
    books.replies("n3", 0b11)  # it has not heard of the delete yet
    with found("1 is too much"):
        books.replies("n1", 0b11)


def test_a_delete_takes_what_its_node_acknowledged(books: Told) -> None:
    books.add("n1", KEPT, 0b1)
    with found("1 is missing"):
        books.delete("n1", KEPT, 0)
    books.delete("n2", KEPT, 0)


def test_a_delete_without_a_reply_may_have_seen_anything(books: Told) -> None:
    for bit in (0b1, 0b10):
        books.add("n1", KEPT, 2 * bit - 1)
    books.delete("n2", KEPT, 0b1)
    books.delete("n2", KEPT, None)
    for value in (0b10, 0):
        books.shows(value)
        books.replies("n1", value)
    with found("1 is too much"):
        books.shows(0b11)


def test_while_a_delete_is_under_way_its_node_may_have_lost_anything(books: Told) -> None:
    books.add("n1", KEPT, 0b1)
    write = books.ask_delete("n1", KEPT)
    books.replies("n1", 0)
    books.not_sent(write)
    with found("1 is missing"):
        books.replies("n1", 0)


def test_a_node_without_its_disk_knows_nothing_but_nothing_is_lost(books: Told) -> None:
    books.add("n1", KEPT, 0b1)
    books.replaced("n1")
    books.replies("n1", 0)
    with found("1 is missing"):
        books.shows(0)


# Pairs.


def pair(books: Books, left: int, right: int) -> None:
    books.check("n9", dict(zip(PAIR, (left, right), strict=True)), NOW, NOW)


def test_both_counters_of_a_transaction_get_what_it_adds(books: Told) -> None:
    books.added(books.ask_add("n1", PAIR, NOW), [0b1, 0b1], NOW)
    books.unknown(books.ask_add("n2", PAIR, NOW))
    pair(books, 0b01, 0b01)
    pair(books, 0b11, 0b11)
    with found("n9 has 11 of pair:0:0:left, and 1 of pair:0:0:right"):
        pair(books, 0b11, 0b01)


def test_only_a_lost_disk_halves_a_transaction_and_only_one_without_a_reply(books: Told) -> None:
    books.unknown(books.ask_add("n1", PAIR, NOW))
    books.unknown(books.ask_add("n2", PAIR, NOW))
    books.added(books.ask_add("n2", PAIR, NOW), [0b100, 0b100], NOW)
    books.replaced("n2")
    pair(books, 0b110, 0b100)
    for left, right in ((0b101, 0b100), (0b100, 0b000)):
        with found("n9 has"):
            pair(books, left, right)


# Windows.


def test_a_window_is_there_until_its_earliest_end_and_gone_after_its_latest(books: Told) -> None:
    books.add("n1", WINDOW, 0b1, NOW, 4 * SECOND)
    books.add("n2", WINDOW, 0b10, NOW + SECOND, 4 * SECOND)
    before, after = NOW + 4 * SECOND - TOLERANCE_MS, NOW + 5 * SECOND + TOLERANCE_MS + 1
    with found("1 is missing"):
        books.replies("n1", 0, WINDOW, before - 1)
    with found("1 is missing"):
        books.shows(0b10, WINDOW, before - 1)
    for value in (0, 0b11):
        books.replies("n1", value, WINDOW, before)
        books.shows(value, WINDOW, after)
    with found("which is over"):
        books.replies("n3", 0b1, WINDOW, after + 1)
    with found("10 is too much"):
        books.shows(0b10, WINDOW, after + 1)
    books.shows(0, WINDOW, after + 1)


def test_a_window_may_go_on_while_an_add_to_it_has_no_reply(books: Told) -> None:
    books.add("n1", WINDOW, None, NOW, SECOND)
    books.replies("n2", 0b1, WINDOW, NOW + 60 * SECOND)
    books.settle(NOW + 90 * SECOND)
    books.replies("n2", 0b1, WINDOW, NOW + 91 * SECOND)
    with found("which is over"):
        books.replies("n2", 0b1, WINDOW, NOW + 93 * SECOND)
    assert books.forgotten_ms == NOW + 91 * SECOND + GRACE_MS + LIKE_MS + TOLERANCE_MS


def test_a_window_is_never_above_what_was_asked(books: Told) -> None:
    with found("100 is too much"):
        books.add("n1", WINDOW, 0b101, NOW, SECOND)


# Which counters are used.


def test_names_change_when_a_counter_is_full_or_not_known_any_more_and_with_each_window(books: Told) -> None:
    rng, kept = Random(1), set[str]()
    for _ in range(200):
        (name,) = books.pick(Kind.KEPT, rng, NOW)
        kept.add(name)
        books.unknown(books.ask_delete("n1", name))
    assert len(kept) == 200
    left, right = books.pick(Kind.PAIR, Random(2), NOW)
    for _ in range(MOST_ADDS):
        books.unknown(books.ask_add("n1", (left, right), NOW))
    assert books.pick(Kind.PAIR, Random(2), NOW) != (left, right)
    (window,) = books.pick(Kind.WINDOW, Random(2), NOW)
    assert books.pick(Kind.WINDOW, Random(2), NOW + WINDOW_MS) != (window,)


# Replies of Redis.


def replies(received: bytes, commands: int) -> list[redis_clients.Reply]:
    async def read() -> list[redis_clients.Reply]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for _ in range(commands):
                await reader.readline()
            writer.write(received)
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            return await redis_clients.ask(server.sockets[0].getsockname(), *["PING"] * commands)

    return asyncio.run(read())


def test_replies_of_all_kinds_are_read() -> None:
    assert replies(b"+OK\r\n*3\r\n:-5\r\n$-1\r\n$2\r\n17\r\n", 2) == ["OK", [-5, None, "17"]]
    assert list(map(redis_clients.value_of, replies(b"$-1\r\n$2\r\n17\r\n", 2))) == [0, 17]


def test_an_error_in_reply_breaks_a_promise_and_half_a_reply_is_none() -> None:
    with found("ERR no is the reply to PING"):
        replies(b"*1\r\n-ERR no\r\n", 1)
    with pytest.raises(EOFError):
        replies(b"*2\r\n:1\r\n", 1)


def test_a_pair_that_was_picked_and_not_asked_for_is_in_no_book() -> None:
    books = Books()
    assert books.pick(Kind.PAIR, Random(1), 0)
    books.check("n1", {}, 0, 0)
    assert not books.ledgers
