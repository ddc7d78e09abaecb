"""Response filters: CORS fields, entity tags, gzip, rate limit fields."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import AsyncIterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from zatotx.model.message import Message, Reply
from zatotx.plugins.http.schema.cors import Cors
from zatotx.plugins.http.server.response_filters import COMPRESSION_TIMEOUT, THREAD_THRESHOLD
from zatotx.plugins.http.test.server_doubles import (
    JSON,
    Answer,
    Client,
    Offloads,
    ScriptedExchange,
    Server,
    channel,
    get,
    post,
    run_now,
)
from zatotx.rules.limits.rate_buckets import SECOND, GcraRate, RateLimitHeaders, RateLimitState

SHOP = 'Origin: https://shop.example'
LONG = b'{"a":"' + b'x' * 2000 + b'"}'
HUGE = b'[' + b'"abc",' * 20_000 + b'1]'


class DressingCase(SynchronousTestCase):
    """A server with one channel, whose responses a test defines."""

    def setUp(self) -> None:
        self.made: Any = lambda: Reply(200, b'{}', JSON)
        self.exchange = ScriptedExchange(lambda inbound: self.made())

    def serve(self, offload: Any = run_now, **fields: Any) -> Client:
        """Return a client of a channel with these fields."""
        self.server = Server(self.exchange, offload=offload, channels=[channel(**fields)])
        return self.server.connect()

    def replies(self, body: bytes, status: int = 200, content_type: bytes = JSON, **headers: str) -> None:
        """Answer with such a response from now on, a new one each time."""
        fields = [(name.replace('_', '-').encode(), value.encode()) for name, value in headers.items()]
        self.made = lambda: Reply(status, body, content_type, list(fields))


def cors(**fields: Any) -> Cors:
    return Cors(**{'origins': ['https://shop.example'], **fields})


class CorsTests(DressingCase):
    def preflight(self, client: Client, *headers: str, method: str = 'POST', origin: str = SHOP) -> Answer:
        return client.ask(get('/echo', origin, f'Access-Control-Request-Method: {method}', *headers, method='OPTIONS'))

    def test_a_preflight_is_answered_by_the_head(self) -> None:
        """A preflight is answered from its head, with fields only, without service and credentials."""
        client = self.serve(cors=cors(), method='POST', security='somebody')
        answer = self.preflight(client, 'Access-Control-Request-Headers: authorization,content-type')
        self.assertEqual((answer.status, answer.body, self.exchange.delivered), (204, b'', []))
        self.assertEqual(answer.headers[b'access-control-allow-origin'], b'https://shop.example')
        self.assertEqual(answer.headers[b'access-control-allow-methods'], b'POST')
        self.assertEqual(answer.headers[b'access-control-allow-headers'], b'authorization, content-type')
        self.assertEqual(answer.headers[b'access-control-max-age'], b'600')
        self.assertEqual(answer.headers[b'vary'],
                         b'Origin, Access-Control-Request-Method, Access-Control-Request-Headers')  # fmt: skip
        self.assertNotIn(b'content-length', answer.headers)
        self.assertNotIn(b'access-control-allow-credentials', answer.headers)
        self.assertIn(b'x-zato-cid', answer.headers)
        self.assertEqual(client.ask(post()).status, 200, 'the connection goes on')

    def test_a_site_that_may_not(self) -> None:
        """A site without permission is rejected with a message, and without CORS fields."""
        client = self.serve(cors=cors(methods=['POST']))
        for answer in (self.preflight(client, origin='Origin: https://evil.example'),
                       self.preflight(client, method='PUT')):  # fmt: skip
            self.assertEqual(answer.status, 403)
            self.assertIn(b'"details":"', answer.body)
            self.assertEqual([name for name in answer.headers if name.startswith(b'access-control-allow')], [])
        self.assertEqual(self.exchange.delivered, [])

    def test_methods_that_are_none(self) -> None:
        """Invalid methods are rejected like forbidden ones, and not repeated in the response."""
        client = self.serve(cors=cors())
        for method in ('G\xe9T', 'GET, PUT', 'G T'):
            answer = self.preflight(client, method=method)
            self.assertEqual((answer.status, answer.headers.get(b'access-control-allow-methods')), (403, None))
        self.assertEqual(self.preflight(client).status, 204, 'the connection goes on')

    def test_the_channel_is_found_by_the_method_that_will_come(self) -> None:
        """If two channels share a path, the requested method selects the rules."""
        channels = [
            channel(1, name='read', method='GET', cors=cors(origins=['*'])),
            channel(2, name='write', method='POST', cors=cors()),
            channel(3, name='delete', method='DELETE'),
        ]
        client = Server(self.exchange, channels=channels).connect()
        self.assertEqual(self.preflight(client, method='GET').headers[b'access-control-allow-origin'], b'*')
        self.assertEqual(self.preflight(client).headers[b'access-control-allow-origin'], b'https://shop.example')
        for method in ('DELETE', 'PUT'):
            answer = self.preflight(client, method=method)
            self.assertEqual(answer.status, 405, method)
        self.assertEqual(self.exchange.delivered, [])

    def test_options_of_the_channels_own(self) -> None:
        """OPTIONS requests that are no preflight reach the service, also between preflights; so do preflights if the
        channel has no CORS rules."""
        client = self.serve(cors=cors())
        for headers, status, served in (
            ((), 200, 1),
            ((SHOP,), 200, 2),
            ((SHOP, 'Access-Control-Request-Method: PUT'), 204, 2),
            ((), 200, 3),
            (('Access-Control-Request-Method: PUT',), 200, 4),
        ):
            answer = client.ask(get('/echo', *headers, method='OPTIONS'))
            self.assertEqual((answer.status, len(self.exchange.delivered)), (status, served), headers)
        client = self.serve()
        self.assertEqual(self.preflight(client).status, 200)

    def test_every_answer_tells(self) -> None:
        """All responses have CORS fields, so that scripts can read errors."""
        client = self.serve(cors=cors(expose=['X-Zato-CID']))
        for status in (200, 401, 429, 500):
            self.replies(b'{}', status)
            answer = client.ask(post('/echo', b'{}', SHOP))
            self.assertEqual(answer.status, status)
            self.assertEqual(answer.headers[b'access-control-allow-origin'], b'https://shop.example')
            self.assertEqual(answer.headers[b'access-control-expose-headers'], b'X-Zato-CID')
            self.assertEqual(answer.headers[b'vary'], b'Origin')
        for request in (post('/echo', b'{}', SHOP, 'Content-Encoding: br'), post('/echo', b'{}', SHOP, 'Expect: more')):
            answer = self.server.connect().ask(request)
            self.assertIn(answer.status, (415, 417))
            self.assertEqual(answer.headers[b'access-control-allow-origin'], b'https://shop.example')

    def test_a_body_that_is_too_large(self) -> None:
        """A body that is rejected while it arrives gets CORS fields too."""
        server = Server(self.exchange, channels=[channel(cors=cors())], max_body=10)
        client = server.connect()
        client.send(b'POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n' + SHOP.encode() +
                    b'\r\n\r\nff\r\n' + b'x' * 255)  # fmt: skip
        (answer,) = client.answers()
        self.assertEqual((answer.status, answer.headers[b'access-control-allow-origin']),
                         (413, b'https://shop.example'))  # fmt: skip

    def test_other_sites_and_none(self) -> None:
        """Other sites and requests without Origin are served without CORS fields, and with Vary."""
        client = self.serve(cors=cors())
        for headers in ((), ('Origin: https://evil.example',), ('Origin: null',)):
            answer = client.ask(post('/echo', b'{}', *headers))
            self.assertEqual((answer.status, answer.headers[b'vary']), (200, b'Origin'))
            self.assertNotIn(b'access-control-allow-origin', answer.headers)

    def test_the_same_for_all(self) -> None:
        """A channel open to every site needs no Vary."""
        answer = self.serve(cors=cors(origins=['*'])).ask(post('/echo', b'{}', SHOP))
        self.assertEqual(answer.headers[b'access-control-allow-origin'], b'*')
        self.assertNotIn(b'vary', answer.headers)

    def test_what_a_service_says_of_it(self) -> None:
        """CORS fields of a service are removed if the channel has rules, and kept otherwise."""
        self.replies(b'{}', Access_Control_Allow_Origin='https://evil.example', X_More='1')
        client = self.serve(cors=cors())
        client.send(post('/echo', b'{}', SHOP))
        data = client.received()
        self.assertEqual(data.lower().count(b'access-control-allow-origin'), 1)
        self.assertIn(b'X-More: 1\r\n', data)
        answer = self.serve().ask(post('/echo', b'{}', SHOP))
        self.assertEqual(answer.headers[b'access-control-allow-origin'], b'https://evil.example')

    def test_an_inactive_channel(self) -> None:
        """An inactive channel answers no preflights."""
        self.assertEqual(self.preflight(self.serve(cors=cors(), is_active=False)).status, 404)


class EtagTests(DressingCase):
    def ask(self, client: Client, known: str = '', method: str = 'GET', *headers: str) -> Answer:
        more = (f'If-None-Match: {known}',) if known else ()
        client.send(get('/echo', *more, *headers, method=method))
        (answer,) = client.answers(heads=method == 'HEAD')
        return answer

    def test_answers_have_one(self) -> None:
        """Responses to GET and HEAD have a strong tag that depends on the body; others have none."""
        client = self.serve(etag=True)
        tag = self.ask(client).headers[b'etag']
        self.assertRegex(tag, rb'^"[0-9a-f]{32}"$')
        self.assertEqual(self.ask(client, method='HEAD').headers[b'etag'], tag)
        self.replies(b'[]')
        self.assertNotEqual(self.ask(client).headers[b'etag'], tag)
        self.assertNotIn(b'etag', self.ask(client, method='POST').headers)
        self.replies(b'{}', 404)
        self.assertNotIn(b'etag', self.ask(client).headers)
        self.replies(b'{}')
        self.assertNotIn(b'etag', self.serve().ask(get('/echo')).headers)

    def test_what_the_client_has(self) -> None:
        """A matching If-None-Match gets 304 without a body, with the fields that caches use."""
        self.replies(b'{}', Cache_Control='max-age=5', Content_Language='en', Content_Location='/x')
        client = self.serve(etag=True, cors=cors())
        tag = self.ask(client).headers[b'etag'].decode()
        for known in (tag, f'"other", W/{tag}', '*'):
            for method in ('GET', 'HEAD'):
                answer = self.ask(client, known, method, SHOP)
                self.assertEqual((answer.status, answer.body), (304, b''))
                self.assertEqual(answer.headers[b'etag'].decode(), tag)
                self.assertEqual(answer.headers[b'cache-control'], b'max-age=5')
                self.assertEqual(answer.headers[b'access-control-allow-origin'], b'https://shop.example')
                self.assertEqual(answer.headers[b'content-location'], b'/x')
                for name in (b'content-type', b'content-length', b'content-language'):
                    self.assertNotIn(name, answer.headers)
        self.assertEqual(self.ask(client, '"other"').status, 200)
        self.assertEqual(self.ask(client, tag, 'POST').status, 200)
        self.replies(b'{}', 500)
        self.assertEqual(self.ask(client, '*').status, 500)

    def test_the_services_own(self) -> None:
        """A valid tag of the service takes precedence; an invalid one is replaced."""
        self.replies(b'{}', ETag='"v7"')
        client = self.serve(etag=True)
        self.assertEqual(self.ask(client).headers[b'etag'], b'"v7"')
        self.assertEqual(self.ask(client, '"v7"').status, 304)
        self.assertEqual(self.serve().ask(get('/echo', 'If-None-Match: "v7"')).status, 200)

    def test_a_large_body(self) -> None:
        """The tag of a large body is computed in a thread, and responses stay in order."""
        offloads = Offloads()
        self.replies(HUGE)
        client = self.serve(offload=offloads, etag=True)
        client.send(get('/echo') + get('/nowhere'))
        self.assertEqual((client.received(), len(offloads.waiting)), (b'', 1))
        offloads.work()
        first, second = client.answers()
        self.assertEqual((first.status, second.status, first.body), (200, 404, HUGE))
        self.assertIn(b'etag', first.headers)

    def test_a_stream(self) -> None:
        """A stream has only its service's tag; if it matches, the stream is closed unread."""
        closed: list[str] = []

        async def pieces() -> AsyncIterator[bytes]:
            try:
                yield b'one'
            finally:
                closed.append('closed')

        class Stream:
            def __aiter__(self) -> Any:
                return pieces()

            async def __anext__(self) -> bytes:
                raise StopAsyncIteration

            async def aclose(self) -> None:
                closed.append('dismissed')

        self.made = lambda: Reply(200, b'', JSON, [(b'ETag', b'"v7"')], stream=Stream())
        client = self.serve(etag=True)
        self.assertEqual(self.ask(client).body, b'one')
        closed.clear()
        self.assertEqual(self.ask(client, '"v7"').status, 304)
        self.assertEqual(closed, ['dismissed'])


