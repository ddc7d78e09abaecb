"""A single command on a connection of its own."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from zatotx.model.errors import ServiceUnavailable
from zatotx.redis.connector import connect
from zatotx.redis.errors import cause
from zatotx.redis.handshake import log_in
from zatotx.redis.protocol import new_protocol
from zatotx.redis.url import RedisAddress


async def send_command(reactor: Any, address: RedisAddress, *words: str, timeout: float = 2.0) -> object:
    """Connect, authenticate, send one command and return its reply. Raises ResponseError if Redis rejects it,
    RedisRefused if Redis cannot execute it now, the reason for the disconnect if Redis disconnects, Timeout after
    `timeout` seconds without a reply, and what connecting raises."""
    protocol = new_protocol(reactor, str(address), timeout)
    await connect(reactor, address, protocol, timeout)
    try:
        await log_in(protocol, address)
        return await protocol.ask(*words)
    except ServiceUnavailable as error:
        raise cause(error, protocol) from None
    finally:
        disconnected: Deferred[object] = protocol.whenDisconnected()
        if protocol.connected:
            protocol.transport.abortConnection()
            await disconnected
