"""Redis clients that count in windows, in pairs of counters, and in counters that they delete; all is in the books."""

import asyncio
import contextlib
from collections.abc import Sequence
from random import Random
from time import monotonic, time
from typing import cast

from gossip_counter.bench.torture.books import Kind, Write
from gossip_counter.bench.torture.trial import Trial
from gossip_counter.cluster.sim.oracle import PromiseBroken
from gossip_counter.node.endpoints.addresses import Address

Reply = int | str | None | list["Reply"]

TIMEOUT_S = 1.5
CHECK_TIMEOUT_S = 20.0
"""At the end nothing is wrong any more, and no reply is no verdict."""
MEAN_PAUSE_S = 0.1
"""Between two requests of a client."""
DELETE_SHARE = 0.2
"""Of requests for counters that are kept."""
READ_SHARE = 0.2
LASTS_S = (1, 2, 4)
PIPELINE = 100
"""Counters that are read at a time."""


class RefusedError(PromiseBroken):
    """An error was the reply: nothing was done. Only a node that was asked to leave may refuse."""


def now_ms() -> float:
    """The time, in Unix milliseconds."""
    return time() * 1000


async def ask(address: Address, *commands: str, timeout_s: float = TIMEOUT_S) -> list[Reply]:
    """The replies to some commands, whose words are separated by spaces, on a connection of their own.

    Raises `ConnectionRefusedError` if they were not sent; `OSError` or `EOFError` if they may be carried out all
    the same; `RefusedError` for an error in reply.
    """
    async with asyncio.timeout(timeout_s):
        reader, writer = await asyncio.open_connection(*address)
        try:
            writer.writelines(f"{command}\r\n".encode() for command in commands)
            return [await _reply(reader, commands) for _ in commands]
        finally:
            writer.close()


async def _reply(reader: asyncio.StreamReader, commands: Sequence[str]) -> Reply:
    """The next reply."""
    line = (await reader.readuntil(b"\r\n"))[:-2]
    kind, text = line[:1], line[1:]
    match kind:
        case b":":
            return int(text)
        case b"+":
            return text.decode()
        case b"$" | b"*" if text == b"-1":
            return None
        case b"$":
            return (await reader.readexactly(int(text) + 2))[:-2].decode()
        case b"*":
            return [await _reply(reader, commands) for _ in range(int(text))]
    raise RefusedError(f"{line.decode(errors='replace')} is the reply to {'; '.join(commands)}")


def value_of(reply: Reply) -> int:
    """What GET and GETDEL reply; 0: there is none."""
    return int(cast("str | None", reply) or 0)


class RedisClients:
    """All Redis clients of one trial; they draw from one random generator."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._books = trial.books
        self._rng = Random(f"redis clients {trial.plan.seed}")

    async def count(self) -> None:
        """One client, without end. Raises `PromiseBroken` when a reply can't be true."""
        while True:
            await asyncio.sleep(self._rng.random() * 2 * MEAN_PAUSE_S)
            await self._trial.may_count.wait()
            if alive := [name for name, state in self._trial.progress.conditions.items() if state != "dead"]:
                await self._request(self._rng.choice(alive))

    async def _request(self, name: str) -> None:
        """Ask this node for something.

        A paused one only for a value: a write would be done at some time later. So too one with an older journal: while
        no peer answers it, it writes as its former life did, and what others deleted of that may take new adds along.
        """
        rng, is_paused = self._rng, self._trial.progress.conditions[name] == "paused"
        only_reads = is_paused or name in self._trial.put_back
        kind = rng.choice(list(Kind))
        counters = self._books.pick(kind, rng, now_ms())
        if only_reads or not counters or rng.random() < READ_SHARE:
            await self._read(name)
        elif kind is Kind.KEPT and rng.random() < DELETE_SHARE:
            await self._delete(name, counters[0])
        elif kind is Kind.WINDOW:
            await self._count_in_window(name, counters)
        else:
            await self._add(name, counters)

    async def _read(self, name: str) -> None:
        """Read any counter, be it a window that is over."""
        if not self._books.ledgers:
            return
        counter = self._rng.choice(list(self._books.ledgers))
        known, asked_ms = self._books.ledgers[counter].known(name), now_ms()
        with contextlib.suppress(OSError, EOFError):
            (reply,) = await ask(self._trial.address(name), f"GET {counter}")
            self._books.read(name, counter, value_of(reply), known, asked_ms, now_ms())
            self._trial.progress.reads[name] += 1

    async def _delete(self, name: str, counter: str) -> None:
        write = self._books.ask_delete(name, counter)
        if replies := await self._write(write, f"GETDEL {counter}"):
            self._books.deleted(write, value_of(replies[0]), now_ms())

    async def _add(self, name: str, counters: tuple[str, ...]) -> None:
        """Add, to several in one transaction."""
        write = self._books.ask_add(name, counters, now_ms())
        adds = [f"INCRBY {counter} {write.bit}" for counter in counters]
        if replies := await self._write(write, *(adds if len(adds) == 1 else ("MULTI", *adds, "EXEC"))):
            values = replies if len(adds) == 1 else replies[-1]
            self._books.added(write, cast("list[int]", values), now_ms())

    async def _count_in_window(self, name: str, counters: tuple[str, ...]) -> None:
        """Add, and set a deadline if there is none, in one command or in a transaction."""
        lasts_s, (counter,) = self._rng.choice(LASTS_S), counters
        write = self._books.ask_add(name, counters, now_ms(), lasts_s * 1000)
        commands = [f"INCREX {counter} BYINT {write.bit} EX {lasts_s} ENX"]
        if self._rng.random() < 0.5:
            commands = ["MULTI", f"INCRBY {counter} {write.bit}", f"EXPIRE {counter} {lasts_s} NX", "EXEC"]
        if replies := await self._write(write, *commands):
            value, _ = cast("list[int]", replies[-1])
            self._books.added(write, [value], now_ms())

    async def _write(self, write: Write, *commands: str) -> list[Reply]:
        """The replies to a write's commands; none if its outcome is unknown, or it was not sent: that is noted."""
        asked_s = monotonic()
        try:
            replies = await ask(self._trial.address(write.node), *commands)
        except ConnectionRefusedError:
            self._books.not_sent(write)
        except RefusedError:
            if not self._trial.may_refuse(write.node, asked_s):
                raise
            self._books.not_sent(write)
        except (OSError, EOFError):
            self._trial.progress.unknown[write.node] += 1
            self._books.unknown(write)
        except asyncio.CancelledError:
            self._books.unknown(write)
            raise
        else:
            self._trial.progress.acknowledged[write.node] += 1
            return replies
        return []


async def check_all(trial: Trial) -> None:
    """Check every counter at every node, all of which hold the same. Raises `PromiseBroken`, `OSError`."""
    for name in trial.cluster.members:
        asked_ms, names, values = now_ms(), list(trial.books.ledgers), dict[str, int]()
        for part in (names[i : i + PIPELINE] for i in range(0, len(names), PIPELINE)):
            replies = await ask(trial.address(name), *(f"GET {counter}" for counter in part), timeout_s=CHECK_TIMEOUT_S)
            values |= zip(part, map(value_of, replies), strict=True)
        trial.books.check(name, values, asked_ms, now_ms())
