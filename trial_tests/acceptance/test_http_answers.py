"""CORS, gzip and entity tags on a running server, by the clients they are for: Chromium and curl."""

from __future__ import annotations

import gzip
import json
import subprocess
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import Broker
from trial_tests.support.chromium import Chromium
from trial_tests.support.rawhttp import basic
from trial_tests.support.served import one_server

SERVICES = '''
from zatotx import Service


class Page(Service):
    """ A page of some site. """
    name = 'web.page'

    async def handle(self):
        self.response.content_type = 'text/html'
        self.response.payload = '<!doctype html><title>Shop</title>'


class Echo(Service):
    name = 'web.echo'

    async def handle(self):
        self.response.headers['X-More'] = 'more'
        self.response.payload = {'method': self.request.http.method}


class Long(Service):
    """ Much text, the same each time. """
    name = 'web.long'

    async def handle(self):
        self.response.payload = {'rows': [{'number': number, 'name': 'Anna'} for number in range(20_000)]}


class Pieces(Service):
    name = 'web.pieces'

    async def handle(self):
        async def pieces():
            for number in range(1000):
                yield b'line %d of a long text\\n' % number
        self.response.stream(pieces(), 'text/plain')
'''
CHANNELS = """
security:
  - {{name: shopper, type: basic_auth, username: shopper, password: secret word}}
rate_limit:
  - {{name: once, limit: 1/1d, exact: false}}
channel_rest:
  - {{name: web.page, url_path: /web/page, service: web.page}}
  - name: web.api
    url_path: /web/api
    service: web.echo
    security: shopper
    data_format: json
    cors: {{origins: ["{shop}"], expose: [X-More], credentials: true, max_age: 60}}
  - {{name: web.strict, url_path: /web/strict, service: web.echo, data_format: json,
      cors: {{origins: ["{shop}"], methods: [GET, PUT], headers: [Content-Type]}}}}
  - {{name: web.plain, url_path: /web/plain, service: web.echo, data_format: json}}
  - {{name: web.anybody, url_path: /web/anybody, service: web.echo, data_format: json, cors: {{origins: ["*"]}},
      rate_limits: [once]}}
  - {{name: web.long, url_path: /web/long, service: web.long, data_format: json, compress: true, etag: true}}
  - {{name: web.pieces, url_path: /web/pieces, service: web.pieces, compress: true}}
"""


def extend(broker: Broker) -> None:
    """Add an API, and pages of sites that use it."""
    broker.serve('web.py', SERVICES)
    broker.configure(CHANNELS.format(shop=f'http://localhost:{broker.port()}'))


class WebCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker: Broker = one_server().extend('web-answers', extend)
        self.shop = f'http://localhost:{self.broker.port()}'  # another site than 127.0.0.1, for a browser
        self.api = f'http://127.0.0.1:{self.broker.port()}'

    def curl(self, path: str, *options: str) -> tuple[dict[str, str], bytes]:
        """Fields of curl's last answer, by lower-case name and with its status as 'status', and the body."""
        done = subprocess.run(['curl', '-sS', '-i', '--raw' if '--raw' in options else '-sS', *options,
                               self.api + path], capture_output=True, check=True, timeout=120)  # fmt: skip
        head, _, body = done.stdout.partition(b'\r\n\r\n')
        first, *lines = head.decode('latin-1').split('\r\n')
        fields = {name.lower(): value.strip() for name, value in (line.split(':', 1) for line in lines)}
        return {'status': first.split(' ')[1], **fields}, body