class GzipTests(DressingCase):
    takes = 'Accept-Encoding: gzip, deflate, br'

    def ask(self, client: Client, *headers: str, method: str = 'GET') -> Answer:
        client.send(get('/echo', *(headers or (self.takes,)), method=method))
        (answer,) = client.answers(heads=method == 'HEAD')
        return answer

    def test_text_goes_out_compressed(self) -> None:
        """Text is compressed for clients that accept it; all responses have Vary."""
        self.replies(LONG)
        client = self.serve(compress=True)
        answer = self.ask(client)
        self.assertEqual((answer.headers[b'content-encoding'], answer.headers[b'vary']), (b'gzip', b'Accept-Encoding'))
        self.assertEqual(gzip.decompress(answer.body), LONG)
        self.assertLess(len(answer.body), 100)
        for headers in (('Accept-Encoding: gzip;q=0',), ('Accept-Encoding: br',), ('X-Nothing: 1',)):
            answer = self.ask(client, *headers)
            self.assertEqual((answer.body, answer.headers[b'vary']), (LONG, b'Accept-Encoding'))
            self.assertNotIn(b'content-encoding', answer.headers)
        head = self.ask(client, method='HEAD')
        self.assertEqual((head.headers[b'content-encoding'], head.body), (b'gzip', b''))
        self.assertNotIn(b'content-encoding', self.serve().ask(get('/echo', self.takes)).headers)

    def test_what_would_gain_nothing(self) -> None:
        """Short bodies, images, encoded, no-transform and partial responses are not compressed."""
        client = self.serve(compress=True)
        for made in (
            Reply(200, LONG[:1023], JSON), Reply(200, LONG, b'image/png'), Reply(206, LONG, JSON),
            Reply(200, LONG, JSON, [(b'Content-Encoding', b'br')]), Reply(200, LONG, JSON, [(b'Content-Type', b'x/y')]),
            Reply(200, LONG, JSON, [(b'Cache-Control', b'public, no-transform')]),
        ):  # fmt: skip
            self.made = lambda made=made: made
            answer = self.ask(client)
            self.assertEqual(answer.body, made.body)
            self.assertNotEqual(answer.headers.get(b'content-encoding'), b'gzip')
        self.made = lambda: Reply(204, b'', b'')
        self.assertEqual(self.ask(client).status, 204)

    def test_errors_too(self) -> None:
        """A long error response is compressed too."""
        self.replies(LONG, 500)
        answer = self.ask(self.serve(compress=True))
        self.assertEqual((answer.status, gzip.decompress(answer.body)), (500, LONG))

    def test_a_tag_is_weak_then(self) -> None:
        """A compressed response has a weak tag, equal for both codings; both forms match."""
        self.replies(LONG)
        client = self.serve(compress=True, etag=True)
        strong = self.ask(client, 'X-Nothing: 1').headers[b'etag'].decode()
        answer = self.ask(client)
        self.assertEqual(answer.headers[b'etag'].decode(), f'W/{strong}')
        self.assertEqual(answer.headers[b'vary'], b'Accept-Encoding')
        for headers in ((self.takes, f'If-None-Match: {strong}'), (f'If-None-Match: W/{strong}',)):
            answer = self.ask(client, *headers)
            self.assertEqual((answer.status, answer.body), (304, b''))
            self.assertNotIn(b'content-encoding', answer.headers)
        self.replies(LONG, ETag='"v7"')
        self.assertEqual(self.ask(self.serve(compress=True)).headers[b'etag'], b'W/"v7"')

    def test_a_large_body(self) -> None:
        """A large body is compressed in a thread; one just below the threshold is not."""
        offloads = Offloads()
        client = self.serve(offload=offloads, compress=True)
        self.replies(b'x' * THREAD_THRESHOLD)
        self.assertEqual(len(gzip.decompress(self.ask(client).body)), THREAD_THRESHOLD)
        self.replies(HUGE)
        client.send(get('/echo', self.takes))
        self.assertEqual((client.received(), len(offloads.waiting)), (b'', 1))
        offloads.work()
        (answer,) = client.answers()
        self.assertEqual(gzip.decompress(answer.body), HUGE)

    def test_threads_that_do_not_come_to_it(self) -> None:
        """If threads are busy, the body is sent uncompressed after some seconds; a later result is discarded."""
        offloads = Offloads()
        self.replies(HUGE)
        client = self.serve(offload=offloads, compress=True, etag=True)
        client.send(get('/echo', self.takes))
        self.server.wait(COMPRESSION_TIMEOUT)
        (answer,) = client.answers()
        self.assertEqual((answer.status, answer.body), (200, HUGE))
        self.assertNotIn(b'content-encoding', answer.headers)
        offloads.work()
        self.assertEqual(client.received(), b'')

    def test_a_client_that_leaves_meanwhile(self) -> None:
        """A client that disconnects during compression causes no error."""
        offloads = Offloads()
        self.replies(HUGE)
        client = self.serve(offload=offloads, compress=True)
        client.send(get('/echo', self.takes))
        client.wire.abortConnection()
        offloads.work()
        self.assertEqual(client.received(), b'')
        self.assertEqual(self.server.site.counters.gone, 1)

    def test_an_answer_that_cannot_be_sent(self) -> None:
        """A response that cannot be sent becomes a readable 500."""
        self.replies(LONG, X_Bad='a\r\nb')
        answer = self.ask(self.serve(compress=True))
        self.assertEqual(answer.status, 500)
        self.assertNotIn(b'content-encoding', answer.headers)
        self.assertIn(b'ZATO_ERROR', answer.body)
        self.assertEqual(len(self.flushLoggedErrors()), 0)


