"""Lines of JSON <-> the envelope and the body of a message, as Maelstrom sends them: `{"src", "dest", "body"}`.

Pure. What a body means is the affair of `requests`.
"""

import json
from typing import Any, NamedTuple

from gossip_counter.node.codec.requests import Body
from gossip_counter.node.core.errors import ProtocolError


class Envelope(NamedTuple):
    """One line: who sent it (`src`), to whom (`dest`, "" if it does not say), and the body."""

    source: str
    destination: str
    body: Body


def unpack(line: bytes) -> Envelope:
    """The envelope that a line holds. Raises `ProtocolError`."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"not JSON: {error}") from None
    if not isinstance(message, dict):
        raise ProtocolError("not a JSON map")
    source, destination, body = (message.get(field) for field in ("src", "dest", "body"))
    if not isinstance(source, str) or not isinstance(body, dict):
        raise ProtocolError("a message needs a string src and a map body")
    return Envelope(source, destination if isinstance(destination, str) else "", body)


def pack(source: str, destination: str, body: dict[str, Any]) -> bytes:
    """A line, its newline included."""
    return json.dumps({"src": source, "dest": destination, "body": body}).encode() + b"\n"
