"""Builds outgoing SOAP envelopes from the data of services. The security token is inserted when a message is sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from attrs import field, frozen

from zatotx.interfaces.outgoing import IServiceCall
from zatotx.plugins.http.client.http_messages import HttpRequest
from zatotx.plugins.http.rest.request_builder import CONTENT_TYPE_NAMES, CallSpec, OutgoingRequest, RequestTemplate
from zatotx.wire.soap import envelope, ws_security
from zatotx.wire.soap.envelope import SOAP_11, PrebuiltEnvelope, SoapVersion, to_body_content
from zatotx.wire.xml import parser as xml

_TYPED_11 = (*CONTENT_TYPE_NAMES, b'SOAPAction')
_PI_TARGET, _PI_TEXT = 'zatotx', 'token'
_PLACEHOLDER = f'<?{_PI_TARGET} {_PI_TEXT}?>'.encode('ascii')  # replaced by the token, never sent


class EnvelopeTemplate(msgspec.Struct, frozen=True):
    """An envelope that is split into two pieces. A security token is inserted between them when the message is sent."""

    version: SoapVersion
    before_token: bytes
    after_token: bytes = b''


class SoapCallSpec(CallSpec):
    """The arguments with which a service calls a SOAP connection. `data` is XML as text, bytes or an element, a
    complete envelope, or a EnvelopeTemplate."""

    soap_action: str | None = None  # None = the connection's
    soap_headers: Sequence[Any] = ()  # elements, or XML
    one_way: bool = False  # no response is expected, only that the message is accepted


class SoapRequest(OutgoingRequest):
    """A SOAP message that is ready to be sent. It can be sent repeatedly, each time with a new security token."""

    __slots__ = ('envelope', 'one_way')

    def __init__(self, message: SoapCallSpec, call: IServiceCall, envelope: EnvelopeTemplate) -> None:
        super().__init__(message, call, 'POST')
        self.envelope = envelope
        self.one_way = message.one_way


@frozen(kw_only=True, eq=False)
class SoapRequestTemplate(RequestTemplate):
    """Creates the SOAP messages of a connection from the settings that all of them share."""

    version: SoapVersion
    action: str
    make_token: Callable[[], ws_security.UsernameToken] | None = field(repr=False)  # creates a token for each sending

    def build_request(self, spec: CallSpec, call: IServiceCall) -> SoapRequest:
        """See RequestTemplate. Raises ValueError and TypeError for data that is no XML."""
        assert isinstance(spec, SoapCallSpec)
        ready = self._prepare(spec)
        request = SoapRequest(spec, call, ready)
        request.target = self._target(spec.params)
        request.body = ready.before_token + ready.after_token
        action = self.action if spec.soap_action is None else spec.soap_action
        content_type = self.content_type or _content_type(ready.version, action)
        if ready.version is SOAP_11:
            self._complete(request, spec, _TYPED_11, (content_type, f'"{action}"'.encode()))
        else:
            self._complete(request, spec, CONTENT_TYPE_NAMES, (content_type,))
        return request

    def http_request(self, request: OutgoingRequest) -> HttpRequest:
        """See RequestTemplate: inserts a new token."""
        if self.make_token is not None and isinstance(request, SoapRequest) and request.envelope.after_token:
            ready = request.envelope
            request.body = b''.join(
                (
                    ready.before_token,
                    ws_security.write_security_header(self.make_token(), ready.version),
                    ready.after_token,
                )
            )
        return super().http_request(request)

    def prepare_tree(self, root: Any, version: SoapVersion) -> EnvelopeTemplate:
        """Return the envelope of a message that zeep built. Consumes the tree."""
        if self.make_token is not None:
            return _split_at_token(root, version)
        return EnvelopeTemplate(version, xml.load_lxml().etree.tostring(root, encoding='utf-8'))

    def _prepare(self, message: SoapCallSpec) -> EnvelopeTemplate:
        if isinstance(message.data, EnvelopeTemplate):
            return message.data
        return wrap_in_envelope(
            message.data, self.version, message.soap_headers, split_for_token=self.make_token is not None
        )


def wrap_in_envelope(
    data: Any, version: SoapVersion, headers: Sequence[Any], *, split_for_token: bool
) -> EnvelopeTemplate:
    """Wrap `data` in an envelope, unless it is a complete envelope. With `split_for_token`, return a EnvelopeTemplate,
    into which a security token can be inserted. Raises ValueError."""
    if isinstance(headers, str | bytes) or xml.is_element(headers):
        headers = (headers,)
    content = b'' if _is_empty(data) else _content(data, 'the body')
    if isinstance(content, PrebuiltEnvelope):
        if headers:
            raise ValueError('A whole envelope has its own Header: give it, or soap_headers, not both')
        if split_for_token:
            return _split_at_token(_reparse(content.data), content.version)
        return EnvelopeTemplate(content.version, content.data)
    pieces = [_header_xml(header) for header in headers]
    if not split_for_token:
        return EnvelopeTemplate(version, envelope.write_envelope(version, content, headers=pieces))
    before, after = envelope.write_envelope(version, content, headers=(_PLACEHOLDER, *pieces)).split(_PLACEHOLDER, 1)
    return EnvelopeTemplate(version, before, after)


def _split_at_token(root: Any, version: SoapVersion) -> EnvelopeTemplate:
    """Split an envelope where the token belongs, first in its Header. An envelope with a token of its own is not
    split."""
    etree = xml.load_lxml().etree
    header = root.find(version.header)
    if header is None:
        header = etree.Element(version.header)
        root.insert(0, header)
    elif header.find(ws_security.SECURITY) is not None:
        return EnvelopeTemplate(version, etree.tostring(root, encoding='utf-8'))
    header.insert(0, etree.ProcessingInstruction(_PI_TARGET, _PI_TEXT))
    before, after = etree.tostring(root, encoding='utf-8').split(_PLACEHOLDER, 1)
    return EnvelopeTemplate(version, before, after)


def _reparse(data: bytes) -> Any:
    """Parse an envelope, already checked, into plain elements. Raises ValueError if its parts are in the wrong
    order."""
    etree = xml.load_lxml().etree
    parser = etree.XMLParser(
        encoding='utf-8', resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True
    )
    root = etree.fromstring(data, parser)
    envelope.read_envelope(root)
    return root


def _is_empty(data: Any) -> bool:
    return data is None or (isinstance(data, str | bytes) and not data)


def _content(data: Any, what: str) -> bytes | PrebuiltEnvelope:
    if not isinstance(data, str | bytes) and not xml.is_element(data):
        raise TypeError(f'SOAP sends XML as text, bytes or an lxml element: {what} is of type {type(data).__name__}; '
                        'what is not XML goes by .client, which knows its types')
    try:
        content = to_body_content(data)
    except ValueError as error:
        raise ValueError(f'SOAP sends XML, which {what} is not: {error}') from None
    return content if isinstance(content, PrebuiltEnvelope) else content.data


def _header_xml(header: Any) -> bytes:
    piece = _content(header, 'a header')
    if isinstance(piece, PrebuiltEnvelope):
        raise ValueError('A whole envelope is no header')
    return piece


def _content_type(version: SoapVersion, action: str) -> bytes:
    if version is SOAP_11:
        return version.content_type.encode('ascii')
    action_parameter = '; action="{}"'.format(action.replace('\\', '\\\\').replace('"', '\\"')) if action else ''
    return f'{version.content_type}{action_parameter}'.encode()
