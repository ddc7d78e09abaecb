"""The PROXY protocol, versions 1 and 2: what a proxy says of a client, before all other bytes of a connection. Pure.
Source: HAProxy's doc/proxy-protocol.txt.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import msgspec

from zatotx.wire.malformed import Malformed

_V1, _V2 = b'PROXY ', b'\r\n\r\n\0\r\nQUIT\n'
_LONGEST_V1 = 107  # bytes with CRLF (§2.1)
_HEAD_V2 = 16  # bytes before the addresses
_LOCAL, _PROXY = 0x20, 0x21  # version and command
_ADDRESSES = {0x1: (IPv4Address, 4), 0x2: (IPv6Address, 16)}  # by family: what an address is, and its bytes
_UNIX, _UNIX_SIZE = 0x3, 216
_STREAM = 0x1
_TLV_SSL, _CLIENT_SSL = 0x20, 0x01  # §2.2.6

Endpoint = tuple[str, int]  # address and port


class ProxyHeader(msgspec.Struct, frozen=True):
    """What a header says. `source` and `destination` are None where it is of the proxy itself (a health check), or of a
    client without an IP address."""

    size: int  # bytes that it took
    source: Endpoint | None = None
    destination: Endpoint | None = None
    secure: bool = False  # the client speaks TLS to the proxy, which tells only in version 2 (`send-proxy-v2-ssl`)


def read_proxy_header(data: bytes) -> ProxyHeader | None:
    """The header that `data` begins with; None where more bytes are needed. Raises Malformed where it is none."""
    if data.startswith(_V2):
        return _version_2(data)
    if data.startswith(_V1):
        return _version_1(data)
    if _V2.startswith(data) or _V1.startswith(data):
        return None
    raise Malformed('the connection does not begin with a PROXY protocol header')


def _version_1(data: bytes) -> ProxyHeader | None:
    line, end, _ = data[:_LONGEST_V1].partition(b'\r\n')
    if not end:
        if len(data) >= _LONGEST_V1:
            raise Malformed(f'its line is longer than {_LONGEST_V1} bytes')
        return None
    size = len(line) + 2
    words = line.split(b' ')
    if words[1] == b'UNKNOWN':
        return ProxyHeader(size)
    if len(words) != 6 or words[1] not in (b'TCP4', b'TCP6'):
        raise Malformed('its line is not `PROXY TCP4 source destination port port`')
    version = 4 if words[1] == b'TCP4' else 6
    source, destination = (_text_address(word, version) for word in words[2:4])
    ports = [_port(word) for word in words[4:]]
    return ProxyHeader(size, (source, ports[0]), (destination, ports[1]))


def _text_address(word: bytes, version: int) -> str:
    try:
        address = ip_address(word.decode('ascii'))
    except ValueError:
        raise Malformed('one of its addresses is none') from None
    if address.version != version or b'%' in word:
        raise Malformed(f'one of its addresses is not of IPv{version}')
    return str(address)


def _port(word: bytes) -> int:
    if not word.isdigit() or len(word) > 5 or int(word) > 65535:
        raise Malformed('one of its ports is none')
    return int(word)


def _version_2(data: bytes) -> ProxyHeader | None:
    if len(data) < _HEAD_V2:
        return None
    command, family, length = data[12], data[13] >> 4, int.from_bytes(data[14:16])
    if command not in (_LOCAL, _PROXY):
        raise Malformed('its version or its command is not known')
    size = _HEAD_V2 + length
    if len(data) < size:
        return None
    if command == _LOCAL:
        return ProxyHeader(size)
    block = data[_HEAD_V2:size]
    if family in _ADDRESSES and data[13] & 0x0F == _STREAM:
        kind, width = _ADDRESSES[family]
        taken = 2 * width + 4
        if length < taken:
            raise Malformed('its addresses are cut short')
        source, destination = (str(kind(block[at:at + width])) for at in (0, width))
        ports = [int.from_bytes(block[at:at + 2]) for at in (2 * width, 2 * width + 2)]
        return ProxyHeader(size, (source, ports[0]), (destination, ports[1]), _is_secure(block[taken:]))
    return ProxyHeader(size, secure=family == _UNIX and _is_secure(block[_UNIX_SIZE:]))


def _is_secure(fields: bytes) -> bool:
    """Whether one of the fields (type, length, value) says that the client came over TLS. Raises Malformed."""
    at = 0
    while at < len(fields):
        end = at + 3 + int.from_bytes(fields[at + 1:at + 3])
        if end > len(fields) or at + 3 > len(fields):
            raise Malformed('one of its fields is cut short')
        if fields[at] == _TLV_SSL:
            return end > at + 3 and bool(fields[at + 3] & _CLIENT_SSL)
        at = end
    return False
