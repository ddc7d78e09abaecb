"""The handshake on a new connection."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from zatotx.interfaces.redis_client import RedisError
from zatotx.redis.errors import UnusableServerError
from zatotx.redis.url import RedisAddress


async def perform_handshake(protocol: Any, address: RedisAddress, name: str, *, master: bool) -> None:
    """Authenticate, select the database, set the connection's name, and check that the server replies, because a frozen
    one accepts connections, too. With `master` it must be a master, as a sentinel claimed. Raises what the commands
    raise, and UnusableServerError."""
    await authenticate(protocol, address)
    if address.db:
        await protocol.send_command('SELECT', address.db)
    await protocol.send_command('PING')
    if name:
        await _set_name(protocol, name)
    if master:
        await _require_master(protocol)


async def authenticate(protocol: Any, address: RedisAddress) -> None:
    """Send AUTH if the address has a password."""
    if address.password:
        await protocol.send_command('AUTH', *((address.username,) if address.username else ()), address.password)


async def _set_name(protocol: Any, name: str) -> None:
    # A user may lack the right to name a connection and still do everything else.
    with suppress(RedisError):
        await protocol.send_command('CLIENT', 'SETNAME', name)


async def _require_master(protocol: Any) -> None:
    role = await protocol.send_command('ROLE')
    if not (isinstance(role, list) and role and role[0] == 'master'):
        raise UnusableServerError('the server that the sentinels name as master is not a master')
