"""The access log writes one line per request, which no client can forge."""

from __future__ import annotations

import json
import re

from twisted.trial.unittest import SynchronousTestCase

from zatotx.model.message import Principal
from zatotx.plugins.http.server.access_log import DateCache, escape_text
from zatotx.plugins.http.test.server_doubles import ScriptedExchange, Server, channel, get, post

LINE = re.compile(
    r'(?P<peer>\S+) (?P<cid>\S+)/(?P<seconds>\d+\.\d{4}) "(?P<channel>(?:[^"\\]|\\.)*)" '
    r'\[(?P<at>\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000)\] "(?P<request>(?:[^"\\]|\\.)*)" '
    r'(?P<status>\d{3}) (?P<size>\d+) "-" "(?P<agent>(?:[^"\\]|\\.)*)"\Z'
)


class AccessLogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.exchange = ScriptedExchange()
        self.server = Server(self.exchange)
        self.client = self.server.connect()

    def logged(self) -> dict[str, str]:
        """Return the fields of the only line."""
        (line,) = self.server.lines
        self.server.lines.clear()
        found = LINE.match(line)
        assert found is not None, line
        return found.groupdict()

    def test_the_form(self) -> None:
        """A line has Zato's fields in Zato's order."""
        answer = self.client.ask(post('/echo?a=1', b'{"a":1}', 'User-Agent: curl/8'))
        fields = self.logged()
        self.assertEqual(fields['cid'], answer.headers[b'x-zato-cid'].decode())
        self.assertEqual(fields['peer'], '192.168.1.1')
        self.assertEqual((fields['channel'], fields['request']), ('echo', 'POST /echo?a=1 HTTP/1.1'))
        self.assertEqual((fields['status'], fields['size'], fields['agent']), ('200', '7', 'curl/8'))

    def test_the_time_it_took(self) -> None:
        """The logged time runs from the request's head to its response."""
        self.exchange.at_once = None
        self.client.send(get())
        self.server.clock.advance(1.25)
        self.exchange.delivered[0].answer()
        self.assertEqual(self.logged()['seconds'], '1.2500')

    def test_nothing_can_be_forged(self) -> None:
        """Quotes, backslashes and unprintable bytes cannot leave their field."""
        self.client.ask(get('/echo?"x\\y', 'User-Agent: a" 200 1 "-" "\xff\t\\'))
        fields = self.logged()
        self.assertEqual(fields['request'], r'GET /echo?\x22x\x5cy HTTP/1.1')
        self.assertEqual(fields['agent'], r'a\x22 200 1 \x22-\x22 \x22\xff\x09\x5c')

    def test_channel_names_cannot_forge_either(self) -> None:
        """A channel's name may contain any character."""
        server = Server(self.exchange, channels=[channel(name='a"\n\u2028é')])
        server.connect().ask(post())
        self.server = server
        self.assertEqual(self.logged()['channel'], r'a\x22\x0a\u2028é')

    def test_keys_are_masked(self) -> None:
        """Values of query parameters that carry keys are masked, however the name is spelled."""
        self.client.ask(get('/echo?a=1&api_key=s3cret&API%5Fkey=s3cret&token=s3cret'))
        self.assertEqual(self.logged()['request'], 'GET /echo?a=1&api_key=***&API%5Fkey=***&token=*** HTTP/1.1')

    def test_refused_messages_have_a_line(self) -> None:
        """A rejected message is logged with what was received of it, keys masked."""
        self.client.send(b'GET /echo?api_key=s3cret HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n')
        fields = self.logged()
        self.assertEqual((fields['status'], fields['channel']), ('400', '-'))
        self.assertNotIn('s3cret', fields['request'])
        self.server.connect().send(b'\x16\x03\x01\r\n\r\n')
        self.assertEqual(self.logged()['status'], '400')

    def test_unknown_paths_have_a_line(self) -> None:
        """A 404 response is logged like any other."""
        self.client.ask(get('/nowhere'))
        fields = self.logged()
        self.assertEqual((fields['status'], fields['channel'], fields['request']),
                         ('404', '-', 'GET /nowhere HTTP/1.1'))  # fmt: skip

    def test_clients_that_left_have_a_line(self) -> None:
        """A request whose client disconnected is logged with 499, as nginx does."""
        self.exchange.at_once = None
        self.client.send(get())
        self.client.wire.abortConnection()
        self.assertEqual(self.logged()['status'], '499')


