"""The contract of one connection: read when somebody asks first, once for all who ask meanwhile, and anew when it is
old. It is gone with its connection, which is another one as soon as its configuration is."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any, NoReturn

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from zatotx.model.errors import BadGateway, ServiceError
from zatotx.plugins.http.rest.error_mapping import timeout_error
from zatotx.plugins.http.schema.outgoing_soap import SoapOutgoing
from zatotx.plugins.http.soap.outgoing.wsdl_client import WsdlClient
from zatotx.plugins.http.soap.outgoing.wsdl_loader import UnreadableDocument, WsdlLoader

_PAUSE = 60.0  # seconds, at most, until one that could not be read anew is tried again


@define(eq=False)
class WsdlCache:
    """Asked for the contract, on the reactor."""

    documents: WsdlLoader
    config: SoapOutgoing
    reactor: Any  # IReactorTime
    offload: Callable[..., Deferred[Any]]
    title: str
    known: WsdlClient | None = None
    _due: float = 0.0  # when it is to be read anew
    _loading: Deferred[None] | None = None
    trouble: str = ''  # why it could not be read the last time
    _waiting: list[Deferred[WsdlClient]] = field(factory=list)
    _log = Logger()

    def get(self, cid: str, seconds: float) -> Deferred[WsdlClient]:
        """The contract. Fails with a fault that names the connection: BadGateway where it is of no use,
        ServiceUnavailable and Timeout where it cannot be had, the latter after `seconds`."""
        if self.known is not None:
            if self.config.wsdl_refresh is not None and self.reactor.seconds() >= self._due:
                self._load()
            return succeed(self.known)
        waiter: Deferred[WsdlClient] = Deferred(self._waiting.remove)
        self._waiting.append(waiter)
        waiter.addTimeout(seconds, self.reactor)
        waiter.addErrback(self._told, cid, seconds)
        self._load()
        return waiter

    def _load(self) -> None:
        if self._loading is None:
            loading = Deferred.fromCoroutine(self._read())
            self._loading = ended = loading.addCallbacks(self._got, self._lost)
            if ended.called:
                self._loading = None

    def stop(self) -> None:
        """Read nothing that nobody waits for."""
        if self._loading is not None and not self._waiting:
            self._loading.cancel()

    async def _read(self) -> WsdlClient:
        collected = await self.documents.collect()
        contract: WsdlClient = await self.offload(WsdlClient, collected, self.config)
        return contract

    def _got(self, contract: WsdlClient) -> None:
        self._loading, self.trouble = None, ''
        self.known = contract
        self._due = self.reactor.seconds() + (self.config.wsdl_refresh or 0.0)
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(contract)

    def _lost(self, failure: Failure) -> None:
        """The one that is known, if any, stays."""
        self._loading = None
        self._due = self.reactor.seconds() + min(self.config.wsdl_refresh or _PAUSE, _PAUSE)
        error: BaseException = failure.value  # type: ignore[assignment]  # Twisted's stub allows for none
        if isinstance(error, CancelledError) and not self._waiting:
            return
        why = str(error.__cause__ or error)
        if why != self.trouble:  # it is said once
            self._log.warn('{title} has no usable WSDL: {why}', title=self.title, why=why)
        self.trouble = why
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.errback(failure)

    def _told(self, failure: Failure, cid: str, seconds: float) -> NoReturn:
        """One failure for all who wait becomes the fault of each."""
        error: BaseException = failure.value  # type: ignore[assignment]  # as above
        if isinstance(error, TimeoutError):
            raise timeout_error(self.title, cid, seconds) from None
        if isinstance(error, UnreadableDocument):
            raise BadGateway(cid, f'{self.title} gave no usable WSDL: {error}') from error
        if isinstance(error, ServiceError):
            own = copy(error)
            own.cid = cid
            raise own from error
        raise error
