"""Adds as Redis clients say them: recognised, known again without being parsed, and answered.

Pure. Clients say the same few commands all the time, and most of them are adds; to tell one of these by its bytes costs
a tenth of what it takes to parse it.
"""

from collections.abc import Sequence

from gossip_counter.node.core.errors import MALFORMED, RequestError
from gossip_counter.node.endpoints.redis import commands
from gossip_counter.node.endpoints.redis.commands import ADDS, NOT_AN_INTEGER, OVERFLOW, Error
from gossip_counter.node.endpoints.redis.wire import packed

Add = tuple[str, int]
"""A counter, and what is added to it."""

MOST_KNOWN = 16_384
"""Adds that are known again; 15 MB if all names are as long as they may be."""

_NEXT = "\r\n:"


class Known:
    """Adds by the bytes that say them."""

    def __init__(self) -> None:
        self._adds: dict[bytes, Add] = {}
        """By one whole command each, without the asterisk before it and the end of line after it."""
        self.alone: dict[bytes, list[Add]] = {}
        """By all the bytes of one that came without others."""

    def find(self, data: bytes) -> list[Add] | None:
        """The adds that these bytes are, if they are nothing but whole adds and all of them were seen before.

        What is made of nothing but known commands is just these commands, whatever bytes their names hold.
        """
        if not (data.startswith(b"*") and data.endswith(b"\r\n")):
            return None
        try:
            adds = list(map(self._adds.__getitem__, data[1:-2].split(b"\r\n*")))
        except KeyError:
            return None
        if len(adds) == 1:
            self.alone[data] = adds
        return adds

    def note(self, words: list[bytes], add: Add) -> None:
        """Know this command again."""
        if len(self._adds) >= MOST_KNOWN:
            self._adds.clear()
            self.alone.clear()
        said = b"".join(b"\r\n$%d\r\n%s" % (len(word), word) for word in words)
        self._adds[b"%d%s" % (len(words), said)] = add


def as_add(words: list[bytes] | Error) -> Add | None:
    """The counter that an add names and what it adds; None for what is no add, or is not as it should be."""
    if isinstance(words, Error):
        return None
    add = ADDS.get(words[0].upper())
    if add is None or add.arity != len(words):
        return None
    try:
        return commands.counter(words[1]), add.sign * commands.integer(words[2]) if len(words) == 3 else add.sign
    except ValueError:
        return None


def why_not(words: list[bytes]) -> Error:
    """What is wrong with a command that names an add and is none."""
    if len(words) != ADDS[words[0].upper()].arity:
        return commands.wrong_arity(words[0])
    try:
        commands.counter(words[1])
    except ValueError as error:
        return Error(f"ERR {error}")
    return NOT_AN_INTEGER


def replies(told: Sequence[int | RequestError]) -> bytes:
    """What adds are answered, each with the value after it or with why it was refused."""
    if set(map(type, told)) == {int}:
        return f":{_NEXT.join(map(str, told))}\r\n".encode()
    return b"".join(packed(_refusal(each) if isinstance(each, RequestError) else each, 2) for each in told)


def _refusal(error: RequestError) -> Error:
    return OVERFLOW if error.code == MALFORMED else Error(f"ERR {error.text}")
