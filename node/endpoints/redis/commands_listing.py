"""Commands that list counters.

Pure. The table of all commands is in `commands`.
"""

from gossip_counter.node.endpoints.redis.arguments import in_steps, integer
from gossip_counter.node.endpoints.redis.context import ClientInfo, Node
from gossip_counter.node.endpoints.redis.glob import matching
from gossip_counter.node.endpoints.redis.replies import (
    NOT_AN_INTEGER,
    SYNTAX,
    Error,
    Pieces,
    Reply,
    bulk,
    head,
)

MAX_SCANNED = 10_000
"""Names that one SCAN looks at, whatever COUNT asks for."""

NAMES_A_STEP = 256
"""Names that are looked at, or sent, before others are served."""

WORK_A_STEP = 4096
"""Bytes of pattern, over all names, that are compared before that. A long pattern can be slow."""

REFERENCE_BYTES = 8
"""What it takes to keep a name that the node has anyway."""


def dbsize(_: ClientInfo, node: Node, _words: list[bytes]) -> Reply:
    """DBSIZE."""
    return len(node.names)


def randomkey(_: ClientInfo, node: Node, _words: list[bytes]) -> Reply:
    """RANDOMKEY: the first counter after a random place."""
    names: list[str] = []
    cursor = node.random_below(node.names.last) if len(node.names) else 0
    while len(node.names) and not names:  # those after it may have been removed
        names, cursor = node.names.after(cursor, 1)
    return names[0].encode() if names else None


def keys(_: ClientInfo, node: Node, words: list[bytes]) -> Reply | Pieces:
    """KEYS pattern."""
    try:
        found = _Matching(words[0])
    except ValueError as error:
        return Error(f"ERR {error}")
    return _keys(node, found)


def _keys(node: Node, found: "_Matching") -> Pieces:
    cursor, is_last = 0, False
    while not is_last:
        names, cursor = node.names.after(cursor, found.names_a_step)
        is_last = not cursor
        yield found.look_at(names)
    yield from found.as_array()


def scan(_: ClientInfo, node: Node, words: list[bytes]) -> Reply | Pieces:
    """SCAN cursor [MATCH pattern] [COUNT names] [TYPE type].

    A counter that exists all the time is listed exactly once.
    """
    options = {b"MATCH": b"*", b"COUNT": b"10", b"TYPE": b"string"}
    for option, given in zip(words[1::2], words[2::2], strict=False):
        if option.upper() not in options:
            return SYNTAX
        options[option.upper()] = given
    if len(words) % 2 == 0:
        return SYNTAX
    try:
        count = integer(options[b"COUNT"])
    except ValueError:
        return NOT_AN_INTEGER
    try:
        found = _Matching(options[b"MATCH"])
    except ValueError as error:
        return Error(f"ERR {error}")
    cursor = _cursor(words[0])
    if cursor is None or count < 1:
        return SYNTAX if count < 1 else Error("ERR invalid cursor")
    names, following = node.names.after(cursor, min(count, MAX_SCANNED))
    return _scan(names if options[b"TYPE"].lower() == b"string" else [], following, found)


def _scan(names: list[str], following: int, found: "_Matching") -> Pieces:
    yield len(names) * REFERENCE_BYTES
    for some in in_steps(names, found.names_a_step):
        yield found.look_at(some)
    yield head(2) + bulk([b"%d" % following])
    yield from found.as_array()


class _Matching:
    """Names that match a pattern, found and then sent step by step."""

    def __init__(self, pattern: bytes) -> None:
        """Raises `ValueError` that says what is wrong with a pattern."""
        self._matches = matching(pattern)
        self._found: list[str] = []
        self.names_a_step = max(1, min(NAMES_A_STEP, WORK_A_STEP // max(1, len(pattern))))

    def look_at(self, names: list[str]) -> int:
        """Keep those that match; by how many bytes more that is."""
        matches, before = self._matches, len(self._found)
        self._found += [name for name in names if matches(name.encode())]
        return (len(self._found) - before) * REFERENCE_BYTES

    def as_array(self) -> Pieces:
        """Send them."""
        yield head(len(self._found))
        for some in in_steps(self._found, NAMES_A_STEP):
            yield bulk([name.encode() for name in some])


def _cursor(word: bytes) -> int | None:
    try:
        cursor = integer(word)
    except ValueError:
        return None
    return cursor if cursor >= 0 else None
