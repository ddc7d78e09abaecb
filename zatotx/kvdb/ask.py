"""One command on a connection of its own."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from zatotx.kvdb.address import RedisAddress
from zatotx.kvdb.dialing import dial
from zatotx.kvdb.protocol import command_protocol, translated


async def ask(reactor: Any, address: RedisAddress, *words: str, timeout: float = 2.0) -> object:
    """The answer. Raises ResponseError where Redis refuses, ServiceUnavailable where it hangs up, Twisted's
    TimeoutError where it is silent for `timeout` seconds, and what connecting raises."""
    protocol = command_protocol(reactor)
    await dial(reactor, address, protocol, timeout)
    try:
        answer: Deferred[object] = protocol.execute_command(*words)
        return await answer.addTimeout(timeout, reactor)
    except Exception as error:
        raise translated(error, str(address)) from None
    finally:
        gone: Deferred[object] = protocol.whenDisconnected()
        if protocol.connected:
            protocol.transport.abortConnection()
            await gone
