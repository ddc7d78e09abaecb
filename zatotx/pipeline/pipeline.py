"""The pipeline of a request, a message or a scheduled job, written as one coroutine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from inspect import isawaitable
from time import perf_counter
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred

from zatotx.interfaces.pipeline import NEEDS_BODY, IAuthenticationPolicy, ICodec, NeedsBody
from zatotx.interfaces.services import IServiceEntry, IServiceInvoker, IServiceMapHolder
from zatotx.model.errors import Forbidden, InactiveService, NoSuchService, ServiceUnavailable, Timeout, Unauthorized
from zatotx.model.message import ANONYMOUS, Body, ChannelSpec, Message, Principal, Reply, ServiceResult
from zatotx.pipeline.admission import Admission, ChannelQueue, service_full_error
from zatotx.pipeline.codecs import CodecRegistry
from zatotx.pipeline.error_replies import ErrorReplies, unwrap_first_error
from zatotx.pipeline.rate_limiter import RateLimiter
from zatotx.rules.limits.concurrency_limit import ConcurrencyLimit
from zatotx.rules.limits.memory_budget import OUT_OF_BUDGET
from zatotx.schema.name_suggestion import suggest_similar_name

_Checked = Principal | NeedsBody | Awaitable[Principal | NeedsBody]  # the result of an AuthenticationPolicy's check


@define
class Pipeline:
    """Processes messages. The steps are concurrency limits, authentication, rate limits, decoding, invocation and
    encoding.

    `unavailable_reason` is the reason why no message is processed now, '' if messages are: a node that is still
    starting replies 503 with it.
    """

    authentication: IAuthenticationPolicy
    store: IServiceMapHolder
    invoker: IServiceInvoker
    codecs: CodecRegistry
    error_replies: ErrorReplies
    offload: Callable[..., Deferred[Any]]
    unavailable_reason: str = ''
    admission: Admission = field(factory=Admission)
    rate_limiter: RateLimiter = field(factory=RateLimiter)

    async def serve(self, message: Message) -> Reply:
        """Process a message and return its reply, whatever goes wrong. Raises only CancelledError."""
        await self.process(message)
        assert message.reply is not None
        return message.reply

    async def process(self, message: Message) -> None:
        """Process a message as `serve` does, and set its reply. A coroutine that returns None ends without an exception
        (see Dispatcher)."""
        codec = self.codecs.select(message)
        channel, admission = message.channel, self.admission
        node_limit: ConcurrencyLimit | None = None  # the limits counted against; released at the end
        service_limit: ConcurrencyLimit | None = None
        channel_queue: ChannelQueue | None = None
        entry: IServiceEntry | None = None
        outcome: ServiceResult | None = None
        began = perf_counter()
        try:
            if not channel.serves_while_draining:
                if not admission.node.enter():
                    raise admission.node_full_error()
                node_limit = admission.node
            if message.principal is None or self.unavailable_reason:
                checked = (
                    await self._authenticate_and_count(message) if channel.rate_limits
                    else self.authenticate(message) if self.unavailable_reason
                    else self.authentication.check(message)
                )  # fmt: skip
                if type(checked) is Principal:  # the usual case needs no coroutine
                    message.principal = checked
                else:
                    message.principal = await self._authenticate_slowly(checked, message)
            services = self.store.current
            service = services.get(message.service)
            if service is None or not service.is_active or service.roles or channel.internal_only:
                service = self.require_service(service, message)
            if node_limit is not None:
                if channel.max_in_flight:
                    channel_queue = await self._admit_to_channel(channel)
                if not service.concurrency_limit.enter():
                    raise service_full_error(service)
                service_limit = service.concurrency_limit
            entry = service
            entry.stats.in_flight += 1
            body = message.body
            if type(body) is bytes and len(body) <= codec.check_threshold:
                payload = codec.decode(message)
            else:  # spooled, content-encoded or large
                payload = await self._decode_large(message, codec)
            if message.principal is None:  # the credentials are in the body
                await self._authenticate_by_body(service, message)
            outcome = await self.invoker.invoke(entry, services, message, payload)
            reply = message.reply = codec.encode(outcome, message)
        except CancelledError as error:
            _count_failed(entry, began, Timeout(message.cid) if message.has_expired else error)
            raise
        except (Exception, SystemExit) as error:  # a service's sys.exit() ends the request, not the server
            explained = self._explain_and_count(error, entry, outcome, began)
            reply = message.reply = self.error_replies.reply(explained, message, codec)
            if entry is not None and entry.sampler is not None:
                entry.sampler.observe(message, reply, perf_counter() - began)
            return
        finally:
            if node_limit is not None:
                admission.release_request(service_limit, channel_queue)
        entry.stats.in_flight -= 1
        entry.stats.observe(seconds := perf_counter() - began)
        if entry.sampler is not None:
            entry.sampler.observe(message, reply, seconds)

    def _explain_and_count(
        self, error: BaseException, entry: IServiceEntry | None, outcome: ServiceResult | None, began: float
    ) -> BaseException:
        """Count a failed call, and return its error with the explanation that helps the service's author most."""
        explained = unwrap_first_error(error)
        if entry is not None:
            explained = self.invoker.explain_error(explained, entry, outcome)
        _count_failed(entry, began, explained)
        return explained

    async def _authenticate_slowly(self, checked: _Checked, message: Message) -> Principal | None:
        """Authenticate when that takes time, such as hashing a password; not for a request that would be rejected
        anyway. Returns None if the credentials are in the body."""
        if checked is NEEDS_BODY:
            return None
        try:
            self.admission.check_capacity(message.channel, self.store.current.get(message.service))
        except ServiceUnavailable:
            if (close := getattr(checked, 'close', None)) is not None:
                close()
            raise
        return await _principal(checked)

    async def _authenticate_and_count(self, message: Message) -> Principal | NeedsBody:
        """Authenticate a message on a channel with rate limits; may also raise TooManyRequests. Requests that fail
        authentication are counted, too, to slow down guessing."""
        try:
            checked = self.authenticate(message)
            principal = checked if type(checked) is Principal else await self._authenticate_slowly(checked, message)
        except (Unauthorized, Forbidden):
            await _await_count(self.rate_limiter.charge_unauthenticated(message))
            raise
        if principal is not None:
            message.principal = principal
            counting = self.rate_limiter.charge(message)
            if counting is not None:
                await counting
            return principal
        if message.rate_limit_state is None:  # otherwise it was counted when it was admitted
            await _await_count(self.rate_limiter.charge_unauthenticated(message))
        return NEEDS_BODY

    async def _authenticate_by_body(self, entry: IServiceEntry, message: Message) -> None:
        """Authenticate a message by its body, which is decoded by now."""
        message.principal = await _principal(self.authentication.check_body(message))
        if message.channel.rate_limits:
            await _await_count(self.rate_limiter.charge_principal(message))
        require_role(entry, message)

    async def _decode_large(self, message: Message, codec: ICodec) -> object:
        """Decode a body that is in a file, content-encoded or large. If that takes time, reading and decoding run
        together in a thread, so that at most one body per thread is in memory."""
        body, principal = message.body, message.principal
        if principal is not None and principal.kind != ANONYMOUS.kind and message.memory_charge is not None:
            message.memory_charge.mark_authenticated()
        if isinstance(body, bytes):
            is_small = len(body) <= codec.thread_threshold
        elif body.is_nonblocking:
            is_small = _read_into_memory(message, body) <= codec.thread_threshold
        else:
            is_small = False
        return decode_body(message, codec) if is_small else await self.offload(decode_body, message, codec)

    async def _admit_to_channel(self, channel: ChannelSpec) -> ChannelQueue:
        """Return the channel's queue once the request is admitted, which may require waiting."""
        queue = self.admission.queue_of(channel)
        waiting = self.admission.enter_channel(channel, queue)
        if waiting is not None:
            await waiting
        return queue

    async def authorize(self, message: Message) -> None:
        """Set `message.principal` by the head alone. Raises what the authentication policy raises, and
        ServiceUnavailable if a limit would reject the request."""
        if not message.channel.serves_while_draining and self.admission.node.is_full:
            self.admission.node.rejected += 1
            raise self.admission.node_full_error()
        entry = self.store.current.get(message.service)
        self.admission.check_capacity(message.channel, entry)
        checked = self._authenticate_and_count(message) if message.channel.rate_limits else self.authenticate(message)
        message.principal = await _principal(checked)
        if entry is not None:
            require_role(entry, message)

    def authenticate(self, message: Message) -> _Checked:
        """Return the principal of a message, or an awaitable of it. Raises what the authentication policy raises, and
        ServiceUnavailable while the pipeline is closed."""
        if self.unavailable_reason and not message.channel.serves_while_draining:
            raise ServiceUnavailable(message.cid, self.unavailable_reason)
        return message.principal or self.authentication.check(message)

    def has_room(self, service: str) -> bool:
        """Return whether the concurrency limits admit a call of a service now."""
        entry = self.store.current.get(service)
        return not self.admission.node.is_full and (entry is None or not entry.concurrency_limit.is_full)

    def error_reply(self, error: BaseException, message: Message) -> Reply:
        """Return the reply to a message that failed with `error`."""
        return self.error_replies.reply(error, message, self.codecs.select(message))

    def timeout_reply(self, message: Message) -> Reply:
        """Return the reply to a message whose deadline passed while it was processed."""
        message.has_expired = True
        return self.error_replies.timeout_reply(message, self.codecs.select(message))

    def require_service(self, entry: IServiceEntry | None, message: Message) -> IServiceEntry:
        """Return the service if it may be invoked on this channel by this principal. Raises NoSuchService,
        InactiveService or Forbidden."""
        if entry is None or (message.channel.internal_only and not entry.is_internal):
            suggestion = suggest_similar_name(message.service, self._visible_services(message))
            raise NoSuchService(message.cid, f'No such service `{message.service}`{suggestion}')
        if not entry.is_active:
            raise InactiveService(message.service, message.cid)
        require_role(entry, message)
        return entry

    def _visible_services(self, message: Message) -> Iterator[str]:
        """Yield the names of the services that a caller may invoke on an endpoint of the broker. Yields none to
        anonymous callers, and none on channels that have a single service."""
        principal, channel = message.principal, message.channel
        if principal is None or principal is ANONYMOUS or not channel.is_builtin_endpoint or channel.service:
            return
        for entry in self.store.current:
            if (not entry.roles or not entry.roles.isdisjoint(principal.roles)) and (
                entry.is_internal or not channel.internal_only
            ):
                yield entry.name


