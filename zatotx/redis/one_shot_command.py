"""A single command on a connection of its own."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from zatotx.model.errors import ServiceUnavailable
from zatotx.redis.connector import connect
from zatotx.redis.errors import disconnect_cause
from zatotx.redis.handshake import authenticate
from zatotx.redis.protocol import make_protocol
from zatotx.redis.url import RedisAddress


async def send_single_command(reactor: Any, address: RedisAddress, *words: str, timeout: float = 2.0) -> object:
    """Connect, authenticate, send one command and return its reply. Raises ResponseError if Redis rejects it,
    RedisRefused if Redis cannot execute it now, the reason for the disconnect if Redis disconnects, Timeout after
    `timeout` seconds without a reply, and what connecting raises."""
    protocol = make_protocol(reactor, str(address), timeout)
    await connect(reactor, address, protocol, timeout)
    try:
        await authenticate(protocol, address)
        return await protocol.send_command(*words)
    except ServiceUnavailable as error:
        raise disconnect_cause(error, protocol) from None
    finally:
        disconnected: Deferred[object] = protocol.whenDisconnected()
        if protocol.connected:
            protocol.transport.abortConnection()
            await disconnected
