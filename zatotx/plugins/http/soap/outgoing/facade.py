"""The SOAP API for services: `self.out.soap['Bank']`, and Zato's `self.outgoing.soap['Bank'].conn`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, TypedDict, Unpack

from zatotx.connectors.connection_registry import ConnectionRegistry
from zatotx.interfaces.outgoing import IServiceCall
from zatotx.plugins.http.soap.outgoing.envelope_builder import SoapCallSpec
from zatotx.plugins.http.soap.outgoing.operation_calls import SoapClient
from zatotx.plugins.http.soap.outgoing.soap_connection import SoapConnection

Params = Mapping[str, Any] | list[tuple[str, Any]] | str | None
Headers = Mapping[str, Any] | None


class SoapCallOptions(TypedDict, total=False):
    """The options of a SOAP call that are passed in addition to body, params and headers."""

    soap_action: str | None  # instead of the connection's
    soap_headers: Sequence[Any]  # of the envelope: lxml elements, or XML
    one_way: bool  # no response is expected, only that the message is accepted
    timeout: float | None  # seconds, instead of the connection's


class SoapNamespace:
    """The object `self.out.soap`, which is created for each service invocation."""

    __slots__ = ('_call', '_registry')

    def __init__(self, registry: ConnectionRegistry[SoapConnection], call: IServiceCall) -> None:
        self._registry = registry
        self._call = call

    def __getitem__(self, name: str) -> SoapConnectionFacade:
        """Return the connection of that name. Raises NotFound and Inactive, which name it, and ServiceUnavailable if
        its configuration cannot be used."""
        self._registry.find(name, self._call.cid)
        return SoapConnectionFacade(self._registry, name, self._call)

    def get(self, name: str) -> SoapConnectionFacade:
        """Zato's form of `[name]`."""
        return self[name]


class SoapConnectionFacade:
    """An outgoing SOAP connection, as seen by one service invocation. In an async service each method returns an
    awaitable, in a synchronous service it returns the SoapResponse.

    `data`: the content of the Body, as XML in text or bytes, or as an lxml element; or a whole Envelope, which is sent
    as it is. `headers`: HTTP fields that replace those of the connection, None = omit the field; headers of the
    envelope are `soap_headers`.

    Raises ValueError and TypeError for data that is no XML; PeerFault for a fault; BadStatus for an error status
    without a fault, BadGateway if the response is unusable, Timeout if none arrives in time, ServiceUnavailable if the
    peer cannot be reached or its circuit breaker is open.
    """

    __slots__ = ('_call', '_name', '_registry')

    def __init__(self, registry: ConnectionRegistry[SoapConnection], name: str, call: IServiceCall) -> None:
        self._registry = registry
        self._name = name
        self._call = call

    def post(
        self, data: Any = None, params: Params = None, headers: Headers = None, **options: Unpack[SoapCallOptions]
    ) -> Any:
        """Send a message with the connection's SOAPAction."""
        return self._send(SoapCallSpec('POST', data, params, headers, **options))

    send = post

    def call(self, action: str, data: Any = None, params: Params = None, headers: Headers = None,
             **options: Unpack[SoapCallOptions]) -> Any:
        """Send a message with that SOAPAction."""
        options['soap_action'] = action
        return self.post(data, params, headers, **options)

    def ping(self) -> Any:
        """Ping the peer; returns the request and response as text."""
        return self._call.run(partial(self._find().ping, self._call))

    @property
    def client(self) -> SoapClient:
        """The operations of the peer's WSDL: `client.GetBalance(account_id=7)`."""
        return SoapClient(self._find, self._call)

    @property
    def conn(self) -> SoapConnectionZatoApi:
        """Zato's form of the connection, whose methods take the cid first."""
        return SoapConnectionZatoApi(self)

    def _find(self) -> SoapConnection:
        return self._registry.find(self._name, self._call.cid)

    def _send(self, message: SoapCallSpec) -> Any:
        return self._call.run(partial(self._find().send_message, message, self._call))


class SoapConnectionZatoApi:
    """The SOAP connection API of Zato 1.1 to 3.2: `conn.post(self.cid, xml)`, `conn.send(self.cid, xml)` and `with
    conn.client() as client:`."""

    __slots__ = ('_soap',)

    def __init__(self, soap: SoapConnectionFacade) -> None:
        self._soap = soap

    def post(self, cid: str, data: Any = '', params: Params = None, headers: Headers = None, **options: Any) -> Any:
        """Send a message."""
        return self._soap._send(SoapCallSpec('POST', data, params, headers, cid=cid, **options))

    send = post

    def ping(self, cid: str) -> Any:
        """See Soap.ping."""
        return self._soap.ping()

    def client(self) -> SoapClient:
        """The operations of the peer's WSDL: `client.service.GetBalance(7)`."""
        return self._soap.client
