"""The interpreter of scripts: Lua 5.1, as in Redis, by the package lupa, with a sandbox and bounds around it.

Pure, but for the clock that the sandbox looks at. Memory needs care: where Lua runs out of it while it is called from
Python, the process ends. So Python hands over only what there is room for; what scripts allocate by themselves may fail
at any time.
"""

from collections.abc import Callable, Sequence
from hashlib import sha1
from typing import Any, NamedTuple

from gossip_counter.node.endpoints.redis.lua_sandbox import SANDBOX

RESERVE_BYTES = 256 * 1024
"""Room that is left for what calls between Python and Lua need beside their strings."""

UNLIMITED = 2**40
"""Bytes of memory, while no script runs: the interpreter's own work, such as to collect garbage, must not fail."""

VALUE_BYTES = 64
"""Memory that a string takes in a table, beside its bytes."""

MAX_SECONDS = 1.0
"""CPU time of one script: few instructions can take long, if each makes a large string."""

Ask = Callable[[tuple[bytes, ...]], bytes]
"""Executes a command of a script: its reply in RESP2. Must not raise `LuaError`."""


class ScriptError(Exception):
    """A script that can't be compiled, or has failed. The text is that of the error reply."""


class Outcome(NamedTuple):
    """The reply of a script, encoded; and how many instructions are left of those that it might take."""

    reply: bytes
    instructions_left: int


def load_lupa() -> Any:
    """Lupa's Lua 5.1. Raises `ImportError`."""
    from lupa import lua51  # noqa: PLC0415 for those who send scripts

    return lua51


class Interpreter:
    """Runs one script at a time. What one leaves behind, no other sees."""

    def __init__(self, lua: Any, memory_bytes: int) -> None:
        """`lua` is what `load_lupa` returns."""
        self._lua, self._memory_bytes = lua, memory_bytes
        self._runtime = runtime = lua.LuaRuntime(
            encoding=None, unpack_returned_tuples=True, register_eval=False, register_builtins=False,
            attribute_filter=_no_attribute, max_memory=UNLIMITED,
        )  # fmt: skip
        library = runtime.globals()
        self._collect, self._set_hook = library[b"collectgarbage"], library[b"debug"][b"sethook"]
        self._execute: Callable[[tuple[bytes, ...]], bytes] | None = None
        self._failure: BaseException | None = None
        sandbox = runtime.compile(SANDBOX, name=b"=sandbox")
        self._evaluate, self._state = sandbox(memory_bytes, RESERVE_BYTES, MAX_SECONDS, self._ask, _sha1_of)
        library[b"debug"] = None  # or lupa would collect tracebacks

    def compile(self, source: bytes) -> Any:
        """A script to be run. Raises `ScriptError`."""
        if source.startswith(b"\x1b"):  # which Lua takes for compiled code, and does not check
            raise ScriptError("ERR Error compiling script (new function): binary code is not accepted")
        self._make_room(2 * len(source))
        try:
            self._runtime.set_max_memory(self._memory_bytes)
            return self._runtime.compile(source, name=b"@user_script")
        except self._lua.LuaMemoryError:
            raise ScriptError("ERR Error compiling script (new function): not enough memory") from None
        except self._lua.LuaError as error:
            raise ScriptError(f"ERR Error compiling script (new function): {_text_of(error)}") from None
        finally:
            self._runtime.set_max_memory(UNLIMITED)

    def run(
        self, script: Any, name: str, keys: Sequence[bytes], arguments: Sequence[bytes], ask: Ask,
        instructions: int, protocol: int,
    ) -> Outcome:  # fmt: skip
        """Run a script, named so in errors. Raises `ScriptError`, and whatever `ask` raised."""
        self._make_room(sum(map(len, (*keys, *arguments))) + VALUE_BYTES * (len(keys) + len(arguments)))
        self._execute, self._failure = ask, None
        null = b"_\r\n" if protocol == 3 else b"$-1\r\n"
        tables = self._runtime.table_from(keys), self._runtime.table_from(arguments)
        try:
            self._runtime.set_max_memory(self._memory_bytes)
            outcome = self._evaluate(script, instructions, null, *tables)
        except self._lua.LuaMemoryError:
            outcome = None, b"ERR not enough memory", None
        except self._lua.LuaError as error:
            outcome = None, _text_of(error).encode(), None
        finally:
            self._runtime.set_max_memory(UNLIMITED)
            self._set_hook()
            self._execute = None
        if self._failure:
            raise self._failure
        reason, left = self._state()
        if isinstance(outcome, bytes):
            return Outcome(outcome, int(left))
        text, where = reason or outcome[1], outcome[2]
        at = f", on {where.decode(errors='replace')}." if where else ""
        raise ScriptError(f"{text.decode(errors='replace')} script: {name}{at}")

    def _make_room(self, size: int) -> None:
        """See to it that so many bytes can be handed over. Raises `ScriptError`."""
        if self._room < size:
            self._collect()
            self._collect()  # the first may only end what was begun before
        if self._room < size:
            raise ScriptError("ERR not enough memory for the script and its arguments (see --script-memory-kb)")

    @property
    def _room(self) -> int:
        return self._memory_bytes - int(self._runtime.get_memory_used()) - RESERVE_BYTES

    def _ask(self, *words: bytes) -> bytes | None:
        """Called by the sandbox. An exception must not pass through Lua, where a script could catch it."""
        if self._execute is None or self._failure:
            return None
        try:
            reply = self._execute(words)
        except Exception as error:  # noqa: BLE001 raised again by `run`
            self._failure = error
            return None
        return reply if len(reply) < self._room else None


def _text_of(error: Exception) -> str:
    text = error.args[0] if error.args else ""
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)


def sha1_hex(text: bytes) -> str:
    """The hash that scripts are known by."""
    return sha1(text, usedforsecurity=False).hexdigest()


def _sha1_of(text: bytes) -> bytes:
    return sha1_hex(text).encode()


def _no_attribute(*_: object) -> Any:
    raise AttributeError("scripts see no attributes")
