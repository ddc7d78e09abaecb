"""The PROXY protocol: read from bytes, and from connections to `haproxy:` endpoints."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from zatotx.interfaces.listener_options_provider import IListenerOptionsProvider
from zatotx.processes.proxy_protocol_endpoint import HEADER_TIMEOUT, ProxyProtocolFactory
from zatotx.wire.http.proxy_protocol import ProxyHeader, parse_proxy_header, write_proxy_header
from zatotx.wire.malformed import Malformed

V1 = b'PROXY TCP4 203.0.113.7 10.0.0.1 4711 8080\r\n'
SSL = b'\x20\x00\x05\x01\x00\x00\x00\x00'  # a client over TLS without a certificate


def version_2(family: int, block: bytes, command: int = 0x21) -> bytes:
    return b'\r\n\r\n\0\r\nQUIT\n' + bytes((command, family)) + len(block).to_bytes(2) + block


def addresses(family: socket.AddressFamily, source: str, destination: str) -> bytes:
    packed = socket.inet_pton(family, source) + socket.inet_pton(family, destination)
    return packed + (4711).to_bytes(2) + (443).to_bytes(2)


V4 = addresses(socket.AF_INET, '203.0.113.7', '198.51.100.1')


class ReadTests(SynchronousTestCase):
    def test_version_1(self) -> None:
        """A line of text (§2.1); what follows it is the client's."""
        self.assertEqual(parse_proxy_header(V1 + b'GET /'),
                         ProxyHeader(len(V1), ('203.0.113.7', 4711), ('10.0.0.1', 8080)))
        line = b'PROXY TCP6 2001:DB8:0::7 ::1 65535 0\r\n'
        self.assertEqual(parse_proxy_header(line), ProxyHeader(len(line), ('2001:db8::7', 65535), ('::1', 0)))
        for line in (b'PROXY UNKNOWN\r\n', b'PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n'):
            self.assertEqual(parse_proxy_header(line), ProxyHeader(len(line)))

    def test_version_2(self) -> None:
        """A block of bytes (§2.2), with fields that are skipped but for that of TLS."""
        header = version_2(0x11, V4)
        self.assertEqual(parse_proxy_header(header + b'GET /'),
                         ProxyHeader(len(header), ('203.0.113.7', 4711), ('198.51.100.1', 443)))
        header = version_2(0x21, addresses(socket.AF_INET6, '2001:db8::7', '::1') + b'\x02\x00\x01x' + SSL)
        self.assertEqual(parse_proxy_header(header),
                         ProxyHeader(len(header), ('2001:db8::7', 4711), ('::1', 443), True))
        self.assertFalse(parse_proxy_header(version_2(0x11, V4 + b'\x20\x00\x05\x00\x00\x00\x00\x00')).secure)  # type: ignore[union-attr]
        for command, family, block in ((0x20, 0x11, V4), (0x21, 0x00, b'\0' * 9), (0x21, 0x31, b'\0' * 216)):
            header = version_2(family, block, command)
            self.assertEqual(parse_proxy_header(header), ProxyHeader(len(header)))

    def test_written_headers(self) -> None:
        """What is written is read as the same; without two addresses of one family the client is not known."""
        v4, v6 = ('203.0.113.7', 4711), ('2001:db8::7', 65535)
        for version in (1, 2):
            for source, destination in ((v4, ('10.0.0.1', 8080)), (v6, ('::1', 0))):
                for secure in (False, True):
                    header = write_proxy_header(version, source, destination, secure=secure)
                    self.assertEqual(parse_proxy_header(header), ProxyHeader(
                        len(header), source, destination, secure and version == 2
                    ))  # fmt: skip
            for unknown in ((None, v4), (v4, None), (v4, v6)):
                header = write_proxy_header(version, *unknown)
                self.assertEqual(parse_proxy_header(header), ProxyHeader(len(header)))

    def test_in_pieces(self) -> None:
        """However TCP cuts it: nothing is known before it is whole."""
        for header in (V1, version_2(0x11, V4 + SSL), version_2(0x00, b'', 0x20)):
            for size in range(len(header)):
                self.assertIsNone(parse_proxy_header(header[:size]), header[:size])
            self.assertEqual(parse_proxy_header(header).size, len(header))  # type: ignore[union-attr]

    def test_none(self) -> None:
        """Anything else: a client without a proxy, text of any length, addresses and fields that are none."""
        for data in (
            b'GET / HTTP/1.1\r\n', b'PROXYTCP4', b'\r\n\r\n\0\r\nQUIT\r', b'PROXY TCP4 ' + b'1' * 100,
            b'PROXY TCP4 203.0.113.7 10.0.0.1 4711\r\n', b'PROXY UDP4 203.0.113.7 10.0.0.1 1 2\r\n',
            b'PROXY TCP4 203.0.113.256 10.0.0.1 1 2\r\n', b'PROXY TCP4 ::1 ::1 1 2\r\n',
            b'PROXY TCP6 fe80::1%x ::1 1 2\r\n',
            b'PROXY TCP4 203.0.113.7 10.0.0.1 65536 2\r\n', b'PROXY TCP4 203.0.113.7 10.0.0.1 +1 2\r\n',
            b'PROXY TCP4  203.0.113.7 10.0.0.1 1 2\r\n', version_2(0x11, V4, 0x11), version_2(0x11, V4, 0x22),
            version_2(0x11, V4[:11]), version_2(0x11, V4 + b'\x20\x00'), version_2(0x11, V4 + b'\x20\x00\x09\x01'),
        ):  # fmt: skip
            self.assertRaises(Malformed, parse_proxy_header, data)


    def test_reasons(self) -> None:
        """What is wrong is said, and found as soon as it is there."""
        line, address = 'its line is not `PROXY TCP4 source destination port port`', 'one of its addresses is none'
        for data, why in (
            (b'GET', 'the connection does not begin with a PROXY protocol header'),
            (b'PROXY ' + b'1' * 101, 'its line is longer than 107 bytes'), (b'PROXY TCP4 1\r\n', line),
            (b'PROXY UDP4 203.0.113.7 10.0.0.1 1 2\r\n', line), (b'PROXY TCP4 1.1.1.1 1.1.1.1 1 2 3\r\n', line),
            (b'PROXY TCP4 203.0.113.256 10.0.0.1 1 2\r\n', address), (b'PROXY TCP4 1.1.1.1 \xff 1 2\r\n', address),
            (b'PROXY TCP4 ::1 ::1 1 2\r\n', 'one of its addresses is not of IPv4'),
            (b'PROXY TCP6 1.1.1.1 ::1 1 2\r\n', 'one of its addresses is not of IPv6'),
            (b'PROXY TCP6 ::1 fe80::1%x 1 2\r\n', 'one of its addresses is not of IPv6'),
            (b'PROXY TCP4 1.1.1.1 1.1.1.1 65536 2\r\n', 'one of its ports is none'),
            (b'PROXY TCP4 1.1.1.1 1.1.1.1 1 000001\r\n', 'one of its ports is none'),
            (b'PROXY TCP4 1.1.1.1 1.1.1.1 1 x\r\n', 'one of its ports is none'),
            (version_2(0x11, V4, 0x11)[:16], 'its version or its command is not known'),
            (version_2(0x11, V4[:11]), 'its addresses are cut short'),
            (version_2(0x21, addresses(socket.AF_INET6, '::1', '::1')[:35]), 'its addresses are cut short'),
            (version_2(0x11, V4 + b'\x20'), 'one of its fields is cut short'),
            (version_2(0x11, V4 + b'\x01\x00'), 'one of its fields is cut short'),
            (version_2(0x11, V4 + b'\x01\x00\x02x'), 'one of its fields is cut short'),
        ):  # fmt: skip
            self.assertEqual(str(self.assertRaises(Malformed, parse_proxy_header, data)), why)
        self.assertIsNone(parse_proxy_header(b'PROXY ' + b'1' * 100))
        longest = b'PROXY UNKNOWN ' + b'1' * 91 + b'\r\n'
        self.assertEqual(parse_proxy_header(longest), ProxyHeader(107))

    def test_fields(self) -> None:
        """TLS is reported by one bit of one field, behind others; datagrams and Unix sockets have no address."""
        for fields, secure in ((b'', False), (b'\x20\x00\x00', False), (b'\x20\x00\x01\x01', True),
                               (b'\x20\x00\x01\x02', False), (b'\x20\x00\x01\x03', True),
                               (b'\x01\x00\x00\x02\x00\x01\x20' + SSL, True),
                               (b'\x20\x00\x01\x00' + SSL, False), (b'\x04\x01\x00' + b'\x01' * 256, False)):
            for family, block in ((0x11, V4), (0x31, b'\0' * 216)):
                header = parse_proxy_header(version_2(family, block + fields))
                assert header is not None
                self.assertEqual((header.secure, header.size), (secure, 16 + len(block) + len(fields)), fields)
        for family in (0x12, 0x10, 0x41):
            self.assertEqual(parse_proxy_header(version_2(family, V4 + SSL)), ProxyHeader(16 + len(V4 + SSL)))


