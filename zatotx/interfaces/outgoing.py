"""Outgoing connections as services reach them: `self.out.<kind>[<name>]`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from zope.interface import Attribute, Interface


class ICall(Interface):
    """The call of a service that wants to use a connection."""

    cid: str = Attribute('The correlation id, for faults and for what goes out')
    service: str = Attribute('The name of the service')
    deadline: float = Attribute("When its answer has to be there, seconds on the reactor's clock")

    def result(begin: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """What a method of a connection returns to the service: an awaitable where the service runs on the reactor;
        where it runs in a thread the result itself, once the coroutine that `begin` makes has given it there."""


class IOutgoing(Interface):
    """The outgoing connections of a node."""

    def kind(name: str, call: ICall) -> Any:
        """What `self.out.<name>` is for one call: an object whose `[connection]` and `get(connection)` give a
        connection and raise NotFound or Inactive naming it. None where the node has no connections of that kind."""
