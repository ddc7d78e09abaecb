"""One invocation of a service: prepares the service instance, reads the input, and builds the outcome."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterator
from http import HTTPStatus
from threading import Lock
from typing import Any, Protocol

import msgspec
from twisted.internet.defer import Deferred

from zatotx.interfaces.services import IServiceMap
from zatotx.model.errors import BadInput, Inactive, InternalServerError, MethodNotAllowed
from zatotx.model.job_run import JOB_TYPE_HEADER, SCHEDULER
from zatotx.model.message import Message, ServiceResult
from zatotx.service.compat.bunch import Bunch
from zatotx.service.io import xml_codec
from zatotx.service.io.input_sources import XML, collect_input_sources
from zatotx.service.io.io_declaration import BadOutput
from zatotx.service.io.validation_error import ValidationError
from zatotx.service.metadata import HandlerMethod
from zatotx.service.missing_await import find_missing_await
from zatotx.service.request import Request
from zatotx.service.response import Payload, Response, make_response, payload_content
from zatotx.service.server_sent_events import encode_event_stream
from zatotx.service.service_entry import ServiceEntry
from zatotx.service.soap import check_mandatory_headers
from zatotx.service.thread_calls import ServiceThreadCalls, ThreadCall, ThreadLender
from zatotx.system.thread_pool import IThreadReactor
from zatotx.wire.xml.parser import is_element


class InvocationHost(Protocol):
    """The interface of the Invoker that a single invocation uses."""

    reactor: IThreadReactor
    threads: ServiceThreadCalls
    node: Any  # `self.server` of the services built into zatotx
    user_config: Bunch
    io_thread: int  # the reactor's thread
    now: Callable[[], float]  # seconds since 1970

    def perform(self, invocation: Invocation) -> Coroutine[Any, Any, ServiceResult]:
        """Run a service. See Invoker."""

    def run_handler_in_thread(
        self, service: Any, invocation: Invocation, thread_call: ThreadCall | None
    ) -> ServiceResult:
        """Run a prepared `def` service in a service thread. See Invoker."""


class Invocation(msgspec.Struct, eq=False):
    """One invocation of one service, and its position in a chain of invocations."""

    invoker: InvocationHost
    entry: ServiceEntry
    services: IServiceMap  # the same immutable table for the whole chain
    message: Message
    payload: Any
    started_at: float  # seconds since 1970
    raw_request: Any = None  # request.raw_request, if it is not the message's body
    parent: Invocation | None = None
    depth: int = 0
    thread_call: ThreadCall | None = None  # the call in the service thread that runs it
    waiting_thread: ThreadLender | None = None  # a waiting thread of a caller in the chain
    handler: HandlerMethod = None  # type: ignore[assignment]  # set by prepare_instance
    environ: dict[str, Any] | None = None
    returned_at: float = 0.0

    @property
    def job_type(self) -> str | None:
        """Return the scheduler's job type, '' for an unknown type, None if no job started the call."""
        if self.message.channel.kind != SCHEDULER:
            return None
        return self.message.headers.get(JOB_TYPE_HEADER, b'').decode('ascii', 'replace')

    def service_chain(self) -> list[str]:
        """Return the names of the services in the chain, the first one first."""
        chain: list[str] = []
        invocation: Invocation | None = self
        while invocation is not None:
            chain.append(invocation.entry.name)
            invocation = invocation.parent
        return chain[::-1]


def describe_invocation(invocation: Invocation) -> str:
    """Return the service name and the correlation ID, for log messages."""
    return f'Service {invocation.entry.name} (cid {invocation.message.cid})'


def prepare_instance(invocation: Invocation, *, with_input: bool = True) -> Any:
    """Create the service instance of an invocation, select its handler and, unless `with_input` is false, read its
    input.

    Raises Inactive, MethodNotAllowed, BadInput, NotUnderstood.
    """
    entry = invocation.entry
    if not entry.is_active:
        raise Inactive(entry.name, invocation.message.cid)
    if invocation.message.channel.soap is not None:
        check_mandatory_headers(invocation.message, entry.metadata.understood_headers)
    invocation.handler = entry.metadata.only_handler or select_handler(invocation)
    service: Any = entry.cls()
    service._zatotx = invocation
    declaration = entry.metadata.io
    service.request = Request(invocation.message, invocation.payload, invocation.raw_request, invocation)
    service.response = make_response(declaration.output)
    if with_input and declaration.input is not None:
        read_input(service, invocation)
    return service


def select_handler(invocation: Invocation) -> HandlerMethod:
    """Select the method that handles a request: `handle_VERB`, or otherwise `handle`. Raises MethodNotAllowed, which
    lists the allowed methods."""
    metadata, http = invocation.entry.metadata, invocation.message.http
    handler = metadata.verbs.get(http.method) if http is not None else None
    if handler is None and http is not None and http.method == 'HEAD':
        handler = metadata.verbs.get('GET')
    if handler is None and (
        http is None or invocation.message.channel.is_builtin_endpoint
    ):  # the call has no HTTP verb
        handler = metadata.handle or (next(iter(metadata.verbs.values())) if len(metadata.verbs) == 1 else None)
    if handler is None:
        allow = sorted({*metadata.verbs, *invocation.message.channel.excluded_methods})
        caller = 'Another service' if http is None else f'Method {http.method}'
        available = ', '.join(sorted(metadata.verbs))
        reason = f'{caller} is not allowed here: service {invocation.entry.name} has {available}'
        raise MethodNotAllowed(invocation.message.cid, reason, allow)
    return handler


