"""Claim: a file of keys comes back as it was written. An error about one is one line, without a secret."""

import asyncio
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip_counter.cluster import key_rings
from gossip_counter.node.core.errors import ConfigError
from gossip_counter.node.core.stats import Stats
from gossip_counter.node.runtime.diagnostics import Diagnostics
from gossip_counter.node.runtime.key_watch import KeyWatch
from gossip_counter.node.security import keyring
from gossip_counter.node.security.keyring import MAX_KEYS, Key, Keyring, KeyringError, parse
from gossip_counter.node.storage import key_file
from gossip_counter.node.storage.key_file import KeyFile
from tests.support.sealing import key, ring

LINE = f"key {key(1).name} {key(1).created_text} {key(1).secret.hex()}\n"
secrets = st.binary(min_size=32, max_size=32)


@given(st.lists(st.builds(Key, secrets, st.integers(0, 2**32)), min_size=1, max_size=8, unique_by=lambda each: each.id))
def test_a_ring_comes_back_as_it_was(keys: list[Key]) -> None:
    for made in (Keyring(tuple(keys)), Keyring(tuple(keys)).without_others()):
        assert parse(made.encode()) == made


def test_what_can_be_read_can_be_read_again_once_it_is_written() -> None:
    old = parse(LINE.replace("1970", "0070").encode())
    assert parse(old.encode()) == old
    many = parse((LINE + "".join(f"retired {number:08x}\n" for number in range(900))).encode())
    assert parse(many.encode()) == many
    assert many.retired[0] == bytes(4)


@given(st.one_of(st.binary(max_size=300), st.text(max_size=100).map(lambda text: (LINE + text).encode())))
def test_junk_is_no_ring(junk: bytes) -> None:
    try:
        parse(junk)
    except KeyringError as error:
        assert key(1).secret.hex() not in str(error)


BAD = [
    ("", "it holds no key"),
    ("# only a comment\n\n", "it holds no key"),
    ("hunter2\n", "line 1: a line must be 'key ID CREATED SECRET' or 'retired ID'"),
    (LINE[:-2], "line 1: a secret must have 64 hexadecimal digits: the line was changed or cut"),
    (LINE.replace("0101", "0102", 1), "line 1: the id is not that of the secret"),
    (LINE[:-4] + "02\n", "line 1: a secret must"),
    (LINE.replace("1970", "then"), "line 1: the time must be as in 2026-01-31T12:00:00Z"),
    (LINE + LINE, "it holds one key twice"),
    (LINE + f"retired {key(1).name}\n", f"key {key(1).name} is there and retired"),
    (LINE + "retired xyz\n", "line 2: an id must have 8 hexadecimal digits"),
    ("x" * 20_000, "it has more than 16384 bytes"),
    (LINE + "é", "it is no file of keys: those are plain text"),
]


@pytest.mark.parametrize(("text", "why"), BAD, ids=[why for _, why in BAD])
def test_a_file_that_is_wrong_is_refused_with_the_reason_and_without_the_secret(
    tmp_path: Path, text: str, why: str
) -> None:
    path = tmp_path / "keys"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    with pytest.raises(ConfigError) as refused:
        key_file.read(path)
    assert why in str(refused.value)
    assert str(path) in str(refused.value)
    assert key(1).secret.hex()[:-4] not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_nothing_shows_a_secret() -> None:
    assert key(7).secret.hex() not in repr(ring(7))
    assert str(key(7).secret) not in repr(ring(7))


def test_too_many_keys_are_refused() -> None:
    full = ring(*range(1, keyring.MAX_KEYS + 1))
    with pytest.raises(KeyringError, match="retire the old ones first"):
        full.with_key(key(99))


def test_the_steps_of_a_rotation() -> None:
    two = ring(1).with_key(key(2))
    assert two == ring(1, 2)
    assert two.newest == key(2)
    assert two.with_newest_first() == ring(2, 1)
    assert two.with_newest_first().without_others() == Keyring((key(2),), (key(1).id,))


# Files.


def written(path: Path, keys: Keyring) -> Path:
    key_file.write(path, keys, is_new=True)
    return path


