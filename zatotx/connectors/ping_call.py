"""The implementation of IServiceCall with which an administrator or a job pings a connection. No service is involved in
such a call."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from math import inf
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from zatotx.interfaces.outgoing import IServiceCall


@implementer(IServiceCall)
class PingCall:
    """Implements IServiceCall for pings, which are not made by a service."""

    service = ''
    trace = ''
    deadline = inf

    def __init__(self, cid: str) -> None:
        self.cid = cid
        self.request: object = self

    def run(self, begin: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """See ICall."""
        return begin()

    def cancel_with_request(self, deferred: Deferred[Any]) -> None:
        """See ICall. A ping runs on the reactor, where cancelling it is enough."""