class PlainTests(SynchronousTestCase):
    def test_plain_text_is_left_alone(self) -> None:
        """Only characters that could break a line or a field are escaped."""
        self.assertEqual(escape_text('Zażółć gęślą'), 'Zażółć gęślą')
        self.assertEqual(escape_text('\U0001f600\x85\ud800'), '\U0001f600\\x85\\ud800')


class StampsTests(SynchronousTestCase):
    def test_texts_follow_the_wall_clock(self) -> None:
        """The texts are rebuilt when the second changes, and only then."""
        wall = [1795509000.9]
        stamps = DateCache(lambda: wall[0])
        stamps.refresh(10.0)
        self.assertEqual(stamps.log_timestamp, '24/Nov/2026:08:30:00 +0000')
        self.assertIn(b'Date: Tue, 24 Nov 2026 08:30:00 GMT\r\n', stamps.date_stamp.keep_alive)
        wall[0] += 1
        stamps.refresh(10.9)
        self.assertEqual(stamps.log_timestamp, '24/Nov/2026:08:30:00 +0000')
        stamps.refresh(11.0)
        self.assertEqual(stamps.log_timestamp, '24/Nov/2026:08:30:01 +0000')


class JsonTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.exchange = ScriptedExchange()
        self.server = Server(self.exchange)
        self.server.lines.json = True
        self.client = self.server.connect()

    def logged(self) -> dict[str, object]:
        (line,) = self.server.lines
        self.server.lines.clear()
        self.assertTrue(line.isprintable(), line)
        found: dict[str, object] = json.loads(line)
        return found

    def test_the_fields(self) -> None:
        """With JSON each request is one object, with the fields of the plain format and the principal."""
        self.exchange.at_once = None
        self.client.send(post('/echo?a=1', b'{"a":1}', 'User-Agent: curl/8', 'X-Zato-CID: abcdefgh12'))
        self.exchange.delivered[0].inbound.principal = Principal('api.user')
        self.server.clock.advance(1.25)
        self.exchange.delivered[0].answer()
        fields = self.logged()
        self.assertRegex(str(fields.pop('ts')), r'^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$')
        size = fields.pop('bytes')
        self.assertIsInstance(size, int)
        self.assertEqual(fields, {
            'cid': 'abcdefgh12', 'remote': '192.168.1.1', 'method': 'POST', 'path': '/echo?a=1', 'status': 200,
            'seconds': 1.25, 'channel': 'echo', 'agent': 'curl/8', 'principal': 'api.user',
        })  # fmt: skip

    def test_nothing_can_be_forged(self) -> None:
        """Client data cannot leave its string, and keys are masked."""
        self.client.ask(get('/echo?"x\\y&token=hidden', 'User-Agent: a"}\xff\t{"status":200'))
        fields = self.logged()
        self.assertEqual(fields['path'], r'/echo?\x22x\x5cy&token=***')
        self.assertEqual(fields['agent'], r'a\x22}\xff\x09{\x22status\x22:200')

    def test_broken_requests(self) -> None:
        """A message rejected before it was a request is logged too."""
        self.client.send(b'GET /echo?token=hidden HTTP/7.0\r\n\r\n')
        fields = self.logged()
        self.assertEqual((fields['status'], fields.get('channel', '-')), (505, '-'))
        self.assertNotIn('hidden', json.dumps(fields))

    def test_it_may_change(self) -> None:
        """The format follows the log's setting while the server runs."""
        self.client.ask(get('/echo'))
        self.logged()
        self.server.lines.json = False
        self.client.ask(get('/echo'))
        self.assertRegex(self.server.lines[0], LINE)
