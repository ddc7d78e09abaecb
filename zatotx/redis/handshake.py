"""The first words on a connection."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from zatotx.interfaces.redis_client import ResponseError
from zatotx.redis.errors import UnfitError
from zatotx.redis.url import RedisAddress


async def perform_handshake(protocol: Any, address: RedisAddress, name: str, *, master: bool) -> None:
    """Log in, choose the database, say our name, and see that it serves. A server counts as there only when it
    answered: a frozen one accepts connections too. `master`: it has to be one, as a sentinel told. Raises what the
    commands raise, and UnfitError."""
    await log_in(protocol, address)
    if address.db:
        await protocol.ask('SELECT', address.db)
    await protocol.ask('PING')
    if name:
        await _introduce(protocol, name)
    if master:
        await _see_that_it_leads(protocol)


async def log_in(protocol: Any, address: RedisAddress) -> None:
    """AUTH, where the address has a password."""
    if address.password:
        await protocol.ask('AUTH', *((address.username,) if address.username else ()), address.password)


async def _introduce(protocol: Any, name: str) -> None:
    # A user without the right to name a connection can do all else. CLIENT LIST shows it without a name.
    with suppress(ResponseError):
        await protocol.ask('CLIENT', 'SETNAME', name)


async def _see_that_it_leads(protocol: Any) -> None:
    role = await protocol.ask('ROLE')
    if not (isinstance(role, list) and role and role[0] == 'master'):
        raise UnfitError('the sentinels named a server as master that is none')
