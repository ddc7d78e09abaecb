"""An exchange, which is one request of a client and its response. The exchange selects a server, and streams the bodies
in both directions with backpressure.

A body is never held as a whole: while one side does not accept data, reading from the other one pauses. Of a request's
body up to `[retries] max_body` bytes are kept until the response begins, so that the request can be sent again.
"""

from __future__ import annotations

from typing import cast

import msgspec
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from zatotx.interfaces.load_balancer import IServerSlot, LocalResponse, ServerUseOutcome
from zatotx.lb.http import error_responses
from zatotx.lb.http.backend_connection import BackendConnection
from zatotx.lb.http.error_responses import error_response, serialize_response
from zatotx.lb.http.exchange_interfaces import ExchangeClient
from zatotx.lb.http.exchange_record import log_exchange
from zatotx.lb.http.half_closed_client_probe import HalfClosedClientProbe
from zatotx.lb.http.http_frontend_state import BackendTarget, PreparedRequest
from zatotx.lb.http.request_rewriting import WEBSOCKET
from zatotx.lb.http.response_rewriting import (
    CLOSE,
    KEEP_ALIVE,
    KEEP_ALIVE_1_0,
    add_field_line,
    rewrite_interim_response,
    rewrite_response_head,
    rewrite_switching_protocols,
    serialize_last_chunk,
)
from zatotx.lb.http.server_connection_pool import ServerConnectionPool
from zatotx.lb.proxy_header_writer import proxy_header
from zatotx.lb.server_selection import ServerSelection
from zatotx.lb.tunnel import Tunnel
from zatotx.wire.http1.chunked_decoder import EndOfBody
from zatotx.wire.http1.message_limits import HttpMessageRejected
from zatotx.wire.http1.request_parser import RequestParser
from zatotx.wire.http1.response_parser import ResponseHead

NO_SERVER = 'No server is available to handle the request'
_QUEUE_SLACK = 1.0  # seconds after which a backend that does not enforce its own queue timeout is given up
_HTTP_1_1 = (1, 1)


