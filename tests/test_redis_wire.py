"""Claim: bytes of the Redis protocol are read and written as Redis does, wherever reads cut them, whatever they are."""

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gossip_counter.node.core.errors import MALFORMED, TEMPORARILY_UNAVAILABLE, RequestError
from gossip_counter.node.endpoints.redis.adds import MAX_FORMS, MAX_KNOWN, KnownAdds
from gossip_counter.node.endpoints.redis.context import Add
from gossip_counter.node.endpoints.redis.glob import matching
from gossip_counter.node.endpoints.redis.parser import AUTHENTICATED, UNAUTHENTICATED, Limits, Parser
from gossip_counter.node.endpoints.redis.replies import Error, Verbatim, encode, encode_results
from tests.support.redis import INCR_X, command

WORD = st.binary(max_size=20) | st.sampled_from([b"INCR", b"x", b"", b"*2", b"\r\n", b"$1\r\nx\r\n", b"\n*1000000\r\n"])
COMMANDS = st.lists(st.lists(WORD, min_size=1, max_size=4), min_size=1, max_size=4)


def parsed(data: bytes, limits: Limits = AUTHENTICATED) -> list[Any]:
    return Parser().feed(data, limits)


@settings(deadline=None)
@given(COMMANDS, st.lists(st.integers(0, 99), max_size=6))
@example([[b"INCR", b"x"]], [14])
def test_commands_are_the_same_wherever_reads_cut_them(commands: list[list[bytes]], cuts: list[int]) -> None:
    data = b"".join(command(*words) for words in commands) + b"PING  'a b'\r\n"
    for at in (sorted({cut for cut in cuts if 0 < cut < len(data)}), range(1, len(data))):
        parser, found = Parser(), []
        for begin, end in pairwise([0, *at, len(data)]):
            found += parser.feed(data[begin:end])
        assert found == [*commands, [b"PING", b"a b"]]
        assert parser.buffered == 0


@settings(deadline=None)
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


def test_empty_commands_are_skipped() -> None:
    assert parsed(b"*0\r\n*-1\r\n\r\n \nPING\n") == [[b"PING"]]


def test_one_command_is_bounded() -> None:
    parser = Parser()
    assert parser.feed(b"*20\r\n") == []
    word = b"$100000\r\n" + b"x" * 100_000 + b"\r\n"
    found = [parser.feed(word) for _ in range(11)]
    assert found == [[]] * 10 + [[Error("ERR Protocol error: too big a request")]]


def test_what_came_before_a_command_is_not_counted_against_it() -> None:
    data, parser, found = command(b"ECHO", b"x" * 900_000) * 2, Parser(), []
    for at in range(0, len(data), 175_000):
        found += parser.feed(data[at : at + 175_000])
    assert found == [[b"ECHO", b"x" * 900_000]] * 2


def test_an_unauthenticated_client_has_less_room() -> None:
    assert parsed(command(b"AUTH", b"x" * 16_384), UNAUTHENTICATED) == [[b"AUTH", b"x" * 16_384]]
    assert parsed(b"*1001\r\n", UNAUTHENTICATED) == [Error("ERR Protocol error: unauthenticated multibulk length")]
    assert parsed(b"*1\r\n$16385\r\n", UNAUTHENTICATED) == [Error("ERR Protocol error: unauthenticated bulk length")]
    assert parsed(b"*9\r\n" + command(b"x" * 16_000)[4:] * 5, UNAUTHENTICATED)[-1:] == [
        Error("ERR Protocol error: too big a request")
    ]


def test_nothing_is_allocated_for_what_is_merely_announced() -> None:
    parser = Parser()
    parser.feed(b"*100000\r\n$1000000\r\n")
    assert parser.buffered < 100