def test_a_file_is_its_owners_alone_and_never_overwritten_by_a_new_one(tmp_path: Path) -> None:
    path = written(tmp_path / "keys", ring(1))
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConfigError, match="is there already"):
        key_file.write(path, ring(2), is_new=True)
    key_file.write(path, ring(3), is_new=False)
    assert key_file.read(path) == ring(3)
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_no_other_file_and_no_link_is_touched(tmp_path: Path) -> None:
    other, path = written(tmp_path / "keys.new", ring(7)), written(tmp_path / "keys", ring(1))
    link = tmp_path / "link"
    link.symlink_to("keys")
    key_file.write(link, ring(2), is_new=False)
    assert link.is_symlink()
    assert (key_file.read(path), key_file.read(link), key_file.read(other)) == (ring(2), ring(2), ring(7))
    with pytest.raises(ConfigError, match="is there already"):
        key_file.write(path, ring(3), is_new=True)
    assert sorted(tmp_path.iterdir()) == [path, other, link]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change files of others")
def test_a_file_stays_with_its_owner(tmp_path: Path) -> None:
    path = written(tmp_path / "keys", ring(1))
    os.chown(path, 1234, 5678)
    key_rings.rotate(path)
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 5678)


def test_of_commands_at_once_each_goes_on_from_what_the_other_did(tmp_path: Path) -> None:
    path = written(tmp_path / "keys", ring(1))
    with ThreadPoolExecutor(2) as both:
        list(both.map(key_rings.rotate, [path] * (2 * MAX_KEYS - 2)))
    ring_now = key_file.read(path)
    assert len(ring_now.keys) == MAX_KEYS
    assert key_rings.is_settled(ring_now)
    with pytest.raises(ConfigError, match="there are 8 keys already: retire the old ones first, with 'cluster "):
        key_rings.rotate(path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_that_others_may_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path / "keys", ring(1))
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"open to other users .mode {mode:04o}.: chmod 600 {path}"):
        key_file.read(path)


def test_what_is_missing_or_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"there is no file of keys .*: 'cluster keys new {tmp_path}/none' makes one"):
        key_file.read(tmp_path / "none")
    with pytest.raises(ConfigError, match="is a directory"):
        key_file.read(tmp_path)


def test_a_node_takes_keys_that_change_and_keeps_them_when_the_file_is_wrong(tmp_path: Path) -> None:
    used: list[Keyring] = []
    noted: list[str] = []
    path = written(tmp_path / "keys", ring(1))

    async def main() -> None:
        watch = KeyWatch(
            asyncio.get_running_loop(),
            KeyFile(path),
            used.append,
            lambda kind, text, *args: noted.append(f"{kind}: {text % args}"),
            logging.getLogger("test"),
        )
        watch.start()
        watch.look()
        key_file.write(path, ring(1, 2), is_new=False)
        watch.look()
        path.chmod(0o644)
        watch.look()
        watch.look()
        watch.stop()

    asyncio.run(main())
    assert used == [ring(1), ring(1, 2)]
    (only,) = noted
    assert only.startswith("key_file_errors: the keys stay as they were: ")
    assert only.endswith(f"chmod 600 {path}")


def test_each_fault_is_logged_however_soon_it_follows_another(caplog: pytest.LogCaptureFixture) -> None:
    diagnostics = Diagnostics(logging.getLogger("test"), Stats())
    for fault in ("open to other users", "cut off"):
        diagnostics.note_once("key_file_errors", "the keys stay as they were: %s", fault)
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith("key_file_errors (1 so far)")
    assert second == "key_file_errors (2 so far): the keys stay as they were: cut off"


def test_a_change_is_noticed_once_and_a_bad_one_is_said_once(tmp_path: Path) -> None:
    file = KeyFile(written(tmp_path / "keys", ring(1)))
    assert (file.ring, file.changed()) == (ring(1), None)
    key_file.write(file.path, ring(1, 2), is_new=False)
    assert (file.changed(), file.changed()) == (ring(1, 2), None)
    file.path.write_text("oops\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="line 1"):
        file.changed()
    assert (file.changed(), file.ring) == (None, ring(1, 2))
    file.path.unlink()
    with pytest.raises(ConfigError, match="can't read the keys"):
        file.changed()
    assert file.changed() is None
    written(file.path, ring(2))
    assert file.changed() == ring(2)
