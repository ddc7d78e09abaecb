"""The path of a request, of a message and of a job, as one coroutine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from inspect import isawaitable
from time import perf_counter
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred

from zatotx.interfaces.pipeline import NEEDS_BODY, IAuthenticationPolicy, ICodec, NeedsBody
from zatotx.interfaces.services import IInvoker, IServiceEntry, IServiceStore
from zatotx.model.errors import Forbidden, Inactive, NotFound, ServiceUnavailable, Timeout, Unauthorized
from zatotx.model.message import ANONYMOUS, Body, ChannelSpec, Message, Outcome, Principal, Reply
from zatotx.pipeline.admission import Admission, ChannelQueue, service_full
from zatotx.pipeline.codecs import Codecs
from zatotx.pipeline.error_replies import ErrorReplies, unwrap_first_error
from zatotx.pipeline.rate_limiter import RateLimiter
from zatotx.rules.limits.byte_budget import NO_MEMORY
from zatotx.rules.limits.limits import ConcurrencyLimit
from zatotx.schema.suggestion import did_you_mean

_Checked = Principal | NeedsBody | Awaitable[Principal | NeedsBody]  # what a guard says


@define
class Pipeline:
    """limits -> guard -> rate limits -> decode -> invoke -> encode.

    `closed` says why nothing is served now ('' = served): a node that is still starting answers 503 with it.
    """

    guard: IAuthenticationPolicy
    store: IServiceStore
    invoker: IInvoker
    codecs: Codecs
    faults: ErrorReplies
    offload: Callable[..., Deferred[Any]]
    closed: str = ''
    admission: Admission = field(factory=Admission)
    rates: RateLimiter = field(factory=RateLimiter)

    async def serve(self, inbound: Message) -> Reply:
        """The reply to a message, whatever happens on the way. Raises nothing but CancelledError."""
        codec = self.codecs.of(inbound)
        channel, admission = inbound.channel, self.admission
        node: ConcurrencyLimit | None = None  # what was entered, and is left at the end
        gate: ConcurrencyLimit | None = None
        entrance: ChannelQueue | None = None
        entry: IServiceEntry | None = None
        outcome: Outcome | None = None
        began = perf_counter()
        try:
            if not channel.always_open:
                entering = admission.node
                if entering.held < entering.room:  # Gate.enter, written out
                    entering.held += 1
                elif not entering.enter():
                    raise admission.node_full()
                node = entering
            if inbound.principal is None or self.closed:
                checked = await self._within_limits(inbound) if channel.rates else self.checked(inbound)
                if type(checked) is Principal:
                    inbound.principal = checked
                elif checked is not NEEDS_BODY:
                    inbound.principal = await self._waited(checked, inbound)
            services = self.store.current
            known = services.get(inbound.service)
            if known is None or not known.is_active or known.roles or channel.internal_only:
                known = self.found(known, inbound)
            if node is not None:
                if channel.max_in_flight:
                    entrance = await self._entered(channel)
                entering = known.gate
                if entering.held < entering.room:
                    entering.held += 1
                elif not entering.enter():
                    raise service_full(known)
                gate = entering
            entry = known
            entry.stats.in_flight += 1
            body = inbound.body
            if type(body) is bytes and len(body) <= codec.weightless:
                payload = codec.decode(inbound)
            else:  # spooled, coded or large
                payload = await self._decoded(inbound, codec)
            if inbound.principal is None:  # who it is stands in the body
                await self._known_by_body(known, inbound)
            outcome = await self.invoker.invoke(entry, services, inbound, payload)
            reply: Reply = codec.answer(outcome, inbound)
        except CancelledError as error:
            _count_failed(entry, began, Timeout(inbound.cid) if hasattr(inbound, 'expired') else error)
            raise
        except (Exception, SystemExit) as error:  # a service's sys.exit() ends the request, not the server
            failed = self._failed(error, entry, outcome, began)
            return self.faults.reply(failed, inbound, codec)
        finally:
            if node is not None:
                admission.left(gate, entrance)
        entry.stats.in_flight -= 1
        entry.stats.observe(perf_counter() - began)
        return reply

    def _failed(
        self, error: BaseException, entry: IServiceEntry | None, outcome: Outcome | None, began: float
    ) -> BaseException:
        """What a service failed with, counted, in the words that help its author most."""
        failed = unwrap_first_error(error)
        if entry is not None:
            failed = self.invoker.explained(failed, entry, outcome)
        _count_failed(entry, began, failed)
        return failed

    async def _waited(self, checked: _Checked, inbound: Message) -> Principal | None:
        """The principal, where its password must be hashed first: not for a request that would be turned away. None
        where the body must tell."""
        try:
            self.admission.check(inbound.channel, self.store.current.get(inbound.service))
        except ServiceUnavailable:
            if (close := getattr(checked, 'close', None)) is not None:
                close()
            raise
        return await _principal(checked)

    async def _within_limits(self, inbound: Message) -> Principal | NeedsBody:
        """As `checked`, on a channel with rate limits: raises TooManyRequests too. Whom the guard refuses is counted as
        well, so that nobody can go on guessing."""
        try:
            checked = self.checked(inbound)
            found = checked if type(checked) is Principal else await self._waited(checked, inbound)
        except (Unauthorized, Forbidden):
            await _counted(self.rates.take_stranger(inbound))
            raise
        if found is not None:
            inbound.principal = found
            counting = self.rates.take(inbound)
            if counting is not None:
                await counting
            return found
        if inbound.standing is None:  # else it was counted when it was admitted
            await _counted(self.rates.take_stranger(inbound))
        return NEEDS_BODY

    async def _known_by_body(self, entry: IServiceEntry, inbound: Message) -> None:
        """Who it is stands in the body, which is decoded now."""
        inbound.principal = await _principal(self.guard.check_body(inbound))
        if inbound.channel.rates:
            await _counted(self.rates.take_caller(inbound))
        permit(entry, inbound)

    async def _decoded(self, inbound: Message, codec: ICodec) -> object:
        """The payload of a body that is in a file, in a coding, or large. Where it takes time it is read and decoded in
        one go, in a thread, so that no more bodies are in memory than there are threads."""
        body, principal = inbound.body, inbound.principal
        if principal is not None and principal.kind != ANONYMOUS.kind and hasattr(inbound, 'charge'):
            inbound.charge.known()
        if isinstance(body, bytes):
            here = len(body) <= codec.threaded
        elif body.quick:
            here = _read(inbound, body) <= codec.threaded
        else:
            here = False
        return decode(inbound, codec) if here else await self.offload(decode, inbound, codec)

    async def _entered(self, channel: ChannelSpec) -> ChannelQueue:
        """The channel's entrance, with a place taken, which may have to be waited for."""
        entrance = self.admission.entrance(channel)
        waiting = self.admission.enter(channel, entrance)
        if waiting is not None:
            await waiting
        return entrance

    async def authorize(self, inbound: Message) -> None:
        """Set `inbound.principal` by the head alone. Raises what the guard raises, ServiceUnavailable where a limit
        would turn the request away."""
        if not inbound.channel.always_open and self.admission.node.full:
            self.admission.node.refused += 1
            raise self.admission.node_full()
        entry = self.store.current.get(inbound.service)
        self.admission.check(inbound.channel, entry)
        checked = self._within_limits(inbound) if inbound.channel.rates else self.checked(inbound)
        inbound.principal = await _principal(checked)
        if entry is not None:
            permit(entry, inbound)

    def checked(self, inbound: Message) -> _Checked:
        """The principal of a message that may be served now, at once where nothing must be waited for. Raises what
        the guard raises, ServiceUnavailable while the pipeline is closed."""
        if self.closed and not inbound.channel.always_open:
            raise ServiceUnavailable(inbound.cid, self.closed)
        return inbound.principal or self.guard.check(inbound)

    def refusal(self, error: BaseException, inbound: Message) -> Reply:
        """The answer to a message that is not served because of `error`."""
        return self.faults.reply(error, inbound, self.codecs.of(inbound))

    def expired(self, inbound: Message) -> Reply:
        """The answer to a message whose deadline passed while it was served."""
        inbound.expired = True
        return self.faults.expired(inbound, self.codecs.of(inbound))

    def found(self, entry: IServiceEntry | None, inbound: Message) -> IServiceEntry:
        """The service, where it may be served on this channel, to this principal. Raises NotFound, Inactive,
        Forbidden."""
        if entry is None or (inbound.channel.internal_only and not entry.is_internal):
            meant_name = did_you_mean(inbound.service, self._open_to(inbound))
            raise NotFound(inbound.cid, f'No such service `{inbound.service}`{meant_name}')
        if not entry.is_active:
            raise Inactive(inbound.service, inbound.cid)
        permit(entry, inbound)
        return entry

    def _open_to(self, inbound: Message) -> Iterator[str]:
        """The names of the services that a caller of a door may invoke there; strangers, and callers of a channel with
        a service of its own, hear of none."""
        principal, channel = inbound.principal, inbound.channel
        if principal is None or principal is ANONYMOUS or not channel.door or channel.service:
            return
        for entry in self.store.current:
            if (not entry.roles or not entry.roles.isdisjoint(principal.roles)) and (
                entry.is_internal or not channel.internal_only
            ):
                yield entry.name


