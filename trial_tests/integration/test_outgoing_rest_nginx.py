"""Outgoing REST connections to a real web server, nginx: logins, client certificates, its own 502, files."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread

from trial_tests.integration.test_outgoing_rest_security import unsealed
from trial_tests.support.authority import Authority
from trial_tests.support.calling import WithConnections, all_of, stored
from trial_tests.support.nginx import Nginx
from trial_tests.support.ports import free_port
from zatotx.plugins.http.schema.http_outgoing_base import RetrySettings
from zatotx.schema.secrets import combine_dual_secret
from zatotx.security.basic_auth import BasicAuth

PAGES = {'/customers/1.json': b'{"id": 1, "name": "' + b'n' * 5000 + b'"}',
         '/large': random.Random(1).randbytes(10_000_000), '/private/in': b'in'}
LOCATIONS = """
        location /private {{ auth_basic "private"; auth_basic_user_file users; }}
        location /who {{ return 200 $ssl_client_s_dn; }}
        location /dead {{ proxy_pass http://127.0.0.1:{dead}; }}
        location /moved {{ return 301 /customers/1.json; }}
        location /echo {{ client_max_body_size 20m; return 200 $request_method-$http_x_zato_cid; }}
        types {{ application/json json; }}
"""


class NginxTests(WithConnections):
    def setUp(self) -> Any:
        super().setUp()
        files = Path(self.mktemp()).absolute()
        self.ca, self.clients = Authority(files), Authority(files / 'clients', 'clients')
        self.nginx = Nginx(PAGES, certificate=self.ca.sign('server', '127.0.0.1'), clients=self.clients.path,
                           locations=LOCATIONS.format(dead=free_port()))  # fmt: skip
        (self.nginx.directory / 'users').write_text('crm:{PLAIN}pass word\n', 'utf-8')
        self.addCleanup(self.nginx.close)
        return deferToThread(self.nginx.start)

    async def test_values(self) -> None:
        """JSON that comes packed and in chunks, from a path with parameters, as nginx makes it; many at once over few
        connections."""
        rest = self.crm(self.nginx.port, url_path='/customers/{id}.json', pool_size=5)
        answers = await all_of(*[rest.get(params={'id': 1}) for _ in range(100)])
        self.assertEqual({(answer.data['id'], len(answer.data['name'])) for answer in answers}, {(1, 5000)})
        response = await self.crm(self.nginx.port, url_path='/moved').get()
        self.assertEqual(response.data['id'], 1)

    async def test_basic_auth(self) -> None:
        """The right password, a wrong one, none."""
        for password, status in (('pass word', 200), ('other', 401), (None, 401)):
            both = combine_dual_secret('$argon2id$x', f'enc:{(password or "")[::-1]}')
            security = stored(BasicAuth(name='U', username='crm', password=both), 'basic_auth')
            rest = self.crm(self.nginx.port, security, url_path='/private/in', security='U' if password else None,
                            context={'decrypt': unsealed})  # fmt: skip
            self.assertEqual((await rest.get()).status_code, status)

    async def test_our_certificate(self) -> None:
        """nginx sees whose it is."""
        certificate, key = self.clients.sign('zatotx-outgoing')
        rest = self.crm(self.nginx.tls_port, scheme='https', url_path='/who', tls_ca=self.ca.path.read_text(),
                        tls_cert=certificate.read_text(), tls_key=key.read_text())  # fmt: skip
        self.assertEqual((await rest.get()).text, 'CN=zatotx-outgoing')

    async def test_a_gateway_without_its_server(self) -> None:
        """nginx's own 502 is tried again, and is an answer in the end."""
        rest = self.crm(self.nginx.port, url_path='/dead', retry=RetrySettings(attempts=3, backoff=0))
        self.assertEqual((await rest.get()).status_code, 502)
        self.assertEqual(self.slots().retries, 2)

    async def test_large(self) -> None:
        """Ten megabytes both ways, streamed."""
        response = await self.crm(self.nginx.port, url_path='/large').get(stream=True)
        self.assertEqual(sum([len(piece) async for piece in response]), 10_000_000)
        response = await self.crm(self.nginx.port, url_path='/echo').put(iter([b'x' * 100_000] * 100))
        self.assertTrue(response.text.startswith('PUT-'))
