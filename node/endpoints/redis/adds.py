"""Adds that are recognised by their bytes, so that they need not be parsed again.

Pure. Clients send the same few commands all the time, and most of them are adds. To look one up by its bytes costs a
tenth of what it takes to parse it. Where only the counter's name is new, all else is recognised by its *form*, which
costs a quarter of parsing it. Calls are counted by command, which costs one addition for all the adds of one
command that arrive together.
"""

from collections import Counter

from gossip_counter.node.endpoints.redis.arguments import counter
from gossip_counter.node.endpoints.redis.context import Add

MAX_KNOWN = 16_384
"""Adds that are recognised; some 30 MB if all names and options are as long as they may be."""

MAX_FORMS = 1024
"""Forms that are recognised. An amount or a time that changes with each add makes a form of its own."""

_LINE = b"\r\n"

_Form = tuple[bytes, ...]
"""All lines of an add but the two of the counter's name: those before it, and in one those after it."""


class KnownAdds:
    """Adds by the bytes of their commands."""

    def __init__(self, calls: Counter[bytes]) -> None:
        """Adds that are found are counted in `calls`, by the name of their command in capitals."""
        self._calls = calls
        self._commands: dict[bytes, bytes] = {}
        """By the bytes of one add, without the asterisk before them and the end of line after them, its command."""
        self._adds: dict[bytes, dict[bytes, Add]] = {}
        """By command, and by the same bytes."""
        self._forms: dict[_Form, tuple[bytes, Add]] = {}
        """By form, its command, and what was added to some counter."""
        self.alone: dict[bytes, tuple[bytes, list[Add]]] = {}
        """By all the bytes of one that arrived without others: the shortest way, one look-up."""

    def find(self, data: bytes) -> list[Add] | None:
        """The adds in these bytes, if they are nothing but whole adds, all of them known; else None.

        A sequence of known commands can be read in no other way, whatever bytes the names in it contain.
        """
        if alone := self.alone.get(data):
            self._calls[alone[0]] += 1
            return alone[1]
        if not (data.startswith(b"*") and data.endswith(_LINE)):
            return None
        parts = data[1:-2].split(b"\r\n*")
        command = self._commands.get(parts[0])
        if command is None:
            return self._find_each(parts)
        try:
            adds = list(map(self._adds[command].__getitem__, parts))
        except KeyError:
            return self._find_each(parts)
        self._calls[command] += len(adds)
        if len(adds) == 1:
            self.alone[data] = command, adds
        return adds

    def _find_each(self, parts: list[bytes]) -> list[Add] | None:
        """The same where not all have the same command, or not all were parsed before."""
        commands, adds = list[bytes](), list[Add]()
        for part in parts:
            command = self._commands.get(part) or self._recognise(part)
            if command is None:
                return None
            commands.append(command)
            adds.append(self._adds[command][part])
        self._calls.update(commands)
        return adds

    def _recognise(self, part: bytes) -> bytes | None:
        """Make an add known of which only the name is new; its command. None: it is no such add, or an invalid one."""
        lines = part.split(_LINE, 5)
        if len(lines) < 5:
            return None
        size, key = lines[3:5]
        form = self._forms.get(_form(lines))
        if form is None or size != b"$%d" % len(key):
            return None
        command, (_, added) = form
        try:
            self._note(part, command, (counter(key), added))
        except ValueError:
            return None
        return command

    def note(self, words: list[bytes], add: Add) -> None:
        """Recognise this command from now on, also for other counters."""
        part = b"%d%s" % (len(words), b"".join([b"\r\n$%d\r\n%s" % (len(word), word) for word in words]))
        command = words[0].upper()
        self._note(part, command, add)
        if _LINE not in words[1]:  # else its lines are not those of a form
            if len(self._forms) >= MAX_FORMS:
                self._forms.clear()
            self._forms[_form(part.split(_LINE, 5))] = command, add

    def _note(self, part: bytes, command: bytes, add: Add) -> None:
        """Recognise these bytes. Once there are too many, all are forgotten."""
        if len(self._commands) >= MAX_KNOWN:
            for known in (self._commands, self._adds, self.alone):
                known.clear()
        self._commands[part] = command
        self._adds.setdefault(command, {})[part] = add


def _form(lines: list[bytes]) -> _Form:
    """The form of an add, of whose lines all after the name are one."""
    return (*lines[:3], *lines[5:])
