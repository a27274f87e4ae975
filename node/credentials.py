"""The files that secure the Redis endpoint: a password, a certificate and its key."""

import ssl
from pathlib import Path
from typing import NoReturn

from gossip_counter.node.core.errors import ConfigError


def password(path: Path) -> bytes:
    """The password in a file. Raises `ConfigError`."""
    try:
        password = path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"can't read {path}: {error.strerror}; --resp-password-file names a file") from None
    if not password:
        raise ConfigError(f"{path} holds no password: write one into it")
    return password


def tls(certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """What a TLS server needs. Raises `ConfigError`."""
    if not (certificate and key):
        raise ConfigError("TLS needs both --resp-tls-cert and --resp-tls-key")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key, lambda: _refuse_encrypted(key))
    except (OSError, ssl.SSLError) as error:
        why = "they are no PEM files that match" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigError(f"can't use {certificate} with {key} for TLS: {why}") from None
    return context


def _refuse_encrypted(key: Path) -> NoReturn:
    raise ConfigError(
        f"{key} is encrypted, and a node can't ask for its passphrase: openssl pkey -in {key} -out FILE decrypts it"
    )
