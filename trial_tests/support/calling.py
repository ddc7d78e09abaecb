"""Outgoing connections of a node without the node: made of objects of the configuration, called as services do."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread
from zope.interface import implementer

from zatotx.connectors.lazy_imports import import_modules_now
from zatotx.interfaces.connector_kind import OutgoingContext
from zatotx.interfaces.outgoing import IServiceCall
from zatotx.metrics.meters import MeterRegistry
from zatotx.plugins.http import outgoing as http_outgoing
from zatotx.plugins.http.outgoing import HttpOutgoingConnections, make_outgoing
from zatotx.plugins.http.schema import RestOutgoing
from zatotx.plugins.http.test.upstream_servers import Peer, Request, Upstream, WithPeers, reactor
from zatotx.schema.snapshot import Snapshot, StoredObject

CID = '0123456789abcdef01234567'
COMPONENT = 'server1@host'


@implementer(IServiceCall)
@define
class Asking:
    """The call of an async service."""

    cid: str = CID
    service: str = 'test.calls'
    deadline: float = 0.0
    trace: str = ''

    def __attrs_post_init__(self) -> None:
        self.deadline = self.deadline or reactor.seconds() + 60.0

    @property
    def request(self) -> object:
        """Each call is a request of its own."""
        return self

    def run(self, begin: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """On the reactor."""
        return begin()

    def cancel_with_request(self, deferred: Deferred[Any]) -> None:
        """Nothing ends the request."""


def stored(value: Any, type_: str = 'outgoing_rest') -> StoredObject:
    """An object of the configuration, its id made of its name."""
    return StoredObject(sum(value.name.encode()) + len(type_) * 10_000, type_, value, 1)


HTTP_MODULES = tuple(path.partition(':')[0] for path in (
    *http_outgoing._MODULES, http_outgoing._REST_NAMESPACE, http_outgoing._SOAP_NAMESPACE,
))  # fmt: skip


class WithConnections(WithPeers):
    """A test that has peers, and outgoing connections that lead to them."""

    def setUp(self) -> None:
        self.meters = MeterRegistry()

    def node(self, *objects: StoredObject, **context: Any) -> HttpOutgoingConnections:
        """The connections of these objects; they end with the test."""
        given = {'reactor': reactor, 'settings': {}, 'run_in_thread': deferToThread, 'client_name': COMPONENT,
                 'meters': self.meters.outgoing, **context}  # fmt: skip
        import_modules_now(HTTP_MODULES)  # a server imports them in a thread, so that its connections are there later
        outgoings = make_outgoing(OutgoingContext(**given))
        outgoings.apply(Snapshot(1, objects))
        self.addCleanup(self._stopped, outgoings)
        return outgoings

    def crm(self, upstream: Upstream | int, *more: StoredObject, call: IServiceCall | None = None,
            context: Mapping[str, Any] | None = None, **fields: Any) -> Any:
        """`self.out.rest['CRM']` of a node whose connection of that name leads to the peer."""
        node = self.node(stored(crm(upstream, **fields)), *more, **(context or {}))
        return node.namespaces['rest'](call or Asking())['CRM']

    def slots(self, name: str = 'CRM') -> Any:
        """What was counted of a connection."""
        return self.meters.outgoing('rest').get(name)

    async def fault(self, calling: Coroutine[Any, Any, Any], kind: type[BaseException]) -> Any:
        """What a call raises, which must be of that kind."""
        failing: Deferred[Any] = started(calling)
        return await self.assertFailure(failing, kind)

    async def _stopped(self, outgoings: HttpOutgoingConnections) -> None:
        await outgoings.stop()
        await self.until(lambda: not outgoings.builder.environment.call_environment.timeout_sweeper.running)


def crm(upstream: Upstream | int, **fields: Any) -> RestOutgoing:
    """An outgoing connection that leads to a peer, or to a port of this machine."""
    port = upstream if isinstance(upstream, int) else upstream.port
    scheme = fields.pop('scheme', 'http')
    return RestOutgoing(**{'name': 'CRM', 'host': f'{scheme}://127.0.0.1:{port}', 'proxy': 'none', **fields})


def started(coroutine: Coroutine[Any, Any, Any]) -> Deferred[Any]:
    """It, under way."""
    return Deferred.fromCoroutine(coroutine)


async def all_of(*coroutines: Coroutine[Any, Any, Any]) -> list[Any]:
    """What all of them give, at once under way."""
    results: list[Any] = await gatherResults([started(one) for one in coroutines], consumeErrors=True)
    return results


Bodies = list[tuple[dict[bytes, bytes], bytes]]  # fields and body of each request


def collecting(upstream: Upstream, bodies: Bodies) -> Upstream:
    """The same peer, which understands bodies in chunks, and keeps all."""

    def build(addr: object) -> Peer:
        peer = Chunked(bodies)
        peer.factory = upstream
        return peer

    upstream.buildProtocol = build  # type: ignore[method-assign]
    return upstream


class Chunked(Peer):
    """Collects bodies, in chunks or not, and answers when one is whole."""

    def __init__(self, bodies: Bodies) -> None:
        super().__init__()
        self._bodies = bodies

    def dataReceived(self, data: bytes) -> None:
        self._data += data
        head, gap, body = self._data.partition(b'\r\n\r\n')
        if not gap:
            return
        request = Request(head + gap)
        if b'content-length' in request.headers:
            if len(body) < int(request.headers[b'content-length']):
                return
        elif body.endswith(b'0\r\n\r\n'):
            body = dechunked(body)
        else:
            return
        self._data = b''
        self._bodies.append((request.headers, body))
        self.factory.answer(self, request)


def dechunked(data: bytes) -> bytes:
    body = b''
    while data:
        size, _, data = data.partition(b'\r\n')
        length = int(size, 16)
        body, data = body + data[:length], data[length + 2 :]
    return body
