"""Attempts to smuggle requests through the load balancer: each ends with an error, and no server sees a second request.

The server is played by the strict parser of the servers, and by a lenient search for request lines.
"""

from __future__ import annotations

import re

from trial_tests.support.corpora import http1_cases, with_host
from trial_tests.support.lb_memory import LoadBalancerTests, MemoryFrontend
from trial_tests.support.parsed import outcome
from trial_tests.unit.wire.test_http1_corpus import LEGAL_HERE, NOT_SPOKEN, REFUSED_HERE

SECOND = b'GET /admin HTTP/1.1\r\nHost: x\r\n\r\n'
POST = b'POST / HTTP/1.1\r\nHost: x\r\n'
CL, TE = b'Content-Length: %d\r\n' % len(SECOND), b'Transfer-Encoding: chunked\r\n'
CHUNK = b'5\r\nhello\r\n'
ATTEMPTS = {
    'CL.TE': POST + CL + TE + b'\r\n0\r\n\r\n' + SECOND,
    'TE.CL': POST + TE + b'Content-Length: 4\r\n\r\n5c\r\n' + SECOND + b'0\r\n\r\n',
    'TE.TE identity': POST + TE + b'Transfer-Encoding: identity\r\n\r\n0\r\n\r\n' + SECOND,
    'TE.TE case': POST + TE + b'transfer-encoding: xchunked\r\n\r\n0\r\n\r\n' + SECOND,
    'TE space before colon': POST + CL + b'Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n' + SECOND,
    'TE folded': POST + CL + b'Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n' + SECOND,
    'TE tab': POST + CL + b'Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n' + SECOND,
    'TE vertical tab': POST + CL + b'Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n' + SECOND,
    'TE underscore': POST + CL + b'Transfer_Encoding: chunked\r\n\r\n0\r\n\r\n' + SECOND,
    'TE quoted': POST + CL + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n' + SECOND,
    'TE in HTTP/1.0': POST.replace(b'1.1', b'1.0') + TE + b'\r\n0\r\n\r\n' + SECOND,
    'two lengths': POST + CL + b'Content-Length: 0\r\n\r\n' + SECOND,
    'length list': POST + b'Content-Length: 0, 30\r\n\r\n' + SECOND,
    'length with sign': POST + b'Content-Length: +0\r\n\r\n' + SECOND,
    'length in hex': POST + b'Content-Length: 0x1e\r\n\r\n' + SECOND,
    'bare CR in head': POST + b'X: a\rContent-Length: 30\r\n\r\n' + SECOND,
    'bare LF in head': POST + b'X: a\nContent-Length: 30\r\n\r\n' + SECOND,
    'bare LF after head': b'POST / HTTP/1.1\nHost: x\nContent-Length: 30\n\n' + SECOND,
    'NUL in field': POST + b'X: a\0b\r\n\r\n' + SECOND,
    'chunk size overflow': POST + TE + b'\r\n10000000000000005\r\nhello\r\n0\r\n\r\n' + SECOND,
    'chunk size sign': POST + TE + b'\r\n+5\r\nhello\r\n0\r\n\r\n' + SECOND,
    'chunk size space': POST + TE + b'\r\n5 \r\nhello\r\n0\r\n\r\n' + SECOND,
    'chunk size 0x': POST + TE + b'\r\n0x5\r\nhello\r\n0\r\n\r\n' + SECOND,
    'chunk line LF': POST + TE + b'\r\n5\nhello\r\n0\r\n\r\n' + SECOND,
    'chunk end LF': POST + TE + b'\r\n5\r\nhello\n0\r\n\r\n' + SECOND,
    'chunk too long': POST + TE + b'\r\n5\r\nhelloX\r\n0\r\n\r\n' + SECOND,
    'chunk extension LF': POST + TE + b'\r\n5;a\nb\r\nhello\r\n0\r\n\r\n' + SECOND,
    'chunk extension CR': POST + TE + b'\r\n5;a\rb\r\nhello\r\n0\r\n\r\n' + SECOND,
    'trailer framing': POST + TE + b'\r\n0\r\nContent-Length: 5\r\n\r\n' + SECOND,
    'trailer host': POST + TE + b'\r\n0\r\nHost: evil\r\n\r\n' + SECOND,
    'two hosts': b'GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n' + SECOND,
    'space in target': b'GET / x HTTP/1.1\r\nHost: x\r\n\r\n' + SECOND,
    'HTTP/2 preface': b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' + SECOND,
    'HTTP/0.9': b'GET /\r\n\r\n' + SECOND,
}
# What is no attempt: both sides agree on it, and it is written again in one way.
_LEGAL = {'TE tab'}
_OTHER_STATUS = {'HTTP/2 preface': 505}