def test_a_large_word_is_not_parsed_again_with_every_byte_that_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert encode(reply, 2) == b"*4\r\n$1\r\na\r\n*3\r\n:1\r\n$-1\r\n$1\r\nx\r\n$1\r\nb\r\n$4\r\ntext\r\n"
    assert encode(reply, 3) == b"%2\r\n$1\r\na\r\n*3\r\n:1\r\n_\r\n$1\r\nx\r\n$1\r\nb\r\n=8\r\ntxt:text\r\n"
    assert encode(Error("ERR two\r\nlines"), 2) == b"-ERR two  lines\r\n"


def test_results_of_adds() -> None:
    assert encode_results([1, 2, -3], 2) == b":1\r\n:2\r\n:-3\r\n"
    overflow, full = RequestError(MALFORMED, "too much"), RequestError(TEMPORARILY_UNAVAILABLE, "no room")
    assert encode_results([1, overflow, full], 2) == (
        b":1\r\n-ERR increment or decrement would overflow\r\n-ERR no room\r\n"
    )
    assert encode_results([(5, 1), (-6, 0)], 2) == b"*2\r\n:5\r\n:1\r\n*2\r\n:-6\r\n:0\r\n"
    assert encode_results([(5, 1), None, 3], 3) == b"*2\r\n:5\r\n:1\r\n_\r\n:3\r\n"


# Adds that are recognised.

NAMES = st.binary(max_size=12) | st.sampled_from(
    [b"a", b"\r\n*", b"a\r\n*2\r\n$4\r\nINCR\r\n$1\r\nb", b"$1\r\n", b"\r\n"]
)
ADDS = st.lists(st.tuples(st.sampled_from([b"INCR", b"decr", b"INCRBY"]), NAMES), min_size=1, max_size=6)


def add_of(words: list[bytes]) -> Add:
    return words[1].decode(errors="surrogateescape"), sum(words[0].upper()) + len(words)


@settings(deadline=None)
@given(st.lists(ADDS, min_size=1, max_size=8))
def test_adds_that_are_recognised_are_what_the_parser_takes_them_for(reads: list[list[tuple[bytes, bytes]]]) -> None:
    """Whatever bytes names hold, such as those of another command."""
    known = KnownAdds(Counter())
    for read in reads * 2:
        commands = [[verb, name, b"7"] if verb == b"INCRBY" else [verb, name] for verb, name in read]
        data = b"".join(command(*words) for words in commands)
        adds = [add_of(words) for words in Parser().feed(data)]
        assert known.find(data) in (None, adds)
        for words, add in zip(commands, adds, strict=True):
            known.note(words, add)
        cut_apart = any(b"\r\n*" in b"\r\n" + name for _, name in read)
        assert cut_apart or known.find(data) == adds


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"*",
        b"*\r\n",
        b"PING\r\n",
        INCR_X[:-1],
        INCR_X[:-2] + b"xx",
        b"x" + INCR_X,
        b"x" + INCR_X[1:],
    ],
)
def test_what_is_not_whole_known_adds_is_not_recognised(data: bytes) -> None:
    known = KnownAdds(Counter())
    known.note([b"INCR", b"x"], ("x", 1))
    assert known.find(data) is None


def test_known_adds_are_bounded() -> None:
    known = KnownAdds(Counter())
    first = command("INCR", "of no\r\nform")
    known.note([b"INCR", b"of no\r\nform"], ("of no\r\nform", 1))
    assert known.find(first)
    for i in range(1, MAX_KNOWN + 1):
        known.note([b"INCR", b"%d" % i], (str(i), 1))
        known.find(command("INCR", b"%d" % i))
    assert known.find(first) is None
    assert known.find(command("INCR", b"%d" % MAX_KNOWN)) == [(str(MAX_KNOWN), 1)]
    both = command("INCR", b"%d" % MAX_KNOWN) * 2
    assert known.find(both) == [(str(MAX_KNOWN), 1)] * 2
    assert len(known.alone) == 1


