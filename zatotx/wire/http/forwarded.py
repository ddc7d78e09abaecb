"""Parses the header fields `Forwarded` (RFC 7239) and `X-Forwarded-For`, which proxies add. No I/O.

Each proxy appends an element, so both are read from the end: elements written by the client are read only if all
proxies after it are trusted, and cannot invalidate the elements of proxies.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Address, ip_address
from itertools import islice

import msgspec

from zatotx.wire.http1.header_fields import is_authority
from zatotx.wire.malformed import Malformed

MAX_ELEMENTS = 32  # maximum number of elements
_MAX_ELEMENT_LENGTH = 512  # maximum length of an element in characters
_QUOTED_PAIR = '\\'
_UNKNOWN = 'unknown'
_OBFUSCATED = '_'  # first character of an obfuscated identifier (RFC 7239 §6.3)
_SCHEMES = ('http', 'https')


class ForwardedHop(msgspec.Struct, frozen=True):
    """One element of a Forwarded field: the client, host and scheme of a request that a proxy received. A missing
    parameter is ''."""

    address: str = ''
    proto: str = ''  # 'http' or 'https'
    host: str = ''  # the requested authority


def parse_forwarded(value: str) -> Iterator[ForwardedHop]:
    """Yield the elements of a Forwarded field in reverse order. Raises Malformed at an invalid element."""
    for element in _reversed_elements(value):
        parameters: dict[str, str] = {}
        for pair in _split(element, ';'):
            if not pair:
                continue
            name, equals, text = pair.partition('=')
            name = name.lower()
            if not equals or not name or name in parameters:
                raise Malformed('Forwarded has an element that is not of pairs name=value, each name once')
            parameters[name] = _unquote(text)
        yield ForwardedHop(
            _node_address(parameters['for']) if 'for' in parameters else '',
            parse_scheme(parameters['proto']) if 'proto' in parameters else '',
            parse_host(parameters['host']) if 'host' in parameters else '',
        )


def parse_x_forwarded_for(value: str) -> Iterator[str]:
    """Yield the addresses of an X-Forwarded-For field in reverse order. '' stands for an unknown address. Raises
    Malformed at an invalid element."""
    for element in _reversed_elements(value):
        yield '' if element.lower() == _UNKNOWN else parse_forwarded_address(element)


def select_x_forwarded_element(value: str, elements_after: int) -> str:
    """Return one element of an X-Forwarded-Proto or X-Forwarded-Host list, selected by its position from the end:
    `elements_after` elements follow it. Returns the first element if the list is too short, or '' if the field is
    empty. Raises Malformed."""
    elements = list(islice(_reversed_elements(value), elements_after + 1))
    return elements[-1] if elements else ''


def parse_forwarded_address(text: str) -> str:
    """Parse an IP address with an optional port, and return the address in canonical form; IPv4-mapped IPv6 addresses
    become IPv4 addresses. Raises Malformed."""
    host = text
    if host[:1] == '[':
        host, bracket, port = host[1:].partition(']')
        if not bracket or (port and not _is_port(port)) or ':' not in host:
            raise Malformed('an address in brackets is none of IPv6')
    elif host.count(':') == 1:
        host, colon, port = host.partition(':')
        if not _is_port(colon + port):
            raise Malformed('an address has a port that is none')
    try:
        address = ip_address(host)
    except ValueError:
        raise Malformed('an address is none') from None
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise Malformed('an address has a zone, which means nothing on another machine')
        return str(address.ipv4_mapped or address)
    return str(address)


def parse_scheme(text: str) -> str:
    """Validate a URL scheme and return 'http' or 'https'. Raises Malformed."""
    scheme = text.lower()
    if scheme not in _SCHEMES:
        raise Malformed('the scheme is neither http nor https')
    return scheme


def parse_host(text: str) -> str:
    """Validate a host with an optional port, and return it. Raises Malformed."""
    try:
        if is_authority(text.encode('ascii')):
            return text
    except UnicodeEncodeError:
        raise Malformed('the host is not ASCII') from None
    raise Malformed('the host is none')


def _node_address(text: str) -> str:
    """Return the address of a node (RFC 7239 §6); '' for an unknown or obfuscated one."""
    if text[:1] == '[':
        name, bracket, port = text.partition(']')
        name += bracket
    else:
        name, colon, port = text.partition(':')
        port = colon + port
    if port and port[:2] != f':{_OBFUSCATED}' and not _is_port(port):
        raise Malformed('Forwarded has a port that is none, or an address of IPv6 without brackets')
    return '' if name.lower() == _UNKNOWN or name[:1] == _OBFUSCATED else parse_forwarded_address(name)


def _reversed_elements(value: str) -> Iterator[str]:
    """Yield the comma-separated elements from the last to the first, without empty ones. Raises Malformed for overlong
    elements and fields, which limits the cost of parsing."""
    rest, separator, count = value, ',', 0
    while separator:
        rest, separator, element = rest.rpartition(',')
        while separator and element.count('"') % 2:  # the comma is inside a quoted string
            rest, separator, preceding = rest.rpartition(',')
            element = f'{preceding},{element}'
            if len(element) > _MAX_ELEMENT_LENGTH:
                raise Malformed(f'an element is longer than {_MAX_ELEMENT_LENGTH} characters')
        if element := element.strip(' \t'):
            count += 1
            if count > MAX_ELEMENTS:
                raise Malformed(f'there are more than {MAX_ELEMENTS} elements')
            yield element


def _split(element: str, separator: str) -> list[str]:
    """Split at separators outside quoted strings."""
    parts: list[str] = []
    for part in element.split(separator):
        if parts and parts[-1].count('"') % 2:
            parts[-1] += separator + part
        else:
            parts.append(part)
    return [part.strip(' \t') for part in parts]


def _unquote(text: str) -> str:
    if text[:1] != '"':
        if not text or '"' in text or ' ' in text:
            raise Malformed('Forwarded has a value that is neither a token nor a quoted string')
        return text
    inner = text[1:-1]
    if len(text) < 2 or text[-1] != '"' or '"' in inner or _QUOTED_PAIR in inner:
        raise Malformed('Forwarded has a quoted string that does not end, or holds what no address and no host does')
    return inner


def _is_port(text: str) -> bool:
    """Return whether the text is a colon and a port number."""
    return text[:1] == ':' and text[1:].isdecimal() and text.isascii() and len(text) <= 6 and int(text[1:]) <= 65535