class Inner(Protocol):
    """What is behind the header."""

    def __init__(self) -> None:
        self.received = b''

    def connectionMade(self) -> None:
        self.peer: Any = self.transport.getPeer()  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        self.received += data


class Inners(Factory):
    noisy = False
    peer: Any = None

    def buildProtocol(self, addr: Any) -> Inner:
        self.peer = addr
        return Inner()


@implementer(IListenerOptionsProvider)
class Picky:
    """Believes one proxy."""

    application_protocols = ()
    tls_ciphers = ''

    def trusts_proxy(self, address: Any) -> bool:
        return bool(address.host == '10.0.0.9')


class Pipe(StringTransport):
    """A connection whose protocol may change, as Twisted's do."""

    protocol: Any

    def abortConnection(self) -> None:
        super().abortConnection()
        self.disconnecting = True


class EndpointTests(SynchronousTestCase):
    def connect(self, peer: Any = None, options: Any = None) -> Pipe:
        self.clock = Clock()
        self.inners = Inners()
        transport = Pipe(peerAddress=peer or IPv4Address('TCP', '10.0.0.9', 5))
        transport.protocol = ProxyProtocolFactory(self.clock, self.inners, options).buildProtocol(transport.getPeer())
        transport.protocol.makeConnection(transport)
        return transport

    def test_the_protocol_sees_its_client(self) -> None:
        """From its beginning, with what the client sent behind the header, whichever way it was cut."""
        transport = self.connect()
        for byte in V1[:-1]:
            transport.protocol.dataReceived(bytes((byte,)))
        self.assertIsNone(self.inners.peer)
        transport.protocol.dataReceived(V1[-1:] + b'GET')
        transport.protocol.dataReceived(b' /')
        client = IPv4Address('TCP', '203.0.113.7', 4711)
        self.assertEqual((self.inners.peer, transport.protocol.peer, transport.protocol.received),
                         (client, client, b'GET /'))
        self.assertEqual(transport.getHost(), IPv4Address('TCP', '10.0.0.1', 8080))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_of_the_proxy_itself(self) -> None:
        """A health check is of the proxy; over a Unix socket there is no delay to switch off."""
        peer = UNIXAddress(b'')
        transport = self.connect(peer)
        transport.protocol.dataReceived(version_2(0x11, V4 + SSL, 0x20))
        self.assertEqual(transport.protocol.peer, peer)
        transport.setTcpNoDelay(True)  # type: ignore[attr-defined]

    def test_no_header(self) -> None:
        """Who sends something else, or nothing in time, is not served."""
        transport = self.connect()
        transport.protocol.dataReceived(b'GET / HTTP/1.1\r\n\r\n')
        self.assertTrue(transport.disconnecting)
        transport = self.connect()
        transport.protocol.dataReceived(b'PROXY ')
        self.clock.advance(HEADER_TIMEOUT)
        self.assertTrue(transport.disconnecting)
        transport.protocol.dataReceived(V1[6:])
        self.assertIsNone(self.inners.peer)

    def test_left(self) -> None:
        """A proxy that leaves before leaves nothing."""
        transport = self.connect()
        transport.protocol.connectionLost()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_whose_word_is_taken(self) -> None:
        """Where the factory knows its proxies, others are turned away before they say anything."""
        self.assertFalse(self.connect(options=Picky()).disconnecting)
        transport = self.connect(IPv4Address('TCP', '203.0.113.66', 5), Picky())
        self.assertTrue(transport.disconnecting)
        transport.protocol.dataReceived(V1)
        self.assertIsNone(self.inners.peer)
