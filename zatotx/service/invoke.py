"""`self.invoke`: one service calls another. On the reactor it gives an awaitable, in a thread the result itself."""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from time import perf_counter
from typing import Any

import msgspec
from twisted.internet.defer import CancelledError, Deferred

from zatotx.model.errors import InternalServerError, NotFound, ServiceUnavailable, Timeout
from zatotx.model.message import ChannelSpec, Message, Outcome
from zatotx.schema.suggestion import did_you_mean
from zatotx.service.compat.bunch import bunchify
from zatotx.service.invoker import Invocation, Invoker, prepare_instance, select_handler
from zatotx.service.io.elements import as_mapping
from zatotx.service.thread_calls import ThreadCall, ThreadLender
from zatotx.wire.xml.parser import parse

DEPTH = 32  # calls below the first
INVOKE = ChannelSpec(name='invoke', kind='invoke', service='')
_READ: dict[Any, Callable[[Any], Any]] = {  # what text is, by the data format that a call names
    'json': msgspec.json.decode,
    'xml': lambda text: parse(text.encode('utf-8') if isinstance(text, str) else text),
}
# What Zato's invoke takes too. Those that change nothing here are accepted, so that calls written for it work.
ZATO_OPTIONS = frozenset(
    ('channel', 'data_format', 'transport', 'serialize', 'environ', 'needs_response', 'skip_response_elem', 'cid')
)


class ServiceInvocation(msgspec.Struct, kw_only=True):
    """What a call asks for."""

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


def call_service(run: Invocation, call: ServiceInvocation) -> Any:
    """Invoke from where we are. Raises NotFound and Inactive naming the service, ServiceUnavailable where it has as
    many calls under way as it takes, InternalServerError too deep down."""
    if get_ident() == run.invoker.io_thread:
        return _awaited(run, call, run.lender)
    return _blocking(run, call)


def child_message(run: Invocation, call: ServiceInvocation) -> Invocation:
    """The run of the called service: same cid, principal and services, a deadline that is never later."""
    name = call.target if isinstance(call.target, str) else call.target.get_name()
    cid = run.inbound.cid
    entry = run.services.get(name)
    if entry is None:
        meant = did_you_mean(name, (known.name for known in run.services))
        raise NotFound(cid, f'Service {name} does not exist{meant}')
    if run.depth >= DEPTH:
        raise InternalServerError(cid, f'Services invoke each other more than {DEPTH} deep: {_chain(run, name)}')
    inbound = _inbound(run, call, name)
    child = Invocation(run.invoker, entry, run.services, inbound, call.payload)
    read = _READ.get(call.options.get('data_format'))
    if read is not None and isinstance(call.payload, (str, bytes)) and call.payload:
        child.payload = read(call.payload)
    child.raw = call.payload
    child.parent = run
    child.depth = run.depth + 1
    child.environ = call.options.get('environ')
    return child


def _inbound(run: Invocation, call: ServiceInvocation, name: str) -> Message:
    parent = run.inbound
    deadline = parent.deadline
    if call.timeout is not None:
        deadline = min(deadline, run.invoker.reactor.seconds() + call.timeout)
    kind = call.options.get('channel')
    channel = ChannelSpec(name=kind, kind=kind, service='') if kind and kind != 'invoke' else INVOKE
    cid = call.options.get('cid') or parent.cid
    inbound = Message(cid, channel, name, {}, b'', deadline, None, parent.trace)
    inbound.principal = parent.principal
    return inbound


def _chain(run: Invocation, name: str) -> str:
    names = [*run.names(), name]
    return ' -> '.join(names if len(names) <= 8 else [*names[:4], '…', *names[-4:]])


def _full(child: Invocation) -> ServiceUnavailable:
    """What a caller gets whose call is one too many."""
    entry = child.entry
    why = f'Service {entry.name} has {entry.gate.limit} calls under way, its limit: try again later'
    return ServiceUnavailable(child.inbound.cid, why)


async def _awaited(run: Invocation, call: ServiceInvocation, lender: ThreadLender | None) -> Any:
    child = child_message(run, call)
    gate = child.entry.gate
    if not gate.enter():
        raise _full(child)
    began = perf_counter()
    try:
        if call.timeout is None:
            child.lender = lender
            outcome: Outcome | None = await run.invoker.perform(child)
        else:
            # A thread that waits further up cannot cut short what runs in it: a limited call gets one of its own.
            outcome = await _limited(run, call, child, Deferred.fromCoroutine(run.invoker.perform(child)))
    except Exception as error:
        count_failure(child, perf_counter() - began, error)
        raise
    finally:
        gate.leave()
    count_failure(child, perf_counter() - began, None)
    return blocking_result(outcome, call)


def count_failure(child: Invocation, seconds: float, error: Exception | None) -> None:
    """On the reactor: the called service's own counters. The first service of a chain is counted by the exchange."""
    stats = child.entry.stats
    if stats is not None:
        stats.observe(seconds)
        if error is not None:
            stats.failed(type(error).__name__)


async def _limited(
    run: Invocation, call: ServiceInvocation, child: Invocation, started: Deferred[Outcome]
) -> Outcome | None:
    reactor = run.invoker.reactor
    timer = reactor.callLater(max(0.0, child.inbound.deadline - reactor.seconds()), started.cancel)
    try:
        return await started
    except CancelledError:
        if timer.active():
            raise
        if call.raise_timeout:
            raise Timeout(child.inbound.cid, f'Service {child.entry.name} gave no answer in time') from None
        return None
    finally:
        if timer.active():
            timer.cancel()


def _blocking(run: Invocation, call: ServiceInvocation) -> Any:
    """In a thread. A `def` service without a time limit of its own runs right here."""
    if call.timeout is None:
        child = child_message(run, call)
        traits = child.entry.traits
        handler = traits.only or select_handler(child)
        if not handler.on_reactor:
            return blocking_result(_here(run.invoker, child, run.hop), call)
    return run.invoker.threads.wait(lambda lender: _awaited(run, call, lender), run.hop, run.inbound.deadline)


def _here(invoker: Invoker, child: Invocation, hop: ThreadCall | None) -> Outcome:
    if hop is not None and hop.cancelled:
        raise CancelledError('The request is over')
    if invoker.reactor.seconds() >= child.inbound.deadline:
        raise Timeout(child.inbound.cid, f'No time is left to invoke service {child.entry.name}')
    gate = child.entry.gate
    if not gate.enter_from_thread():
        raise _full(child)
    began = perf_counter()
    try:
        outcome = invoker.in_thread(prepare_instance(child), child, hop)
    except Exception as error:
        invoker.threads.to_reactor(count_failure, child, perf_counter() - began, error)
        raise
    finally:
        gate.leave_from_thread()
    invoker.threads.to_reactor(count_failure, child, perf_counter() - began, None)
    return outcome


def blocking_result(outcome: Outcome | None, call: ServiceInvocation) -> Any:
    """What the caller gets: the value without its response element."""
    if outcome is None:
        return None
    value: Any = outcome.value if outcome.stream is None else outcome.stream
    if call.options.get('serialize'):
        return value if isinstance(value, (str, bytes)) else msgspec.json.encode(value).decode('utf-8')
    if call.as_bunch:
        plain = as_mapping(value)
        return bunchify(msgspec.to_builtins(value) if plain is not None and plain is not value else value)
    return value
