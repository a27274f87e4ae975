"""What is fuzzed, by name."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from gossip_counter.bench.fuzz import (
    datagram_targets,
    file_targets,
    line_target,
    redis_target,
    samples,
    sequence_target,
)
from gossip_counter.bench.fuzz.items import Item

WIRE = (
    b"\xff", b"\x00", b"\xc0", b"\xc1", b"\xc3", b"\xa0", b"\x90", b"\x80", b"\xcf" + b"\xff" * 8, b"\xd3\x80",
    b"\xdd\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xd9\x02\xc3\x28",
    b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00", b"\x91" * 40, b"\xa2n1", b"\xa2n9",
)  # fmt: skip
TEXT = (
    b'"', b"{", b"}", b"[", b"]", b":", b",", b"null", b"true", b"-", b"1e999", b"NaN", b"0.5", b"\\ud800",
    b"\\u0000", b"\xff", b"9223372036854775808", b"18446744073709551616", b"[" * 40, b'"counters"', b'"copies"',
    b'"token"', b'"in_reply_to"',
)  # fmt: skip
RESP = (
    b"\r\n", b"*", b"$", b"*1\r\n", b"*-1\r\n", b"$-1\r\n", b"$0\r\n\r\n", b"*1000000\r\n", b"$536870912\r\n", b'"',
    b"'", b" ", b"\x00", b"\xff", b"9223372036854775807", b"-9223372036854775808", b"EX", b"PX", b"NX", b"XX",
    b"KEEPTTL", b"0", b"-1", b"inf", b"*1\r\n$5\r\nMULTI\r\n", b"*1\r\n$4\r\nEXEC\r\n",
    b"*2\r\n$4\r\nINCR\r\n$1\r\na\r\n", b"redis.call('GET','a')",
)  # fmt: skip
KEYS = (b"key ", b"retired ", b"#", b"\n", b" ", b"\r", b"\x00", b"\xff", b"0" * 64, b"9999-12-31T23:59:59Z")


class Target(NamedTuple):
    """Something that takes inputs. `run` returns how many of `unit` an input had, and raises what is wrong."""

    name: str
    unit: str
    run: Callable[[bytes], int]
    samples: Callable[[], list[Item]]
    tokens: Sequence[bytes]
    length: int
    """Items of an input."""


TARGETS = {
    each.name: each
    for each in (
        Target("datagrams", "datagrams", datagram_targets.try_plain, samples.of_datagrams, WIRE, 150),
        Target("sealed", "datagrams", datagram_targets.try_sealed, samples.of_datagrams, WIRE, 150),
        Target("lines", "lines", line_target.try_lines, samples.of_lines, TEXT, 100),
        Target("redis", "bytes", redis_target.try_redis, redis_target.samples, RESP, 40),
        Target("entries", "entries", file_targets.try_entries, samples.of_entries, TEXT, 20),
        Target("keyrings", "files", file_targets.try_keyrings, samples.of_keyrings, KEYS, 50),
        Target("sequences", "steps", sequence_target.try_sequence, sequence_target.samples, WIRE, 60),
    )
}
