"""What goes out: envelopes around what services say, with the token of whoever calls put in as they leave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from attrs import field, frozen
from lxml import etree

from zatotx.interfaces.outgoing import ICall
from zatotx.plugins.http.client.call import HttpRequest
from zatotx.plugins.http.rest.request_builder import TYPED, CallSpec, Request, RequestForm
from zatotx.wire.soap import envelope, ws_security
from zatotx.wire.soap.body_content import CompleteContent, content_of
from zatotx.wire.soap.envelope import SOAP_11, Version
from zatotx.wire.xml import parser as xml

_TYPED_11 = (*TYPED, b'SOAPAction')
_TARGET, _SAID = 'zatotx', 'token'
_PLACE = f'<?{_TARGET} {_SAID}?>'.encode('ascii')  # where the token goes: what is left of it is never sent


class PreparedEnvelope(msgspec.Struct, frozen=True):
    """An envelope in two pieces: the token stands between them, where there is one."""

    version: Version
    before: bytes
    after: bytes = b''


class SoapCall(CallSpec):
    """A call in the words of a service. `data`: XML as text, bytes or an element, a whole envelope of it, or Ready."""

    soap_action: str | None = None  # None = the connection's
    soap_headers: Sequence[Any] = ()  # elements, or XML
    one_way: bool = False  # no answer is asked for, only that the message was taken


class SoapRequest(Request):
    """One message, ready to be sent, and to be sent again with another token."""

    __slots__ = ('one_way', 'ready')

    def __init__(self, message: SoapCall, call: ICall, ready: PreparedEnvelope) -> None:
        super().__init__(message, call, 'POST')
        self.ready = ready
        self.one_way = message.one_way


@frozen(kw_only=True, eq=False)
class SoapRequestForm(RequestForm):
    """What all messages of a connection have in common."""

    version: Version
    action: str
    token: Callable[[], ws_security.UsernameToken] | None = field(repr=False)  # one each time that a message is sent

    def request(self, wanted: CallSpec, call: ICall) -> SoapRequest:
        """See Form. Raises ValueError and TypeError for what is no XML."""
        assert isinstance(wanted, SoapCall)
        ready = self._ready(wanted)
        request = SoapRequest(wanted, call, ready)
        request.target = self._target(wanted.params)
        request.body = ready.before + ready.after
        action = self.action if wanted.soap_action is None else wanted.soap_action
        kind = self.content_type or _content_type(ready.version, action)
        if ready.version is SOAP_11:
            self._complete(request, wanted, _TYPED_11, (kind, f'"{action}"'.encode()))
        else:
            self._complete(request, wanted, TYPED, (kind,))
        return request

    def outbound(self, request: Request) -> HttpRequest:
        """See Form: with a token that nobody has seen yet."""
        if self.token is not None and isinstance(request, SoapRequest) and request.ready.after:
            ready = request.ready
            request.body = b''.join((ready.before, ws_security.write(self.token(), ready.version), ready.after))
        return super().outbound(request)

    def ready_of(self, root: Any, version: Version) -> PreparedEnvelope:
        """A message that we made ourselves, of its tree, which is used up."""
        if self.token is not None:
            return _opened(root, version)
        return PreparedEnvelope(version, etree.tostring(root, encoding='utf-8'))

    def _ready(self, message: SoapCall) -> PreparedEnvelope:
        if isinstance(message.data, PreparedEnvelope):
            return message.data
        return wrap_in_envelope(message.data, self.version, message.soap_headers, with_place=self.token is not None)


def wrap_in_envelope(data: Any, version: Version, headers: Sequence[Any], *, with_place: bool) -> PreparedEnvelope:
    """The envelope around `data`, or the one that it is. `with_place`: a token will be put in. Raises ValueError."""
    if isinstance(headers, str | bytes) or xml.is_element(headers):
        headers = (headers,)
    content = b'' if _is_nothing(data) else _content(data, 'the body')
    if isinstance(content, CompleteContent):
        if headers:
            raise ValueError('A whole envelope has its own Header: give it, or soap_headers, not both')
        if with_place:
            return _opened(_plain(content.data), content.version)
        return PreparedEnvelope(content.version, content.data)
    pieces = [_piece(one) for one in headers]
    if not with_place:
        return PreparedEnvelope(version, envelope.write(version, content, headers=pieces))
    before, after = envelope.write(version, content, headers=(_PLACE, *pieces)).split(_PLACE, 1)
    return PreparedEnvelope(version, before, after)


def _opened(root: Any, version: Version) -> PreparedEnvelope:
    """An envelope with a place for the token, the first in its Header. One that has a token of its own stays so."""
    header = root.find(version.header)
    if header is None:
        header = etree.Element(version.header)
        root.insert(0, header)
    elif header.find(ws_security.SECURITY) is not None:
        return PreparedEnvelope(version, etree.tostring(root, encoding='utf-8'))
    header.insert(0, etree.ProcessingInstruction(_TARGET, _SAID))
    before, after = etree.tostring(root, encoding='utf-8').split(_PLACE, 1)
    return PreparedEnvelope(version, before, after)


def _plain(data: bytes) -> Any:
    """An envelope that was looked at already, as plain elements. Raises ValueError for one with parts out of place."""
    parser = etree.XMLParser(
        encoding='utf-8', resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True
    )
    root = etree.fromstring(data, parser)
    envelope.read(root)
    return root


def _is_nothing(data: Any) -> bool:
    return data is None or (isinstance(data, str | bytes) and not data)


def _content(given: Any, what: str) -> bytes | CompleteContent:
    if not isinstance(given, str | bytes) and not xml.is_element(given):
        raise TypeError(f'SOAP sends XML as text, bytes or an lxml element: {what} is of type {type(given).__name__}; '
                        'what is not XML goes by .client, which knows its types')
    try:
        content = content_of(given)
    except ValueError as wrong:
        raise ValueError(f'SOAP sends XML, which {what} is not: {wrong}') from None
    return content if isinstance(content, CompleteContent) else content.data


def _piece(header: Any) -> bytes:
    piece = _content(header, 'a header')
    if isinstance(piece, CompleteContent):
        raise ValueError('A whole envelope is no header')
    return piece


def _content_type(version: Version, action: str) -> bytes:
    if version is SOAP_11:
        return version.content_type.encode('ascii')
    named = '; action="{}"'.format(action.replace('\\', '\\\\').replace('"', '\\"')) if action else ''
    return f'{version.content_type}{named}'.encode()
