"""The fields of RFC 9440."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zatotx.wire.http.client_cert import parse_client_cert, write_client_cert
from zatotx.wire.malformed import Malformed


class ClientCertTests(SynchronousTestCase):
    def test_written_fields(self) -> None:
        """A byte sequence for the client's certificate, a list of them for the others; read, they are the same."""
        chain = (b'own', b'one', b'two')
        lines = write_client_cert(chain)
        self.assertEqual(lines, b'Client-Cert: :b3du:\r\nClient-Cert-Chain: :b25l:, :dHdv:\r\n')
        headers = {name.lower(): value for name, value in (line.split(b': ', 1) for line in lines.splitlines())}
        self.assertEqual(parse_client_cert(headers), chain)
        self.assertEqual(write_client_cert((b'own',)), b'Client-Cert: :b3du:\r\n')
        self.assertEqual((write_client_cert(()), parse_client_cert({})), (b'', ()))

    def test_malformed_fields(self) -> None:
        """Anything else is rejected, also a repeated Client-Cert, which the parser joins by a comma."""
        for value in (b'', b'b3du', b':b3du', b'::', b':b3du:, :b3du:', b':b3du:;x', b':b3d!:', b':b3d:'):
            self.assertRaises(Malformed, parse_client_cert, {b'client-cert': value})
        self.assertRaises(Malformed, parse_client_cert, {b'client-cert-chain': b':b3du:'})
        many = {b'client-cert': b':b3du:', b'client-cert-chain': b', '.join([b':b3du:'] * 10)}
        self.assertRaises(Malformed, parse_client_cert, many)