class StreamTests(DressingCase):
    takes = 'Accept-Encoding: gzip'

    def stream(self, content_type: bytes = JSON, etag: bytes = b'') -> None:
        """Answer with streams whose pieces a test provides with `self.next`; `self.closed`: they were closed."""
        self.waiting: list[Deferred[bytes]] = []
        self.closed = 0

        async def pieces() -> AsyncIterator[bytes]:
            try:
                while True:
                    waiting: Deferred[bytes] = Deferred()
                    self.waiting.append(waiting)
                    piece = await waiting
                    if piece == b'END':
                        return
                    yield piece
            finally:
                self.closed += 1

        headers = [(b'ETag', etag)] if etag else []
        self.made = lambda: Reply(200, b'', content_type, headers, stream=pieces())

    def next(self, piece: bytes) -> None:
        self.waiting.pop(0).callback(piece)
        self.server.clock.advance(0)

    def chunks(self, client: Client) -> bytes:
        """Return the data of the chunks received, without the last one."""
        data, out = client.received(), b''
        while data and not data.startswith(b'0\r\n'):
            size, _, rest = data.partition(b'\r\n')
            out, data = out + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        return out

    def test_each_piece_is_there_at_once(self) -> None:
        """The client can decode every piece as soon as it is sent."""
        self.stream(etag=b'"v7"')
        client = self.serve(compress=True)
        client.send(get('/echo', self.takes))
        head = client.received()
        self.assertIn(b'Content-Encoding: gzip\r\n', head)
        self.assertIn(b'ETag: W/"v7"\r\n', head)
        coder = zlib.decompressobj(16 + zlib.MAX_WBITS)
        for piece in (b'one', b'', b'two' * 1000, b'x' * (THREAD_THRESHOLD + 1)):
            self.next(piece)
            self.assertEqual(coder.decompress(self.chunks(client)), piece)
        self.next(b'END')
        self.assertEqual(coder.decompress(self.chunks(client)), b'')
        self.assertTrue(coder.eof)
        self.assertEqual(self.closed, 1)

    def test_streams_that_stay_as_they_are(self) -> None:
        """Event streams, and data that does not shrink, are not compressed."""
        for content_type in (b'text/event-stream', b'image/png'):
            self.stream(content_type)
            client = self.serve(compress=True)
            client.send(get('/echo', self.takes))
            self.assertNotIn(b'Content-Encoding', client.received())
            self.next(b'one')
            self.assertEqual(self.chunks(client), b'one')

    def test_a_client_that_leaves(self) -> None:
        """A client that disconnects closes the stream, also during compression in a thread."""
        offloads = Offloads()
        for piece in (b'', b'x' * (THREAD_THRESHOLD + 1)):
            self.stream()
            client = self.serve(offload=offloads, compress=True)
            client.send(get('/echo', self.takes))
            if piece:
                self.next(piece)
            client.wire.abortConnection()
            self.assertEqual(self.closed, 1)

    def test_head(self) -> None:
        """HEAD has the fields, and closes the stream unread."""
        self.stream()
        client = self.serve(compress=True)
        client.send(get('/echo', self.takes, method='HEAD'))
        (answer,) = client.answers(heads=True)
        self.assertEqual(answer.headers[b'content-encoding'], b'gzip')

    def test_one_that_breaks_off(self) -> None:
        """A failed stream aborts the connection, so that the client notices."""
        self.stream()
        client = self.serve(compress=True)
        client.send(get('/echo', self.takes))
        self.next(b'one')
        self.waiting.pop(0).errback(ValueError('broken'))
        self.server.clock.advance(0)
        self.assertTrue(client.closed)
        self.assertFalse(client.received().endswith(b'0\r\n\r\n'))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class LimitedTests(DressingCase):
    def test_fields_of_limits(self) -> None:
        """Rate limit fields are added to the response; a request without rate limits has none."""
        standing = RateLimitState(RateLimitHeaders(['api'], [GcraRate.from_limit(100, 60, 100)]), (7 * SECOND,))

        def rated(inbound: Message) -> Reply:
            inbound.rate_limit_state = standing
            return Reply(429, b'{}', JSON, ((b'Retry-After', b'7'),))

        client = self.serve(rate_limits=['api'], cors=cors())
        answer = client.ask(post())
        self.assertNotIn(b'ratelimit', answer.headers)
        self.exchange.at_once = rated
        answer = client.ask(post('/echo', b'{}', SHOP))
        self.assertEqual((answer.status, answer.headers[b'retry-after']), (429, b'7'))
        self.assertEqual(answer.headers[b'ratelimit-policy'], b'"api";q=100;w=60')
        self.assertEqual(answer.headers[b'ratelimit'], b'"api";r=88;t=7')
        self.assertEqual([answer.headers[b'ratelimit-' + name] for name in (b'limit', b'remaining', b'reset')],
                         [b'100', b'88', b'7'])  # fmt: skip
        self.assertEqual(answer.headers[b'access-control-allow-origin'], b'https://shop.example')

    def test_a_channel_with_nothing(self) -> None:
        """A channel without filters has no ResponseFilters."""
        client = self.serve()
        client.ask(post())
        place = client.connection._reader._resolved
        assert place is not None
        self.assertIsNone(place.response_filter)
