"""Determines the SOAP action and version of a request from its header fields: SOAPAction (1.1 §6.1.1), or the `action`
parameter of Content-Type (1.2, RFC 3902).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from zatotx.wire.malformed import Malformed

SOAP_12_TYPE = b'application/soap+xml'
ACCEPTED_TYPES = b'text/xml, ' + SOAP_12_TYPE
_TYPES = frozenset((b'text/xml', SOAP_12_TYPE, b'application/xml'))
_FORM = b'application/x-www-form-urlencoded'


def unquote_action(action: str) -> str:
    """Remove the quotation marks around a SOAP action."""
    action = action.strip()
    return action[1:-1].strip() if len(action) > 1 and action[0] == action[-1] == '"' else action


def media_type(content_type: bytes) -> bytes:
    """Return the media type of a Content-Type field, without its parameters."""
    return content_type.partition(b';')[0].strip().lower()


def accepts_soap_content_type(headers: Mapping[bytes, bytes]) -> bool:
    """Return whether the Content-Type allows a SOAP body. Many clients send application/xml or no Content-Type. `curl
    -d` sends the type of a form, which is accepted if the request also has a SOAPAction."""
    content_type = headers.get(b'content-type')
    if not content_type:
        return True
    type_name = media_type(content_type)
    return type_name in _TYPES or (type_name == _FORM and b'soapaction' in headers)


def is_unambiguously_soap(headers: Mapping[bytes, bytes]) -> bool:
    """Return whether the header fields identify a SOAP message unambiguously."""
    return b'soapaction' in headers or headers.get(b'content-type', b'')[: len(SOAP_12_TYPE)].lower() == SOAP_12_TYPE


def requested_soap_version(headers: Mapping[bytes, bytes]) -> str:
    """Return the SOAP version that the header fields indicate, for responses to requests that cannot be parsed."""
    return '1.2' if headers.get(b'content-type', b'')[: len(SOAP_12_TYPE)].lower() == SOAP_12_TYPE else '1.1'


def soap_action(headers: Mapping[bytes, bytes]) -> str:
    """Return the SOAP action, or '' if there is none. The parameter of Content-Type takes precedence over SOAPAction,
    which SOAP 1.2 does not define. Raises Malformed if the action is not UTF-8."""
    content_type = headers.get(b'content-type', b'')
    if media_type(content_type) == SOAP_12_TYPE and (action := _parameter(content_type, b'action')):
        return action
    header = headers.get(b'soapaction')
    return unquote_action(_decode(header)) if header else ''


def _parameter(content_type: bytes, parameter: bytes) -> str:
    """Return a parameter's value, a token or quoted string (RFC 9110 §5.6.6)."""
    rest = content_type.partition(b';')[2].lstrip()
    while rest:
        name, equals, rest = rest.partition(b'=')
        if not equals:
            return ''
        if rest.startswith(b'"'):
            value, rest = _read_quoted(rest)
            rest = rest.partition(b';')[2]
        else:
            value, _, rest = rest.partition(b';')
        if name.strip().lower() == parameter:
            return _decode(value).strip()
        rest = rest.lstrip()
    return ''


def _read_quoted(rest: bytes) -> tuple[bytes, bytes]:
    """Return the content of a quoted string, and the rest after it."""
    content = bytearray()
    position = 1
    while position < len(rest) and rest[position] != 0x22:
        if rest[position] == 0x5C and position + 1 < len(rest):
            position += 1
        content.append(rest[position])
        position += 1
    return bytes(content), rest[position + 1 :]


def _decode(value: bytes) -> str:
    try:
        return value.decode('utf-8')
    except UnicodeDecodeError:
        raise Malformed('the SOAPAction is no text in UTF-8') from None


_LAST_PART = re.compile(r'[^/:#?]+(?=[/:#?]*\Z)')  # of a URL, a URN, or a plain name
_INVALID_CHARACTERS = re.compile(r'[^A-Za-z0-9_.-]+')
_RESPONSE_SUFFIX = 'Response'
_URI_CHARACTERS = '-._~:/@!$()*+,;='  # characters other than letters and digits that need no escape


def operation_name(action: str, service: str, operation: str = '') -> str:
    """Return the name of the operation: the operation name that is configured for the channel, otherwise the last part
    of its SOAPAction (`getBalance` of `http://bank.example/crm/getBalance`), otherwise a name derived from the service
    (`getBalance` of `crm.get-balance`)."""
    if operation:
        return operation
    last_part = _LAST_PART.search(action)
    name = _INVALID_CHARACTERS.sub('_', last_part[0]).strip('.-') if last_part else ''
    if not name:
        first, *rest = _INVALID_CHARACTERS.sub('_', service.rpartition('.')[2]).split('-')
        name = first + ''.join(other[:1].upper() + other[1:] for other in rest)
    return name if name and (name[0].isalpha() or name[0] == '_') else f'_{name}'


def response_name(operation: str) -> str:
    """Return the name of an operation's response element (Basic Profile 1.1, R2729 for rpc; document-wrapped uses the
    same name)."""
    return operation + _RESPONSE_SUFFIX


def operation_message_namespace(channel: str, service: str, declared: str) -> str:
    """Return the XML namespace of an operation's messages: `declared`, the namespace of the service's SimpleIO, or
    otherwise `channel`, the namespace of its channel. Either may be ''."""
    return declared or channel or service_namespace_urn(service)


def service_namespace_urn(name: str) -> str:
    """Return a URN that serves as the XML namespace of a service without a declared namespace."""
    return f'urn:{quote(name, safe=_URI_CHARACTERS)}'