class BrowserTests(WebCase):
    """What scripts of a page may do, in a browser that enforces it."""

    def setUp(self) -> None:
        super().setUp()
        self.browser = Chromium()
        self.addCleanup(self.browser.close)

    def fetch(self, path: str, **options: Any) -> Any:
        """What a script of the open page gets: status, body and a field; 'blocked' where the browser forbids it."""
        return self.browser.run(f"""
            fetch({json.dumps(self.api + path)}, {json.dumps(options)}).then(
                async answer => [answer.status, await answer.json(), answer.headers.get('X-More')],
                () => 'blocked')
        """)

    def test_a_site_that_may(self) -> None:
        """Sends what needs a preflight, with credentials, reads the answer and the fields that are for it, and reads
        why it was refused."""
        self.browser.open(f'{self.shop}/web/page')
        headers = {'Content-Type': 'application/json', **basic('shopper', 'secret word')}
        self.assertEqual(self.fetch('/web/api', method='PUT', body='{}', headers=headers, credentials='include'),
                         [200, {'method': 'PUT'}, 'more'])  # fmt: skip
        refused = self.fetch('/web/api', method='PUT', body='{}', headers={'Content-Type': 'application/json'})
        self.assertEqual(refused[0], 401)
        self.assertIn('not authorized', refused[1]['zato_env']['details'])
        self.assertEqual(self.fetch('/web/strict', method='PUT', body='{}',
                                    headers={'Content-Type': 'application/json'})[:2],
                         [200, {'method': 'PUT'}])  # fmt: skip

    def test_what_it_may_not(self) -> None:
        """Other methods, other fields, channels without rules: the browser keeps it from the page."""
        self.browser.open(f'{self.shop}/web/page')
        self.assertEqual(self.fetch('/web/strict', method='DELETE'), 'blocked')
        self.assertEqual(self.fetch('/web/strict', headers={'X-Other': '1'}), 'blocked')
        self.assertEqual(self.fetch('/web/plain'), 'blocked')
        json_type = {'Content-Type': 'application/json'}
        self.assertEqual(self.fetch('/web/plain', method='PUT', headers=json_type), 'blocked')
        self.assertEqual(self.fetch('/web/strict')[2], None, 'a field that is not exposed')

    def test_another_site(self) -> None:
        """Gets nothing but what is for everybody; also when it was refused, it reads that."""
        self.browser.open(f'http://other.localhost:{self.broker.port()}/web/page')
        for path in ('/web/api', '/web/strict'):
            self.assertEqual(self.fetch(path), 'blocked')
            self.assertEqual(self.fetch(path, method='PUT', headers={'Content-Type': 'application/json'}), 'blocked')
        found = [self.fetch('/web/anybody', method='PUT', headers={'Content-Type': 'application/json'}, body='{}')
                 for _ in range(2)]  # fmt: skip
        self.assertEqual([status for status, *_ in found], [200, 429])

    def test_a_browser_reads_gzip(self) -> None:
        """And has an answer again that did not change."""
        self.browser.open(f'{self.api}/web/page')
        for _ in range(2):
            rows = self.browser.run("fetch('/web/long').then(a => a.json()).then(a => a.rows.length)")
            self.assertEqual(rows, 20_000)
        lines = self.browser.run("fetch('/web/pieces').then(a => a.text()).then(a => a.split('\\n').length)")
        self.assertEqual(lines, 1001)


class CurlTests(WebCase):
    def test_a_preflight(self) -> None:
        """By its fields; a service that is behind it is not asked, nor who is there."""
        fields, body = self.curl('/web/api', '-X', 'OPTIONS', '-H', f'Origin: {self.shop}', '-H',
                                 'Access-Control-Request-Method: DELETE', '-H',
                                 'Access-Control-Request-Headers: x-a, authorization')  # fmt: skip
        self.assertEqual((fields['status'], body), ('204', b''))
        self.assertEqual(
            {name: fields[f'access-control-{name}'] for name in
             ('allow-origin', 'allow-methods', 'allow-headers', 'allow-credentials', 'max-age')},
            {'allow-origin': self.shop, 'allow-methods': 'DELETE', 'allow-headers': 'x-a, authorization',
             'allow-credentials': 'true', 'max-age': '60'},
        )  # fmt: skip
        refused, body = self.curl('/web/api', '-X', 'OPTIONS', '-H', 'Origin: https://evil.example', '-H',
                                  'Access-Control-Request-Method: DELETE')  # fmt: skip
        self.assertEqual(refused['status'], '403')
        self.assertNotIn('access-control-allow-origin', refused)
        plain, _ = self.curl('/web/api', '-X', 'OPTIONS')
        self.assertEqual(plain['status'], '401', 'OPTIONS of its own, like any other request')

    def test_gzip(self) -> None:
        """As curl takes it off, and as it is on the wire."""
        plain, body = self.curl('/web/long')
        coded, read = self.curl('/web/long', '--compressed')
        raw, on_the_wire = self.curl('/web/long', '--raw', '-H', 'Accept-Encoding: gzip')
        self.assertEqual((json.loads(body)['rows'][7]['number'], read), (7, body))
        self.assertEqual(gzip.decompress(on_the_wire), body)
        self.assertLess(len(on_the_wire), len(body) / 8)
        self.assertEqual((coded['content-encoding'], raw['content-length']), ('gzip', str(len(on_the_wire))))
        self.assertNotIn('content-encoding', plain)
        self.assertEqual({fields['vary'] for fields in (plain, coded, raw)}, {'Accept-Encoding'})
        pieces, text = self.curl('/web/pieces', '--compressed')
        self.assertEqual((pieces['content-encoding'], pieces['transfer-encoding']), ('gzip', 'chunked'))
        self.assertEqual(len(text.splitlines()), 1000)

    def test_etags(self) -> None:
        """curl keeps one and asks with it."""
        first, _ = self.curl('/web/long')
        again, body = self.curl('/web/long', '-H', f'If-None-Match: {first["etag"]}')
        self.assertEqual((again['status'], body, again['etag']), ('304', b'', first['etag']))
        coded, _ = self.curl('/web/long', '--compressed', '-H', f'If-None-Match: "x", W/{first["etag"]}')
        self.assertEqual((coded['status'], coded['etag']), ('304', f'W/{first["etag"]}'))


