"""Clients that add and read at random nodes, and record every request and reply in the oracle."""

import asyncio
from random import Random
from time import monotonic

from gossip_counter.bench.torture.trial import Trial
from gossip_counter.cluster.client import ClientError, NotSentError, RequestRefusedError

DELTAS = (1, 1, 1, 2, 5, -1, -3)
READ_SHARE = 0.2
READ_SHARE_PAUSED = 0.95
"""The same at a paused node. An add whose outcome is unknown, and which counts, could hide another that was lost."""
PAUSE_S = 0.02
"""How long a client waits after a request that failed."""


class Clients:
    """All clients of one trial; they draw from one random generator."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._rng = Random(f"clients {trial.plan.seed}")

    async def count(self) -> None:
        """One client, without end. Raises `PromiseBroken` when a reply can't be true."""
        while True:
            await self._trial.may_count.wait()
            alive = [name for name, state in self._trial.progress.conditions.items() if state != "dead"]
            if not alive or not await self._ask(self._rng.choice(alive)):
                await asyncio.sleep(PAUSE_S)

    async def _ask(self, name: str) -> bool:
        """Add or read at this node; whether that was done."""
        is_paused = self._trial.progress.conditions[name] == "paused"
        reads = self._rng.random() < (READ_SHARE_PAUSED if is_paused else READ_SHARE)
        reads = reads or name not in self._trial.answering
        counter = f"c{self._rng.randrange(self._trial.plan.counters)}"
        return await (self._read(name, counter) if reads else self._add(name, counter))

    async def _add(self, name: str, counter: str) -> bool:
        oracle, progress = self._trial.oracle, self._trial.progress
        delta = self._rng.choice(DELTAS)
        asked, asked_s = oracle.ask_add(name, 0, counter, delta), monotonic()
        try:
            await self._trial.connections[name].add(delta, counter)
        except NotSentError:
            oracle.not_sent(asked)
            return False
        except (ClientError, asyncio.CancelledError) as error:
            if not isinstance(error, RequestRefusedError):
                progress.unknown[name] += 1
            return self._failed(name, asked, asked_s, error)
        oracle.acknowledged(asked)
        progress.acknowledged[name] += 1
        return True

    async def _read(self, name: str, counter: str) -> bool:
        oracle, progress = self._trial.oracle, self._trial.progress
        asked, asked_s = oracle.ask_read(name, 0, counter), monotonic()
        try:
            value = await self._trial.connections[name].read(counter)
        except (ClientError, asyncio.CancelledError) as error:
            return self._failed(name, asked, asked_s, error)
        oracle.replied(asked, value)
        self._trial.answering.add(name)
        progress.reads[name] += 1
        return True

    def _failed(self, name: str, asked: int, asked_s: float, error: BaseException) -> bool:
        """Record a request that was refused, or whose outcome is unknown. Raises what cancelled it."""
        if isinstance(error, RequestRefusedError):
            may_refuse = self._trial.may_refuse(name, asked_s)
            self._trial.oracle.failed(asked, error.code, str(error), disk_failed=may_refuse)
            return False
        self._trial.oracle.unknown(asked)
        if isinstance(error, asyncio.CancelledError):
            raise error
        return False
