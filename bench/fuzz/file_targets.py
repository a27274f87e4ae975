"""What is read from disks: entries of a journal's log, and files of keys."""

from contextlib import suppress

from gossip_counter.bench.fuzz.items import split
from gossip_counter.bench.fuzz.wrong import check
from gossip_counter.cluster.sim import recomputed
from gossip_counter.node.core.restoring import restored
from gossip_counter.node.security import keyring
from gossip_counter.node.security.keyring import KeyringError
from gossip_counter.node.storage import entries
from gossip_counter.node.storage.contents import Contents
from gossip_counter.node.storage.errors import UnknownRecordError


def try_entries(data: bytes) -> int:
    """Entries of a log, one after the other. Returns how many there were."""
    contents, count = Contents(), 0
    for count, item in enumerate(split(data), 1):  # noqa: B007 how many there were
        # As a journal does: text that is damaged is refused, whatever is wrong with it.
        commit = None
        with suppress(ValueError, KeyError, TypeError, UnknownRecordError):
            commit = entries.decode(item.content.decode())
        if commit:
            check(entries.decode(entries.encode(commit)) == commit, "written and read it is another:", item.content)
            contents.add(commit)
    recovered = contents.recovered()
    recomputed.check(restored(recovered.stored if recovered else ()))
    return count


def try_keyrings(data: bytes) -> int:
    """Files of keys, each by itself. Returns how many there were."""
    count = 0
    for count, item in enumerate(split(data), 1):  # noqa: B007 how many there were
        ring = None
        with suppress(KeyringError):
            ring = keyring.parse(item.content)
        if ring:
            check(keyring.parse(ring.encode()) == ring, "written and read it is another ring")
    return count