class ConfigurationTests(WebCase):
    def test_exported(self) -> None:
        """Rules come out as they went in, without what goes without saying."""
        document = yaml.safe_load(self.broker.must('enmasse', str(self.broker.path), '--export'))
        channels = {channel['name']: channel for channel in document['channel_rest']}
        self.assertEqual(channels['web.anybody']['cors'], {'origins': ['*']})
        self.assertEqual(channels['web.strict']['cors'],
                         {'origins': [self.shop], 'methods': ['GET', 'PUT'], 'headers': ['Content-Type']})  # fmt: skip
        self.assertEqual((channels['web.long']['compress'], channels['web.long']['etag']), (True, True))

    def test_by_the_services(self) -> None:
        """A channel with rules and limits is made, listed and changed by zato.http-soap.*, the rules as an object or as
        JSON text; mistakes have their paths."""
        made = {'name': 'web.made', 'url_path': '/web/made', 'service': 'web.echo', 'connection': 'channel',
                'transport': 'plain_http', 'cors': {'origins': ['https://a.example'], 'max_age': '5'},
                'rate_limits': 'once', 'security_id': 'ZATO_NONE'}  # fmt: skip
        found = self.broker.invoke('zato.http-soap.create', json.dumps(made).encode())
        self.assertEqual(found.status, 200, found.body)
        self.addCleanup(self.broker.invoke, 'zato.http-soap.delete', b'{"name": "web.made"}')
        row = self.row('web.made')
        self.assertEqual((row['cors']['origins'], row['cors']['max_age'], row['rate_limits']),
                         (['https://a.example'], 5, ['once']))  # fmt: skip
        edit = {**made, 'id': row['id'], 'cors': json.dumps({'origins': ['*']}), 'rate_limits': []}
        found = self.broker.invoke('zato.http-soap.edit', json.dumps(edit).encode())
        self.assertEqual(found.status, 200, found.body)
        self.assertEqual((self.row('web.made')['cors']['origins'], self.row('web.made')['rate_limits']), (['*'], []))
        edit['cors'] = {'origins': ['https://a.example/'], 'age': 1}
        refused = self.broker.invoke('zato.http-soap.edit', json.dumps(edit).encode())
        self.assertEqual(refused.status, 400)
        self.assertIn('$.cors.origins: ', refused.details)
        self.assertIn('$.cors.age: unknown, did you mean max_age?', refused.details)

    def row(self, name: str) -> Any:
        """A channel as get-list has it."""
        asked = {'connection': 'channel', 'transport': 'plain_http'}
        answer = self.broker.invoke('zato.http-soap.get-list', json.dumps(asked).encode()).json()
        (rows,) = [value for key, value in answer.items() if key != 'zato_env']
        return next(row for row in rows if row['name'] == name)
