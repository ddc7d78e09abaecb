"""What a request is meant to do, by its head: SOAPAction (1.1 §6.1.1), or the parameter `action` of its Content-Type
(1.2: RFC 3902)."""

from __future__ import annotations

from collections.abc import Mapping

from zatotx.wire.malformed import Malformed

SOAP_12_TYPE = b'application/soap+xml'
ACCEPTED = b'text/xml, ' + SOAP_12_TYPE
_TYPES = frozenset((b'text/xml', SOAP_12_TYPE, b'application/xml'))
_FORM = b'application/x-www-form-urlencoded'


def unquote(action: str) -> str:
    """An action without the quotation marks around it."""
    action = action.strip()
    return action[1:-1].strip() if len(action) > 1 and action[0] == action[-1] == '"' else action


def media_type(content_type: bytes) -> bytes:
    """A Content-Type without its parameters."""
    return content_type.partition(b';')[0].strip().lower()


def is_soap_type(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a body may be SOAP by its Content-Type. application/xml, and none, are what it often comes as; a form is
    what `curl -d` calls everything, SOAPAction or not."""
    content_type = headers.get(b'content-type')
    if not content_type:
        return True
    found = media_type(content_type)
    return found in _TYPES or (found == _FORM and b'soapaction' in headers)


def mentions_soap(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a head is that of a SOAP message and of nothing else."""
    return b'soapaction' in headers or headers.get(b'content-type', b'')[: len(SOAP_12_TYPE)].lower() == SOAP_12_TYPE


def requested_version(headers: Mapping[bytes, bytes]) -> str:
    """The version that a head speaks of: whoever cannot be asked further is answered in it."""
    return '1.2' if headers.get(b'content-type', b'')[: len(SOAP_12_TYPE)].lower() == SOAP_12_TYPE else '1.1'


def action_of(headers: Mapping[bytes, bytes]) -> str:
    """The action; '' where none is named. The Content-Type's comes before SOAPAction, which is not for 1.2. Raises
    Malformed where it is no text."""
    content_type = headers.get(b'content-type', b'')
    if media_type(content_type) == SOAP_12_TYPE and (named := _parameter(content_type, b'action')):
        return named
    header = headers.get(b'soapaction')
    return unquote(_text(header)) if header else ''


def _parameter(content_type: bytes, wanted: bytes) -> str:
    """RFC 9110 §5.6.6: token or quoted string."""
    rest = content_type.partition(b';')[2].lstrip()
    while rest:
        name, equals, rest = rest.partition(b'=')
        if not equals:
            return ''
        if rest.startswith(b'"'):
            value, rest = _quoted(rest)
            rest = rest.partition(b';')[2]
        else:
            value, _, rest = rest.partition(b';')
        if name.strip().lower() == wanted:
            return _text(value).strip()
        rest = rest.lstrip()
    return ''


def _quoted(rest: bytes) -> tuple[bytes, bytes]:
    """A quoted string without its marks, and what follows it."""
    out = bytearray()
    at = 1
    while at < len(rest) and rest[at] != 0x22:
        if rest[at] == 0x5C and at + 1 < len(rest):
            at += 1
        out.append(rest[at])
        at += 1
    return bytes(out), rest[at + 1 :]


def _text(value: bytes) -> str:
    try:
        return value.decode('utf-8')
    except UnicodeDecodeError:
        raise Malformed('the SOAPAction is no text in UTF-8') from None
