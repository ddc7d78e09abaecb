"""Runs services: input, hooks, handle, output; for the exchange and for `self.invoke` alike."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from http import HTTPStatus
from threading import Lock, get_ident
from time import time
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from zatotx.interfaces.services import IInvoker, IServiceEntry, IServices
from zatotx.model.errors import BadInput, Inactive, InternalServerError, MethodNotAllowed
from zatotx.model.message import Message, Outcome
from zatotx.service.compat.bunch import Bunch
from zatotx.service.entry import ServiceEntry
from zatotx.service.forgotten_await import explain_error, find_not_awaited
from zatotx.service.hook_sequence import hook_steps, run_steps, run_steps_blocking
from zatotx.service.io import xml_input, xml_output
from zatotx.service.io.description import BadOutput
from zatotx.service.io.input_sources import XML, gather_sources
from zatotx.service.io.validation_error import ValidationError
from zatotx.service.metadata import Handler
from zatotx.service.request import Request
from zatotx.service.response import Payload, Response, copy_payload
from zatotx.service.server_sent_events import event_stream
from zatotx.service.soap import require_understood
from zatotx.service.stuck_threads import StuckThreads
from zatotx.service.thread_calls import ServiceThreadCalls, ThreadCall, ThreadLender
from zatotx.wire.xml.parser import is_element

SCHEDULER = 'scheduler'
JOB_TYPE = b'x-zato-job-type'  # header of a scheduler's message: one_time, interval_based, cron_style


class Invocation:
    """One call of one service, and its place in a chain of calls."""

    __slots__ = (
        'depth', 'entry', 'environ', 'handler', 'hop', 'inbound', 'invoker', 'lender', 'parent', 'payload', 'raw',
        'returned_at', 'services', 'started_at',
    )  # fmt: skip

    def __init__(self, invoker: Invoker, entry: Any, services: IServices, inbound: Message, payload: Any) -> None:
        self.invoker = invoker
        self.entry: ServiceEntry = entry
        self.services = services  # of one moment, for the whole chain
        self.inbound = inbound
        self.payload = payload
        self.raw: Any = None  # what request.raw_request is, where it is not the body
        self.parent: Invocation | None = None
        self.depth = 0
        self.hop: ThreadCall | None = None  # the thread it runs in
        self.lender: ThreadLender | None = None  # a waiting thread further up the chain
        self.handler: Handler = None  # type: ignore[assignment]  # chosen by prepare
        self.environ: dict[str, Any] | None = None
        self.started_at = invoker.now()
        self.returned_at = 0.0

    @property
    def job_type(self) -> str | None:
        """The scheduler's job type, '' for an unknown one; None where no job brought us here."""
        if self.inbound.channel.kind != SCHEDULER:
            return None
        return self.inbound.headers.get(JOB_TYPE, b'').decode('ascii', 'replace')

    def names(self) -> list[str]:
        """The services of the chain, the first one first."""
        chain: list[str] = []
        run: Invocation | None = self
        while run is not None:
            chain.append(run.entry.name)
            run = run.parent
        return chain[::-1]


