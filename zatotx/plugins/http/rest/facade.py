"""What a service sees: `self.out.rest['CRM']`, and Zato's `self.outgoing.plain_http['CRM'].conn`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, TypedDict, Unpack

from zatotx.connectors.connection_registry import ConnectionRegistry
from zatotx.interfaces.outgoing import ICall
from zatotx.plugins.http.rest.request_builder import CallSpec

Params = Mapping[str, Any] | list[tuple[str, Any]] | str | None
Headers = Mapping[str, Any] | None


class CallOptions(TypedDict, total=False):
    """What any call may have beside data, params and headers."""

    timeout: float  # seconds, instead of the connection's
    model: Any  # what `.data` of the answer is to be: a Struct, a dataclass, a Model
    stream: bool  # give the answer as soon as its head is here; its body is read by `async for`


class RestNamespace:
    """`self.out.rest` of one call."""

    __slots__ = ('_call', '_registry')

    def __init__(self, registry: ConnectionRegistry[Any], call: ICall) -> None:
        self._registry = registry
        self._call = call

    def __getitem__(self, name: str) -> RestConnection:
        """The connection of that name. Raises NotFound and Inactive naming it, ServiceUnavailable where its
        configuration cannot be used."""
        shelf = self._registry
        if name not in shelf.connections:
            shelf.find(name, self._call.cid)  # which says why
        return RestConnection(shelf, name, self._call)

    def get(self, name: str) -> RestConnection:
        """Zato's form of `[name]`."""
        return self[name]


class RestConnection:
    """An outgoing REST connection, for one call of a service. In an async service each method gives an awaitable, in a
    def service the Response itself.

    `data`: a dict, list, Struct, dataclass or Model is written by the connection's data format; text and bytes go as
    they are; a file, an iterator or an async iterator is sent piece by piece. `params`: those that stand in the URL
    path fill it, the others become the query. `headers`: instead of those that the connection sends, None = not at all.

    Raises ValueError and TypeError for what cannot be sent; Timeout where no answer comes in time, ServiceUnavailable
    where the peer cannot be reached or is cut off, BadGateway where its answer is of no use. An answer of any status is
    an answer: see Response.raise_for_status.
    """

    __slots__ = ('_call', '_name', '_registry')

    def __init__(self, registry: ConnectionRegistry[Any], name: str, call: ICall) -> None:
        self._registry = registry
        self._name = name
        self._call = call

    def get(
        self, data: Any = None, params: Params = None, headers: Headers = None, **options: Unpack[CallOptions]
    ) -> Any:
        """GET."""
        return self._send(CallSpec('GET', data, params, headers, **options))

    def post(
        self, data: Any = None, params: Params = None, headers: Headers = None, **options: Unpack[CallOptions]
    ) -> Any:
        """POST."""
        return self._send(CallSpec('POST', data, params, headers, **options))

    def put(
        self, data: Any = None, params: Params = None, headers: Headers = None, **options: Unpack[CallOptions]
    ) -> Any:
        """PUT."""
        return self._send(CallSpec('PUT', data, params, headers, **options))

    def patch(self, data: Any = None, params: Params = None, headers: Headers = None, **options: Unpack[CallOptions]
              ) -> Any:
        """PATCH."""
        return self._send(CallSpec('PATCH', data, params, headers, **options))

    def delete(self, data: Any = None, params: Params = None, headers: Headers = None, **options: Unpack[CallOptions]
               ) -> Any:
        """DELETE."""
        return self._send(CallSpec('DELETE', data, params, headers, **options))

    def head(
        self, data: Any = None, params: Params = None, headers: Headers = None, **options: Unpack[CallOptions]
    ) -> Any:
        """HEAD."""
        return self._send(CallSpec('HEAD', data, params, headers, **options))

    def options(self, data: Any = None, params: Params = None, headers: Headers = None, **options: Unpack[CallOptions]
                ) -> Any:
        """OPTIONS."""
        return self._send(CallSpec('OPTIONS', data, params, headers, **options))

    def call(self, method: str = '', data: Any = None, params: Params = None, headers: Headers = None,
             **options: Unpack[CallOptions]) -> Any:
        """Any method, in capitals; '' = the connection's."""
        return self._send(CallSpec(method, data, params, headers, **options))

    def ping(self) -> Any:
        """Ask the peer whether it is there; what was asked and answered, as text."""
        connection = self._registry.find(self._name, self._call.cid)
        return self._call.result(partial(connection.ping, self._call))

    @property
    def conn(self) -> ZatoRestConnection:
        """Zato's way to the same, whose methods take the cid first."""
        return ZatoRestConnection(self)

    @property
    def treq(self) -> Any:
        """treq's API on the connection's sockets, with its TLS and proxy, for async services that are written for it:
        no retries, no circuit breaker, and of security what is in each request the same."""
        from zatotx.plugins.http.rest.treq_client import TreqClient  # it loads twisted.web, and few use it

        return TreqClient(self._registry.find(self._name, self._call.cid))

    def _send(self, wanted: CallSpec) -> Any:
        call = self._call
        connection = self._registry.connections.get(self._name) or self._registry.find(self._name, call.cid)
        request = connection.form.request(wanted, call)
        return call.result(partial(connection.perform, request))


class ZatoRestConnection:
    """`conn.get(self.cid, params)`, `conn.post(self.cid, data, params, headers=…)`, as in Zato 1.1 to 3.2."""

    __slots__ = ('_rest',)

    def __init__(self, rest: RestConnection) -> None:
        self._rest = rest

    def get(self, cid: str, params: Params = None, **options: Any) -> Any:
        """GET."""
        return self._call('GET', cid, None, params, options)

    def delete(self, cid: str, params: Params = None, **options: Any) -> Any:
        """DELETE."""
        return self._call('DELETE', cid, None, params, options)

    def options(self, cid: str, params: Params = None, **options: Any) -> Any:
        """OPTIONS."""
        return self._call('OPTIONS', cid, None, params, options)

    def head(self, cid: str, params: Params = None, **options: Any) -> Any:
        """HEAD."""
        return self._call('HEAD', cid, None, params, options)

    def post(self, cid: str, data: Any = '', params: Params = None, **options: Any) -> Any:
        """POST."""
        return self._call('POST', cid, data, params, options)

    def put(self, cid: str, data: Any = '', params: Params = None, **options: Any) -> Any:
        """PUT."""
        return self._call('PUT', cid, data, params, options)

    def patch(self, cid: str, data: Any = '', params: Params = None, **options: Any) -> Any:
        """PATCH."""
        return self._call('PATCH', cid, data, params, options)

    def send(self, cid: str, data: Any = '', params: Params = None, **options: Any) -> Any:
        """The connection's own method, POST unless it says another."""
        return self._call('', cid, data, params, options)

    def ping(self, cid: str) -> Any:
        """As Rest.ping."""
        return self._rest.ping()

    def _call(self, method: str, cid: str, data: Any, params: Params, options: Mapping[str, Any]) -> Any:
        return self._rest._send(CallSpec(method, data, params, cid=cid, **options))
