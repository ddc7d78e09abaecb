"""Reads the requests of one connection, by converting the parser's events to messages for the dispatcher."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, auto
from functools import partial
from math import inf

from twisted.logger import Logger

from zatotx.connectors.http.buffered_writer import BufferedWriter
from zatotx.model.cid import new_cid
from zatotx.model.message import ANONYMOUS, Message, Reply
from zatotx.plugins.http.server import error_responses
from zatotx.plugins.http.server.client_info import ClientInfo
from zatotx.plugins.http.server.error_responses import error_response
from zatotx.plugins.http.server.request_body import BodyCollector, RequestResources, SpooledBody, wrap_encoded_body
from zatotx.plugins.http.server.request_context import SAFE_METHODS, RequestContext, ResolvedRequest, error_response_to
from zatotx.plugins.http.server.response_writer import MAX_BUFFERED, ResponseWriter
from zatotx.plugins.http.server.server_context import ServerContext
from zatotx.rules.limits.memory_budget import MAX_UNACCOUNTED, OUT_OF_BUDGET, UNAUTHENTICATED, MemoryReservation
from zatotx.wire.http1.request_parser import HttpMessageRejected, RequestHead, RequestParser

MAX_PIPELINED = 16  # requests of one connection that may be in progress at once
_MAX_SKIPPED = 64 * 1024  # bytes of a rejected request's body to skip; a larger one ends the connection
_MIN_RATE = 1024  # bytes per second that a body must arrive at on average, after its grace time


class ReaderPhase(Enum):
    """The part of a request that is read next."""

    HEAD = auto()  # between requests, or inside a head
    BODY = auto()  # inside the body of the last request
    SKIPPED_BODY = auto()  # inside the body of a request that is already answered
    INPUT_CLOSED = auto()  # nothing: no request follows


HEAD, BODY, SKIPPED_BODY, INPUT_CLOSED = ReaderPhase

# The phases that may follow each phase.
NEXT_PHASES: Mapping[ReaderPhase, frozenset[ReaderPhase]] = {
    HEAD: frozenset({BODY, SKIPPED_BODY, INPUT_CLOSED}),
    BODY: frozenset({HEAD, SKIPPED_BODY, INPUT_CLOSED}),
    SKIPPED_BODY: frozenset({HEAD, INPUT_CLOSED}),
    INPUT_CLOSED: frozenset(),
}


class RequestReader:
    """Reads requests from the parser until no complete request is available, or until earlier requests must finish
    first.

    `phase` changes as NEXT_PHASES lists. `on_resume` is called when reading may continue.
    """

    __slots__ = (
        '_blocked_head',
        '_body_began',
        '_client',
        '_collector',
        '_context',
        '_on_resume',
        '_piece',
        '_repeatable',
        '_request',
        '_resolve',
        '_resolved',
        '_responses',
        '_spool_above',
        '_uncharged_size',
        '_waiting_since',
        '_writer',
        'has_unread_input',
        'parser',
        'phase',
        'request_count',
    )  # fmt: skip

    _log = Logger()

    def __init__(self, context: ServerContext, responses: ResponseWriter, writer: BufferedWriter, client: ClientInfo,
                 on_resume: Callable[[], None]) -> None:
        self._context = context
        self._spool_above = min(context.settings.spool_above, context.settings.max_body)
        self._uncharged_size = min(
            MAX_UNACCOUNTED, self._spool_above
        )  # largest body kept in memory uncharged, in bytes
        self._responses = responses
        self._writer = writer
        self._client = client
        self._resolve = context.resolver_for(client)
        self._on_resume = on_resume
        self.parser = RequestParser(context.limits)
        self.phase: ReaderPhase = HEAD
        self.request_count = 0  # requests begun so far
        self._resolved: ResolvedRequest | None = None  # the last request's routing result
        self._repeatable: ResolvedRequest | None = None  # the same, if all that depends on its head was checked then
        self._blocked_head: RequestHead | None = None  # a head that must wait until the requests before it are answered
        self._request: RequestContext | None = None  # whose body is being received
        self._piece: bytes | None = None  # the body while it consists of one piece
        self._collector: BodyCollector | None = None  # the body when it consists of several pieces
        self._body_began = 0.0  # when the current body began
        self._waiting_since: float | None = None  # when `is_waiting` began
        self.has_unread_input = False  # the client may still be sending data that is not read

    @property
    def is_waiting(self) -> bool:
        """Whether the reader waits for admission or a file, not for the client."""
        return self._waiting_since is not None

    @property
    def is_blocked(self) -> bool:
        """Whether received data must wait."""
        if self.phase is HEAD:
            return (
                self._blocked_head is not None
                or len(self._responses.requests) >= MAX_PIPELINED
                or self._writer.is_backlogged
                or self._responses.buffered_size >= MAX_BUFFERED
            )
        return self._waiting_since is not None or self.phase is INPUT_CLOSED

    @property
    def is_complete(self) -> bool:
        """Whether the client has finished what it began to send."""
        return (
            not self.has_unread_input
            and self._blocked_head is None
            and (self.parser.is_finished or self.parser.is_idle)
        )

    @property
    def is_idle(self) -> bool:
        """Whether every request received is answered, and no byte of another one is pending."""
        return (
            self.phase is HEAD and self._blocked_head is None and not self._responses.requests and self.parser.is_idle
        )

    def process(self, now: float) -> None:
        """Process what the parser has."""
        if self._blocked_head is not None and not self._responses.requests:
            head, self._blocked_head = self._blocked_head, None
            self._begin(head, now)
        parser = self.parser
        next_event = parser.next
        more = not self.is_blocked
        try:
            while more:
                if (repeatable := self._repeatable) is not None:
                    body = self._take_repeated(repeatable)
                    if body is not None:
                        self.repeat(body, now)
                        more = parser.pending_bytes > 0 and not self.is_blocked
                        continue
                event = next_event()
                if event is None:
                    return
                if type(event) is RequestHead:
                    more = self._begin(event, now)
                    if more and self.phase is BODY and (body := parser.take_whole_body()) is not None:
                        self._dispatch(body, now)
                        more = parser.pending_bytes > 0 and not self.is_blocked
                elif type(event) is bytes:
                    more = self._add_piece(event, now)
                else:
                    more = self._end(now) and parser.pending_bytes > 0
        except HttpMessageRejected as rejection:
            self.reject(rejection.status, rejection.reason, now, rejection.request_line)

    def reject(self, status: int, details: str, now: float, request_line: bytes = b'') -> None:
        """Answer the current request, or bytes that are no request, with `status`, and read nothing more."""
        phase, self.phase, self.has_unread_input = self.phase, INPUT_CLOSED, True
        self._context.counters.refused += 1
        request, self._request = self._request, None
        self._drop_body()
        if phase is BODY and request is not None:
            request.keep_alive = False
            request.receive_reply(error_response_to(request, status, details))
        elif phase is HEAD:
            request = RequestContext(None, now, self._responses.write_ready)
            request.cid = new_cid()
            request.request_line = request_line
            self._context.counters.requests += 1
            self._responses.requests.append(request)
            request.receive_reply(error_response(status, request.cid, details))
        else:  # it is already answered: only the connection has to be closed
            self._responses.close_after_current()

    def close_input(self) -> None:
        """Read nothing more."""
        self.phase = INPUT_CLOSED
        self._blocked_head = self._request = None
        self._drop_body()

    def drop_last_head(self) -> None:
        """Drop everything kept from the last request."""
        self._resolved = self._repeatable = None
        self.parser.clear_cache()

    # Called by the connection's timeouts.

    def body_deadline(self, now: float) -> float:
        """Return when the current body must have made progress; inf if the reader does not wait for the client."""
        if self.is_waiting:
            return inf
        settings, collector = self._context.settings, self._collector
        size = collector.size if collector is not None else 0
        return min(now, self._body_began + size / _MIN_RATE) + settings.body_timeout

    def spool_body(self, now: float) -> bool:
        """Move the body being received from memory to disk, if its sender may use the disk, because memory is scarce.
        Returns whether the reader waits for that now."""
        collector, request = self._collector, self._request
        if collector is None or request is None or self.is_waiting:
            return False
        if collector.needs_admission:
            self._request_admission(request, now)
        else:
            collector.spool()
            if collector.is_writing:
                self._waiting_since = now
        return self.is_waiting

    # A request with the head of the one before.

    def _take_repeated(self, repeatable: ResolvedRequest) -> bytes | None:
        """Take the body of a request whose head, routes and client are those of the last one, and which no request
        before it delays. Return None if that is not the next one: it goes through the steps below."""
        if repeatable.routes is not self._context.router.routes or self._responses.requests:
            return None
        return self.parser.take_repeated(repeatable.head)

    def feed_repeated(self, data: bytes) -> bytes | None:
        """Take input that is exactly one such request, of a client for which no other request is in progress. Returns
        the body for `repeat`; otherwise returns None, and the input is not taken."""
        repeatable = self._repeatable
        if repeatable is None or repeatable.routes is not self._context.router.routes or self._writer.is_backlogged:
            return None
        return self.parser.feed_repeated_request(data)

    def repeat(self, body: bytes, now: float) -> None:
        """Dispatch a request that needs none of the checks by its head: `_begin` and `_dispatch` in one step, which
        saves 6,100 of the 122,000 instructions of an echo."""
        context, resolved = self._context, self._repeatable
        assert resolved is not None
        context.counters.requests += 1
        self.request_count += 1
        message = context.router.make_message(resolved, body, now)
        request = RequestContext(
            resolved.head, now, self._responses.write_ready, True, message.cid, resolved, b'', message
        )
        self._responses.requests.append(request)
        request.pending = context.dispatcher.deliver(message, request.receive_reply)

    # The steps of one request. Each returns whether the next one may follow.

    def _begin(self, head: RequestHead, now: float) -> bool:
        requests = self._responses.requests
        if requests and (head.method not in SAFE_METHODS or not requests[-1].is_safe):
            self._blocked_head = head
            return False
        context = self._context
        context.counters.requests += 1
        self.request_count += 1
        request = RequestContext(head, now, self._responses.write_ready, head.keep_alive)
        requests.append(request)
        self._body_began = now
        resolved = self._resolved = self._resolve(head, self._client, self._resolved)
        error = context.router.start_request(request, resolved)
        if error is not None:
            return self._reject_request(request, head, error)
        self._request = request
        self.phase = BODY
        length = head.length
        if length != 0 and (head.expects or (length is not None and length > self._uncharged_size
                                             and length > context.byte_budget.spool_threshold(self._spool_above))):
            return self._request_admission(request, now)
        return True

    def _request_admission(self, request: RequestContext, now: float) -> bool:
        """Have the dispatcher check the head before 100 (Continue) is sent, or before more of the body is read."""
        message, resolved = request.message, request.resolved
        assert message is not None and resolved is not None
        self._waiting_since = now
        message.deadline = now + resolved.timeout
        request.pending = self._context.dispatcher.authenticate(message, partial(self._admitted, request))
        return not self.is_blocked

    def _admitted(self, request: RequestContext, rejection: Reply | None) -> None:
        now = self._stop_waiting()
        head, collector = request.head, self._collector
        assert head is not None
        if rejection is not None:
            self._request = None
            self._drop_body()
            self._reject_request(request, head, rejection)
        elif collector is not None:
            assert request.message is not None
            _raise_charge_limit(request.message, collector.charge)
            collector.allow_spooling()
            if collector.is_writing:
                self._waiting_since = now
        elif head.expects:
            self._responses.send_continue(request)
        self._on_resume()

    def _reject_request(self, request: RequestContext, head: RequestHead, reply: Reply) -> bool:
        """Answer by the head alone. A short body that is on its way is skipped; otherwise the connection is closed."""
        length = head.length
        if head.expects or length is None or length > _MAX_SKIPPED:
            request.keep_alive = False
            self.phase = INPUT_CLOSED
            self.has_unread_input = True
        else:
            self.phase = SKIPPED_BODY
        request.receive_reply(reply)
        return self.phase is SKIPPED_BODY

    def _add_piece(self, piece: bytes, now: float) -> bool:
        collector, request = self._collector, self._request
        if collector is None:
            if request is None:  # it is skipped
                return True
            if self._piece is None and len(piece) <= self._uncharged_size:
                self._piece = piece
                return True
            context = self._context
            collector = self._collector = BodyCollector(
                context.offload, context.byte_budget, work_dir=context.work_dir, spool_above=self._spool_above,
                on_written=self._on_stored, may_spool=request.pending is not None,
            )  # fmt: skip
            if request.message is not None:
                _raise_charge_limit(request.message, collector.charge)
            if self._piece is not None:
                collector.add(self._piece)
                self._piece = None
        collector.add(piece)
        limit = self._context.settings.max_body
        if collector.is_over_budget:
            self.reject(503, OUT_OF_BUDGET, now)
        elif collector.size > limit:
            self.reject(413, error_responses.BODY_TOO_LARGE.format(limit=limit), now)
        elif request is not None and collector.needs_admission:  # its length was not known before
            return self._request_admission(request, now)
        elif collector.is_writing:
            self._waiting_since = now
        return not self.is_blocked

    def _end(self, now: float) -> bool:
        collector = self._collector
        if self.phase is SKIPPED_BODY:
            self.phase = INPUT_CLOSED if self.parser.is_finished else HEAD
        elif collector is None:
            piece, self._piece = self._piece or b'', None
            self._dispatch(piece, now)
        else:
            collector.finish()
            if collector.is_writing:
                self._waiting_since = now
            else:
                self._dispatch(collector.body(), now)
        return not self.is_blocked

    def _dispatch(self, body: bytes | SpooledBody, now: float) -> None:
        request, self._request = self._request, None
        collector, self._collector = self._collector, None
        assert request is not None and request.message is not None and request.resolved is not None
        self.phase = INPUT_CLOSED if self.parser.is_finished else HEAD
        message = request.message
        message.deadline = (
            now + request.resolved.timeout
        )  # the time that the client took to send the body does not count
        charge: MemoryReservation | None = None
        if collector is not None:
            charge = collector.charge
        elif len(body) > MAX_UNACCOUNTED or (body and b'content-encoding' in message.headers):  # type: ignore[arg-type]  # bytes
            charge = MemoryReservation(self._context.byte_budget, UNAUTHENTICATED)
        if charge is None:
            message.body = body
            if len(body) <= self._uncharged_size and not request.resolved.head.expects:  # type: ignore[arg-type]
                self._repeatable = request.resolved
        elif not _charge_body(request, message, body, charge):
            self._context.counters.refused += 1
            request.receive_reply(error_response_to(request, 503, OUT_OF_BUDGET))
            return
        elif b'content-encoding' in message.headers:
            message.body = wrap_encoded_body(body, message.headers[b'content-encoding'], self._context.settings)
        request.pending = self._context.dispatcher.deliver(message, request.receive_reply)
        if charge is not None:
            _raise_charge_limit(message, charge)

    # Continuing after a wait that the client did not cause.

    def _on_stored(self) -> None:
        collector = self._collector
        assert collector is not None
        now = self._stop_waiting()
        if collector.failure is not None:
            self._log.failure('A request body cannot be spooled to {directory}', collector.failure,
                              directory=self._context.work_dir)
            self.reject(503, error_responses.BODY_NOT_STORED, now)
        elif collector.is_finished:
            self._dispatch(collector.body(), now)
        self._on_resume()

    def _stop_waiting(self) -> float:
        now = self._context.seconds()
        if self._waiting_since is not None:
            self._body_began += now - self._waiting_since
            self._waiting_since = None
        return now

    def _drop_body(self) -> None:
        self._piece = None
        collector, self._collector = self._collector, None
        if collector is not None:
            collector.discard()


def _charge_body(
    request: RequestContext, message: Message, body: bytes | SpooledBody, charge: MemoryReservation
) -> bool:
    """Attach the body and its charge to the request. Returns False if the memory budget does not allow it."""
    request.resources = RequestResources(body, charge)
    message.memory_charge = charge
    if type(body) is bytes and not charge.size and not charge.reserve(len(body)):
        return False
    charge.mark_received()
    message.body = body
    return True


def _raise_charge_limit(message: Message, charge: MemoryReservation) -> None:
    """Grant an authenticated client the larger share of the memory budget."""
    principal = message.principal
    if principal is not None and principal.kind != ANONYMOUS.kind:
        charge.mark_authenticated()
