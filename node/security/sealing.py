"""Sealed datagrams: encrypted, authenticated, meant for one process at one address, and taken once.

Pure: bytes to bytes; the keys and the system's entropy are passed in.

**Sealing.** AES-256-GCM of the `cryptography` package: with the AES instructions that servers have, it is the fastest
that OpenSSL has. GCM breaks if one key ever meets one nonce twice. So each process makes a random boot of 128 bits
when it starts, and derives a key of its own from the cluster's by HKDF-SHA256; its nonces count from 1, and no state
has to outlive the process. The cluster's name goes into the derivation and, with the header, into the associated data:
a datagram of another cluster, with another key id or version, does not open. Nothing is parsed before it has opened.

**Binding.** Inside, each datagram names its receiver by a *token* of 8 bytes, which that receiver gave for the address
that it sees the sender at: a hash of this address under a secret of the receiver's process. So what is captured is
worth nothing at another node, from another address, or after a restart. A process that has no token for an address
sends a *greeting*, which has nothing in it and no token. Whoever receives a greeting, or a datagram with a token that
is not valid, answers with a *challenge*, which has nothing in it either and carries the token. Every datagram brings
along the token for the way back, and only one that is bound itself is believed. A challenge is as short as a sealed
datagram can be, so nobody is sent more bytes than came from its address; and challenges are not answered, so that two
processes never go on by themselves. What was refused is not sent again by those who sealed it: whether an earlier
process took it, nobody knows.

Gossip is bound just like requests are. A maximum forgives what comes twice, but "I store this durably" and "my state
equals yours" do not: replayed after a restart, they could be untrue.

**Once.** For each boot there is a sliding window over its counters, which refuses what has come before, and what is
older than the window. A window must not be forgotten while datagrams that it refused could come again: so windows and
tokens share *generations*. When one is full of senders, a new one begins, with a new secret, and the one before the
last goes: its windows, and with them the validity of its tokens. Only a datagram that opened and is bound makes a
window, so whoever has no key makes none.
"""

from collections.abc import Hashable
from hashlib import blake2b
from random import Random
from typing import NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gossip_counter.node.core.errors import SealError
from gossip_counter.node.security import header
from gossip_counter.node.security.header import BINDING_BYTES, HEADER_BYTES, KEY_ID_BYTES
from gossip_counter.node.security.keyring import Key, Keyring

Address = Hashable
"""Where a datagram comes from or goes to. Its `repr` must be the same whenever it is the same address."""

WINDOW = 2048
"""Counters. A sender counts what it seals for all receivers, so one receiver sees gaps."""
MAX_SENDERS = 1024
"""Boots in one generation, and addresses."""
NO_TOKEN = bytes(BINDING_BYTES)
_PAD = bytes(12 - header.COUNTER_BYTES)
"""Makes a counter a nonce."""
_THEIRS = slice(BINDING_BYTES, 2 * BINDING_BYTES)
_INSIDE = 2 * BINDING_BYTES

_MASK = (1 << WINDOW) - 1


class Window:
    """The last counters of one sender, and what opens its datagrams."""

    def __init__(self, cipher: AESGCM) -> None:
        self.cipher = cipher
        self._top = 0
        self._seen = 0
        """Bit i: the counter `_top - i` has come."""

    def is_new(self, counter: int) -> bool:
        """Note that this counter has come; False if it had before, or if that is no longer known."""
        ahead = counter - self._top
        if ahead > 0:
            self._seen = ((self._seen << ahead) & _MASK) | 1 if ahead < WINDOW else 1
            self._top = counter
            return True
        bit = 1 << -ahead if -ahead < WINDOW else 0
        if not bit or self._seen & bit:
            return False
        self._seen |= bit
        return True


class Contact:
    """Who is at an address: the process that was heard there last, and by which tokens either side names the other."""

    __slots__ = ("ours", "sender", "theirs", "window")

    def __init__(self, sender: bytes, window: Window, ours: bytes, theirs: bytes) -> None:
        self.sender = sender
        self.window = window
        self.ours = ours
        """What it must name us by."""
        self.theirs = theirs
        """What it gave us."""