def decode_body(message: Message, codec: ICodec) -> object:
    """Decode a message whose body may be large or stored in a file. The function must be called in a thread. Raises the
    errors of the codec, and ServiceUnavailable if the memory budget is exhausted."""
    body = message.body
    if not isinstance(body, bytes):
        if codec.reads_stream and body.seekable:
            return codec.decode(message)
        _read_into_memory(message, body)
        body = message.body
        assert isinstance(body, bytes)
    if len(body) > codec.check_threshold:
        codec.check_size(body)
        _charge(message, codec.estimate_memory(body))
    return codec.decode(message)


def _read_into_memory(message: Message, body: Body) -> int:
    """Read a body into memory; returns its size in bytes."""
    charge = message.memory_charge
    if charge is None:
        data = body.read()
    else:
        max_size = body.max_size
        _charge(message, max_size)
        data = body.read()
        charge.release(max_size - len(data))
    message.body = data
    return len(data)


def _charge(message: Message, size: int) -> None:
    if size and message.memory_charge is not None and not message.memory_charge.reserve(size):
        raise ServiceUnavailable(message.cid, OUT_OF_BUDGET)


async def _await_count(counting: Awaitable[None] | None) -> None:
    if counting is not None:
        await counting


async def _principal(checked: _Checked) -> Principal | None:
    result = await checked if isawaitable(checked) else checked
    return result if isinstance(result, Principal) else None


def require_role(entry: IServiceEntry, message: Message) -> None:
    """Raise Forbidden if the principal lacks the role that the service requires. A message without a principal passes,
    because a built-in endpoint with its own service does its own authorization."""
    principal, channel = message.principal, message.channel
    if not entry.roles or principal is None or (channel.is_builtin_endpoint and channel.service):
        return
    if entry.roles.isdisjoint(principal.roles):
        raise Forbidden(message.cid)


def _count_failed(entry: IServiceEntry | None, began: float, error: BaseException) -> None:
    if entry is not None:
        entry.stats.in_flight -= 1
        entry.stats.observe(perf_counter() - began)
        entry.stats.count_error(type(error).__name__)


__all__ = ['ICodec', 'Pipeline']
