"""One configured outgoing HTTP connection, which sends requests and counts them. It is closed when the configuration
replaces it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from sys import maxsize
from time import time

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from zatotx.connectors.failure_log import FailureLog
from zatotx.interfaces.meters import IOutgoingMeter
from zatotx.interfaces.outgoing import IServiceCall
from zatotx.interfaces.reactor import IReactor
from zatotx.plugins.http.client.errors import CallFailed, ConnectTimeout
from zatotx.plugins.http.client.http_client import HttpClientWithSenders
from zatotx.plugins.http.client.http_messages import BodyStream, HttpResponse
from zatotx.plugins.http.rest.error_mapping import BulkheadFull, CircuitOpen, is_circuit_failure, map_client_error
from zatotx.plugins.http.rest.outgoing_sender_chain import Attempt
from zatotx.plugins.http.rest.received_response import THREAD_THRESHOLD, RestResponse, StreamedRestResponse
from zatotx.plugins.http.rest.request_builder import OutgoingRequest, RequestTemplate
from zatotx.rules.resilience.circuit_breaker import CLOSED, CircuitBreaker


@frozen(kw_only=True, eq=False)
class ConnectionParts:
    """The objects (such as the client, the sender and the meter) from which an outgoing HTTP connection is built."""

    title: str  # 'Outgoing connection CRM (rest)'
    request_template: RequestTemplate
    client: HttpClientWithSenders
    send: Attempt  # the client with all its wrappers
    send_once: Attempt  # the client without retries and circuit breaker
    circuit_breaker: CircuitBreaker | None
    ping_method: str
    redirect_to_any_origin: bool = False  # whether redirects to other origins are followed
    max_in_flight: int = maxsize
    meter: IOutgoingMeter


@define(eq=False)
class OutgoingConnection:
    """A configured outgoing HTTP connection. `request_template` creates requests from the calls of services, and `send`
    sends them."""

    parts: ConnectionParts
    reactor: IReactor  # IReactorTime, IReactorFromThreads
    request_template: RequestTemplate = field(init=False)
    in_flight: int = 0  # calls of this connection; connections may share the meter
    _failures: FailureLog = field(init=False)
    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self.request_template = self.parts.request_template
        self._failures = FailureLog(self.parts.title, self.reactor.seconds)

    async def send(self, request: OutgoingRequest) -> RestResponse:
        """Send a request and return the response. Raises Timeout, ServiceUnavailable and BadGateway, which name the
        connection."""
        parts = self.parts
        meter = parts.meter
        meter.in_flight += 1
        self.in_flight += 1
        try:
            if self.in_flight > parts.max_in_flight:
                raise BulkheadFull('as many calls are under way as there may be')
            http_response = await parts.send(request)
        except CallFailed as failure:
            fault = self._map_failure(failure, request)
            meter.count_error(type(fault).__name__)
            if fault is failure.__cause__:  # the service's own error, raised while it produced the body
                raise fault from fault.__cause__
            raise fault from failure
        except CancelledError:
            raise
        except Exception as error:
            meter.count_error(type(error).__name__)
            raise
        finally:
            self.in_flight -= 1
            meter.in_flight -= 1
            meter.observe(self.reactor.seconds() - request.started_at)
        if self._failures.cause:
            self._failures.recovered()
        if request.stream:
            return self._streamed(request, http_response)
        response = RestResponse(http_response, parts.request_template.data_format, request.model)
        response.connection_title, response.cid = parts.title, request.call.cid
        if len(http_response.body) > THREAD_THRESHOLD:  # type: ignore[arg-type]  # bytes, because it is not streamed
            await response.read_in_thread(self.request_template.offload)
        return response

    async def ping(self, call: IServiceCall) -> str:
        """Send a ping request: any response counts as success. Returns the request and response as text, in Zato's
        format.

        Raises as `send` does. Does not retry, and ignores the circuit breaker.
        """
        parts = self.parts
        request = parts.request_template.build_ping(parts.ping_method, call)
        began, moment = self.reactor.seconds(), datetime.fromtimestamp(time(), UTC).replace(tzinfo=None)
        try:
            response = await parts.send_once(request)
        except CallFailed as failure:
            raise self._map_failure(failure, request) from failure
        if self._failures.cause:
            self._failures.recovered()
        elapsed = timedelta(seconds=self.reactor.seconds() - began)
        url = f'{parts.request_template.origin.scheme}://{parts.request_template.origin.authority.decode()}{parts.request_template.ping_path.decode()}'
        request_line = f'{moment.isoformat()} (UTC) {request.method} {url}'
        return f'{request_line}\nCode: {response.status}\nResponse time: {elapsed}'

    def retire(self) -> None:
        """Close idle connections: a new connection takes further calls. Current calls end here, and so do requests that
        are already built, perhaps in a thread, and sent later."""
        self.parts.client.close_idle()

    def end(self) -> Deferred[None]:
        """Accept no more calls. Fires when the current ones have ended."""
        return self.parts.client.close()

    def findings(self) -> Iterator[str]:
        """Yield a sentence for each problem that exists now."""
        breaker = self.parts.circuit_breaker
        if breaker is not None and breaker.state is not CLOSED:
            reason = f' ({self._failures.cause})' if self._failures.cause else ''
            yield (
                f'{self.parts.title} is cut off by its circuit breaker, after {breaker.failure_threshold} failures in '
                f'a row'
                f'{reason}: see that its peer is well; one call is let through every {breaker.reset_timeout:g} s to try'
            )

    # Helpers of send.

    def _streamed(self, request: OutgoingRequest, http_response: HttpResponse) -> RestResponse:
        response = StreamedRestResponse(http_response, self.request_template.data_format, request.model)
        response.connection_title, response.cid = self.parts.title, request.call.cid
        body = http_response.body
        if not isinstance(body, bytes):
            next_piece = partial(request.call.run, partial(self._piece, body, request))
            response.set_source(next_piece, partial(self.reactor.callFromThread, body.close))
        return response

    async def _piece(self, body: BodyStream, request: OutgoingRequest) -> bytes:
        try:
            return await body.read()
        except CallFailed as failure:
            raise map_client_error(failure, self.parts.title, request.call.cid, request.configured_timeout) from failure

    def _map_failure(self, failure: CallFailed, request: OutgoingRequest) -> BaseException:
        """Return the error for the service; the log has more details."""
        if is_circuit_failure(failure) or (isinstance(failure, CircuitOpen) and not self._failures.cause):
            self._failures.failed(failure.detail)
        seconds = request.timeout
        if isinstance(failure, ConnectTimeout):
            seconds = min(seconds, self.request_template.connect_timeout)
        return map_client_error(failure, self.parts.title, request.call.cid, seconds)
