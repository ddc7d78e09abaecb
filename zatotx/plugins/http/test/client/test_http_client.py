"""Successful calls: what is sent, what is returned, and which connection is used. Uses sockets."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import gatherResults

from zatotx.plugins.http.client.http_messages import HttpRequest, HttpResponse, Origin
from zatotx.plugins.http.test.scripted_peers import OK, Talk, WithCore, answers, pause, silent


class RequestTests(WithCore):
    async def heard(self, **more: Any) -> bytes:
        """Return what the peer receives of a request."""
        peer = self.listen(answers())
        client = self.core()
        answer = await client.send(self.call(peer, **more))
        self.assertEqual(answer.body, b'ok')
        return bytes(peer.talk.heard.replace(b'127.0.0.1:%d' % peer.port, b'HOST'))

    async def test_a_get(self) -> None:
        """A GET has its request line, Host, the fields as given, and no framing fields."""
        heard = await self.heard(target=b'/a%20b?c=d', headers=[(b'Accept', b'a/b'), (b'X-Empty', b'')])
        self.assertEqual(heard, b'GET /a%20b?c=d HTTP/1.1\r\nHost: HOST\r\nAccept: a/b\r\nX-Empty: \r\n\r\n')

    async def test_bodies(self) -> None:
        """Bodies have a Content-Length; methods that usually have a body send `Content-Length: 0` without one."""
        heard = await self.heard(method='PATCH')
        self.assertEqual(heard, b'PATCH / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0\r\n\r\n')
        heard = await self.heard(method='DELETE', body=b'{}\r\n\r\n')
        self.assertEqual(heard, b'DELETE / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 6\r\n\r\n{}\r\n\r\n')
        heard = await self.heard(body=b'')
        self.assertEqual(heard, b'GET / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0\r\n\r\n')

    async def test_the_host_is_the_callers_if_he_says_so(self) -> None:
        """A Host field set by the caller replaces the client's."""
        heard = await self.heard(headers=[(b'A', b'b'), (b'host', b'other.example')])
        self.assertEqual(heard, b'GET / HTTP/1.1\r\nA: b\r\nhost: other.example\r\n\r\n')

    async def test_a_body_of_any_size(self) -> None:
        """A body of any size arrives completely, even at a slow peer, and the connection is reused."""
        for size in (65_535, 65_537, 8_000_000):
            await self.send_slowly(bytes(range(256)) * (size // 256 + 1))

    async def send_slowly(self, body: bytes) -> None:
        peer = self.listen(silent)
        client = self.core()
        sending = client.send(self.call(peer, 'POST', body=body))
        await self.until(lambda: peer.talks and peer.talk.heard)
        peer.talk.freeze()
        await pause(0.05)
        peer.talk.transport.resumeProducing()
        await self.until(lambda: len(peer.talk.heard) > len(body))
        peer.talk.say(OK)
        await sending
        self.assertTrue(peer.talk.heard.partition(b'\r\n\r\n')[2] == body)
        self.clean(client, idle=1)

    async def test_what_must_not_be_sent(self) -> None:
        """Invalid requests are rejected with a message before a connection is opened."""
        peer = self.listen(silent)
        client = self.core()
        wrong: list[tuple[dict[str, Any], str]] = [
            ({'target': b'/a b'}, 'percent-encoded'), ({'target': b'/a\r\nX: y'}, 'percent-encoded'),
            ({'target': b''}, 'percent-encoded'), ({'method': 'GET /x HTTP/1.1\r\nA:'}, 'not one word'),
            ({'method': ''}, 'not one word'), ({'method': 'GÉT'}, 'not one word'),
            ({'method': 'CONNECT'}, 'makes a tunnel'),
            ({'headers': [(b'A', b'secret\r\nB: c')]}, 'field A has control'),
            ({'headers': [(b'A', b'secret\0')]}, 'field A has control'),
            ({'headers': [(b'A: b\r\nC', b'd')]}, 'characters that no name'),
            ({'headers': [(b'A ', b'd')]}, 'characters that no name'),
            ({'headers': [(b'Content-Length', b'5')]}, 'Content-Length is written by the client'),
            ({'headers': [(b'transfer-encoding', b'chunked')]}, 'written by the client'),
            ({'headers': [(b'Connection', b'close')]}, 'written by the client'),
            ({'headers': [(b'Host', b'a'), (b'host', b'b')]}, 'Host stands twice'),
        ]
        for more, said in wrong:
            error = self.assertRaises(ValueError, client.send, self.call(peer, **{'method': 'GET', **more}))
            self.assertIn(said, str(error))
            self.assertNotIn('secret', str(error))
        for host in ('a b', 'a\r\nb', 'a/b', '', 'x@y'):
            self.assertRaises(ValueError, client.send, HttpRequest('GET', Origin('http', host, 80)))
        await pause(0.02)
        self.assertEqual(peer.talks, [])
        self.clean(client)

    def test_what_is_shown(self) -> None:
        """The repr of requests and responses contains no field, query or body, which may be secret."""
        origin = Origin('https', '::1', 8443)
        outbound = HttpRequest('POST', origin, b'/a?key=secret', [(b'Authorization', b'secret')], b'secret')
        self.assertEqual(repr(outbound), '<Outbound POST https://[::1]:8443/a>')


class AnswerTests(WithCore):
    async def answer(self, data: bytes, method: str = 'GET', *, close: bool = False) -> HttpResponse:
        peer = self.listen(answers(data))
        client = self.core()
        sending = client.send(self.call(peer, method))
        if close:
            await self.until(lambda: peer.talks and peer.talk.heard)
            peer.talk.close()
        answer = await sending
        self.client_idle = client.idle
        return answer

    async def test_as_values(self) -> None:
        """A response has status, reason, version, fields and body."""
        answer = await self.answer(b'HTTP/1.1 404 Not Here\r\nX-A: b\r\nx-a: c\r\nContent-Length: 3\r\n\r\nabc')
        self.assertEqual((answer.status, answer.reason, answer.version), (404, b'Not Here', (1, 1)))
        self.assertEqual(answer.headers, {b'x-a': b'b, c', b'content-length': b'3'})
        self.assertEqual(answer.raw_headers, [(b'X-A', b'b'), (b'x-a', b'c'), (b'Content-Length', b'3')])
        self.assertEqual((answer.body, answer.trailers, repr(answer)), (b'abc', (), '<Answer 404>'))

    async def test_no_body(self) -> None:
        """Responses to HEAD, and those of certain statuses, have no body; the connection is reused."""
        for data, method in (
            (b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n', 'HEAD'),
            (b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', 'HEAD'),
            (b'HTTP/1.1 204 No Content\r\n\r\n', 'DELETE'), (b'HTTP/1.1 304 Same\r\nContent-Length: 5\r\n\r\n', 'GET'),
        ):
            answer = await self.answer(data, method)
            self.assertEqual((answer.body, self.client_idle), (b'', 1))

    async def test_chunks(self) -> None:
        """Chunks are joined; trailers are separate from the fields."""
        answer = await self.answer(
            b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;x=y\r\nd\r\n0\r\nDigest: z\r\n\r\n')
        self.assertEqual((answer.body, answer.trailers, self.client_idle), (b'abcd', ((b'Digest', b'z'),), 1))

    async def test_until_the_end(self) -> None:
        """A body without a length ends with its connection."""
        answer = await self.answer(b'HTTP/1.0 200 OK\r\n\r\nall of it', close=True)
        self.assertEqual((answer.body, self.client_idle), (b'all of it', 0))

    async def test_in_single_bytes(self) -> None:
        """A response may arrive in single bytes."""
        peer = self.listen(silent)
        client = self.core()
        data = (b'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n'
                b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n')
        for _ in range(2):
            sending = client.send(self.call(peer))
            await self.until(lambda: peer.talks and peer.talk.heard)
            for at in range(len(data)):
                peer.talk.say(data[at:at + 1])
                await pause(0)
            self.assertEqual((await sending).body, b'abc')
            peer.talk.heard = b''
        self.assertEqual(len(peer.talks), 1)

    async def test_as_long_as_it_may_be(self) -> None:
        """A body may have `most` bytes, whatever its framing; the failure tests cover one byte more."""
        body = b'x' * 100_000
        for framing, data in ((b'Content-Length: 100000', body),
                              (b'Transfer-Encoding: chunked', b'186a0\r\n' + body + b'\r\n0\r\n\r\n')):
            peer = self.listen(answers(b'HTTP/1.1 200 OK\r\n' + framing + b'\r\n\r\n' + data))
            answer = await self.core().send(self.call(peer, max_body=100_000))
            self.assertTrue(answer.body == body)


class ManyTests(WithCore):
    async def test_a_crowd(self) -> None:
        """Of a thousand calls over ten connections each gets its own response, one at a time per connection."""
        def echo(talk: Talk) -> None:
            self.assertEqual(talk.heard.count(b'\r\n\r\n'), 1, 'never two requests before an answer')
            number = talk.heard.split(b' ')[1][1:]
            talk.heard = b''
            talk.say(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b' % (len(number), number))

        peer = self.listen(echo)
        client = self.core(max_connections=10)
        sendings = [client.send(self.call(peer, target=b'/%d' % n)) for n in range(1000)]
        self.assertEqual((client.active, client.waiting), (10, 990))
        got = await gatherResults(sendings)
        self.assertEqual([answer.body for answer in got], [b'%d' % n for n in range(1000)])
        self.assertEqual(len(peer.talks), 10)
        self.clean(client, idle=10)

    async def test_calls_within_calls(self) -> None:
        """A caller may send another call from its callback, to any depth."""
        peer = self.listen(answers())
        client = self.core(max_connections=1)

        async def chain(left: int) -> int:
            await client.send(self.call(peer))
            return 1 + (await chain(left - 1) if left else 0)

        self.assertEqual(await chain(100), 101)
        self.assertEqual(len(peer.talks), 1)
