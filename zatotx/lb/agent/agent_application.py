"""The HTTP API of the load balancer's agent. It is a Klein application with the URLs `POST /api/CALL`."""

from __future__ import annotations

from typing import Any

from klein import Klein
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, Request
from twisted.web.server import Site

from zatotx.lb.agent.agent_calls import AgentCalls
from zatotx.processes.mutual_tls import ClientObserver
from zatotx.wire.lb_agent_messages import (
    CONTENT_TYPE,
    MAX_MESSAGE,
    PATH,
    AgentCallError,
    decode_call,
    encode_error,
    encode_result,
)
from zatotx.wire.malformed import Malformed

CALL_TIMEOUT = 15.0  # seconds until a call is answered with 504; a change that runs goes on
IDLE_TIMEOUT = 15.0  # seconds without a byte of a client
NO_SUBJECT = 'a client without TLS'


class AgentApplication:
    """Serves the agent's calls over HTTP. A change is not canceled when its client disconnects."""

    _log = Logger()

    def __init__(self, calls: AgentCalls, clock: IReactorTime) -> None:
        self._calls = calls
        self._clock = clock
        app = Klein()
        app.route(f'{PATH}<name>', methods=['POST'])(self._serve)
        app.route(f'{PATH}<name>', methods=['GET', 'PUT', 'PATCH', 'DELETE'])(self._wrong_method)
        app.route('/', branch=True)(self._not_found)
        self._app = app

    def make_site(self, reactor: Any) -> Site:
        """Return the HTTP factory. Each connection serves one request, so that each request is authenticated against
        the current revocation list."""
        site = AgentSite(self._app.resource(), timeout=IDLE_TIMEOUT, reactor=reactor)  # type: ignore[no-untyped-call]
        site.protocol = OneRequestChannel  # type: ignore[method-assign,assignment]
        site.displayTracebacks = False
        site.noisy = False
        return site

    def _serve(self, request: Request, name: str) -> Deferred[bytes]:
        done = ensureDeferred(self._answer(request, name))
        # Klein cancels the Deferred that it gets when the client disconnects.
        waiting: Deferred[bytes] = Deferred()
        timer = self._clock.callLater(CALL_TIMEOUT, self._time_out, request, waiting, name)

        def finish(body: bytes) -> None:
            if timer.active():
                timer.cancel()
            if not waiting.called:
                waiting.callback(body)

        done.addCallback(finish).addErrback(self._fail)
        return waiting

    async def _answer(self, request: Request, name: str) -> bytes:
        try:
            reject_browser_requests(request)
            body = encode_result(await self._calls.call(name, self._arguments(request), client_subject(request)))
        except AgentCallError as error:
            return self._error(request, error)
        except Exception:
            self._log.failure('The call {name} failed', name=name)
            return self._error(request, AgentCallError('The call failed: the log of the load balancer has the reason',
                                                       (), 500))  # fmt: skip
        self._set_head(request, 200)
        return body

    def _arguments(self, request: Request) -> dict[str, Any]:
        content = request.content
        assert content is not None
        body = content.read(MAX_MESSAGE + 1)
        if len(body) > MAX_MESSAGE:
            raise AgentCallError(f'The body has more than {MAX_MESSAGE} bytes', (), 413)
        try:
            return decode_call(body)
        except Malformed as error:
            raise AgentCallError(f'The body is not valid: {error}') from None

    def _time_out(self, request: Request, waiting: Deferred[bytes], name: str) -> None:
        if not waiting.called:
            text = f'{name} has not finished within {CALL_TIMEOUT:g} s; it may still take effect'
            self._log.warn('{text}', text=text)
            waiting.callback(self._error(request, AgentCallError(text, (), 504)))

    def _fail(self, failure: Failure) -> None:
        if not failure.check(ConnectionDone):
            self._log.failure('A response could not be sent', failure=failure)

    def _wrong_method(self, request: Request, name: str) -> bytes:
        request.setHeader(b'allow', b'POST')
        return self._error(request, AgentCallError('Calls are sent with POST', (), 405))

    def _not_found(self, request: Request) -> bytes:
        text = f'There is nothing here: calls are below {PATH}'
        return self._error(request, AgentCallError(text, self._calls.names, 404))

    def _error(self, request: Request, error: AgentCallError) -> bytes:
        self._set_head(request, error.status)
        return encode_error(error)

    def _set_head(self, request: Request, status: int) -> None:
        if not request.startedWriting:
            request.setResponseCode(status)
            request.setHeader(b'content-type', CONTENT_TYPE.encode('ascii'))
            request.setHeader(b'cache-control', b'no-store')


class AgentSite(Site):
    """The HTTP factory of the agent. It writes no access log, because changes and rejected requests are logged
    elsewhere."""

    def log(self, request: Request) -> None:
        """Log nothing."""


class OneRequestChannel(HTTPChannel):
    """A server connection of the agent, which is closed after one response."""

    def checkPersistence(self, request: Request, version: bytes) -> bool:
        request.responseHeaders.setRawHeaders(b'connection', [b'close'])
        return False


def reject_browser_requests(request: Request) -> None:
    """Reject requests that a browser sends on behalf of a web page. Otherwise a web page could administer the load
    balancer with the certificate of the browser's user, or through an agent without TLS on the user's machine. Raises
    AgentCallError."""
    if request.requestHeaders.hasHeader(b'origin'):
        raise AgentCallError('The agent serves no web pages: requests with an Origin are rejected', (), 403)


def client_subject(request: Request) -> str:
    """Return the subject of the client's certificate, for use in the log."""
    observer = getattr(request.channel, 'transport', None)
    verifier = observer.verifier if isinstance(observer, ClientObserver) else None
    return verifier.subject if verifier is not None else NO_SUBJECT
