"""Parses SOAP responses: body content, faults, empty responses and non-SOAP responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zatotx.model.errors import BadGateway, BadStatus
from zatotx.model.response import PeerResponse
from zatotx.model.soap_message import PeerFault
from zatotx.plugins.http.client.http_messages import HttpResponse
from zatotx.plugins.http.rest.outgoing_body import XML
from zatotx.plugins.http.rest.outgoing_sender_chain import is_server_error
from zatotx.plugins.http.rest.received_response import RestResponse, response_format
from zatotx.wire.malformed import Malformed
from zatotx.wire.soap import envelope as soap
from zatotx.wire.soap.envelope import Envelope, SoapVersion
from zatotx.wire.soap.faults import FaultElement, read_fault

_FAULT_STATUS = 500  # the status of every SOAP 1.1 fault, including those caused by the sender
_ACCEPTED = (202, 204)


class SoapResponse(PeerResponse):
    """The response to a SOAP message. `data` is the first element of its Body as an lxml.objectify element, or None if
    the Body is empty; `envelope` is the whole envelope, and `soap_headers` are the elements of its Header."""

    __slots__ = ('_http', 'cid', 'connection_title', 'data', 'envelope', 'soap_headers', 'status_code')

    data: Any

    def __init__(self, http: RestResponse, envelope: Envelope | None) -> None:
        self._http = http
        self.status_code, self.cid, self.connection_title = http.status_code, http.cid, http.connection_title
        self.data = None if envelope is None else envelope.payload
        self.envelope: Any = None if envelope is None else envelope.body.getparent()
        self.soap_headers: tuple[Any, ...] = () if envelope is None else envelope.headers

    @property
    def headers(self) -> Mapping[str, str]:
        """The HTTP header fields; names are case-insensitive."""
        return self._http.headers

    @property
    def content(self) -> bytes:
        """The body of the HTTP response, as received."""
        return self._http.content

    @property
    def text(self) -> str:
        """The body as text."""
        return self._http.text

    @property
    def reason(self) -> str:
        """The reason phrase of the status line."""
        return self._http.reason

    def __repr__(self) -> str:
        return f'<SoapResponse {self.status_code} of {self.connection_title}>'


def parse_soap_response(http: RestResponse, version: SoapVersion, *, one_way: bool) -> SoapResponse:
    """Parse the response to a SOAP message of the given version. Raises PeerFault for a fault with any status,
    BadStatus for an error status without a fault, and BadGateway for an unusable response. The message of each error
    contains the name of the connection."""
    if not http.content:
        if http.status_code in _ACCEPTED or (one_way and _is_success(http)):
            return SoapResponse(http, None)
        raise _bad_status(http) if not _is_success(http) else _bad_gateway(http, 'it has no body')
    try:
        envelope = _envelope(http)
    except BadGateway as error:
        if one_way and _is_success(http):  # it was accepted; the rest is not needed
            return SoapResponse(http, None)
        raise error if _is_success(http) else _bad_status(http) from error
    fault = None if envelope.payload is None else read_fault(envelope.payload)
    if fault is not None:
        raise _fault(http, fault)
    if not _is_success(http):
        raise _bad_status(http)
    if envelope.version is not version:
        number = envelope.version.number
        raise _bad_gateway(http, f'it is SOAP {number}, and the message was SOAP {version.number}')
    return SoapResponse(http, envelope)


def counts_for_circuit_breaker(response: HttpResponse) -> bool:
    """Return whether a response counts as a failure of the peer for the circuit breaker. A SOAP fault with status 500
    does not count, because SOAP 1.1 uses this status for all faults, and most faults are caused by the sender."""
    if response.head.status != _FAULT_STATUS:
        return is_server_error(response)
    return response_format(response.head.headers.get(b'content-type', b''), '') != XML


def _envelope(http: RestResponse) -> Envelope:
    if http.format != XML:
        raise _bad_gateway(http, 'its Content-Type is not that of SOAP')
    try:
        return soap.read_envelope(http.data)
    except Malformed as error:
        raise _bad_gateway(http, f'it is not SOAP: {error}') from None


def _fault(http: RestResponse, fault: FaultElement) -> PeerFault:
    code = f' ({fault.code})' if fault.code else ''
    return PeerFault(
        http.cid, f'{http.connection_title} answered with a fault{code}', http, code=fault.code, string=fault.reason,
        subcodes=fault.subcodes, actor=fault.actor, detail=fault.detail,
    )  # fmt: skip


def _is_success(http: RestResponse) -> bool:
    return 200 <= http.status_code < 300


def _bad_status(http: RestResponse) -> BadStatus:
    status = f'{http.status_code} {http.reason}'.rstrip()
    return BadStatus(http.cid, f'{http.connection_title} answered {status}', http)


def _bad_gateway(http: RestResponse, reason: str) -> BadGateway:
    return BadGateway(http.cid, f'{http.connection_title} gave no usable answer: {reason}')
