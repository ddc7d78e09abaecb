"""Who asks where no service does."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from math import inf
from typing import Any

from zope.interface import implementer

from zatotx.interfaces.outgoing import ICall


@implementer(ICall)
class PingCall:
    """ICall of an administrator who wants to know whether a peer is there."""

    service = ''
    trace = ''
    deadline = inf

    def __init__(self, cid: str) -> None:
        self.cid = cid

    def result(self, begin: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """See ICall."""
        return begin()