def decode(inbound: Message, codec: ICodec) -> object:
    """The payload of a message whose body may be large, or in a file: for threads. Raises what the codec raises,
    ServiceUnavailable where there is no room for it in memory."""
    body = inbound.body
    if not isinstance(body, bytes):
        if codec.piecewise and body.seekable:
            return codec.decode(inbound)
        _read(inbound, body)
        body = inbound.body
        assert isinstance(body, bytes)
    if len(body) > codec.weightless:
        codec.weigh(body)
        _charge(inbound, codec.footprint(body))
    return codec.decode(inbound)


def _read(inbound: Message, body: Body) -> int:
    """Have all of a body in memory: how many bytes these are."""
    charge = getattr(inbound, 'charge', None)
    if charge is None:
        data = body.read()
    else:
        most = body.most
        _charge(inbound, most)
        data = body.read()
        charge.give_back(most - len(data))
    inbound.body = data
    return len(data)


def _charge(inbound: Message, size: int) -> None:
    if size and hasattr(inbound, 'charge') and not inbound.charge.add(size):
        raise ServiceUnavailable(inbound.cid, NO_MEMORY)


async def _counted(counting: Awaitable[None] | None) -> None:
    if counting is not None:
        await counting


async def _principal(checked: _Checked) -> Principal | None:
    found = await checked if isawaitable(checked) else checked
    return found if isinstance(found, Principal) else None


def permit(entry: IServiceEntry, inbound: Message) -> None:
    """Raises Forbidden where the service demands a role that the principal has not; one that is not known yet has every
    chance. A door with a service of its own decides by itself whom it lets in."""
    principal, channel = inbound.principal, inbound.channel
    if not entry.roles or principal is None or (channel.door and channel.service):
        return
    if entry.roles.isdisjoint(principal.roles):
        raise Forbidden(inbound.cid)


def _count_failed(entry: IServiceEntry | None, began: float, error: BaseException) -> None:
    if entry is not None:
        entry.stats.in_flight -= 1
        entry.stats.observe(perf_counter() - began)
        entry.stats.failed(type(error).__name__)


__all__ = ['ICodec', 'Pipeline']
