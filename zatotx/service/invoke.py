"""Implements `self.invoke`, with which a service invokes another service. The method returns an awaitable in the
reactor's thread, and the result in other threads.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from time import perf_counter
from typing import Any

import msgspec
from twisted.internet.defer import CancelledError, Deferred

from zatotx.model.errors import InternalServerError, NotFound, ServiceUnavailable, Timeout
from zatotx.model.message import ChannelSpec, Message, ServiceResult
from zatotx.schema.name_suggestion import suggest_similar_name
from zatotx.service.compat.bunch import bunchify
from zatotx.service.invocation import Invocation, InvocationHost, prepare_instance, select_handler
from zatotx.service.io.elements import to_mapping
from zatotx.service.thread_calls import ThreadCall, ThreadLender
from zatotx.wire.xml.parser import parse_document

MAX_DEPTH = 32  # maximum depth of nested calls
INVOKE = ChannelSpec(name='invoke', kind='invoke', service='')
_DECODERS: dict[Any, Callable[[Any], Any]] = {  # decoders of a payload given as text, by the data format of the call
    'json': msgspec.json.decode,
    'xml': lambda text: parse_document(text.encode('utf-8') if isinstance(text, str) else text),
}
# Further arguments of Zato's invoke. Those without effect here are accepted, so that calls written for it work.
ZATO_OPTIONS = frozenset(
    ('channel', 'data_format', 'transport', 'serialize', 'environ', 'needs_response', 'skip_response_elem', 'cid')
)


class ServiceInvocation(msgspec.Struct, kw_only=True):
    """The arguments of a self.invoke call."""

    target: Any  # a name or a Service subclass
    payload: Any = ''
    timeout: float | None = None  # seconds
    as_bunch: bool = False
    raise_timeout: bool = True
    options: dict[str, Any] = {}

    def __post_init__(self) -> None:
        unknown = sorted(set(self.options) - ZATO_OPTIONS)
        if unknown:
            raise TypeError(f'invoke() has no argument {", ".join(unknown)}')


def invoke_service(invocation: Invocation, call: ServiceInvocation) -> Any:
    """Invoke a service from the reactor's thread or from a service's thread.

    Raises NotFound and Inactive naming the service, ServiceUnavailable if the service has reached its limit of
    concurrent calls, InternalServerError if calls are nested too deeply.
    """
    if get_ident() == invocation.invoker.io_thread:
        return _invoke_on_reactor(invocation, call, invocation.waiting_thread)
    return _invoke_from_thread(invocation, call)


def child_invocation(invocation: Invocation, call: ServiceInvocation) -> Invocation:
    """Create the invocation of the service that is called.

    It has the same cid, principal and services, and a deadline that is never later.
    """
    name = call.target if isinstance(call.target, str) else call.target.get_name()
    cid = invocation.message.cid
    entry = invocation.services.get(name)
    if entry is None:
        suggestion = suggest_similar_name(name, (candidate.name for candidate in invocation.services))
        raise NotFound(cid, f'Service {name} does not exist{suggestion}')
    if invocation.depth >= MAX_DEPTH:
        chain = _chain(invocation, name)
        raise InternalServerError(cid, f'Services invoke each other more than {MAX_DEPTH} deep: {chain}')
    message = _create_message(invocation, call, name)
    invoker = invocation.invoker
    child = Invocation(
        invoker, entry, invocation.services, message, call.payload, invoker.now()  # type: ignore[arg-type]  # the entries of a service table are ServiceEntry
    )
    decode = _DECODERS.get(call.options.get('data_format'))
    if decode is not None and isinstance(call.payload, (str, bytes)) and call.payload:
        child.payload = decode(call.payload)
    child.raw_request = call.payload
    child.parent = invocation
    child.depth = invocation.depth + 1
    child.environ = call.options.get('environ')
    return child


def _create_message(invocation: Invocation, call: ServiceInvocation, name: str) -> Message:
    """Create the message to the called service."""
    parent = invocation.message
    deadline = parent.deadline
    if call.timeout is not None:
        deadline = min(deadline, invocation.invoker.reactor.seconds() + call.timeout)
    kind = call.options.get('channel')
    channel = ChannelSpec(name=kind, kind=kind, service='') if kind and kind != 'invoke' else INVOKE
    cid = call.options.get('cid') or parent.cid
    message = Message(cid, channel, name, {}, b'', deadline, None, parent.trace)
    message.principal = parent.principal
    return message


def _chain(invocation: Invocation, name: str) -> str:
    """Return the names of the nested services, shortened in the middle if there are many."""
    names = [*invocation.service_chain(), name]
    return ' -> '.join(names if len(names) <= 8 else [*names[:4], '…', *names[-4:]])


def _limit_reached(child: Invocation) -> ServiceUnavailable:
    """Return the error for a call beyond the service's limit of concurrent calls."""
    entry = child.entry
    reason = f'Service {entry.name} has {entry.concurrency_limit.limit} calls under way, its limit: try again later'
    return ServiceUnavailable(child.message.cid, reason)