@implementer(IInvoker)
class Invoker:
    """Runs one service a call. Made in the reactor's thread.

    `reactor` gives time and threads (IReactorTime, IReactorFromThreads); `pool` runs `def` services (ServiceThreads, or
    anything with callInThread), started by its owner; `node` is what internal services get as `self.server`.
    """

    _log = Logger()

    def __init__(self, reactor: Any, pool: Any, *, node: Any = None, user_config: Bunch | None = None,
                 left_behind: StuckThreads | None = None) -> None:
        self.reactor = reactor
        self.threads = ServiceThreadCalls(reactor, pool, left_behind)
        self.node = node
        self.user_config = Bunch() if user_config is None else user_config
        self.io_thread = get_ident()
        self.now: Callable[[], float] = time  # seconds since 1970, for what services see of the time
        self._warned: set[str] = set()

    def invoke(
        self, entry: IServiceEntry, services: IServices, inbound: Message, payload: Any
    ) -> Coroutine[Any, Any, Outcome]:
        """Input, hooks and handle. Raises what handle raised, BadInput for bad input, BadOutput for output that is
        not as declared, Inactive, MethodNotAllowed."""
        return self.perform(Invocation(self, entry, services, inbound, payload))

    def explained(self, error: BaseException, entry: IServiceEntry, outcome: Outcome | None) -> BaseException:
        """See IInvoker: of an error that a missing `await` led to, where that is."""
        return explain_error(error, entry.cls, None if outcome is None else outcome.value)

    async def perform(self, run: Invocation) -> Outcome:
        """The same for a run that is already set up."""
        large = run.inbound.channel.data_format in XML and xml_input.is_large(run.inbound)
        service = prepare_instance(run, with_input=not large)
        entry, handler = run.entry, run.handler
        hooks = entry.traits.hooks
        try:
            if large and (entry.traits.io.input is not None or (entry.traits.asks_input and handler.on_reactor)):
                await self._aside(read_input, service, run)
            if not handler.on_reactor:
                return await self._hop(service, run)
            if hooks:
                returned = await run_steps(hook_steps(service, handler, hooks, run.job_type))
            else:
                returned = await handler.function(service)
        except SystemExit as error:
            raise RuntimeError(f'Service {entry.name} tried to end the process: SystemExit({error})') from error
        if returned is not None:
            self._ignored(run, returned)
        return await self._aside(build_outcome, service, run) if large else build_outcome(service, run)

    def _aside(self, function: Callable[[Any, Invocation], Any], service: Any, run: Invocation) -> Deferred[Any]:
        """What takes long with a large document, and waits for nothing, in a thread."""
        return self.threads.hop(
            lambda hop: function(service, run),
            lambda: describe_invocation(run),
            run.lender,
            deadline=run.inbound.deadline,
        )

    def _hop(self, service: Any, run: Invocation) -> Deferred[Outcome]:
        return self.threads.hop(
            lambda hop: self.in_thread(service, run, hop), lambda: describe_invocation(run), run.lender,
            deadline=run.inbound.deadline,
        )  # fmt: skip

    def in_thread(self, service: Any, run: Invocation, hop: ThreadCall | None) -> Outcome:
        """In a thread: hooks, handle and output of a `def` service that was prepared."""
        run.hop = hop
        try:
            returned = self._handled(service, run)
            if returned is not None:
                self._ignored(run, returned)
            return build_outcome(service, run)
        finally:
            run.hop = None  # it holds the run: the message would stay until the garbage collector comes by

    def _handled(self, service: Any, run: Invocation) -> Any:
        """In a thread: what `handle` returned, once that and the hooks are done."""
        handler, hooks = run.handler, run.entry.traits.hooks
        if hooks:
            steps = hook_steps(service, handler, hooks, run.job_type)
            return run_steps_blocking(steps, lambda waited: self._settled(run, waited))
        returned = handler.function(service)
        return self._settled(run, returned) if isinstance(returned, Awaitable) else returned

    def _settled(self, run: Invocation, waited: Awaitable[Any]) -> Any:
        """In a thread: what an awaitable gives, which only the reactor may touch."""

        async def settle(lender: ThreadLender) -> Any:
            run.lender = lender
            return await waited

        return self.threads.wait(settle, run.hop, run.inbound.deadline)

    def _ignored(self, run: Invocation, returned: Any) -> None:
        """As in Zato: a service answers through self.response, what handle returns counts for nothing."""
        if run.entry.name not in self._warned:
            self._warned.add(run.entry.name)
            self._log.warn(
                'handle of service {service} returned {kind}, which is ignored: set self.response.payload instead '
                '(cid {cid}; said once)',
                service=run.entry.name, kind=type(returned).__name__, cid=run.inbound.cid,
            )  # fmt: skip


def describe_invocation(run: Invocation) -> str:
    return f'Service {run.entry.name} (cid {run.inbound.cid})'


def prepare_instance(run: Invocation, *, with_input: bool = True) -> Any:
    """The instance that serves this run, its handler chosen and, as a rule, its input read. Raises Inactive,
    MethodNotAllowed, BadInput, NotUnderstood."""
    entry = run.entry
    if not entry.is_active:
        raise Inactive(entry.name, run.inbound.cid)
    if run.inbound.channel.soap is not None:
        require_understood(run.inbound, entry.traits.understands)
    run.handler = entry.traits.only or select_handler(run)
    service: Any = entry.cls()
    service._zatotx = run
    io = entry.traits.io
    service.request = Request(run.inbound, run.payload, run.raw, run)
    service.response = Response(io.output)
    if with_input and io.input is not None:
        read_input(service, run)
    return service


def select_handler(run: Invocation) -> Handler:
    """`handle_VERB` where a class has some. Raises MethodNotAllowed with what there is."""
    traits, http = run.entry.traits, run.inbound.http
    handler = traits.verbs.get(http.method) if http is not None else None
    if handler is None and http is not None and http.method == 'HEAD':
        handler = traits.verbs.get('GET')
    if handler is None and (http is None or run.inbound.channel.door):  # no verb was meant
        handler = traits.handle or (next(iter(traits.verbs.values())) if len(traits.verbs) == 1 else None)
    if handler is None:
        allow = sorted({*traits.verbs, *run.inbound.channel.beside})
        verb = 'Another service' if http is None else f'Method {http.method}'
        has = ', '.join(sorted(traits.verbs))
        raise MethodNotAllowed(
            run.inbound.cid, f'{verb} is not allowed here: service {run.entry.name} has {has}', allow
        )
    return handler


