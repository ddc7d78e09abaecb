"""Guaranteed delivery for REST and SOAP connections: prepares the calls for storage, and creates the result that the
service receives immediately.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import evolve, frozen

from zatotx.connectors.guaranteed_delivery import StoredCall
from zatotx.interfaces.outgoing import IServiceCall
from zatotx.model.response import Headers, PeerResponse
from zatotx.plugins.http.rest.outgoing_body import Offload, encode_body
from zatotx.plugins.http.schema import RestOutgoing, SoapOutgoing
from zatotx.rules.resilience.outgoing_retry import SAFE_METHODS
from zatotx.wire.xml import parser

_CALL = 'call'
_DATA = {_CALL: 1, 'delete': 0, 'post': 0, 'put': 0, 'patch': 0, 'send': 0, 'conn.post': 1, 'conn.put': 1,
         'conn.patch': 1, 'conn.send': 1}  # position of `data` among the arguments  # fmt: skip
_RESPONSE_OPTIONS = ('model', 'stream')
_CONTENT_TYPE, _KEY = 'Content-Type', 'Idempotency-Key'
ACCEPTED = 202


@frozen(kw_only=True)
class AcceptedResponse(PeerResponse):
    """The result of a call that was stored for guaranteed delivery. It is a response with status 202 and an empty body.
    `message_id` identifies the stored message, also in the list of dead letters."""

    message_id: str
    cid: str
    status_code: int = ACCEPTED
    connection_title: str = 'The work stream'
    headers: Mapping[str, str] = Headers()
    text: str = ''
    content: bytes = b''
    data: Any = None


def make_accepted_response(message_id: str, call: IServiceCall) -> AcceptedResponse:
    """Create the result that the service receives for a stored call."""
    return AcceptedResponse(message_id=message_id, cid=call.cid)


def make_rest_call_preparer(offload: Offload) -> Callable[[RestOutgoing, StoredCall, str], StoredCall | None]:
    """Return the function that prepares REST calls for storage. The function encodes the body, and adds an
    Idempotency-Key, by which the peer recognizes repeated calls. For a call that only reads (GET, HEAD, OPTIONS) the
    function returns None.

    Raises TypeError and ValueError for data that cannot be stored."""

    def prepare(value: RestOutgoing, call: StoredCall, message_id: str) -> StoredCall | None:
        if _method(value, call) in SAFE_METHODS:
            return None
        _refuse_response_options(call)
        data = _data(call)
        body, content_type = encode_body(data, value.data_format, offload)
        if body is not None and not isinstance(body, bytes):
            raise TypeError('a file or an iterator: read it first')
        headers = dict(call.kwargs.get('headers') or _headers(call) or {})
        given = {name.lower() for name in headers}
        if content_type and not value.content_type and _CONTENT_TYPE.lower() not in given:
            headers[_CONTENT_TYPE] = content_type.decode('ascii')
        if _KEY.lower() not in given:
            headers[_KEY] = message_id
        return _replace(call, None if body is None else _to_text(body), headers)

    return prepare


def prepare_soap_call(value: SoapOutgoing, call: StoredCall, message_id: str) -> StoredCall | None:
    """Prepare a SOAP call for storage, by converting XML elements to text."""
    _refuse_response_options(call)
    kwargs = dict(call.kwargs)
    if kwargs.get('soap_headers'):
        kwargs['soap_headers'] = [_xml(header) for header in kwargs['soap_headers']]
    return _replace(evolve(call, kwargs=kwargs), _xml(_data(call)), None)


def _method(value: RestOutgoing, call: StoredCall) -> str:
    """The HTTP method of a call, in capitals."""
    if call.method == _CALL:
        given = call.args[0] if call.args else call.kwargs.get('method', '')
        return given or value.method
    return value.method if call.method == 'conn.send' else call.method.rpartition('.')[2].upper()


def _refuse_response_options(call: StoredCall) -> None:
    if given := [name for name in _RESPONSE_OPTIONS if call.kwargs.get(name)]:
        raise TypeError(f'{" and ".join(given)}: a stored call has no response of the peer')


def _data(call: StoredCall) -> Any:
    position = _DATA.get(call.method)
    if position is not None and len(call.args) > position:
        return call.args[position]
    return call.kwargs.get('data')


def _headers(call: StoredCall) -> Any:
    """The headers among the positional arguments: they follow data and params."""
    position = _DATA.get(call.method)
    return call.args[position + 2] if position is not None and len(call.args) > position + 2 else None


def _replace(call: StoredCall, data: Any, headers: Mapping[str, Any] | None) -> StoredCall:
    """The call with other data, and with other headers unless these are None."""
    args, kwargs = list(call.args), dict(call.kwargs)
    position = _DATA.get(call.method)
    if position is not None and len(args) > position:
        args[position] = data
    elif data is not None:
        kwargs['data'] = data
    if headers is not None:
        if position is not None and len(args) > position + 2:
            args[position + 2] = headers
        else:
            kwargs['headers'] = headers
    return evolve(call, args=args, kwargs=kwargs)


def _xml(data: Any) -> Any:
    return _to_text(parser.serialize_document(data)) if parser.is_element(data) else data


def _to_text(body: bytes) -> str | bytes:
    """Text is what people can read and edit in a dead letter."""
    try:
        return body.decode('utf-8')
    except UnicodeDecodeError:
        return body