def test_an_add_of_which_only_the_name_is_new_is_recognised() -> None:
    calls = Counter[bytes]()
    known = KnownAdds(calls)
    known.note([b"incrby", b"x", b"7"], ("x", 7))
    known.note([b"INCR", b"x"], ("x", 1))
    both = command("incrby", "some", "7") + command("INCR", "other")
    assert known.find(both) == known.find(both) == [("some", 7), ("other", 1)]
    assert calls == {b"INCRBY": 2, b"INCR": 2}


@pytest.mark.parametrize(
    "data",
    [
        command("INCRBY", "some", "8"),
        command("INCR", "some"),
        command("INCRBY", "some", "7", "7"),
        command("INCRBY", b"\xff", "7"),
        command("INCRBY", "n" * 2000, "7"),
        command("INCRBY", "some", "7").replace(b"$4", b"$3"),
        command("INCRBY", "some", "7").replace(b"$4", b"$+4"),
        command("INCRBY", "so\r\nme", "7"),
        command("INCRBY", "so\r\n*me", "7"),
        command("INCRBY", "some", "7") + command("GET", "some"),
    ],
)
def test_what_differs_in_more_than_the_name_is_not_recognised(data: bytes) -> None:
    known = KnownAdds(Counter())
    known.note([b"INCRBY", b"x", b"7"], ("x", 7))
    assert known.find(data) is None


def test_known_forms_are_bounded() -> None:
    known = KnownAdds(Counter())
    for i in range(MAX_FORMS + 1):
        known.note([b"INCRBY", b"x", b"%d" % i], ("x", i))
    assert known.find(command("INCRBY", "some", "0")) is None
    assert known.find(command("INCRBY", "some", b"%d" % MAX_FORMS)) == [("some", MAX_FORMS)]


# Patterns.


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        (b"*", b"", True), (b"", b"", True), (b"", b"x", False), (b"?", b"", False), (b"h?llo", b"hello", True),
        (b"h[ae]llo", b"hallo", True), (b"h[^e]llo", b"hello", False), (b"h[a-c]llo", b"hbllo", True),
        (b"a\\*b", b"a*b", True), (b"a\\*b", b"axb", False), (b"*a*b", b"xaxxb", True), (b"*a*b", b"xaxxbc", False),
        (b"[", b"x", False), (b"[abc", b"a", True), (b"x*", b"x", True),
    ],
)  # fmt: skip
def test_patterns(pattern: bytes, name: bytes, matches: bool) -> None:
    assert bool(matching(pattern)(name)) is matches


GLOBS = st.lists(st.sampled_from([b"a", b"b", b"*", b"?", b"[ab]", b"[^a]", b"[a-b]", b"[]", b"[^]"]), max_size=7)


@settings(deadline=None)
@given(GLOBS, st.text("abc\n", max_size=7).map(str.encode))
def test_a_pattern_matches_just_what_its_parts_do(parts: list[bytes], name: bytes) -> None:
    def takes(part: bytes, byte: bytes) -> bool:
        sets = {b"?": b"abc\n", b"[ab]": b"ab", b"[a-b]": b"ab", b"[^a]": b"bc\n", b"[]": b"", b"[^]": b"abc\n"}
        return byte in sets.get(part, part)

    def matches(parts: list[bytes], name: bytes) -> bool:
        if not parts:
            return not name
        first, *rest = parts
        if first == b"*":
            return any(matches(rest, name[at:]) for at in range(len(name) + 1))
        return bool(name) and takes(first, name[:1]) and matches(rest, name[1:])

    assert bool(matching(b"".join(parts))(name)) is matches(parts, name)


@settings(deadline=None)
@given(st.binary(max_size=20), st.binary(max_size=20))
def test_no_pattern_fails(pattern: bytes, name: bytes) -> None:
    matching(pattern)(name)
    literal = b"".join(b"\\" + bytes([byte]) for byte in name)
    assert matching(b"*" * 20 + literal)(name)


def test_no_pattern_takes_long() -> None:
    assert not matching(b"*a" * 500 + b"b")(b"a" * 255)