async def _invoke_on_reactor(invocation: Invocation, call: ServiceInvocation, lender: ThreadLender | None) -> Any:
    """Invoke a service on the reactor. `lender` is a waiting thread that may run it."""
    child = child_invocation(invocation, call)
    concurrency_limit = child.entry.concurrency_limit
    if not concurrency_limit.enter():
        raise _limit_reached(child)
    started_at = perf_counter()
    try:
        if call.timeout is None:
            child.waiting_thread = lender
            outcome: ServiceResult | None = await invocation.invoker.perform(child)
        else:
            # A waiting thread cannot interrupt what runs in it, so a call with a timeout gets a thread of its own.
            started = Deferred.fromCoroutine(invocation.invoker.perform(child))
            outcome = await _with_timeout(invocation, call, child, started)
    except Exception as error:
        record_call(child, perf_counter() - started_at, error)
        raise
    finally:
        concurrency_limit.leave()
    record_call(child, seconds := perf_counter() - started_at, None)
    if child.entry.sampler is not None:
        result = None if outcome is None else outcome.value
        child.entry.sampler.observe_nested(child.message, call.payload, result, seconds)
    return unwrap_response(outcome, call)


def record_call(child: Invocation, seconds: float, error: Exception | None) -> None:
    """Record the duration and the error of a call in the counters of the called service. Must be called in the
    reactor's thread.

    The dispatcher counts the first service of a chain.
    """
    stats = child.entry.stats
    if stats is not None:
        stats.observe(seconds)
        if error is not None:
            stats.count_error(type(error).__name__)


async def _with_timeout(
    invocation: Invocation, call: ServiceInvocation, child: Invocation, started: Deferred[ServiceResult]
) -> ServiceResult | None:
    """Wait for a call until the deadline, then cancel it. Raises Timeout, or returns None with raise_timeout=False."""
    reactor = invocation.invoker.reactor
    timer = reactor.callLater(max(0.0, child.message.deadline - reactor.seconds()), started.cancel)
    try:
        return await started
    except CancelledError:
        if timer.active():
            raise
        if call.raise_timeout:
            raise Timeout(child.message.cid, f'Service {child.entry.name} gave no answer in time') from None
        return None
    finally:
        if timer.active():
            timer.cancel()


def _invoke_from_thread(invocation: Invocation, call: ServiceInvocation) -> Any:
    """Invoke a service from a service thread. A `def` service without a timeout of its own runs in the same thread."""
    if call.timeout is None:
        child = child_invocation(invocation, call)
        metadata = child.entry.metadata
        handler = metadata.only_handler or select_handler(child)
        if not handler.on_reactor:
            return unwrap_response(_run_in_this_thread(invocation.invoker, child, invocation.thread_call), call)
    return invocation.invoker.threads.run_on_reactor(
        lambda lender: _invoke_on_reactor(invocation, call, lender), invocation.thread_call, invocation.message.deadline
    )


def _run_in_this_thread(invoker: InvocationHost, child: Invocation, thread_call: ThreadCall | None) -> ServiceResult:
    """Run a `def` service in the calling service thread."""
    if thread_call is not None and thread_call.cancelled:
        raise CancelledError('The request is over')
    if invoker.reactor.seconds() >= child.message.deadline:
        raise Timeout(child.message.cid, f'No time is left to invoke service {child.entry.name}')
    concurrency_limit = child.entry.concurrency_limit
    if not concurrency_limit.enter_from_thread():
        raise _limit_reached(child)
    started_at = perf_counter()
    try:
        outcome = invoker.run_handler_in_thread(prepare_instance(child), child, thread_call)
    except Exception as error:
        invoker.threads.call_on_reactor(record_call, child, perf_counter() - started_at, error)
        raise
    finally:
        concurrency_limit.leave_from_thread()
    invoker.threads.call_on_reactor(record_call, child, perf_counter() - started_at, None)
    return outcome


def unwrap_response(outcome: ServiceResult | None, call: ServiceInvocation) -> Any:
    """Return the result of self.invoke, which is the response value without its response element."""
    if outcome is None:
        return None
    value: Any = outcome.value if outcome.stream is None else outcome.stream
    if call.options.get('serialize'):
        return value if isinstance(value, (str, bytes)) else msgspec.json.encode(value).decode('utf-8')
    if call.as_bunch:
        mapping = to_mapping(value)
        return bunchify(msgspec.to_builtins(value) if mapping is not None and mapping is not value else value)
    return value
