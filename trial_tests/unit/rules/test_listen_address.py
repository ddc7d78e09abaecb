"""Addresses that channels listen on."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zatotx.rules.listen_address import address_error, to_endpoint


class ListenAddressTests(SynchronousTestCase):
    def test_host_and_port(self) -> None:
        """HOST:PORT becomes an endpoint description, of IPv6 in brackets too."""
        for address, endpoint in (
            ('0.0.0.0:17021', 'tcp:port=17021:interface=0.0.0.0'),
            ('localhost:21', 'tcp:port=21:interface=127.0.0.1'),
            ('[::1]:21', r'tcp6:port=21:interface=\:\:1'),
        ):
            self.assertEqual((to_endpoint(address), address_error(address)), (endpoint, ''))

    def test_endpoint_descriptions(self) -> None:
        """Endpoint descriptions are left alone."""
        for address in ('tcp:port=21', 'unix:/run/x', 'ssl:port=21:privateKey=x.pem'):
            self.assertEqual((to_endpoint(address), address_error(address)), (address, ''))

    def test_mistakes(self) -> None:
        """What is neither is an error: host names, which may have several addresses, and ports that are none."""
        for address in ('', '17021', ':17021', 'ftp.example:21', '127.0.0.1:0', '127.0.0.1:65536', '127.0.0.1:x',
                        'tcp:', '0.0.0.0:21 ', '::1:21'):  # fmt: skip
            self.assertIn('HOST:PORT', address_error(address), address)
