"""One command on a connection of its own."""

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
    """The answer, after saying who we are. Raises ResponseError where Redis refuses, RedisUnable where it cannot now,
    what ended the connection where it hangs up, Timeout where it is silent for `timeout` seconds, and what connecting
    raises."""
    protocol = new_protocol(reactor, str(address), timeout)
    await connect(reactor, address, protocol, timeout)
    try:
        await log_in(protocol, address)
        return await protocol.ask(*words)
    except ServiceUnavailable as error:
        raise cause(error, protocol) from None
    finally:
        gone: Deferred[object] = protocol.whenDisconnected()
        if protocol.connected:
            protocol.transport.abortConnection()
            await gone
