"""The REST API for services: `self.out.rest['CRM']`, and Zato's `self.outgoing.plain_http['CRM'].conn`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, TypedDict, Unpack

from zatotx.connectors.connection_registry import ConnectionRegistry
from zatotx.interfaces.outgoing import IServiceCall
from zatotx.plugins.http.rest.outgoing_connection import OutgoingConnection
from zatotx.plugins.http.rest.request_builder import CallSpec

Params = Mapping[str, Any] | list[tuple[str, Any]] | str | None
Headers = Mapping[str, Any] | None


class RestCallOptions(TypedDict, total=False):
    """The options of a REST call that are passed in addition to data, params and headers."""

    timeout: float  # seconds, instead of the connection's
    model: Any  # type of the response's `.data`: a Struct, a dataclass, a Model
    stream: bool  # return the response when its head has arrived; read its body with `async for`


class RestNamespace:
    """The object `self.out.rest`, which is created for each service invocation."""

    __slots__ = ('_call', '_registry')

    def __init__(self, registry: ConnectionRegistry[OutgoingConnection], call: IServiceCall) -> None:
        self._registry = registry
        self._call = call

    def __getitem__(self, name: str) -> RestConnection:
        """Return the connection of that name. Raises NotFound and Inactive, which name it, and ServiceUnavailable if
        its configuration cannot be used."""
        registry = self._registry
        if name not in registry.connections:
            registry.find(name, self._call.cid)  # raises the error
        return RestConnection(registry, name, self._call)

    def get(self, name: str) -> RestConnection:
        """Zato's form of `[name]`."""
        return self[name]


class RestConnection:
    """An outgoing REST connection, as seen by one service invocation. In an async service each method returns an
    awaitable, in a synchronous service it returns the response.

    `data`: a dict, list, Struct, dataclass or Model is encoded in the connection's data format; text and bytes are sent
    as they are; a file, an iterator or an async iterator is sent piece by piece. `params`: those that the URL path
    names are inserted there, the others become the query. `headers`: replace those of the connection, None = omit the
    field.

    Raises ValueError and TypeError for data that cannot be sent; Timeout if no response arrives in time,
    ServiceUnavailable if the peer cannot be reached or its circuit breaker is open, BadGateway if its response is
    unusable. A response is returned whatever its status: see Response.raise_for_status.
    """

    __slots__ = ('_call', '_name', '_registry')

    def __init__(self, registry: ConnectionRegistry[OutgoingConnection], name: str, call: IServiceCall) -> None:
        self._registry = registry
        self._name = name
        self._call = call

    def get(
        self, data: Any = None, params: Params = None, headers: Headers = None, **options: Unpack[RestCallOptions]
    ) -> Any:
        """Send a GET request."""
        return self._send(CallSpec('GET', data, params, headers, **options))

    def post(
        self, data: Any = None, params: Params = None, headers: Headers = None, **options: Unpack[RestCallOptions]
    ) -> Any:
        """Send a POST request."""
        return self._send(CallSpec('POST', data, params, headers, **options))

    def put(
        self, data: Any = None, params: Params = None, headers: Headers = None, **options: Unpack[RestCallOptions]
    ) -> Any:
        """Send a PUT request."""
        return self._send(CallSpec('PUT', data, params, headers, **options))

    def patch(self, data: Any = None, params: Params = None, headers: Headers = None, **options: Unpack[RestCallOptions]
              ) -> Any:
        """Send a PATCH request."""
        return self._send(CallSpec('PATCH', data, params, headers, **options))

    def delete(
        self, data: Any = None, params: Params = None, headers: Headers = None, **options: Unpack[RestCallOptions]
    ) -> Any:
        """Send a DELETE request."""
        return self._send(CallSpec('DELETE', data, params, headers, **options))

    def head(
        self, data: Any = None, params: Params = None, headers: Headers = None, **options: Unpack[RestCallOptions]
    ) -> Any:
        """Send a HEAD request."""
        return self._send(CallSpec('HEAD', data, params, headers, **options))

    def options(
        self, data: Any = None, params: Params = None, headers: Headers = None, **options: Unpack[RestCallOptions]
    ) -> Any:
        """Send an OPTIONS request."""
        return self._send(CallSpec('OPTIONS', data, params, headers, **options))

    def call(self, method: str = '', data: Any = None, params: Params = None, headers: Headers = None,
             **options: Unpack[RestCallOptions]) -> Any:
        """Send a request with any method, in capitals; '' = the connection's."""
        return self._send(CallSpec(method, data, params, headers, **options))

    def ping(self) -> Any:
        """Ping the peer; returns the request and response as text."""
        connection = self._registry.find(self._name, self._call.cid)
        return self._call.run(partial(connection.ping, self._call))

    @property
    def conn(self) -> RestConnectionZatoApi:
        """Zato's form of the connection, whose methods take the cid first."""
        return RestConnectionZatoApi(self)

    @property
    def treq(self) -> Any:
        """treq's API on the connection's sockets, with its TLS and proxy, for async services written for treq: without
        retries and circuit breaker, and with static credentials only."""
        from zatotx.plugins.http.rest.treq_client import TreqClient  # it loads twisted.web, and few services use it

        return TreqClient(self._registry.find(self._name, self._call.cid))

    def _send(self, spec: CallSpec) -> Any:
        call = self._call
        connection = self._registry.connections.get(self._name) or self._registry.find(self._name, call.cid)
        request = connection.request_template.build_request(spec, call)
        return call.run(partial(connection.send, request))


class RestConnectionZatoApi:
    """The REST connection API of Zato 1.1 to 3.2, such as `conn.get(self.cid, params)` and `conn.post(self.cid, data,
    params, headers=…)`."""

    __slots__ = ('_rest',)

    def __init__(self, rest: RestConnection) -> None:
        self._rest = rest

    def get(self, cid: str, params: Params = None, **options: Any) -> Any:
        """Send a GET request."""
        return self._call('GET', cid, None, params, options)

    def delete(self, cid: str, params: Params = None, **options: Any) -> Any:
        """Send a DELETE request."""
        return self._call('DELETE', cid, None, params, options)

    def options(self, cid: str, params: Params = None, **options: Any) -> Any:
        """Send an OPTIONS request."""
        return self._call('OPTIONS', cid, None, params, options)

    def head(self, cid: str, params: Params = None, **options: Any) -> Any:
        """Send a HEAD request."""
        return self._call('HEAD', cid, None, params, options)

    def post(self, cid: str, data: Any = '', params: Params = None, **options: Any) -> Any:
        """Send a POST request."""
        return self._call('POST', cid, data, params, options)

    def put(self, cid: str, data: Any = '', params: Params = None, **options: Any) -> Any:
        """Send a PUT request."""
        return self._call('PUT', cid, data, params, options)

    def patch(self, cid: str, data: Any = '', params: Params = None, **options: Any) -> Any:
        """Send a PATCH request."""
        return self._call('PATCH', cid, data, params, options)

    def send(self, cid: str, data: Any = '', params: Params = None, **options: Any) -> Any:
        """Send a request with the connection's method, POST by default."""
        return self._call('', cid, data, params, options)

    def ping(self, cid: str) -> Any:
        """See RestConnection.ping."""
        return self._rest.ping()

    def _call(self, method: str, cid: str, data: Any, params: Params, options: Mapping[str, Any]) -> Any:
        return self._rest._send(CallSpec(method, data, params, cid=cid, **options))