def read_input(service: Any, invocation: Invocation) -> None:
    """Read the declared input and set `request.input`. Raises BadInput."""
    declaration = invocation.entry.metadata.io.input
    if declaration is None:
        service.request.parse_input_early()
        return
    message, payload = invocation.message, invocation.payload
    try:
        is_text = message.channel.data_format in XML or (message.http is None and is_element(payload))
        if is_text:
            payload = xml_codec.read_element_values(payload, invocation.entry.metadata.io, message)
        sources = collect_input_sources(message, payload, params_only=declaration.params_only, texts=is_text)
        service.request.input = declaration.read(sources)
    except BadInput as error:
        error.cid = message.cid
        if hint := explain_unread_json(message):
            raise BadInput([*error.errors, ('$', hint)], message.cid) from None
        raise


def explain_unread_json(message: Message) -> str:
    """Return an explanation if a JSON body was not parsed because its channel has no data format, otherwise ''."""
    channel, body = message.channel, message.body
    if channel.data_format or message.http is None or not isinstance(body, bytes):
        return ''
    if body.lstrip()[:1] not in (b'{', b'['):
        return ''
    return (f'the body looks like JSON, and channel {channel.name!r} has no data_format, so that its elements are not '
            'read: set data_format: json')  # fmt: skip


def build_outcome(service: Any, invocation: Invocation) -> ServiceResult:
    """Build the outcome of an invocation from the attributes that the service set on its response. Raises BadOutput."""
    entry = invocation.entry
    declaration = entry.metadata.io
    response: Response = service.response
    value = response._payload
    if response.chunks is not None:
        outcome = ServiceResult('', status=_status_code(response), internal=entry.is_internal)
        outcome.stream = stream_chunks(invocation, response.chunks, response.heartbeat)
        return _with_response_fields(outcome, response)
    if declaration.output is not None and not (isinstance(value, (str, bytes)) and value):
        try:
            if type(value) is Payload:
                value = payload_content(value)
            elif value is None or isinstance(value, (str, bytes)):  # the service set nothing
                value = {}
            value = declaration.output.write(value)
        except ValidationError as error:
            forgotten = find_missing_await(entry.cls, response._payload)
            raise forgotten or BadOutput(entry.name, error.errors, invocation.message.cid) from None
        outcome = ServiceResult(value, declaration.output.element, entry.is_internal)
    elif entry.is_internal:
        outcome = ServiceResult(value, declaration.element, True)
    else:
        outcome = ServiceResult(value)
    if invocation.message.channel.data_format in XML:
        _write_xml(outcome, invocation, value)
    fields = response.__dict__
    if len(fields) == 1 and '_payload' in fields:  # the usual case: the service set nothing but a payload
        return outcome
    outcome.status = _status_code(response)
    return _with_response_fields(outcome, response)


def _write_xml(outcome: ServiceResult, invocation: Invocation, value: Any) -> None:
    """Serialize the response as XML. Raises NotAwaited in place of an error caused by an awaitable in it."""
    try:
        xml_codec.serialize_response(outcome, invocation.entry.metadata.io, invocation.message, invocation.entry.name)
    except InternalServerError as error:
        raise (find_missing_await(invocation.entry.cls, value) or error) from None


def _with_response_fields(outcome: ServiceResult, response: Response) -> ServiceResult:
    """Copy content type, SOAP headers and HTTP headers of the response to the outcome."""
    if response.content_type:
        outcome.content_type = response.content_type
    if 'soap' in response.__dict__:
        outcome.soap_headers = response.soap.headers
    if response._headers or response.content_encoding:
        outcome.headers = dict(response.headers)
        if response.content_encoding:
            outcome.headers = {'Content-Encoding': response.content_encoding, **outcome.headers}
    return outcome


def _status_code(response: Response) -> int:
    """Return the status as an int."""
    code = response.status_code
    if type(code) is int:
        return code
    return int(code.value) if isinstance(code, HTTPStatus) else int(code)


async def stream_chunks(invocation: Invocation, chunks: Any, heartbeat: float = 0.0) -> AsyncIterator[bytes]:
    """Yield the chunks of a streamed response as bytes. With a `heartbeat` (seconds), format them as server-sent
    events.

    A plain iterator is read in the service threads. Closing the returned generator closes the service's generator too,
    so that its `finally` blocks run and its resources are released.
    """
    source = aiter(chunks) if isinstance(chunks, AsyncIterable) else _read_in_threads(invocation, iter(chunks))
    if heartbeat:
        source = encode_event_stream(source, invocation.invoker.reactor, heartbeat)
    try:
        async for chunk in source:
            yield _to_bytes(chunk)
    finally:
        if (close := getattr(source, 'aclose', None)) is not None:
            await close()


async def _read_in_threads(invocation: Invocation, iterator: Iterator[Any]) -> AsyncIterator[Any]:
    """Yield the items of a plain iterator, each read in a service thread."""
    end, step_lock = object(), Lock()

    def step(function: Callable[[], Any]) -> Deferred[Any]:
        def locked(thread_call: object) -> Any:
            with step_lock:  # a step may still run after its reader has gone, when the iterator is to be closed
                return function()

        return invocation.invoker.threads.run_in_thread(
            locked, lambda: describe_invocation(invocation), None, deadline=invocation.message.deadline
        )

    try:
        while (chunk := await step(lambda: next(iterator, end))) is not end:
            yield chunk
    finally:
        if (close := getattr(iterator, 'close', None)) is not None:
            await step(close)


def _to_bytes(chunk: Any) -> bytes:
    return chunk.encode('utf-8') if isinstance(chunk, str) else chunk

