"""Looks once a second whether the file of keys has changed: keys are rotated without a restart."""

import asyncio
import logging
from collections.abc import Callable

from gossip_counter.node.core.errors import ConfigError
from gossip_counter.node.runtime.timers import Ticker
from gossip_counter.node.security.keyring import Keyring
from gossip_counter.node.storage.key_file import KeyFile

LOOK_S = 1.0


class KeyWatch:
    """Watches one file. `use` takes the keys, at first and when they change; `note` counts and logs what goes wrong."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        file: KeyFile,
        use: Callable[[Keyring], None],
        note: Callable[..., None],
        log: logging.Logger,
    ) -> None:
        self._file = file
        self._use = use
        self._note = note
        self._log = log
        self._ticker = Ticker(loop, LOOK_S, self.look)

    def start(self) -> None:
        """Use the keys, and look for others until `stop`."""
        self._take(self._file.ring)
        self._ticker.start(LOOK_S)

    def stop(self) -> None:
        """Look no more."""
        self._ticker.stop()

    def look(self) -> None:
        """Take the keys if they have changed. A file that can't be used changes nothing."""
        try:
            ring = self._file.changed()
        except ConfigError as error:
            self._note("key_file_errors", "the keys stay as they were: %s", error)
            return
        if ring:
            self._take(ring)

    def _take(self, ring: Keyring) -> None:
        self._use(ring)
        first, *others = ring.names
        self._log.info("datagrams are sealed with key %s; also opened: %s", first, ", ".join(others) or "none")
