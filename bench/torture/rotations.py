"""Keys of a sealed cluster are rotated while clients count, whoever is down or paused meanwhile."""

import asyncio

from gossip_counter.bench.torture.trial import Trial
from gossip_counter.cluster import key_rings, rotation
from gossip_counter.cluster.sim.oracle import PromiseBroken

DONE_S = 60.0
"""How long a rotation may take once nothing is wrong any more."""


class Rotations:
    """One after the other."""

    def __init__(self, trial: Trial) -> None:
        self._cluster = trial.cluster
        self._task: asyncio.Task[None] | None = None

    @property
    def is_under_way(self) -> bool:
        """Whether not all nodes use the same keys."""
        return self._task is not None and not self._task.done()

    def begin(self) -> bool:
        """Begin one; False if one is under way."""
        if self.is_under_way:
            return False
        self._task = asyncio.create_task(self._rotate())
        return True

    async def _rotate(self) -> None:
        """As people do it: each step once all that run use the one before."""
        for change in (key_rings.rotate, key_rings.rotate, key_rings.retire):
            ring = change(self._cluster.manifest.keys_path)
            while await rotation.late(self._cluster, ring):
                pass  # those are killed or paused at present, or start

    async def finish(self) -> None:
        """Wait until it is done. Raises `PromiseBroken` if it is not in time."""
        if self._task:
            try:
                await asyncio.wait_for(self._task, DONE_S)
            except TimeoutError:
                raise PromiseBroken(f"a rotation of keys is not done after {DONE_S:g} s") from None

    async def stop(self) -> None:
        """Wait for it no more."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
