"""Times at which counters end, as commands name them: EX seconds, PX milliseconds, and so on.

Pure. Errors are those of Redis.
"""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from gossip_counter.node.core.limits import MAX_COUNT
from gossip_counter.node.endpoints.redis.arguments import LEAST, int64
from gossip_counter.node.endpoints.redis.replies import NOT_AN_INTEGER, SYNTAX, Error


class Unit(NamedTuple):
    """How a command counts time."""

    ms: int
    """Milliseconds of one."""
    is_unix: bool
    """Whether it counts from 1970, and not from now."""


SECONDS, MILLISECONDS = Unit(1000, False), Unit(1, False)
UNIX_SECONDS, UNIX_MILLISECONDS = Unit(1000, True), Unit(1, True)

UNITS = {b"EX": SECONDS, b"PX": MILLISECONDS, b"EXAT": UNIX_SECONDS, b"PXAT": UNIX_MILLISECONDS}
"""By option of SET, GETEX and INCREX."""


class CommandError(Exception):
    """A command that can't be carried out; nothing has changed."""

    def __init__(self, error: Error) -> None:
        super().__init__(error)
        self.error = error


class Options:
    """The options of a command, in any order: words that stand alone, words with a value, and at most one expiry."""

    def __init__(
        self, words: Sequence[bytes], flags: AbstractSet[bytes], named: AbstractSet[bytes] = frozenset()
    ) -> None:
        """Raises `CommandError` for a word that is none of them."""
        self.flags = set[bytes]()
        self.values = dict[bytes, bytes]()
        self.unit: Unit | None = None
        self._time = b""
        left = iter(words)
        for word in left:
            name = word.upper()
            if name in flags:
                self.flags.add(name)
            elif name in UNITS and self.unit in {None, UNITS[name]}:
                self.unit, self._time = UNITS[name], _next(left)
            elif name in named:
                self.values[name] = _next(left)
            else:
                raise CommandError(SYNTAX)

    def allow_one_of(self, *flags: bytes) -> None:
        """Raises `CommandError` if there are several of these flags, an expiry being one of them if b"EX" is."""
        if len(self.flags & {*flags}) + (b"EX" in flags and self.unit is not None) > 1:
            raise CommandError(SYNTAX)

    def time_ms(self, command: str) -> int:
        """The expiry's time, from now or from 1970. Raises `CommandError`."""
        if self.unit is None:
            raise RuntimeError("there is no expiry")
        return positive_ms(self._time, self.unit, command)


def _next(words: Iterator[bytes]) -> bytes:
    value = next(words, None)
    if value is None:
        raise CommandError(SYNTAX)
    return value


def positive_ms(word: bytes, unit: Unit, command: str) -> int:
    """A time, which must be positive. Raises `CommandError`."""
    time = whole(word) * unit.ms
    if not 0 < time <= MAX_COUNT:
        raise invalid(command)
    return time


def deadline_ms(time_ms: int, unit: Unit, now_ms: int, command: str) -> int:
    """The Unix time that it stands for. Raises `CommandError`."""
    deadline = time_ms if unit.is_unix else time_ms + now_ms
    if not LEAST <= time_ms <= MAX_COUNT or deadline > MAX_COUNT:
        raise invalid(command)
    return deadline


def whole(word: bytes) -> int:
    """An integer of 64 bits. Raises `CommandError`."""
    try:
        return int64(word)
    except ValueError:
        raise CommandError(NOT_AN_INTEGER) from None


def invalid(command: str) -> CommandError:
    """The error for a time beyond all bounds."""
    return CommandError(Error(f"ERR invalid expire time in '{command}' command"))