def read_input(service: Any, run: Invocation) -> None:
    """Set `request.input`. Raises BadInput."""
    declared = run.entry.traits.io.input
    if declared is None:
        service.request.read_ahead()
        return
    inbound, payload = run.inbound, run.payload
    try:
        texts = inbound.channel.data_format in XML or (inbound.http is None and is_element(payload))
        if texts:
            payload = xml_input.values(payload, run.entry.traits.io, inbound)
        sources = gather_sources(inbound, payload, params_only=declared.params_only, texts=texts)
        service.request.input = declared.read(sources)
    except BadInput as bad:
        bad.cid = inbound.cid
        if why := unread_json(inbound):
            raise BadInput([*bad.mistakes, ('$', why)], inbound.cid) from None
        raise


def unread_json(inbound: Message) -> str:
    """Why the elements of a body are missing that is JSON: its channel says nothing of its format. '' where that is not
    so."""
    channel, body = inbound.channel, inbound.body
    if channel.data_format or inbound.http is None or not isinstance(body, bytes):
        return ''
    if body.lstrip()[:1] not in (b'{', b'['):
        return ''
    return (f'the body looks like JSON, and channel {channel.name!r} has no data_format, so that its elements are not '
            'read: set data_format: json')  # fmt: skip


def build_outcome(service: Any, run: Invocation) -> Outcome:
    """What the exchange gets of what the service set. Raises BadOutput."""
    entry = run.entry
    io = entry.traits.io
    response: Response = service.response
    value = response._payload
    if response.chunks is not None:
        outcome = Outcome('', status=_status(response), internal=entry.is_internal)
        outcome.stream = stream(run, response.chunks, response.heartbeat)
        return _dressed(outcome, response)
    if io.output is not None and not (isinstance(value, (str, bytes)) and value):
        try:
            if type(value) is Payload:
                value = copy_payload(value)
            elif value is None or isinstance(value, (str, bytes)):  # nothing was set
                value = {}
            value = io.output.write(value)
        except ValidationError as wrong:
            forgotten = find_not_awaited(entry.cls, response._payload)
            raise forgotten or BadOutput(entry.name, wrong.mistakes, run.inbound.cid) from None
        outcome = Outcome(value, element=io.output.element, internal=entry.is_internal)
    else:
        outcome = Outcome(value, element=io.element if entry.is_internal else '', internal=entry.is_internal)
    if run.inbound.channel.data_format in XML:
        _write_xml(outcome, run, value)
    if response.__dict__.keys() <= _BARE:  # as mostly: nothing but a payload was set
        return outcome
    outcome.status = _status(response)
    return _dressed(outcome, response)


def _write_xml(outcome: Outcome, run: Invocation, value: Any) -> None:
    try:
        xml_output.write_response(outcome, run.entry.traits.io, run.inbound, run.entry.name)
    except InternalServerError as error:
        raise (find_not_awaited(run.entry.cls, value) or error) from None


_BARE = frozenset(('_output', '_payload'))


def _dressed(outcome: Outcome, response: Response) -> Outcome:
    if response.content_type:
        outcome.content_type = response.content_type
    if 'soap' in response.__dict__:
        outcome.soap_headers = response.soap.headers
    if response._headers or response.content_encoding:
        outcome.headers = dict(response.headers)
        if response.content_encoding:
            outcome.headers = {'Content-Encoding': response.content_encoding, **outcome.headers}
    return outcome


def _status(response: Response) -> int:
    code = response.status_code
    if type(code) is int:
        return code
    return int(code.value) if isinstance(code, HTTPStatus) else int(code)


async def stream(run: Invocation, chunks: Any, heartbeat: float = 0.0) -> AsyncIterator[bytes]:
    """The chunks of a streamed answer as bytes; with a `heartbeat` those of server-sent events. A plain iterator is
    read in the service threads. Whoever stops reading (aclose) closes the service's own generator too, so that its
    `finally` runs and what it holds is let go."""
    source = aiter(chunks) if isinstance(chunks, AsyncIterable) else _read_in_threads(run, iter(chunks))
    if heartbeat:
        source = event_stream(source, run.invoker.reactor, heartbeat)
    try:
        async for chunk in source:
            yield _bytes(chunk)
    finally:
        if (close := getattr(source, 'aclose', None)) is not None:
            await close()


async def _read_in_threads(run: Invocation, iterator: Iterator[Any]) -> AsyncIterator[Any]:
    end, turn = object(), Lock()

    def step(function: Callable[[], Any]) -> Deferred[Any]:
        def one_at_a_time(hop: object) -> Any:
            with turn:  # a step whose reader has gone may still run when the iterator is to be closed
                return function()

        return run.invoker.threads.hop(
            one_at_a_time, lambda: describe_invocation(run), None, deadline=run.inbound.deadline
        )

    try:
        while (chunk := await step(lambda: next(iterator, end))) is not end:
            yield chunk
    finally:
        if (close := getattr(iterator, 'close', None)) is not None:
            await step(close)


def _bytes(chunk: Any) -> bytes:
    return chunk.encode('utf-8') if isinstance(chunk, str) else chunk

