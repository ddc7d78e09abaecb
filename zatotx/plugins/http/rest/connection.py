"""One outgoing connection as it is configured: makes calls, counts them, and ends when nobody needs it any more."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from sys import maxsize
from time import time
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from zatotx.connectors.failure_log import FailureLog
from zatotx.interfaces.outgoing import ICall
from zatotx.plugins.http.client.call import HttpResponse, ResponseStream
from zatotx.plugins.http.client.errors import CallFailed, ConnectTimeout
from zatotx.plugins.http.client.factory import BuiltClient
from zatotx.plugins.http.rest.attempts import Attempt
from zatotx.plugins.http.rest.error_mapping import BulkheadFull, CircuitOpen, is_circuit_failure, map_error
from zatotx.plugins.http.rest.request_builder import Request, RequestForm
from zatotx.plugins.http.rest.response import Response, StreamedResponse
from zatotx.plugins.http.rest.response_parsing import THREADED
from zatotx.rules.resilience.circuit_breaker import CLOSED, CircuitBreaker


@frozen(kw_only=True, eq=False)
class ConnectionParts:
    """What a connection is made of."""

    title: str  # 'Outgoing connection CRM (rest)'
    form: RequestForm
    client: BuiltClient
    attempt: Attempt  # the client with all that is wrapped around it
    plain: Attempt  # without retries and circuit breaker
    breaker: CircuitBreaker | None
    ping_method: str
    any_origin: bool = False  # whether redirections to other origins are followed
    max_in_flight: int = maxsize
    meter: Any  # IOutgoingMeter


@define(eq=False)
class OutgoingConnection:
    """`form` makes requests of what a service says, `perform` sends them."""

    parts: ConnectionParts
    reactor: Any  # IReactorTime, IReactorFromThreads
    form: RequestForm = field(init=False)
    under_way: int = 0  # of this one; the meter may be one that others share
    _failures: FailureLog = field(init=False)
    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self.form = self.parts.form
        self._failures = FailureLog(self.parts.title, self.reactor.seconds)

    async def perform(self, request: Request) -> Response:
        """The answer. Raises Timeout, ServiceUnavailable and BadGateway, naming the connection."""
        parts = self.parts
        meter = parts.meter
        meter.in_flight += 1
        self.under_way += 1
        try:
            if self.under_way > parts.max_in_flight:
                raise BulkheadFull('as many calls are under way as there may be')
            answer = await parts.attempt(request)
        except CallFailed as failed:
            fault = self._fault(failed, request)
            meter.failed(type(fault).__name__)
            if fault is failed.__cause__:  # the service's own, of a body that it could not make
                raise fault from fault.__cause__
            raise fault from failed
        except CancelledError:
            raise
        except Exception as error:
            meter.failed(type(error).__name__)
            raise
        finally:
            self.under_way -= 1
            meter.in_flight -= 1
            meter.observe(self.reactor.seconds() - request.began)
        if self._failures.cause:
            self._failures.recovered()
        if request.stream:
            return self._streamed(request, answer)
        response = Response(answer, parts.form.data_format, request.model)
        response.title, response.cid = parts.title, request.call.cid
        if len(answer.body) > THREADED:  # type: ignore[arg-type]  # bytes, as it is not streamed
            await response.read_in_thread(self.form.offload)
        return response

    async def ping(self, call: ICall) -> str:
        """Ask the peer whether it is there: any answer says so. What was asked and answered, as Zato tells it.

        Raises as `perform`; neither tries again nor minds the circuit breaker.
        """
        parts = self.parts
        request = parts.form.ping(parts.ping_method, call)
        began, moment = self.reactor.seconds(), datetime.fromtimestamp(time(), UTC).replace(tzinfo=None)
        try:
            answer = await parts.plain(request)
        except CallFailed as failed:
            raise self._fault(failed, request) from failed
        if self._failures.cause:
            self._failures.recovered()
        took = timedelta(seconds=self.reactor.seconds() - began)
        where = f'{parts.form.origin.scheme}://{parts.form.origin.authority.decode()}{parts.form.fixed.decode()}'
        asked = f'{moment.isoformat()} (UTC) {request.method} {where}'
        return f'{asked}\nCode: {answer.status}\nResponse time: {took}'

    def retire(self) -> None:
        """Another one takes the calls that come. Those under way end here, and so do those that were made ready for
        this one, in a thread perhaps, and are sent later."""
        self.parts.client.retire()

    def end(self) -> Deferred[None]:
        """Take no more calls. Fires when those under way are over."""
        return self.parts.client.close()

    def findings(self) -> Iterator[str]:
        """What is not as it should be here now."""
        breaker = self.parts.breaker
        if breaker is not None and breaker.state is not CLOSED:
            why = f' ({self._failures.cause})' if self._failures.cause else ''
            yield (f'{self.parts.title} is cut off by its circuit breaker, after {breaker.limit} failures in a row'
                   f'{why}: see that its peer is well; one call is let through every {breaker.reset:g} s to try')

    # What perform does in the end.

    def _streamed(self, request: Request, answer: HttpResponse) -> Response:
        response = StreamedResponse(answer, self.form.data_format, request.model)
        response.title, response.cid = self.parts.title, request.call.cid
        body = answer.body
        if not isinstance(body, bytes):
            following = partial(request.call.result, partial(self._piece, body, request))
            response.bind(following, partial(self.reactor.callFromThread, body.close))
        return response

    async def _piece(self, body: ResponseStream, request: Request) -> bytes:
        try:
            return await body.read()
        except CallFailed as failed:
            raise map_error(failed, self.parts.title, request.call.cid, request.patience) from failed

    def _fault(self, failed: CallFailed, request: Request) -> BaseException:
        """What whoever called is told of it; the log has more."""
        if is_circuit_failure(failed) or (isinstance(failed, CircuitOpen) and not self._failures.cause):
            self._failures.failed(failed.detail)
        seconds = request.seconds
        if isinstance(failed, ConnectTimeout):
            seconds = min(seconds, self.form.connect_timeout)
        return map_error(failed, self.parts.title, request.call.cid, seconds)
