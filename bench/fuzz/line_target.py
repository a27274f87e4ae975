"""JSON lines at a node on stdin and stdout."""

import json
import logging
import os
from contextlib import suppress
from io import BytesIO
from random import Random

import msgpack

from gossip_counter.bench.fuzz import agreement
from gossip_counter.bench.fuzz.items import split
from gossip_counter.bench.fuzz.wrong import check
from gossip_counter.cluster.sim import recomputed
from gossip_counter.node.codec import datagrams, json_lines
from gossip_counter.node.core.config import Config
from gossip_counter.node.core.errors import ProtocolError
from gossip_counter.node.runtime.stdio import StdioNode

INIT = json_lines.pack("c", "n1", {"type": "init", "msg_id": 0, "node_id": "n1", "node_ids": ["n1", "n2", "n3"]})
LAST = json_lines.pack("c", "n1", {"type": "add", "msg_id": 77, "delta": 1, "counter": "alive"})
LATE = 128
"""An input whose first control byte has this bit is not preceded by an `init`."""


class _Node(StdioNode):
    """One whose state is looked at."""

    def check(self) -> None:
        """What is kept is what the rows come to."""
        if self._replica:
            recomputed.check(self._replica.state)
            check(self._replica.stats.internal_errors == 0, "an error was not expected")


class _Raises(logging.Handler):
    """Raises what a node logs as an unexpected error; other lines can be formatted."""

    def emit(self, record: logging.LogRecord) -> None:
        record.getMessage()
        if record.exc_info and record.exc_info[1]:
            raise record.exc_info[1]


def _log_raises() -> None:
    log = logging.getLogger("gossip_counter.stdio")
    if not any(isinstance(each, _Raises) for each in log.handlers):
        log.addHandler(_Raises())
        log.propagate = False


def try_lines(data: bytes) -> int:
    """Lines, after an `init` or before it. Returns how many there were."""
    _log_raises()
    items = list(split(data))
    lines = [item.content.replace(b"\n", b" ") for item in items]
    is_late = items and items[0].control & LATE
    output = BytesIO()
    node = _Node(Config(name="n1"), output, Random(1))
    source = os.memfd_create("lines")
    try:
        os.write(source, b"\n".join([*([] if is_late else [INIT[:-1]]), *lines, INIT[:-1], LAST]))
        os.lseek(source, 0, os.SEEK_SET)
        node.run(source)
    finally:
        os.close(source)
    node.check()
    replies = [json.loads(line) for line in output.getvalue().splitlines()]
    check(all(type(each["body"]) is dict for each in replies), "a reply without a body")
    last = [each["body"] for each in replies if each["body"].get("in_reply_to") == 77]
    check(any(each["type"] == "add_ok" for each in last), "an add is not acknowledged:", last)
    for line in lines:
        _check_agreement(line)
    return len(lines)


def _check_agreement(line: bytes) -> None:
    """A body means the same in JSON and in msgpack, and a line that is packed again is the same."""
    try:
        envelope = json_lines.unpack(line)
    except ProtocolError:
        return
    again = json_lines.pack(envelope.source, envelope.destination, dict(envelope.body))  # type: ignore[arg-type]
    check(repr(json_lines.unpack(again)) == repr(envelope), "packed and unpacked it is another:", line)
    with suppress(ValueError, TypeError, OverflowError, RecursionError):  # what msgpack can't hold
        packed = msgpack.packb(envelope.body)
        body = datagrams.unpack(packed, "c")
        assert isinstance(body, dict)
        check(agreement.parsed(body) == agreement.parsed(envelope.body), "in msgpack it means another thing:", line)
