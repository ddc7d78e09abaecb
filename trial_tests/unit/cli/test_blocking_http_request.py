"""The HTTP client of the command line: one request, a timeout for the whole, and distinct errors."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.command import zatotx
from zatotx.cli.environment.blocking_http_request import (
    BlockingRequest,
    BlockingResponse,
    IncompleteResponseError,
    UnreachableError,
    basic_auth_header,
    send_request,
)
from zatotx.cli.environment.cluster_client import error_reason, raise_for_status, response_element, split_errors
from zatotx.cli.environment.components.server import parse_not_ready_reasons
from zatotx.cli.environment.environment_layout import UserCredentials
from zatotx.cli.environment.listen_addresses import ListenAddress
from zatotx.cli.errors import CommandError
from zatotx.cli.service import print_deployment_report

GET = BlockingRequest('GET', '/x', {'X-A': 'b'})
OK = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-CID: c\r\n\r\nok'


class Peer:
    """A server that accepts one connection at a time and handles each with the given function."""

    def __init__(self, *turns: Callable[[socket.socket], object]) -> None:
        self.heard: list[bytes] = []
        self._turns = turns
        self._listener = socket.create_server(('127.0.0.1', 0))
        self._listener.settimeout(60)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with closing(self._listener):
            for turn in self._turns:
                connection, _ = self._listener.accept()
                with connection:
                    connection.settimeout(60)
                    self.heard.append(connection.recv(65536))
                    turn(connection)

    def close(self) -> None:
        self._thread.join(60)


def says(data: bytes) -> Callable[[socket.socket], object]:
    return lambda connection: connection.sendall(data)


def until_closed(connection: socket.socket) -> None:
    """Send nothing until the client closes the connection."""
    connection.recv(1)


def drip(connection: socket.socket) -> None:
    """Send a byte every 50 ms until the client closes the connection."""
    connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n')
    pause = threading.Event()
    try:
        while not pause.wait(0.05):
            connection.sendall(b'x')
    except OSError:
        return


class SendRequestTests(SynchronousTestCase):
    """send_request() returns the response, or says whether the request may have been processed."""

    def peer(self, *turns: Callable[[socket.socket], object]) -> tuple[Peer, ListenAddress]:
        peer = Peer(*turns)
        self.addCleanup(peer.close)
        return peer, ListenAddress('http', '127.0.0.1', peer.port)

    def test_an_answer(self) -> None:
        """The response has status, lower-case headers and body; the request is sent as specified."""
        peer, address = self.peer(says(OK))
        self.assertEqual(
            send_request(address, GET, 5), BlockingResponse(200, {'content-length': '2', 'x-cid': 'c'}, b'ok')
        )
        self.assertTrue(peer.heard[0].startswith(b'GET /x HTTP/1.1\r\n'), peer.heard)
        self.assertIn(b'X-A: b\r\n', peer.heard[0])

    def test_nobody_there(self) -> None:
        """A refused connection is an UnreachableError: another server may be tried."""
        with socket.create_server(('127.0.0.1', 0)) as gone:
            port = gone.getsockname()[1]
        error = self.assertRaises(UnreachableError, send_request, ListenAddress('http', '127.0.0.1', port), GET, 5)
        self.assertIn(f'127.0.0.1:{port} is unreachable', str(error))

    def test_cut_off(self) -> None:
        """A missing, truncated or malformed response is an IncompleteResponseError: the request may have been
        processed."""
        for data in (b'', OK[:20], OK[:-1], b'nonsense\r\n\r\n'):
            _, address = self.peer(says(data))
            error = self.assertRaises(IncompleteResponseError, send_request, address, GET, 5)
            self.assertIn('closed the connection', str(error))

    def test_silence_and_drips_end_in_time(self) -> None:
        """The timeout applies to the whole request, not only to each step."""
        for turn in (until_closed, drip):
            _, address = self.peer(turn)
            begun = time.monotonic()
            error = self.assertRaises(IncompleteResponseError, send_request, address, GET, 0.4)
            self.assertIn('did not respond within 0.4 s', str(error))
            self.assertTrue(0.3 < time.monotonic() - begun < 30)

    def test_basic(self) -> None:
        """RFC 7617, in UTF-8."""
        self.assertEqual(basic_auth_header(UserCredentials('test', '123£')), 'Basic dGVzdDoxMjPCow==')


class ReasonTests(SynchronousTestCase):
    """Error messages made of responses."""

    def test_details(self) -> None:
        """The server's message; for a 500 where the traceback is; any other body unchanged."""
        cases = {
            (400, b'{"zato_env": {"details": "$.a: missing", "cid": "c"}}'): '$.a: missing',
            (500, b'{"zato_env": {"details": "Failed", "cid": "c1"}}'):
                'Failed (cid c1: the traceback is in the log of the server)',
            (400, b'{"zato_env": {"details": ["a", "b"]}}'): 'a; b',
            (502, b'<html>'): 'The server responded with 502 <html>',
            (502, b''): 'The server responded with 502',
            (404, b'[]'): 'The server responded with 404 []',
        }
        for (status, body), expected in cases.items():
            self.assertEqual(error_reason(BlockingResponse(status, {}, body)), expected)

    def test_several_mistakes(self) -> None:
        """Errors of an import, of input elements and of a deployed file are separated."""
        for details, expected in (
            ('$.a: missing; $.b: x; y', ['$.a: missing', '$.b: x; y']), ('s: a\ns: b; c', ['s: a', 's: b; c']),
            ('crm.py:3: x; y; crm/util.py:7: z', ['crm.py:3: x; y', 'crm/util.py:7: z']), (['a', 'b'], ['a', 'b']),
        ):  # fmt: skip
            body = json.dumps({'zato_env': {'details': details}}).encode()
            self.assertEqual(split_errors(BlockingResponse(400, {}, body)), expected)
            said = self.assertRaises(CommandError, raise_for_status, BlockingResponse(400, {}, body)).format_message()
            self.assertEqual(said.splitlines(), ['The server reported 2 errors:', *(f'  {each}' for each in expected)])

    def test_elements(self) -> None:
        """The element beside zato_env; None if there is none."""
        for body, expected in ((b'{"zato_env": {}, "x_response": [1]}', [1]), (b'{"zato_env": {}}', None), (b'', None),
                               (b'[2]', [2])):
            self.assertEqual(response_element(BlockingResponse(200, {}, body)), expected)


    def test_why_a_server_is_not_ready(self) -> None:
        """The server's reasons; for any other body the status."""
        self.assertEqual(
            parse_not_ready_reasons(BlockingResponse(503, {}, b'{"status": "not ready", "reasons": ["a", "b"]}')),
            'a; b',
        )
        for body in (b'', b'[]', b'{}', b'{"reasons": []}'):
            self.assertEqual(parse_not_ready_reasons(BlockingResponse(503, {}, body)), '/zato/ready responds with 503')

    def test_deployments(self) -> None:
        """Nodes that refused a version, with the reason, and nodes that did not respond, one per line."""
        report = {'file': 'a.py', 'number': 2, 'refused': {'server2': 'a.py:1: no'}, 'missing': ['server3']}
        error = self.assertRaises(CommandError, print_deployment_report, report)
        self.assertEqual(
            error.format_message(),
            '2 nodes do not run it:\n  server2 refused a.py version 2: a.py:1: no.\n'
            '  server3 did not report in time whether it runs a.py version 2.',
        )


class WaitTests(SynchronousTestCase):
    """`zatotx wait`."""

    def test_until_it_answers_well(self) -> None:
        """The command waits while the status is 503, and succeeds with a 2xx."""
        peer = Peer(says(b'HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n'), says(OK))
        said = zatotx('wait', '--address', f'http://127.0.0.1:{peer.port}', '--url-path', 'x/y', '--interval', '0.01')
        peer.close()
        self.assertEqual(said.code, 0, said)
        self.assertTrue(peer.heard[1].startswith(b'GET /x/y '), peer.heard)

    def test_until_its_time_is_over(self) -> None:
        """After the timeout the exit code is 1, with the last error."""
        with socket.create_server(('127.0.0.1', 0)) as gone:
            port = gone.getsockname()[1]
        said = zatotx('wait', '--address', f'127.0.0.1:{port}', '--timeout', '0.1', '--interval', '0.02')
        self.assertEqual(said.code, 1)
        self.assertIn(f'127.0.0.1:{port}/zato/ping did not respond with 2xx within 0.1 s', said.err)
