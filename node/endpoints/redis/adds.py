"""Adds that are recognised by their bytes, so that they need not be parsed again.

Pure. Clients send the same few commands all the time, and most of them are adds. To look one up by its bytes costs a
tenth of what it takes to parse it.
"""

from gossip_counter.node.endpoints.redis.context import Add

MAX_KNOWN = 16_384
"""Adds that are recognised; 15 MB if all names are as long as they may be."""


class KnownAdds:
    """Adds by the bytes of their commands."""

    def __init__(self) -> None:
        self._adds: dict[bytes, Add] = {}
        """By one whole command each, without the asterisk before it and the end of line after it."""
        self.alone: dict[bytes, list[Add]] = {}
        """By all the bytes of one that arrived without others: the shortest way, one look-up."""

    def find(self, data: bytes) -> list[Add] | None:
        """The adds in these bytes, if they are nothing but whole adds, all of them parsed before; else None.

        Bytes that are a sequence of known commands can be no other commands, whatever bytes their names hold.
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
        """Recognise this command from now on. Once there are too many, all are forgotten."""
        if len(self._adds) >= MAX_KNOWN:
            self._adds.clear()
            self.alone.clear()
        parts = b"".join(b"\r\n$%d\r\n%s" % (len(word), word) for word in words)
        self._adds[b"%d%s" % (len(words), parts)] = add
