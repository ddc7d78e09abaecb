"""The Redis that a server's settings name, as the command line sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zatotx.cli.environment.layout import Component, setting, settings
from zatotx.cli.environment.secret_keys import open_secrets
from zatotx.cli.errors import CommandError

if TYPE_CHECKING:
    from zatotx.redis.url import RedisAddress


def redis_address(part: Component) -> RedisAddress:
    """Raises Failure, one sentence, for settings that name none."""
    from zatotx.model.errors import StartError
    from zatotx.redis.url import TlsOptions, parse_address
    from zatotx.schema.dual_secret import ENCRYPTED

    said = settings(part)
    url = setting(said, 'kvdb', 'url', '')
    if url.startswith(ENCRYPTED):
        url = open_secrets(part).decrypt(url)
    ca, cert, key = (setting(said, 'kvdb', name, '') for name in ('ca', 'cert', 'key'))
    try:
        return parse_address(url, part.path, TlsOptions(ca=ca, cert=cert, key=key))
    except StartError as error:
        raise CommandError(str(error)) from None


def is_embedded(address: RedisAddress, part: Component) -> bool:
    """Whether it is the one that the environment brings along, a part of its own."""
    return address.path == str((part.path.parent / 'redis' / 'redis.sock').resolve())


def redis_error(part: Component, timeout: float) -> str:
    """Why somebody else's Redis cannot be used, a sentence; '' where it can."""
    from zatotx.model.errors import ServiceUnavailable
    from zatotx.redis.sync_probe import probe

    address = redis_address(part)
    if is_embedded(address, part):
        return ''
    try:
        probe(address, timeout)
    except ServiceUnavailable as error:
        return error.msg
    return ''
