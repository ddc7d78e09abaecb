"""Settings with their secrets in clear: `enc:…` URLs, as quickstart writes those that hold a password."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from zatotx.model.errors import ServiceUnavailable, StartError
from zatotx.node.settings import Settings
from zatotx.odb.secrets import Secrets
from zatotx.schema.dual_secret import ENCRYPTED


def read_decrypted(read: Callable[[], Settings], key: Callable[[], str]) -> Settings:
    """The settings as they are used: looked at twice where need be, since the end of a key's rotation may fall between
    the look at the one file and that at the other. Raises StartError."""
    try:
        return decrypt_urls(read(), key())
    except StartError:
        return decrypt_urls(read(), key())


def decrypt_urls(settings: Settings, key: str) -> Settings:
    """The settings as they are used. Raises StartError for a value that was encrypted with another key."""
    odb, kvdb = settings.odb, settings.kvdb
    return replace(
        settings,
        odb=replace(odb, url=_clear('odb.url', odb.url, key)),
        kvdb=replace(kvdb, url=_clear('kvdb.url', kvdb.url, key)),
    )


def _clear(name: str, value: str, key: str) -> str:
    if not value.startswith(ENCRYPTED):
        return value
    try:
        return Secrets(key).decrypt(value)
    except (ServiceUnavailable, ValueError):
        raise StartError(
            f'{name} in config/server.toml was not encrypted with the secret key of this server: encrypt it anew with'
            " 'zatotx encrypt'"
        ) from None