def seen_requests(received: bytes) -> int:
    """How many requests a lenient server could find in these bytes."""
    return len(re.findall(rb'(?m)^[A-Z]+ \S+ HTTP/1', received))


class SmugglingTests(LoadBalancerTests):
    def statuses(self, data: bytes) -> tuple[list[int], list[bytes], bool]:
        """The statuses that a client gets for these bytes, what each server has received, and whether the client's
        connection ends. Servers answer each complete request."""
        memory = MemoryFrontend(servers=['one'])
        client = memory.client(data)
        for _ in range(4):
            for server in memory.servers:
                if not server.closed and server.protocol.user is not None and server.protocol.user.request_sent:
                    server.say(b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
        if not client.closed:
            client.half_close()
        statuses = [int(status) for status in re.findall(rb'HTTP/1\.1 (\d+) ', client.taken())]
        memory.wait(6)
        return statuses, [server.taken() for server in memory.servers], client.closed

    def test_attempts(self) -> None:
        """Each ends at 400 (501 or 505 where something is not spoken), and the hidden request reaches no server. A
        server sees at most the beginning of the first request, and not its end."""
        for name, data in ATTEMPTS.items():
            if name in _LEGAL:
                continue
            statuses, received, closed = self.statuses(data)
            self.assertEqual((name, statuses, closed), (name, [_OTHER_STATUS.get(name, 400)], True))
            for text in received:
                self.assertLessEqual(seen_requests(text), 1, name)
                self.assertNotIn(b'/admin', text)
                self.assertNotEqual(outcome([text]).status, 0, name)

    def test_byte_by_byte(self) -> None:
        """The same if each byte comes alone."""
        for name, data in ATTEMPTS.items():
            if name in _LEGAL:
                continue
            memory = MemoryFrontend(servers=['one'])
            client = memory.client()
            for at in range(len(data)):
                client.say(data[at : at + 1])
            for server in memory.servers:
                self.assertNotIn(b'/admin', server.value(), name)
                self.assertTrue(server.aborted, name)

    def test_agreed_framing(self) -> None:
        """A legal but unusual spelling is written again in the usual one."""
        chunks = b'05;x=y\r\nhello\r\n00\r\n\r\n'
        statuses, received, _ = self.statuses(POST + b'transfer-encoding:\tChunked\r\n\r\n' + chunks)
        self.assertEqual(statuses, [200])
        self.assertTrue(received[0].endswith(b'Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n'), received)

    def test_corpus_of_invalid_requests(self) -> None:
        """None of gunicorn's invalid requests is passed on as a complete request, the listed exceptions aside."""
        for name, data in http1_cases('invalid').items():
            for request in (data, with_host(data)):
                statuses, received, closed = self.statuses(request)
                if name in LEGAL_HERE:
                    continue
                expected = {400, 431, NOT_SPOKEN.get(name, (400, ''))[0]}
                self.assertTrue(statuses and statuses[-1] in expected and closed, (name, statuses, closed))
                for text in received:
                    self.assertNotEqual(outcome([text]).status, 0, name)

    def test_corpus_of_valid_requests(self) -> None:
        """Each of gunicorn's valid requests is passed on as one that the servers' parser accepts, with the same
        body."""
        for name, data in http1_cases('valid').items():
            request = with_host(data)
            if name in REFUSED_HERE or request.startswith((b'CONNECT', b'OPTIONS *')):
                continue
            statuses, received, _ = self.statuses(request)
            sent = outcome([request]).messages
            self.assertEqual(set(statuses), {200}, name)
            got = outcome([b''.join(received)])
            self.assertEqual((got.status, [message.body for message in got.messages]),
                             (0, [message.body for message in sent]), name)  # fmt: skip
