"""Our IAgent in the surroundings that the tests of twisted.web make for theirs: a reactor in memory, and peers whose
requests and answers are values. Between those and our agent there are bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, execute, fail, succeed
from twisted.internet.interfaces import IReactorTCP
from twisted.internet.testing import StringTransport
from twisted.web._newclient import Request
from twisted.web.client import URI
from twisted.web.http_headers import Headers

from zatotx.plugins.http.client.agent_adapter import Agent
from zatotx.plugins.http.client.connection_pool import PoolLimits
from zatotx.plugins.http.client.connector import Connector
from zatotx.plugins.http.client.errors import NoSuchHost
from zatotx.plugins.http.client.http_client import ClientEnvironment, ClientSettings, HttpClient, make_client
from zatotx.rules.http.proxy_selection import DIRECT, ProxySelector
from zatotx.wire.http.host_names import is_address
from zatotx.wire.http1.request_writer import RESERVED_FIELDS

ONE_CALL_EACH = PoolLimits(idle_timeout=0)  # as Twisted's agent without a pool


class Known:
    """A resolver that knows some names, and asks nobody."""

    def __init__(self, names: Mapping[str, Sequence[str]]) -> None:
        self._names = names

    def resolve(self, host: str) -> Deferred[tuple[str, ...]]:
        found = (host,) if is_address(host) else tuple(self._names.get(host, ()))
        return succeed(found) if found else fail(NoSuchHost(f'no address was found for the name {host}'))


class Shaken:
    """A TLS handshake that is over: what is said over it is in the clear."""

    def __init__(self, transport: Any) -> None:
        self.done = succeed(transport)


class InTheClear:
    """TLS that is none, for tests that look at what is said."""

    def handshake(self, transport: Any, host: str, clock: Any) -> Shaken:
        return Shaken(transport)


def make_agent(reactor: Any, names: Mapping[str, Sequence[str]], **settings: Any) -> Agent:
    """Our agent as it is made for a connection."""
    resolver: Any = Known(names)
    reach = ClientEnvironment(reactor, execute, environ={}, resolver=resolver)
    given = {'proxy': DIRECT, 'max_redirects': 0, 'decode_content': False, 'pool_limits': ONE_CALL_EACH, **settings}
    return Agent(make_client(ClientSettings(**given), reach))


def make_open_agent(reactor: Any, names: Mapping[str, Sequence[str]]) -> Agent:
    """The same, and its TLS is in the clear."""
    resolver: Any = Known(names)
    tls: Any = InTheClear()
    reach = ClientEnvironment(reactor, execute, environ={}, resolver=resolver)
    return Agent(
        HttpClient(reach.call_environment, Connector(reactor, resolver, tls, ProxySelector()).connect, ONE_CALL_EACH)
    )


class Answering:
    """The reactor of a test, whose connections are accepted at once by a Peer. The test finds the peer of the newest
    one as its `protocol`."""

    def __init__(self, reactor: Any, test: Any) -> None:
        self._reactor = reactor
        self._test = test

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def connectTCP(self, host: str, port: int, factory: Any, timeout: Any = 30, bindAddress: Any = None) -> Any:
        connector = IReactorTCP(self._reactor).connectTCP(host, port, factory, timeout, bindAddress)
        self._test.protocol = peer = Peer(port)
        protocol = factory.buildProtocol(None)
        peer.protocol = protocol
        protocol.makeConnection(peer)
        return connector


class Peer(StringTransport):
    """The transport of our end, with a server behind it. `requests`: (Request, Deferred of its Response) each."""

    protocol: Any

    def __init__(self, port: int) -> None:
        super().__init__()
        self._scheme = b'https' if port in (443, 8443) else b'http'
        self.requests: list[tuple[Request, Deferred[Any]]] = []

    def setTcpNoDelay(self, enabled: bool) -> None:
        """It is in memory."""

    def abortConnection(self) -> None:
        self.loseConnection()

    def write(self, data: bytes) -> None:
        super().write(data)
        head, end, _ = self.value().partition(b'\r\n\r\n')
        if end:
            self.clear()
            answered: Deferred[Any] = Deferred()
            answered.addCallback(self._answer)
            self.requests.append((self._request(head), answered))

    def _request(self, head: bytes) -> Request:
        line, *lines = head.split(b'\r\n')
        method, target, _ = line.split(b' ')
        headers = Headers()
        for name, value in (line.split(b': ', 1) for line in lines):
            if name.lower() not in RESERVED_FIELDS:
                headers.addRawHeader(name, value)
        (host,) = headers.getRawHeaders(b'host', ())
        uri = URI.fromBytes(self._scheme + b'://' + host + target)
        request: Request = Request._construct(method, target, headers, None, parsedURI=uri)
        return request

    def _answer(self, response: Any) -> None:
        """The bytes of a response, of which a test gave the head."""
        lines = [b'HTTP/%d.%d %d %b' % (*response.version[1:], response.code, response.phrase)]
        lines += [name + b': ' + value for name, values in response.headers.getAllRawHeaders() for value in values]
        self.protocol.dataReceived(b'\r\n'.join([*lines, b'Content-Length: 0', b'', b'']))