class Generation:
    """Windows and tokens that were made, and will end, together."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self.windows: dict[bytes, Window] = {}
        """By sender, which is key id and boot."""
        self.contacts: dict[Address, Contact] = {}

    @property
    def is_full(self) -> bool:
        """Whether it is time for the next one."""
        return len(self.windows) >= MAX_SENDERS or len(self.contacts) >= MAX_SENDERS

    def token_for(self, address: Address) -> bytes:
        """What whoever is at this address must name us by."""
        contact = self.contacts.get(address)
        return contact.ours if contact else self._token(address)

    def meet(self, address: Address, sender: bytes, cipher: AESGCM, token: bytes) -> Contact:
        """A bound datagram of a process that was not the last one at this address."""
        window = self.windows.setdefault(sender, Window(cipher))
        contact = self.contacts[address] = Contact(sender, window, self.token_for(address), token)
        return contact

    def _token(self, address: Address) -> bytes:
        return blake2b(repr(address).encode(), key=self._secret, digest_size=BINDING_BYTES).digest()


class Sealing:
    """What one process seals and opens, from start to end."""

    def __init__(self, ring: Keyring, cluster: str, entropy: Random) -> None:
        """`entropy` must be the system's, except in tests."""
        self._cluster = cluster.encode()
        self._entropy = entropy
        self._boot = entropy.randbytes(header.BOOT_BYTES)
        self._counter = 0
        self._young, self._old = self._generation(), self._generation()
        self.use(ring)

    def use(self, ring: Keyring) -> None:
        """Seal and open with these keys from now on. Windows stay: a key that comes back opens nothing twice."""
        self.ring = ring
        self._keys = {key.id: key for key in ring.keys}
        self._retired = frozenset(ring.retired)
        self._head = header.PREFIX + ring.keys[0].id + self._boot
        self._cipher = self._derived(ring.keys[0], self._boot)

    # Sending.

    def knows(self, to: Address) -> bool:
        """Whether something can be sealed for this address."""
        return self._contact(to) is not None

    def seal(self, payload: bytes, to: Address) -> bytes | None:
        """A datagram for the process at this address; None if that must be greeted first."""
        contact = self._contact(to)
        return self._seal(payload, to, contact.theirs) if contact else None

    def _contact(self, address: Address) -> Contact | None:
        return self._young.contacts.get(address) or self._old.contacts.get(address)

    def greeting(self, to: Address) -> bytes:
        """A datagram that asks for a token."""
        return self._seal(b"", to, NO_TOKEN)

    def _seal(self, payload: bytes, to: Address, token: bytes) -> bytes:
        self._counter += 1
        counter = self._counter.to_bytes(header.COUNTER_BYTES, "big")
        head = self._head + counter
        plain = token + self._young.token_for(to) + payload
        return head + self._cipher.encrypt(_PAD + counter, plain, head + self._cluster)

    # Receiving.

    def unseal(self, datagram: bytes, source: Address) -> bytes:
        """What a datagram holds; empty for a challenge to us. Raises `SealError`, with the answer if one is due."""
        if len(datagram) < header.OVERHEAD or not datagram.startswith(header.PREFIX):
            raise SealError("no_key", "a datagram is not sealed: start its sender with --keys FILE too, the same file")
        sender, counter = datagram[header.SENDER], datagram[header.COUNTER]
        key = self._keys.get(datagram[header.KEY_ID]) or self._missing(datagram[header.KEY_ID])
        contact = self._young.contacts.get(source)
        if contact and contact.sender == sender:
            cipher = contact.window.cipher
        else:
            contact, cipher = None, self._cipher_of(sender, key)
        try:
            covered = datagram[:HEADER_BYTES] + self._cluster
            plain = cipher.decrypt(_PAD + counter, datagram[HEADER_BYTES:], covered)
        except InvalidTag:
            text = f"a datagram was not sealed with key {key.name} for a cluster of this name"
            raise SealError("forged", f"{text}: it was changed on the way, or --cluster-name differs") from None
        if contact is None or not plain.startswith(contact.ours):
            contact = self._bound(plain, source, sender, cipher)
        if not contact.window.is_new(int.from_bytes(counter, "big")):
            raise SealError("replayed", "a datagram had come before, or is older than those that are remembered")
        contact.theirs = plain[_THEIRS]
        return plain[_INSIDE:]

    def _cipher_of(self, sender: bytes, key: Key) -> AESGCM:
        known = self._young.windows.get(sender) or self._old.windows.get(sender)
        return known.cipher if known else self._derived(key, sender[KEY_ID_BYTES:])

    def _bound(self, plain: bytes, source: Address, sender: bytes, cipher: AESGCM) -> Contact:
        """Whose datagram this is, if it is bound. The old generation takes nobody new: it must not grow."""
        young, old, token = self._young, self._old, plain[:BINDING_BYTES]
        if token == young.token_for(source):
            contact = young.meet(source, sender, cipher, plain[_THEIRS])
            if young.is_full:
                self._young, self._old = self._generation(), young
            return contact
        if sender in old.windows and source in old.contacts and token == old.token_for(source):
            return old.meet(source, sender, cipher, plain[_THEIRS])
        raise self._unbound(token, plain[_THEIRS], plain[_INSIDE:], source)

    def _missing(self, key_id: bytes) -> NoReturn:
        if key_id in self._retired:
            text = f"key {key_id.hex()}, which was retired: copy the present file of keys to that host"
            raise SealError("retired_key", f"a datagram is sealed with {text}")
        text = f"key {key_id.hex()}, which is not in this node's file of keys: copy one file of keys to all hosts"
        raise SealError("unknown_key", f"a datagram is sealed with {text}")

    def _unbound(self, token: bytes, token_back: bytes, payload: bytes, source: Address) -> SealError:
        is_greeting = token == NO_TOKEN
        answer = self._seal(b"", source, token_back) if is_greeting or payload else None
        if is_greeting:
            return SealError("", "a greeting", answer)
        return SealError("unbound", "a datagram was sealed for an earlier process, another node or address", answer)

    # What both need.

    def _generation(self) -> Generation:
        return Generation(self._entropy.randbytes(16))

    def _derived(self, key: Key, boot: bytes) -> AESGCM:
        info = b"gossip-counter sealed datagrams 1\0" + self._cluster
        return AESGCM(HKDF(SHA256(), 32, boot, info).derive(key.secret))
