"""Adds that are recognised by their bytes, so that they need not be parsed again.

Pure. Clients send the same few commands all the time, and most of them are adds. To look one up by its bytes costs a
tenth of what it takes to parse it. Calls are counted by command, which costs one addition for all the adds of one
command that arrive together.
"""

from collections import Counter

from gossip_counter.node.endpoints.redis.context import Add

MAX_KNOWN = 16_384
"""Adds that are recognised; 15 MB if all names are as long as they may be."""


class KnownAdds:
    """Adds by the bytes of their commands."""

    def __init__(self, calls: Counter[bytes]) -> None:
        """Adds that are found are counted in `calls`, by the name of their command in capitals."""
        self._calls = calls
        self._commands: dict[bytes, bytes] = {}
        """By the bytes of one add, without the asterisk before them and the end of line after them, its command."""
        self._adds: dict[bytes, dict[bytes, Add]] = {}
        """By command, and by the same bytes."""
        self.alone: dict[bytes, tuple[bytes, list[Add]]] = {}
        """By all the bytes of one that arrived without others: the shortest way, one look-up."""

    def find(self, data: bytes) -> list[Add] | None:
        """The adds in these bytes, if they are nothing but whole adds, all of them parsed before; else None.

        A sequence of known commands can be read in no other way, whatever bytes the names in it contain.
        """
        if alone := self.alone.get(data):
            self._calls[alone[0]] += 1
            return alone[1]
        if not (data.startswith(b"*") and data.endswith(b"\r\n")):
            return None
        parts = data[1:-2].split(b"\r\n*")
        command = self._commands.get(parts[0])
        if command is None:
            return None
        try:
            adds = list(map(self._adds[command].__getitem__, parts))
        except KeyError:
            return self._find_mixed(parts)
        self._calls[command] += len(adds)
        if len(adds) == 1:
            self.alone[data] = command, adds
        return adds

    def _find_mixed(self, parts: list[bytes]) -> list[Add] | None:
        """The same where not all have the same command."""
        commands = [self._commands.get(part) for part in parts]
        if None in commands:
            return None
        adds = [self._adds[command][part] for command, part in zip(commands, parts, strict=True) if command]
        self._calls.update(command for command in commands if command)
        return adds

    def note(self, words: list[bytes], add: Add) -> None:
        """Recognise this command from now on. Once there are too many, all are forgotten."""
        if len(self._commands) >= MAX_KNOWN:
            for known in (self._commands, self._adds, self.alone):
                known.clear()
        parts = b"%d%s" % (len(words), b"".join([b"\r\n$%d\r\n%s" % (len(word), word) for word in words]))
        command = words[0].upper()
        self._commands[parts] = command
        self._adds.setdefault(command, {})[parts] = add
