"""Properties of exchanges through the load balancer: the result does not depend on how the network cuts the bytes."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.answers_corpus import ODD
from trial_tests.support.lb_memory import MemoryFrontend
from trial_tests.support.properties import holds

_TOKEN = st.text('abcXYZ019-', min_size=1, max_size=8).map(str.encode)
_VALUE = st.text('abc XYZ;=,"', max_size=12).map(lambda text: text.strip().encode())
_FIELDS = st.lists(st.tuples(_TOKEN.map(lambda name: b'X-' + name), _VALUE), max_size=4)
_PIECES = st.lists(st.binary(min_size=1, max_size=40), max_size=5)
_CUTS = st.sets(st.integers(0, 900), max_size=8)


def cut(data: bytes, cuts: set[int]) -> list[bytes]:
    """The bytes in pieces."""
    edges = [0, *sorted(at for at in cuts if 0 < at < len(data)), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def framed(pieces: list[bytes], *, chunked: bool) -> tuple[bytes, bytes]:
    """The framing field and the body."""
    body = b''.join(pieces)
    if chunked:
        chunks = b''.join(b'%x\r\n%b\r\n' % (len(piece), piece) for piece in pieces)
        return b'Transfer-Encoding: chunked\r\n', chunks + b'0\r\n\r\n'
    return b'Content-Length: %d\r\n' % len(body), body


def unframed(message: bytes) -> tuple[bytes, bytes]:
    """Head and body of a message that passed the load balancer."""
    head, _, rest = message.partition(b'\r\n\r\n')
    if b'Transfer-Encoding: chunked' not in head:
        return head, rest
    body = b''
    while True:
        size, _, rest = rest.partition(b'\r\n')
        if not int(size, 16):
            return head, body
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]


class ExchangeProperties(SynchronousTestCase):
    @holds(
        method=st.sampled_from([b'GET', b'POST', b'PUT', b'DELETE']), fields=_FIELDS, pieces=_PIECES,
        chunked=st.booleans(), answer=_PIECES, answer_chunked=st.booleans(), cuts=_CUTS, answer_cuts=_CUTS,
        count=st.integers(1, 3),
    )  # fmt: skip
    def test_messages_pass_unchanged(
        self, method: bytes, fields: list[tuple[bytes, bytes]], pieces: list[bytes], chunked: bool,
        answer: list[bytes], answer_chunked: bool, cuts: set[int], answer_cuts: set[int], count: int,
    ) -> None:
        """Method, fields and body of each of several pipelined requests reach the server, and status, fields and body
        of its responses the client, however both are framed and cut."""
        memory = MemoryFrontend(servers=['one'])
        lines = b''.join(b'%b: %b\r\n' % field for field in fields)
        framing, body = framed(pieces, chunked=chunked)
        request = b'%b /a HTTP/1.1\r\nHost: x\r\n%b%b\r\n%b' % (method, lines, framing, body)
        answer_framing, answer_body = framed(answer, chunked=answer_chunked)
        response = b'HTTP/1.1 201 Made\r\n%b%b\r\n%b' % (lines, answer_framing, answer_body)
        client = memory.client()
        for piece in cut(request * count, cuts):
            client.say(piece)
        for _ in range(count):
            server = memory.servers[0]
            head, received = unframed(server.taken())
            self.assertEqual((head.split(b' ')[0], received), (method, b''.join(pieces)))
            for field in fields:
                self.assertIn(b'\r\n%b: %b' % field, head)
            for piece in cut(response, answer_cuts):
                server.say(piece)
            head, received = unframed(client.taken())
            self.assertTrue(head.startswith(b'HTTP/1.1 201 Made\r\n'))
            self.assertEqual(received, b''.join(answer))
        self.assertEqual((memory.log.endings, client.closed), ([(201, '--')] * count, False))

    @holds(response=st.sampled_from(sorted(data for data, *_ in ODD.values())), cuts=_CUTS)
    def test_odd_responses(self, response: bytes, cuts: set[int]) -> None:
        """An unusual response has one result, however it is cut, and never an exception."""
        results = []
        for pieces in ([response], cut(response, cuts), [response[at : at + 1] for at in range(len(response))]):
            memory = MemoryFrontend(servers=['one'])
            client = memory.client(b'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n')
            server = memory.servers[0]
            for piece in pieces:
                if not server.closed:
                    server.say(piece)
            server.end()
            head, body = unframed(client.taken()) if client.value() else (b'', b'')
            results.append((head.partition(b'\r\n')[0], body, memory.log.endings))
        self.assertEqual(results[0], results[1])
        self.assertEqual(results[0], results[2])
