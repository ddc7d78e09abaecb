"""The Redis that a server's settings name, as the command line sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zatotx.cli.failure import Failure
from zatotx.cli.keys import secrets_of
from zatotx.cli.layout import Part, setting, settings

if TYPE_CHECKING:
    from zatotx.kvdb.address import RedisAddress


def redis_address(part: Part) -> RedisAddress:
    """Raises Failure, one sentence, for settings that name none."""
    from zatotx.kvdb.address import Tls, parse_address
    from zatotx.model.faults import StartError
    from zatotx.schema.both_forms import ENCRYPTED

    said = settings(part)
    url = setting(said, 'kvdb', 'url', '')
    if url.startswith(ENCRYPTED):
        url = secrets_of(part).decrypt(url)
    ca, cert, key = (setting(said, 'kvdb', name, '') for name in ('ca', 'cert', 'key'))
    try:
        return parse_address(url, part.path, Tls(ca=ca, cert=cert, key=key))
    except StartError as error:
        raise Failure(str(error)) from None


def is_own(address: RedisAddress, part: Part) -> bool:
    """Whether it is the one that the environment brings along, a part of its own."""
    return address.path == str((part.path.parent / 'redis' / 'redis.sock').resolve())


def redis_trouble(part: Part, timeout: float) -> str:
    """Why somebody else's Redis cannot be used, a sentence; '' where it can."""
    from zatotx.kvdb.look import look_at
    from zatotx.model.faults import ServiceUnavailable

    address = redis_address(part)
    if is_own(address, part):
        return ''
    try:
        look_at(address, timeout)
    except ServiceUnavailable as error:
        return error.msg
    return ''
