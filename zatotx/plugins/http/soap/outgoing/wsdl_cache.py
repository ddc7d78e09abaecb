"""Caches the WSDL of one connection. The WSDL is loaded once for all concurrent callers when it is first used, and is
reloaded when it is stale. A changed configuration creates a new connection with a new cache.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any, NoReturn

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from zatotx.model.errors import BadGateway, ServiceError
from zatotx.plugins.http.rest.error_mapping import timeout_error
from zatotx.plugins.http.schema.outgoing_soap import SoapOutgoing
from zatotx.plugins.http.soap.outgoing.wsdl_client import WsdlClient
from zatotx.plugins.http.soap.outgoing.wsdl_loader import InvalidWsdl, WsdlLoader

_MAX_RETRY_DELAY = 60.0  # longest time in seconds until a failed reload is tried again


@define(eq=False)
class WsdlCache:
    """The WSDL cache of a connection, which returns a WsdlClient. It may be used in the reactor's thread only."""

    loader: WsdlLoader
    config: SoapOutgoing
    reactor: IReactorTime
    offload: Callable[..., Deferred[Any]]
    title: str
    client: WsdlClient | None = None
    _due: float = 0.0  # when to reload it
    _loading: Deferred[None] | None = None
    last_error: str = ''  # the last error, '' if none
    _waiting: list[Deferred[WsdlClient]] = field(factory=list)
    _log = Logger()

    def get(self, cid: str, timeout: float) -> Deferred[WsdlClient]:
        """Return the WSDL client. Fails with an error that names the connection: BadGateway if the WSDL is unusable,
        ServiceUnavailable if it cannot be loaded, Timeout after `timeout`."""
        if self.client is not None:
            if self.config.wsdl_refresh is not None and self.reactor.seconds() >= self._due:
                self._load()
            return succeed(self.client)
        waiter: Deferred[WsdlClient] = Deferred(self._waiting.remove)
        self._waiting.append(waiter)
        waiter.addTimeout(timeout, self.reactor)
        waiter.addErrback(self._map_failure, cid, timeout)
        self._load()
        return waiter

    def _load(self) -> None:
        if self._loading is None:
            loading = Deferred.fromCoroutine(self._load_client())
            self._loading = ended = loading.addCallbacks(self._loaded, self._load_failed)
            if ended.called:
                self._loading = None

    def cancel_unused_load(self) -> None:
        """Cancel a load that no caller waits for."""
        if self._loading is not None and not self._waiting:
            self._loading.cancel()

    async def _load_client(self) -> WsdlClient:
        documents = await self.loader.load()
        client: WsdlClient = await self.offload(WsdlClient, documents, self.config)
        return client

    def _loaded(self, client: WsdlClient) -> None:
        self._loading, self.last_error = None, ''
        self.client = client
        self._due = self.reactor.seconds() + (self.config.wsdl_refresh or 0.0)
        waiters, self._waiting = self._waiting, []
        for waiter in waiters:
            waiter.callback(client)

    def _load_failed(self, failure: Failure) -> None:
        """Keep the previous WSDL, if there is one, and fail the waiting callers."""
        self._loading = None
        self._due = self.reactor.seconds() + min(self.config.wsdl_refresh or _MAX_RETRY_DELAY, _MAX_RETRY_DELAY)
        error: BaseException = failure.value  # type: ignore[assignment]  # Twisted's stub allows for none
        if isinstance(error, CancelledError) and not self._waiting:
            return
        reason = str(error.__cause__ or error)
        if reason != self.last_error:  # logged once
            self._log.warn('{title} has no usable WSDL: {why}', title=self.title, why=reason)
        self.last_error = reason
        waiters, self._waiting = self._waiting, []
        for waiter in waiters:
            waiter.errback(failure)

    def _map_failure(self, failure: Failure, cid: str, seconds: float) -> NoReturn:
        """Map the common failure to an error of each caller."""
        error: BaseException = failure.value  # type: ignore[assignment]  # as above
        if isinstance(error, TimeoutError):
            raise timeout_error(self.title, cid, seconds) from None
        if isinstance(error, InvalidWsdl):
            raise BadGateway(cid, f'{self.title} gave no usable WSDL: {error}') from error
        if isinstance(error, ServiceError):
            copied = copy(error)
            copied.cid = cid
            raise copied from error
        raise error
