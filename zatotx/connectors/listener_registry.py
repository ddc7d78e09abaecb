"""Registry of listening sockets that outlive their channels. When an address passes from one channel to another, its
socket stays open, so that no client is rejected while a channel is edited, or while two channels exchange their
addresses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IAddress, IListeningPort, IProtocol
from twisted.internet.protocol import Factory
from twisted.logger import Logger

Listen = Callable[[str, Any], Deferred[IListeningPort]]


class _Current(Factory):
    """Gives new connections to the factory of the channel that has the address now."""

    noisy = False

    def __init__(self, factory: Factory) -> None:
        self.factory = factory

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:  # type: ignore[override]
        protocol: IProtocol | None = self.factory.buildProtocol(addr)
        return protocol

    def logPrefix(self) -> str:
        return type(self.factory).__name__


@define(eq=False)
class _Entry:
    current: _Current
    port: IListeningPort | None = None
    opened: Deferred[None] = field(factory=Deferred)


@define(eq=False)
class ListenerRegistry:
    """Opens listening ports by their endpoint descriptions. The method `listen` implements ChannelContext.listen."""

    listen: Listen
    _entries: dict[str, _Entry] = field(factory=dict, init=False)
    _closing: dict[str, Deferred[Any]] = field(factory=dict, init=False)

    _log = Logger()

    async def acquire(self, description: str, factory: Factory) -> None:
        """Give the connections of an address to `factory`: at once where the address is open already, else as soon as
        it is. Raises what the endpoint, the kernel or OpenSSL raise."""
        entry = self._entries.get(description)
        if entry is None:
            entry = self._entries[description] = _Entry(_Current(factory))
            await self._open(description, entry)
            return
        entry.current.factory = factory
        await _settled(entry.opened)
        if self._entries.get(description) is not entry:  # it could not be opened, or was closed meanwhile
            await self.acquire(description, factory)

    def release(self, description: str, factory: Factory) -> None:
        """Close the address, unless another factory has taken it over."""
        entry = self._entries.get(description)
        if entry is None or entry.current.factory is not factory:
            return
        del self._entries[description]
        if entry.port is not None:
            self._close(description, entry.port)

    def address(self, description: str) -> IAddress | None:
        """Where an address listens; None while it does not."""
        entry = self._entries.get(description)
        return None if entry is None or entry.port is None else entry.port.getHost()

    async def closed(self) -> None:
        """Wait until all ports that were released are closed."""
        for closing in tuple(self._closing.values()):
            await _settled(closing)

    async def _open(self, description: str, entry: _Entry) -> None:
        try:
            closing = self._closing.get(description)
            if closing is not None:
                await _settled(closing)
            port = await self.listen(description, entry.current)
        except BaseException:
            if self._entries.get(description) is entry:
                del self._entries[description]
            entry.opened.callback(None)
            raise
        entry.port = port
        if self._entries.get(description) is not entry:  # it was released meanwhile
            self._close(description, port)
        entry.opened.callback(None)

    def _close(self, description: str, port: IListeningPort) -> None:
        closing = maybeDeferred(port.stopListening)
        closing.addErrback(lambda failure: self._log.failure('{where} cannot be closed', failure, where=description))
        self._closing[description] = closing

        def closed(_: object) -> None:
            del self._closing[description]

        closing.addBoth(closed)


def _settled(source: Deferred[Any]) -> Deferred[None]:
    """Fires when `source` does; cancelling it leaves `source` alone."""
    settled: Deferred[None] = Deferred()

    def fire(result: Any) -> Any:
        if not settled.called:
            settled.callback(None)
        return result

    source.addBoth(fire)
    return settled
