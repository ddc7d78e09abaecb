"""Access to the Redis of a server's settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zatotx.cli.environment.layout import Component, get_setting, read_settings
from zatotx.cli.environment.secret_keys import open_secrets
from zatotx.cli.errors import CommandError

if TYPE_CHECKING:
    from zatotx.redis.url import RedisAddress


def redis_address(part: Component) -> RedisAddress:
    """Return the address of a server's Redis. Raises CommandError if the settings contain no valid one."""
    from zatotx.model.errors import StartError
    from zatotx.redis.url import TlsOptions, parse_address
    from zatotx.schema.dual_secret import ENCRYPTED

    loaded = read_settings(part)
    url = get_setting(loaded, 'kvdb', 'url', '')
    if url.startswith(ENCRYPTED):
        url = open_secrets(part).decrypt(url)
    ca, cert, key = (get_setting(loaded, 'kvdb', name, '') for name in ('ca', 'cert', 'key'))
    try:
        return parse_address(url, part.path, TlsOptions(ca=ca, cert=cert, key=key))
    except StartError as error:
        raise CommandError(str(error)) from None


def is_embedded(address: RedisAddress, part: Component) -> bool:
    """Whether the address is that of the embedded Redis, a component of the environment."""
    return address.path == str((part.path.parent / 'redis' / 'redis.sock').resolve())


def external_redis_error(part: Component, timeout: float) -> str:
    """Return why an external Redis cannot be used, as a sentence; '' if it can."""
    from zatotx.model.errors import ServiceUnavailable
    from zatotx.redis.sync_probe import probe_redis

    address = redis_address(part)
    if is_embedded(address, part):
        return ''
    try:
        probe_redis(address, timeout)
    except ServiceUnavailable as error:
        return error.msg
    return ''
