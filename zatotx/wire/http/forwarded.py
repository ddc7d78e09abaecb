"""What proxies say of the clients that they speak for: `Forwarded` (RFC 7239), and the older `X-Forwarded-For`. Pure.

Each proxy adds one element at the end, so both are read from there: what a client has written is looked at only where
everybody behind it is trusted, and cannot spoil what they have said.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Address, ip_address
from itertools import islice

import msgspec

from zatotx.wire.http1.fields import is_authority
from zatotx.wire.malformed import Malformed

MOST = 32  # proxies in a chain
_LONGEST = 512  # characters of an element
_QUOTED_PAIR = '\\'
_UNKNOWN = 'unknown'
_HIDDEN = '_'  # begins an identifier that says nothing (RFC 7239 §6.3)
_SCHEMES = ('http', 'https')


class ForwardedHop(msgspec.Struct, frozen=True):
    """What one proxy says of whom it got the request from. '' = nothing."""

    address: str = ''
    proto: str = ''  # 'http' or 'https'
    host: str = ''  # authority that was asked for


def forwarded_hops(value: str) -> Iterator[ForwardedHop]:
    """The elements of a Forwarded field, the last one first. Raises Malformed at one that is none."""
    for element in _from_the_end(value):
        found: dict[str, str] = {}
        for pair in _split(element, ';'):
            if not pair:
                continue
            name, equals, text = pair.partition('=')
            name = name.lower()
            if not equals or not name or name in found:
                raise Malformed('Forwarded has an element that is not of pairs name=value, each name once')
            found[name] = _unquoted(text)
        yield ForwardedHop(
            _node(found['for']) if 'for' in found else '',
            scheme_of(found['proto']) if 'proto' in found else '',
            host_of(found['host']) if 'host' in found else '',
        )


def x_forwarded_addresses(value: str) -> Iterator[str]:
    """The addresses in an X-Forwarded-For field, the last one first; '' for one that is not known. Raises Malformed at
    what is none."""
    for element in _from_the_end(value):
        yield '' if element.lower() == _UNKNOWN else address_of(element)


def x_forwarded_text(value: str, passed: int) -> str:
    """The element of X-Forwarded-Proto or X-Forwarded-Host that has `passed` others behind it, or the first one where
    there are fewer; '' where there is none. Raises Malformed."""
    found = list(islice(_from_the_end(value), passed + 1))
    return found[-1] if found else ''


def address_of(text: str) -> str:
    """An IP address, which may have a port, in its shortest form; IPv4 that is mapped into IPv6 as IPv4. Raises
    Malformed."""
    bare = text
    if bare[:1] == '[':
        bare, bracket, port = bare[1:].partition(']')
        if not bracket or (port and not _is_port(port)) or ':' not in bare:
            raise Malformed('an address in brackets is none of IPv6')
    elif bare.count(':') == 1:
        bare, colon, port = bare.partition(':')
        if not _is_port(colon + port):
            raise Malformed('an address has a port that is none')
    try:
        address = ip_address(bare)
    except ValueError:
        raise Malformed('an address is none') from None
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise Malformed('an address has a zone, which means nothing on another machine')
        return str(address.ipv4_mapped or address)
    return str(address)


def scheme_of(text: str) -> str:
    """'http' or 'https'. Raises Malformed."""
    scheme = text.lower()
    if scheme not in _SCHEMES:
        raise Malformed('the scheme is neither http nor https')
    return scheme


def host_of(text: str) -> str:
    """A host, which may have a port. Raises Malformed."""
    try:
        if is_authority(text.encode('ascii')):
            return text
    except UnicodeEncodeError:
        raise Malformed('the host is not ASCII') from None
    raise Malformed('the host is none')


def _node(text: str) -> str:
    """The address of a node (RFC 7239 §6); '' for one that is unknown or hides."""
    if text[:1] == '[':
        name, bracket, port = text.partition(']')
        name += bracket
    else:
        name, colon, port = text.partition(':')
        port = colon + port
    if port and port[:2] != f':{_HIDDEN}' and not _is_port(port):
        raise Malformed('Forwarded has a port that is none, or an address of IPv6 without brackets')
    return '' if name.lower() == _UNKNOWN or name[:1] == _HIDDEN else address_of(name)


def _from_the_end(value: str) -> Iterator[str]:
    """The elements between commas, without those that are empty. Raises Malformed for what no proxy writes: it bounds
    what a long field costs."""
    rest, more, count = value, ',', 0
    while more:
        rest, more, element = rest.rpartition(',')
        while more and element.count('"') % 2:  # the comma stands in a quoted string
            rest, more, before = rest.rpartition(',')
            element = f'{before},{element}'
            if len(element) > _LONGEST:
                raise Malformed(f'an element is longer than {_LONGEST} characters')
        if element := element.strip(' \t'):
            count += 1
            if count > MOST:
                raise Malformed(f'there are more than {MOST} elements')
            yield element


def _split(element: str, separator: str) -> list[str]:
    """The parts between separators that do not stand in a quoted string."""
    parts: list[str] = []
    for part in element.split(separator):
        if parts and parts[-1].count('"') % 2:
            parts[-1] += separator + part
        else:
            parts.append(part)
    return [part.strip(' \t') for part in parts]


def _unquoted(text: str) -> str:
    if text[:1] != '"':
        if not text or '"' in text or ' ' in text:
            raise Malformed('Forwarded has a value that is neither a token nor a quoted string')
        return text
    inner = text[1:-1]
    if len(text) < 2 or text[-1] != '"' or '"' in inner or _QUOTED_PAIR in inner:
        raise Malformed('Forwarded has a quoted string that does not end, or holds what no address and no host does')
    return inner


def _is_port(text: str) -> bool:
    """Whether it is a colon and the number of a port."""
    return text[:1] == ':' and text[1:].isdecimal() and text.isascii() and len(text) <= 6 and int(text[1:]) <= 65535