class Exchange(msgspec.Struct, eq=False):
    """An exchange: one HTTP request of a client and its response. The class is a msgspec Struct, because creating a
    Struct takes a third of the time of an `__init__` method.

    `target` is None only if the load balancer itself responds. `request_sent` says whether the whole request was passed
    to the writer of the server, and `head` is the head of the response once it has begun.
    """

    client: ExchangeClient
    prepared: PreparedRequest
    _target: BackendTarget
    _parser: RequestParser
    started_at: float
    request_sent: bool
    _keep_alive: bool
    acquired_at: float = -1.0
    connected_at: float = -1.0
    responded_at: float = -1.0
    head: ResponseHead | None = None
    status: int = 0
    server: str = ''
    received_bytes: int = 0
    sent_bytes: int = 0
    retries: int = 0  # how often the request was sent again
    _selection: ServerSelection = cast(ServerSelection, None)  # set by `start`, if a server is needed
    _pool: ServerConnectionPool | None = None
    _connection: BackendConnection | None = None
    _data: bytes = b''  # what was written first to the current server
    # The parts of the body that were sent; None = they are too large to keep.
    _held: list[bytes] | None = msgspec.field(default_factory=list)
    _held_size: int = 0
    _is_chunked: bool = False  # whether the body of the response is sent in chunks
    _is_ended: bool = False
    _lost: Failure | None = None  # why the server's connection was lost, while its data is still being sent

    # Choosing a server.

    def start(self, now: float) -> None:
        """Start processing the request."""
        prepared, runtime = self.prepared, self.client.runtime
        local = prepared.local
        if prepared.is_page:
            head = prepared.head
            local = runtime.local_responder.respond(head.method, head.path, head.query, head.headers)
            if local is None:
                local = error_response(404, error_responses.NO_BACKEND, prepared.state.configuration.error_bodies)
        elif local is None and runtime.limits_requests and not runtime.admits_request(prepared.client_address, now):
            local = error_response(429, error_responses.TOO_MANY_REQUESTS, prepared.state.configuration.error_bodies)
        if local is not None:
            self._respond(local, 'PR' if local.status >= 400 else 'LR')
            return
        target = self._target
        target.budget.add_request()
        selection = self._selection = ServerSelection(runtime.find_backend, target.name, prepared.key)
        selection.acquire(self)

    def slot_awaited(self) -> None:
        """See SelectionOwner."""
        client = self.client
        client.deadline = client.runtime.seconds() + self._target.settings.timeouts.queue + _QUEUE_SLACK
        client.pause_if_full()

    def slot_unavailable(self, termination: str) -> None:
        """See SelectionOwner."""
        self._fail(503, NO_SERVER, termination)

    def slot_acquired(self, slot: IServerSlot) -> None:
        """Send the request to a server, over an idle connection or a new one. See SelectionOwner."""
        client, settings = self.client, self._target.settings
        now = self.acquired_at = client.runtime.seconds()
        self.server = slot.name
        target = self._target
        pool = self._pool = target.pools.get((slot.name, slot.host, slot.port)) or target.add_pool(slot)
        header = proxy_header(settings.proxy_protocol, client.transport) if settings.proxy_protocol else b''
        connection = None if header else pool.take(now)
        if connection is not None and not self.prepared.is_idempotent:
            connection = self._skip_stale(connection, pool, now)
        if connection is not None:
            self._send(connection, now)
            return
        client.deadline = now + settings.timeouts.connect
        client.pause_if_full()
        self._selection.wait_for(pool.connect(header), self._connected, self._not_connected)

    def _skip_stale(self, found: BackendConnection, pool: ServerConnectionPool, now: float) -> BackendConnection | None:
        """Return an idle connection for a request that cannot be sent twice: its socket is asked first whether the
        server has just closed it, as servers do that stop."""
        connection: BackendConnection | None = found
        while connection is not None and connection.is_stale():
            connection.abort()
            connection = pool.take(now)
        return connection

    def _connected(self, connection: BackendConnection) -> None:
        if connection.is_lost:
            self._give_up(ServerUseOutcome.RESET, 503, NO_SERVER, 'SC')
        else:
            self._send(connection, self.client.runtime.seconds())

    def _not_connected(self) -> None:
        self._give_up(ServerUseOutcome.NOT_CONNECTED, 503, NO_SERVER, 'SC')

    # The request.

    def _send(self, connection: BackendConnection, now: float) -> None:
        """Send the request, as far as it was received."""
        prepared, client = self.prepared, self.client
        self._connection = connection
        connection.user = self
        self.connected_at = now
        connection.parser.expect_response(prepared.head.method, upgrade=prepared.is_websocket)
        data = self._data = prepared.data
        if self._held:
            self._send_held(connection, data)
        elif not self.request_sent:
            body = self._parser.take_whole_body()
            if body is not None:
                self.request_sent = True
                if body:
                    self.received_bytes = len(body)
                    self._hold(body)
                    data = self._data = data + body
            connection.writer.write(data)
        else:
            connection.writer.write(data)
        if self.request_sent:
            client.deadline = now + self._target.settings.timeouts.server
        else:
            self._pump_request(now)

    def _send_held(self, connection: BackendConnection, data: bytes) -> None:
        """Send a request again, with the part of its body that was sent before."""
        assert self._held is not None
        self._data = data + b''.join(self._held)
        connection.writer.write(self._data)

    def _hold(self, data: bytes) -> None:
        """Keep a part of the request in case that it is sent again."""
        if self._held is not None:
            self._held_size += len(data)
            if self._held_size <= self._target.settings.retries.max_body:
                self._held.append(data)
            else:
                self._held = None

    def _pump_request(self, now: float) -> None:
        """Pass on what the client has sent of the body, as far as the server accepts it."""
        connection, client = self._connection, self.client
        if connection is None or self.request_sent:
            client.pause_if_full()
            return
        writer, parser = connection.writer, self._parser
        is_chunked = self.prepared.head.length is None
        while not writer.is_backlogged:
            try:
                event = parser.next()
            except HttpMessageRejected as rejection:
                self._reject_request(rejection)
                return
            if event is None:
                self._await_client(now)
                return
            if type(event) is bytes:
                self.received_bytes += len(event)
                data = b'%x\r\n%b\r\n' % (len(event), event) if is_chunked else event
            else:
                assert type(event) is EndOfBody
                self.request_sent = True
                data = serialize_last_chunk(event) if is_chunked else b''
            if data:
                self._hold(data)
                writer.write(data)
            if self.request_sent:
                client.deadline = now + self._target.settings.timeouts.server
                client.resume()
                return
        client.deadline = now + self._target.settings.timeouts.server  # the server is to accept more
        client.pause()

    def _await_client(self, now: float) -> None:
        """Wait for more of the body."""
        client = self.client
        if client.has_half_closed:
            self._reject_request(HttpMessageRejected(400, 'The connection ended inside a request'))
            return
        if self.head is None:
            if self.prepared.head.expects and not self.received_bytes:  # the server is to say that it wants the body
                client.deadline = now + self._target.settings.timeouts.server
            else:
                client.deadline = now + self.prepared.state.settings.timeouts.client
        client.resume()

    def _reject_request(self, rejection: HttpMessageRejected) -> None:
        """End the exchange: the client's framing is wrong, so the server must not get the rest."""
        self._release(ServerUseOutcome.ABANDONED)
        if self.head is None:
            self._fail(rejection.status, rejection.reason, 'PR')
        else:
            self._cut_client('PD')

    # Called by the client connection.

    def client_data(self, data: bytes) -> None:
        """See ConnectionUser."""
        self._parser.feed(data)
        now = self.client.runtime.seconds()
        if self.head is not None and not self.request_sent:
            self.client.deadline = now + self._target.settings.timeouts.server
        self._pump_request(now)

    def client_half_closed(self) -> None:
        """See ConnectionUser."""
        self._keep_alive = False
        client = self.client
        if self._connection is not None and not self.request_sent:
            self._pump_request(client.runtime.seconds())
        if not self._is_ended and self.prepared.head.version == _HTTP_1_1 and client.writer.can_half_close:
            HalfClosedClientProbe(
                client.transport, client.writer, client.runtime.sweeper, is_waiting=self._is_waiting,
                on_disconnect=client.abort,
            ).start(client.runtime.seconds())  # fmt: skip

    def _is_waiting(self) -> bool:
        """Return whether the response has not begun yet."""
        return not self._is_ended and self.head is None

    def client_drained(self) -> None:
        """See ConnectionUser."""
        if self.head is not None:  # the server was not read meanwhile: its time begins again
            self.client.deadline = self.client.runtime.seconds() + self._target.settings.timeouts.server
            self._pump_response()

    def client_lost(self) -> None:
        """See ConnectionUser."""
        if self._is_ended:
            return
        self._release(ServerUseOutcome.ABANDONED)
        phase = 'D' if self.head is not None else 'H' if self.request_sent else 'R'
        self._end(f'C{phase}', self.client.runtime.seconds())

    def expire(self, now: float) -> None:
        """See ConnectionUser."""
        client, writer = self.client, self.client.writer
        timeouts = self.prepared.state.settings.timeouts
        if self.head is not None:
            if writer.is_backlogged:
                if now - writer.last_progress < timeouts.client:
                    client.deadline = writer.last_progress + timeouts.client
                    return
                self._release(ServerUseOutcome.ABANDONED)
                self._end('cD', now)
                client.abort()
                return
            self._release(ServerUseOutcome.TIMED_OUT)
            self._cut_client('sD')
        elif self._connection is None:
            if self._selection.slot is None:
                self._fail(503, NO_SERVER, 'sQ')
            else:
                self._give_up(ServerUseOutcome.NOT_CONNECTED, 503, NO_SERVER, 'sC')
        elif self.request_sent or self._connection.writer.is_backlogged or (
            self.prepared.head.expects and not self.received_bytes
        ):
            self._release(ServerUseOutcome.TIMED_OUT)
            self._fail(504, error_responses.GATEWAY_TIMEOUT, 'sH')
        else:
            self._release(ServerUseOutcome.ABANDONED)
            self._fail(408, error_responses.BODY_TIMEOUT, 'cR')

    # Called by the connection to the server.

    def backend_data(self, data: bytes) -> None:
        """Process bytes of the response."""
        connection, client = self._connection, self.client
        assert connection is not None
        parser = connection.parser
        now = client.runtime.seconds()
        if self.head is None and (repeated := parser.feed_repeated(data)) is not None:
            self._pass_whole(*repeated, connection, now)
            return
        parser.feed(data)
        client.deadline = now + self._target.settings.timeouts.server
        if self.head is not None:
            self._pump_response()
            return
        try:
            head = parser.next()
            while type(head) is ResponseHead and head.status < 200 and head.status != 101:
                self._pass_interim(head, now)
                head = parser.next()
        except HttpMessageRejected:
            self._give_up(ServerUseOutcome.MALFORMED, 502, error_responses.BAD_GATEWAY, 'PH')
            return
        if type(head) is not ResponseHead:
            return
        self.responded_at = now
        if head.status == 101:
            if head.headers.get(b'upgrade', b'').lower() == WEBSOCKET:
                self._switch(head)
            else:
                self._give_up(ServerUseOutcome.MALFORMED, 502, error_responses.BAD_GATEWAY, 'PH')
            return
        body = parser.take_whole_body()
        if body is None:
            client.writer.write(self._begin_response(head, connection))
            self._pump_response()
        else:
            self._pass_whole(head, body, connection, now)

    def _pass_whole(self, head: ResponseHead, body: bytes, connection: BackendConnection, now: float) -> None:
        """Pass on a response that has arrived completely, in one write."""
        self.responded_at = now
        written = self._begin_response(head, connection) + body
        self.sent_bytes = len(written)
        self.client.writer.write(written)
        self._finish(now)

    def backend_drained(self) -> None:
        """Continue with the request: the server has accepted what was written."""
        self._pump_request(self.client.runtime.seconds())

    def backend_lost(self, reason: Failure) -> None:
        """Handle the end of the server's connection."""
        connection = self._connection
        if connection is None or self._is_ended:
            return
        if self.head is not None:
            self._lost = reason
            self._pump_response()
        elif connection.is_reused and reason.check(ConnectionDone) and not connection.parser.pending_bytes:
            # it closed an idle connection
            self._give_up(ServerUseOutcome.ABANDONED, 502, error_responses.BAD_GATEWAY, 'SH')
        else:
            self._give_up(ServerUseOutcome.RESET, 502, error_responses.BAD_GATEWAY, 'SH')

    # The response.

    def _pass_interim(self, head: ResponseHead, now: float) -> None:
        """Pass an interim response on, if the client knows them."""
        if self.prepared.head.version != _HTTP_1_1:
            return
        if head.status == 100 and not self.prepared.head.expects:
            return
        self.client.writer.write(rewrite_interim_response(head))
        if not self.request_sent:
            self.client.deadline = now + self.prepared.state.settings.timeouts.client

    def _begin_response(self, head: ResponseHead, connection: BackendConnection) -> bytes:
        """Decide how the response is sent, and return its head for the client."""
        self.head = head
        self.status = head.status
        self._held = None
        request = self.prepared.head
        if head.length is None:
            if request.version == _HTTP_1_1:
                self._is_chunked = True
            else:
                self._keep_alive = False
        if (not self.request_sent and head.status >= 400) or self.client.runtime.is_draining:
            self._keep_alive = False
        if not self._keep_alive:
            option = CLOSE
        else:
            option = KEEP_ALIVE if request.version == _HTTP_1_1 else KEEP_ALIVE_1_0
        variant = (self._target, option, self._is_chunked)
        if connection.rewritten_from is head and connection.rewritten_for == variant:
            written = connection.rewritten
        else:
            written = rewrite_response_head(head, self._target.response_rules, option, is_chunked=self._is_chunked,
                                     has_body=request.method != 'HEAD')  # fmt: skip
            connection.rewritten, connection.rewritten_from, connection.rewritten_for = written, head, variant
        slot = self._selection.slot
        cookie = slot.cookie if slot is not None else ''
        if cookie and self._target.cookie:
            written = add_field_line(written, self._target.cookie % cookie.encode('latin-1'))
        self.sent_bytes = len(written)
        return written

    def _pump_response(self) -> None:
        """Pass on what the server has sent of the body, as far as the client accepts it."""
        connection, writer = self._connection, self.client.writer
        assert connection is not None
        parser, is_chunked = connection.parser, self._is_chunked
        while not writer.is_backlogged:
            try:
                event = parser.next()
            except HttpMessageRejected:
                self._release(ServerUseOutcome.MALFORMED)
                self._cut_client('PD')
                return
            if event is None:
                if self._lost is not None:
                    self._end_by_close(connection, self._lost)
                else:
                    connection.resume()
                return
            if type(event) is bytes:
                data = b'%x\r\n%b\r\n' % (len(event), event) if is_chunked else event
                self.sent_bytes += len(data)
                writer.write(data)
            else:
                assert type(event) is EndOfBody
                if is_chunked:
                    writer.write(serialize_last_chunk(event))
                self._finish(self.client.runtime.seconds())
                return
        connection.pause()

    def _end_by_close(self, connection: BackendConnection, reason: Failure) -> None:
        """Handle the end of a connection, which may be the end of the response."""
        if reason.check(ConnectionDone) is not None:
            try:
                end = connection.parser.feed_eof()
            except HttpMessageRejected:
                end = None
            if end is not None:
                if self._is_chunked:
                    self.client.writer.write(serialize_last_chunk(end))
                self._finish(self.client.runtime.seconds())
                return
        self._release(ServerUseOutcome.RESET)
        self._cut_client('SD')

    def _switch(self, head: ResponseHead) -> None:
        """Turn both connections into a tunnel: the server speaks the protocol that the client asked for."""
        connection, client = self._connection, self.client
        assert connection is not None
        self.head, self.status = head, head.status
        client.writer.write(rewrite_switching_protocols(head, self._target.response_rules))
        early, connection.user = self._parser.take_rest(), None
        tunnel = Tunnel(client, connection, timeout=self._target.settings.timeouts.tunnel,
                        seconds=client.runtime.seconds, on_end=self._tunnel_ended)  # fmt: skip
        connection.user = tunnel
        client.become_tunnel(tunnel)
        tunnel.backend_data(connection.parser.take_rest())
        tunnel.client_data(early)

    def _tunnel_ended(self, tunnel: Tunnel, termination: str) -> None:
        self.received_bytes, self.sent_bytes = tunnel.received_bytes, tunnel.sent_bytes
        self._selection.release(ServerUseOutcome.RESPONDED)
        self._end(termination, self.client.runtime.seconds())

    # The end.

    def _finish(self, now: float) -> None:
        """End an exchange whose response is complete."""
        connection, client = self._connection, self.client
        assert connection is not None
        self._connection = None
        connection.user = None
        if self._lost is None:
            self._return_connection(connection, now)
        self._selection.release(ServerUseOutcome.RESPONDED)
        self._end('--', now)
        client.exchange_finished(now, keep_alive=self._keep_alive and self.request_sent, unread=not self.request_sent)

    def _return_connection(self, connection: BackendConnection, now: float) -> None:
        """Make a connection available for further exchanges, if it can be."""
        if not self.request_sent or connection.writer.is_backlogged:
            connection.abort()
        elif connection.parser.is_between_messages and not self._target.settings.proxy_protocol:
            connection.resume()
            assert self._pool is not None
            self._pool.add(connection, now)
        else:
            connection.close()

    def _give_up(self, outcome: ServerUseOutcome, status: int, details: str, termination: str) -> None:
        """Handle the failure of a server before its response: send the request to another one, or answer."""
        may_repeat = outcome is not ServerUseOutcome.MALFORMED and self._may_repeat()
        self._release(outcome)
        if may_repeat and self._take_retry():
            self._selection.acquire_another(self)
        else:
            self._fail(status, details, termination)

    def server_down(self, backend: str, server: str) -> None:
        """Send the request to another server, if it waits for this one, and may be sent again. Otherwise it goes on
        waiting: the server may only be slow to answer probes."""
        if self._is_ended or self.head is not None or self._selection.slot is None:
            return
        if (backend, server) == (self._target.name, self.server) and self._may_repeat() and self._take_retry():
            self._release(ServerUseOutcome.ABANDONED)
            self._selection.acquire_another(self)

    def _may_repeat(self) -> bool:
        """Return whether the request may be sent again: no byte of it was written to the socket, or its method is
        idempotent; and what was sent is still held."""
        connection = self._connection
        return self._held is not None and (
            self.prepared.is_idempotent or connection is None or connection.writer.has_unsent(self._data)
        )

    def _take_retry(self) -> bool:
        """Return whether the limits of retries allow one more, and count it."""
        target = self._target
        if self.retries >= target.settings.retries.attempts or not target.budget.take_retry():
            return False
        self.retries += 1
        target.counters.count_retry()
        return True

    def _release(self, outcome: ServerUseOutcome) -> None:
        """Give back the slot and close the connection: the exchange does not use them any more."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
        self._selection.release(outcome)

    def _fail(self, status: int, details: str, termination: str) -> None:
        """Answer with an error."""
        bodies = self.prepared.state.configuration.error_bodies
        self._respond(error_response(status, details, bodies), termination)

    def _respond(self, local: LocalResponse, termination: str) -> None:
        """Send a response of the load balancer itself. A body that has arrived completely is skipped; otherwise the
        connection ends."""
        client, request = self.client, self.prepared.head
        self.request_sent = self.request_sent or self._parser.take_whole_body() is not None
        if not self.request_sent or client.runtime.is_draining:
            self._keep_alive = False
        option = CLOSE if not self._keep_alive else KEEP_ALIVE if request.version == _HTTP_1_1 else KEEP_ALIVE_1_0
        data = serialize_response(local, option, has_body=request.method != 'HEAD')
        client.writer.write(data)
        self.status, self.sent_bytes = local.status, len(data)
        now = client.runtime.seconds()
        self._end(termination, now)
        client.exchange_finished(now, keep_alive=self._keep_alive, unread=not self.request_sent)

    def _cut_client(self, termination: str) -> None:
        """End a response that has begun and cannot be completed. Where the end of the connection would look like the
        end of the body, only a reset shows that it is not."""
        self._end(termination, self.client.runtime.seconds())
        assert self.head is not None
        if self._is_chunked or self.head.length is not None:
            self.client.cut()
        else:
            self.client.abort()

    def _end(self, termination: str, now: float) -> None:
        self._is_ended = True
        log_exchange(self, termination, now)
