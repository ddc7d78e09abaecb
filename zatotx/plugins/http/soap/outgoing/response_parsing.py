"""What peers answer: the content of a Body, a fault, nothing where nothing was asked for; or what is no SOAP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zatotx.model.errors import BadGateway, BadStatus
from zatotx.model.response import PeerResponse
from zatotx.model.soap import PeerFault
from zatotx.plugins.http.client.call import HttpResponse
from zatotx.plugins.http.rest.attempts import is_failure
from zatotx.plugins.http.rest.request_body import XML
from zatotx.plugins.http.rest.response import Response
from zatotx.plugins.http.rest.response_parsing import format_of
from zatotx.wire.malformed import Malformed
from zatotx.wire.soap import envelope as soap
from zatotx.wire.soap.envelope import Envelope, Version
from zatotx.wire.soap.faults import FaultElement, read_fault

_FAULTY = 500  # the status of every fault of SOAP 1.1, those included that say that we are wrong
_TAKEN = (202, 204)


class SoapResponse(PeerResponse):
    """The answer of a peer: `data`, the first element of its Body as lxml.objectify shows it, None where there is none;
    `envelope`, all of it; `soap_headers`, the elements of its Header."""

    __slots__ = ('_http', 'cid', 'data', 'envelope', 'soap_headers', 'status_code', 'title')

    data: Any

    def __init__(self, http: Response, envelope: Envelope | None) -> None:
        self._http = http
        self.status_code, self.cid, self.title = http.status_code, http.cid, http.title
        self.data = None if envelope is None else envelope.payload
        self.envelope: Any = None if envelope is None else envelope.body.getparent()
        self.soap_headers: tuple[Any, ...] = () if envelope is None else envelope.headers

    @property
    def headers(self) -> Mapping[str, str]:
        """Fields of HTTP, by name in whatever case."""
        return self._http.headers

    @property
    def content(self) -> bytes:
        """The body of the answer, as it came."""
        return self._http.content

    @property
    def text(self) -> str:
        """The same as text."""
        return self._http.text

    @property
    def reason(self) -> str:
        """The status in words: the peer's."""
        return self._http.reason

    def __repr__(self) -> str:
        return f'<SoapResponse {self.status_code} of {self.title}>'


def read_response(http: Response, version: Version, *, one_way: bool) -> SoapResponse:
    """The answer to a message of that version. Raises PeerFault for a fault, whatever its status; BadStatus where the
    peer could not do it and says so by HTTP only; BadGateway for what is of no use. All of them name the connection."""
    if not http.content:
        if http.status_code in _TAKEN or (one_way and _is_good(http)):
            return SoapResponse(http, None)
        raise _status(http) if not _is_good(http) else _useless(http, 'it has no body')
    try:
        envelope = _envelope(http)
    except BadGateway as useless:
        if one_way and _is_good(http):  # it was taken; whatever else is said is not asked for
            return SoapResponse(http, None)
        raise useless if _is_good(http) else _status(http) from useless
    fault = None if envelope.payload is None else read_fault(envelope.payload)
    if fault is not None:
        raise _fault(http, fault)
    if not _is_good(http):
        raise _status(http)
    if envelope.version is not version:
        number = envelope.version.number
        raise _useless(http, f'it is SOAP {number}, and the message was SOAP {version.number}')
    return SoapResponse(http, envelope)


def is_server_failure(answer: HttpResponse) -> bool:
    """Whether an answer says that the peer is not well. A fault with status 500 does not: SOAP 1.1 has no other status,
    and most of them say that the caller is wrong."""
    if answer.head.status != _FAULTY:
        return is_failure(answer)
    return format_of(answer.head.headers.get(b'content-type', b''), '') != XML


def _envelope(http: Response) -> Envelope:
    if http.format != XML:
        raise _useless(http, 'its Content-Type is not that of SOAP')
    try:
        return soap.read(http.data)
    except Malformed as wrong:
        raise _useless(http, f'it is not SOAP: {wrong}') from None


def _fault(http: Response, fault: FaultElement) -> PeerFault:
    said = f' ({fault.code})' if fault.code else ''
    return PeerFault(
        http.cid, f'{http.title} answered with a fault{said}', http, code=fault.code, string=fault.reason,
        subcodes=fault.subcodes, actor=fault.actor, detail=fault.detail,
    )  # fmt: skip


def _is_good(http: Response) -> bool:
    return 200 <= http.status_code < 300


def _status(http: Response) -> BadStatus:
    said = f'{http.status_code} {http.reason}'.rstrip()
    return BadStatus(http.cid, f'{http.title} answered {said}', http)


def _useless(http: Response, why: str) -> BadGateway:
    return BadGateway(http.cid, f'{http.title} gave no usable answer: {why}')
