"""txredisapi behind one small door.

It installs the global reactor when it is imported, so it is imported when the first connection is made, not before.
Only its wire protocol is used: its factories reconnect and queue without bounds, and its deadline is ours to keep.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from zatotx.interfaces.bus import ResponseError
from zatotx.model.faults import ServiceUnavailable


def command_protocol(reactor: Any) -> Any:
    """A fresh protocol for commands; texts come back as `str`, as bytes where they are not UTF-8."""
    return _ready(_classes()[0], reactor)


def subscriber_protocol(reactor: Any, heard: Callable[[object, object], None]) -> Any:
    """A fresh protocol for subscriptions; `heard(channel, message)` gets each message."""
    protocol = _ready(_classes()[1], reactor)
    protocol.heard = heard
    return protocol


def translated(error: BaseException, where: str) -> BaseException:
    """An error of txredisapi as everybody else knows it."""
    import txredisapi

    if isinstance(error, txredisapi.ConnectionError):
        return ServiceUnavailable(None, f'{where} was lost before it answered: the command may have been carried out')
    if isinstance(error, txredisapi.ResponseError):
        return ResponseError(str(error))
    return error


def _ready(cls: Any, reactor: Any) -> Any:
    protocol = cls(charset='utf-8', errors='strict', convertNumbers=False)
    protocol.callLater = reactor.callLater  # the class has the global reactor's
    return protocol


@cache
def _classes() -> tuple[Any, Any]:
    import txredisapi

    class Subscriber(txredisapi.SubscriberProtocol):  # type: ignore[misc]
        heard: Callable[[object, object], None]

        def messageReceived(self, pattern: object, channel: object, message: object) -> None:
            self.heard(channel, message)

    return txredisapi.RedisProtocol, Subscriber
