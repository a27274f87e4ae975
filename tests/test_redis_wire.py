"""Requests of the Redis protocol: what is a command, wherever reads cut it, and what is none."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gossip_counter.node.endpoints.redis.commands import Error, Verbatim
from gossip_counter.node.endpoints.redis.wire import KNOWN, STRANGER, Limits, Parser, packed

WORD = st.binary(max_size=20) | st.sampled_from([b"INCR", b"x", b"", b"*2", b"\r\n", b"$1\r\nx\r\n", b"\n*1000000\r\n"])
COMMANDS = st.lists(st.lists(WORD, min_size=1, max_size=4), min_size=1, max_size=4)


def in_resp(words: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def parsed(data: bytes, limits: Limits = KNOWN) -> list[Any]:
    return Parser().feed(data, limits)


@given(COMMANDS, st.lists(st.integers(0, 99), max_size=6))
@example([[b"INCR", b"x"]], [14])
def test_commands_are_the_same_wherever_reads_cut_them(said: list[list[bytes]], cuts: list[int]) -> None:
    data = b"".join(map(in_resp, said)) + b"PING  'a b'\r\n"
    for at in (sorted({cut for cut in cuts if 0 < cut < len(data)}), range(1, len(data))):
        parser, found = Parser(), []
        for begin, end in pairwise([0, *at, len(data)]):
            found += parser.feed(data[begin:end])
        assert found == [*said, [b"PING", b"a b"]]
        assert parser.held == 0


@given(st.lists(st.binary(max_size=30) | st.sampled_from([b"*1\r\n", b"$4\r\nPING\r\n", b"$-1\r\n", b'"']), max_size=8))
def test_whatever_comes_is_commands_or_an_error_and_no_exception(parts: list[bytes]) -> None:
    whole = parsed(b"".join(parts))
    parser, found = Parser(), []
    for part in parts:
        found += parser.feed(part)
        if found and isinstance(found[-1], Error):
            break
    assert [each for each in whole if not isinstance(each, Error)] == [
        each for each in found if not isinstance(each, Error)
    ]
    assert all(isinstance(each, Error) or (each and all(type(word) is bytes for word in each)) for each in whole)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'INCR "k 1"', [b"INCR", b"k 1"]),
        (b"  a\tb  \r", [b"a", b"b"]),
        (b'foo"bar baz"', [b"foobar baz"]),
        (b'"\\x41\\n\\q\\""', [b'A\nq"']),
        (b"'a\\'b\\n'", [b"a'b\\n"]),
        (b"''", [b""]),
    ],
    ids=repr,
)
def test_lines_are_split_as_redis_does(line: bytes, words: list[bytes]) -> None:
    assert parsed(line + b"\n") == [words]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"*1\r\n>200000000\r\n", "expected '$', got '>'"),
        (b"*1\r\n*1\r\n$1\r\nx\r\n", "expected '$', got '*'"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$536870912\r\n", "invalid bulk length"),
        (b"*1\r\n$01\r\n", "invalid bulk length"),
        (b"*1000000\r\n", "invalid multibulk length"),
        (b"*+1\r\n", "invalid multibulk length"),
        (b"*\r\n", "invalid multibulk length"),
        (b'ECHO "a\r\n', "unbalanced quotes in request"),
        (b"ECHO 'a'b\r\n", "unbalanced quotes in request"),
        (b"x" * 65_536, "too big inline request"),
        (b"*" + b"1" * 65_536, "too big mbulk count string"),
        (b"*1\r\n$" + b"1" * 65_536, "too big bulk count string"),
    ],
    ids=lambda each: repr(each)[:40],
)
def test_errors_are_those_of_redis(data: bytes, text: str) -> None:
    whole = parsed(b"PING\r\n" + data)
    assert whole == [[b"PING"], Error(f"ERR Protocol error: {text}")]


def test_an_empty_command_is_none() -> None:
    assert parsed(b"*0\r\n*-1\r\n\r\n \nPING\n") == [[b"PING"]]


def test_one_command_is_bounded() -> None:
    parser = Parser()
    assert parser.feed(b"*20\r\n") == []
    word = b"$100000\r\n" + b"x" * 100_000 + b"\r\n"
    found = [parser.feed(word) for _ in range(11)]
    assert found == [[]] * 10 + [[Error("ERR Protocol error: too big a request")]]


def test_what_came_before_a_command_is_not_counted_against_it() -> None:
    data, parser, found = in_resp([b"ECHO", b"x" * 900_000]) * 2, Parser(), []
    for at in range(0, len(data), 175_000):
        found += parser.feed(data[at : at + 175_000])
    assert found == [[b"ECHO", b"x" * 900_000]] * 2


def test_a_stranger_has_less_room() -> None:
    assert parsed(in_resp([b"AUTH", b"x" * 16_384]), STRANGER) == [[b"AUTH", b"x" * 16_384]]
    assert parsed(b"*1001\r\n", STRANGER) == [Error("ERR Protocol error: unauthenticated multibulk length")]
    assert parsed(b"*1\r\n$16385\r\n", STRANGER) == [Error("ERR Protocol error: unauthenticated bulk length")]
    assert parsed(b"*9\r\n" + in_resp([b"x" * 16_000])[4:] * 5, STRANGER)[-1:] == [
        Error("ERR Protocol error: too big a request")
    ]


def test_half_a_command_takes_no_more_room_than_it_has_brought() -> None:
    parser = Parser()
    parser.feed(b"*100000\r\n$1000000\r\n")
    assert parser.held < 100


def test_a_large_word_is_not_gone_through_with_every_byte_that_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    parse, times = Parser._parse, list[int]()

    def noted(self: Parser, data: bytes, found: list[Any], limits: Limits) -> int:
        times.append(len(data))
        return parse(self, data, found, limits)

    monkeypatch.setattr(Parser, "_parse", noted)
    parser = Parser()
    parser.feed(b"*1\r\n$1000\r\n")
    for _ in range(1001):
        assert parser.feed(b"x") == []
    assert parser.feed(b"\n") == [[b"x" * 1000]]
    assert len(times) == 2


def test_replies_in_both_protocols() -> None:
    reply = {"a": [1, None, b"x"], "b": Verbatim(b"text")}
    assert packed(reply, 2) == b"*4\r\n$1\r\na\r\n*3\r\n:1\r\n$-1\r\n$1\r\nx\r\n$1\r\nb\r\n$4\r\ntext\r\n"
    assert packed(reply, 3) == b"%2\r\n$1\r\na\r\n*3\r\n:1\r\n_\r\n$1\r\nx\r\n$1\r\nb\r\n=8\r\ntxt:text\r\n"
    assert packed(Error("ERR two\r\nlines"), 2) == b"-ERR two  lines\r\n"
