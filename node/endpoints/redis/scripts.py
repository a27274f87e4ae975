"""The scripts that clients have sent, by the hash of their text, and how they are run.

Pure. Lua is loaded when the first script arrives: most nodes need none. What is kept is bounded; the script that was
not used for longest is forgotten first, and whoever calls it by its hash sends it again, as after a restart.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gossip_counter.node.endpoints.redis.arguments import shown
from gossip_counter.node.endpoints.redis.lua import Ask, Interpreter, Outcome, ScriptError, load_lupa, sha1_hex

MEMORY_PER_BYTE = 32
"""Memory of Lua for each byte of text that may be kept: compiled, it takes up to half of that."""

SCRIPT_BYTES = 512
"""What one takes beside its text."""

_NO_LUA = "ERR scripts need Lua, which this node lacks: install it with pip install 'gossip-counter[lua]', and restart"


@dataclass(slots=True)
class Script:
    """A script that was compiled."""

    sha: str
    size: int
    compiled: Any
    flags: set[str] | None
    """Those of its first line; None if that names none."""

    @property
    def may_write(self) -> bool:
        """Whether it may call commands that write."""
        return not self.flags or "no-writes" not in self.flags


class Scripts:
    """All scripts of a node."""

    def __init__(self, instructions: int, memory_kb: int, load: Callable[[], Any] = load_lupa) -> None:
        """The bounds are those of each transaction, and of all that Lua has in memory."""
        self.instructions = instructions
        self._memory_bytes = memory_kb * 1024
        self._load = load
        self._interpreter: Interpreter | None = None
        self._scripts: OrderedDict[str, Script] = OrderedDict()
        """The one used last comes last."""
        self._size = 0

    def __contains__(self, sha: str) -> bool:
        return sha in self._scripts

    def find(self, sha: str) -> Script | None:
        """The script with this hash, if it is known."""
        script = self._scripts.get(sha)
        if script:
            self._scripts.move_to_end(sha)
        return script

    def put(self, source: bytes) -> Script:
        """The script with this text. Raises `ScriptError` with the reason if there can be none."""
        sha = sha1_hex(source)
        if found := self.find(sha):
            return found
        size = len(source) + SCRIPT_BYTES
        flags, text = _split(source)
        most = self._memory_bytes // MEMORY_PER_BYTE
        if size > most:
            raise ScriptError(f"ERR a script must be shorter than {most - SCRIPT_BYTES} bytes (see --script-memory-kb)")
        compiled = self._lua().compile(text)
        self._forget_above(most - size)
        self._size += size
        script = self._scripts[sha] = Script(sha, size, compiled, flags)
        return script

    def flush(self) -> None:
        """Forget all."""
        self._forget_above(0)

    def run(
        self, script: Script, keys: Sequence[bytes], arguments: Sequence[bytes], ask: Ask, instructions: int,
        protocol: int,
    ) -> Outcome:  # fmt: skip
        """Run a script. Raises `ScriptError`."""
        return self._lua().run(script.compiled, script.sha, keys, arguments, ask, instructions, protocol)

    def _forget_above(self, size: int) -> None:
        while self._size > size:
            _, script = self._scripts.popitem(last=False)
            self._size -= script.size

    def _lua(self) -> Interpreter:
        if self._interpreter is None:
            try:
                self._interpreter = Interpreter(self._load(), self._memory_bytes)
            except ImportError:
                raise ScriptError(_NO_LUA) from None
        return self._interpreter


def _split(source: bytes) -> tuple[set[str] | None, bytes]:
    """The flags of a script, and its text without the line that names them. Raises `ScriptError`."""
    if not source.startswith(b"#!"):
        return None, source
    first, newline, rest = source.partition(b"\n")
    if not newline:
        raise ScriptError("ERR Invalid script shebang")
    engine, *options = first.split()
    if engine != b"#!lua":
        raise ScriptError(f"ERR Unexpected engine in script shebang: {shown(engine)}")
    flags = set[str]()
    for option in options:
        if not option.startswith(b"flags="):
            raise ScriptError(f"ERR Unknown lua shebang option: {shown(option)}")
        for flag in filter(None, shown(option.removeprefix(b"flags=")).split(",")):
            if flag not in _FLAGS:
                raise ScriptError(f"ERR Unexpected flag in script shebang: {flag}")
            flags.add(flag)
    return flags, b"\n" + rest


_FLAGS = {"no-writes", "allow-oom", "allow-stale", "no-cluster", "allow-cross-slot-keys"}
