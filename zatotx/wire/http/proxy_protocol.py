"""Parses and writes PROXY protocol headers, versions 1 and 2, in which a proxy sends the client's address at the start
of a connection. No I/O. Source: HAProxy's doc/proxy-protocol.txt.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import msgspec

from zatotx.wire.malformed import Malformed

_V1, _V2 = b'PROXY ', b'\r\n\r\n\0\r\nQUIT\n'
_MAX_V1_LENGTH = 107  # maximum length in bytes including CRLF (§2.1)
_V2_HEADER_SIZE = 16  # number of bytes before the addresses
_LOCAL, _PROXY = 0x20, 0x21  # version and command
_ADDRESSES = {0x1: (IPv4Address, 4), 0x2: (IPv6Address, 16)}  # address family -> address type and its size in bytes
_UNIX, _UNIX_ADDRESSES_SIZE = 0x3, 216
_STREAM = 0x1
_TLV_SSL, _CLIENT_SSL = 0x20, 0x01  # §2.2.6

AddressAndPort = tuple[str, int]  # address and port


class ProxyHeader(msgspec.Struct, frozen=True):
    """A parsed PROXY protocol header. `source` and `destination` are None for the proxy's own connections (health
    checks), and for clients without an IP address."""

    size: int  # length of the header in bytes
    source: AddressAndPort | None = None
    destination: AddressAndPort | None = None
    secure: bool = False  # the client uses TLS to the proxy, which only version 2 reports (`send-proxy-v2-ssl`)


def parse_proxy_header(data: bytes) -> ProxyHeader | None:
    """Parse the PROXY protocol header at the start of `data`. Returns None if more bytes are needed. Raises Malformed
    if the header is invalid or missing."""
    if data.startswith(_V2):
        return _parse_v2(data)
    if data.startswith(_V1):
        return _parse_v1(data)
    if _V2.startswith(data) or _V1.startswith(data):
        return None
    raise Malformed('the connection does not begin with a PROXY protocol header')


def _parse_v1(data: bytes) -> ProxyHeader | None:
    line, end, _ = data[:_MAX_V1_LENGTH].partition(b'\r\n')
    if not end:
        if len(data) >= _MAX_V1_LENGTH:
            raise Malformed(f'its line is longer than {_MAX_V1_LENGTH} bytes')
        return None
    size = len(line) + 2
    parts = line.split(b' ')
    if parts[1] == b'UNKNOWN':
        return ProxyHeader(size)
    if len(parts) != 6 or parts[1] not in (b'TCP4', b'TCP6'):
        raise Malformed('its line is not `PROXY TCP4 source destination port port`')
    version = 4 if parts[1] == b'TCP4' else 6
    source, destination = (_parse_address(word, version) for word in parts[2:4])
    ports = [_parse_port(word) for word in parts[4:]]
    return ProxyHeader(size, (source, ports[0]), (destination, ports[1]))


def _parse_address(word: bytes, version: int) -> str:
    try:
        address = ip_address(word.decode('ascii'))
    except ValueError:
        raise Malformed('one of its addresses is none') from None
    if address.version != version or b'%' in word:
        raise Malformed(f'one of its addresses is not of IPv{version}')
    return str(address)


def _parse_port(word: bytes) -> int:
    if not word.isdigit() or len(word) > 5 or int(word) > 65535:
        raise Malformed('one of its ports is none')
    return int(word)


def _parse_v2(data: bytes) -> ProxyHeader | None:
    if len(data) < _V2_HEADER_SIZE:
        return None
    command, family, length = data[12], data[13] >> 4, int.from_bytes(data[14:16])
    if command not in (_LOCAL, _PROXY):
        raise Malformed('its version or its command is not known')
    size = _V2_HEADER_SIZE + length
    if len(data) < size:
        return None
    if command == _LOCAL:
        return ProxyHeader(size)
    block = data[_V2_HEADER_SIZE:size]
    if family in _ADDRESSES and data[13] & 0x0F == _STREAM:
        address_type, width = _ADDRESSES[family]
        addresses_size = 2 * width + 4
        if length < addresses_size:
            raise Malformed('its addresses are cut short')
        source, destination = (str(address_type(block[offset:offset + width])) for offset in (0, width))
        ports = [int.from_bytes(block[offset:offset + 2]) for offset in (2 * width, 2 * width + 2)]
        return ProxyHeader(size, (source, ports[0]), (destination, ports[1]), _is_secure(block[addresses_size:]))
    return ProxyHeader(size, secure=family == _UNIX and _is_secure(block[_UNIX_ADDRESSES_SIZE:]))


def _is_secure(fields: bytes) -> bool:
    """Return whether one of the TLV fields reports that the client uses TLS. Raises Malformed."""
    position = 0
    while position < len(fields):
        end = position + 3 + int.from_bytes(fields[position + 1:position + 3])
        if end > len(fields) or position + 3 > len(fields):
            raise Malformed('one of its fields is cut short')
        if fields[position] == _TLV_SSL:
            return end > position + 3 and bool(fields[position + 3] & _CLIENT_SSL)
        position = end
    return False


def write_proxy_header(
    version: int, source: AddressAndPort | None, destination: AddressAndPort | None, *, secure: bool = False
) -> bytes:
    """Return a PROXY protocol header of version 1 or 2. If an address is missing, or if the addresses are of different
    families, the header says that the client is unknown. `secure` says whether the client uses TLS, which only version
    2 can express."""
    addresses = _common_family(source, destination)
    if version == 1:
        if addresses is None:
            return b'PROXY UNKNOWN\r\n'
        (client, client_port), (server, server_port) = addresses
        return f'PROXY TCP{client.version} {client} {server} {client_port} {server_port}\r\n'.encode('ascii')
    fields = b'\x20\0\x05\x01\0\0\0\0' if secure else b''  # PP2_TYPE_SSL: PP2_CLIENT_SSL, no certificate
    if addresses is None:
        return b'%b\x21\0%b%b' % (_V2, len(fields).to_bytes(2), fields)
    (client, client_port), (server, server_port) = addresses
    family = b'\x11' if client.version == 4 else b'\x21'
    block = client.packed + server.packed + client_port.to_bytes(2) + server_port.to_bytes(2) + fields
    return b'%b\x21%b%b%b' % (_V2, family, len(block).to_bytes(2), block)


_Address = tuple[IPv4Address | IPv6Address, int]


def _common_family(
    source: AddressAndPort | None, destination: AddressAndPort | None
) -> tuple[_Address, _Address] | None:
    if source is None or destination is None:
        return None
    client, server = ip_address(source[0]), ip_address(destination[0])
    if client.version != server.version:
        return None
    return (client, source[1]), (server, destination[1])
