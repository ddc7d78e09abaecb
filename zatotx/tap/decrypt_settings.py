"""Decrypts the `enc:…` URLs in server.toml, which quickstart writes if a URL contains a password."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from zatotx.model.errors import ServiceUnavailable, StartError
from zatotx.node.settings import Settings
from zatotx.odb.secrets import Secrets
from zatotx.schema.dual_secret import ENCRYPTED


def load_decrypted_settings(read: Callable[[], Settings], key: Callable[[], str]) -> Settings:
    """Read and decrypt the settings. Tries twice, because a key rotation may end between reading the settings and
    reading the key. Raises StartError."""
    try:
        return decrypt_urls(read(), key())
    except StartError:
        return decrypt_urls(read(), key())


def decrypt_urls(settings: Settings, key: str) -> Settings:
    """Return the settings with decrypted URLs. Raises StartError for a value that was encrypted with another key."""
    odb, kvdb = settings.odb, settings.kvdb
    return replace(
        settings,
        odb=replace(odb, url=_decrypt('odb.url', odb.url, key)),
        kvdb=replace(kvdb, url=_decrypt('kvdb.url', kvdb.url, key)),
    )


def _decrypt(name: str, value: str, key: str) -> str:
    if not value.startswith(ENCRYPTED):
        return value
    try:
        return Secrets(key).decrypt(value)
    except (ServiceUnavailable, ValueError):
        raise StartError(
            f'{name} in config/server.toml was not encrypted with the secret key of this server: encrypt it anew with'
            " 'zatotx encrypt'"
        ) from None
