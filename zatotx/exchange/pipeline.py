"""The path of a request, of a message and of a job, as one coroutine."""

from __future__ import annotations

from collections.abc import Callable
from inspect import isawaitable
from time import perf_counter
from typing import Any

from attrs import define
from twisted.internet.defer import CancelledError, Deferred

from zatotx.exchange.codecs import Codecs
from zatotx.exchange.faults import FaultReplies
from zatotx.exchange.replies import reply_to
from zatotx.interfaces.exchange import ICodec, IGuard
from zatotx.interfaces.services import IInvoker, IServiceEntry, IServices, IServiceStore
from zatotx.model.faults import Inactive, NotFound, ServiceUnavailable
from zatotx.model.message import Inbound, Principal, Reply


@define
class Pipeline:
    """guard -> decode -> invoke -> encode.

    `closed` says why nothing is served now ('' = served): a node that is still starting answers 503 with it.
    """

    guard: IGuard
    store: IServiceStore
    invoker: IInvoker
    codecs: Codecs
    faults: FaultReplies
    offload: Callable[..., Deferred[Any]]
    closed: str = ''

    async def serve(self, inbound: Inbound) -> Reply:
        """The reply to a message, whatever happens on the way. Raises nothing but CancelledError."""
        codec = self.codecs.of(inbound)
        entry: IServiceEntry | None = None
        began = perf_counter()
        try:
            if self.closed or inbound.principal is None:
                await self.authorize(inbound)
            services = self.store.current
            entry = self.found(services, inbound)
            body = inbound.body
            if not isinstance(body, bytes):  # spooled: read back off the reactor
                inbound.body = await self.offload(body.read)
            payload = codec.decode(inbound)
            outcome = await self.invoker.invoke(entry, services, inbound, payload)
            reply = reply_to(outcome, inbound, codec)
        except CancelledError as error:
            _count(entry, began, error)
            raise
        except (Exception, SystemExit) as error:  # a service's sys.exit() ends the request, not the server
            _count(entry, began, error)
            return self.faults.reply(error, inbound, codec)
        _count(entry, began, None)
        return reply

    async def authorize(self, inbound: Inbound) -> None:
        """Set `inbound.principal`, unless the head alone was admitted before. Raises what the guard raises."""
        if self.closed and not inbound.channel.always_open:
            raise ServiceUnavailable(inbound.cid, self.closed)
        if inbound.principal is None:
            checked = self.guard.check(inbound)
            inbound.principal = checked if type(checked) is Principal else await _principal(checked)

    def refusal(self, error: BaseException, inbound: Inbound) -> Reply:
        """The answer to a message that is not served because of `error`."""
        return self.faults.reply(error, inbound, self.codecs.of(inbound))

    def found(self, services: IServices, inbound: Inbound) -> IServiceEntry:
        """The service a message is for. Raises NotFound, Inactive."""
        entry = services.get(inbound.service)
        if entry is None or (inbound.channel.internal_only and not entry.is_internal):
            raise NotFound(inbound.cid, f'No such service `{inbound.service}`')
        if not entry.is_active:
            raise Inactive(inbound.service, inbound.cid)
        return entry


async def _principal(checked: Any) -> Principal:
    if isawaitable(checked):
        checked = await checked
    principal: Principal = checked
    return principal


def _count(entry: IServiceEntry | None, began: float, error: BaseException | None) -> None:
    if entry is not None:
        entry.stats.observe(perf_counter() - began)
        if error is not None:
            entry.stats.failed(type(error).__name__)


__all__ = ['ICodec', 'Pipeline']
