"""Bad and boundless input at a real server: each has a status of its own, none is a fault of ours."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import Broker
from trial_tests.support.rawhttp import Answer, connected, request_bytes
from trial_tests.support.served import one_server

MIB = 2**20
JSON = {'Content-Type': 'application/json'}


class LimitTests(SynchronousTestCase):
    """Sizes: what goes over is answered once, by its own status, and the connection closed."""

    def setUp(self) -> None:
        self.broker: Broker = one_server()

    def refused(self, data: bytes, status: int) -> Answer:
        """The answer to these bytes, which must have that status and end the connection."""
        with connected(self.broker.port()) as connection:
            connection.send(data)
            answer = connection.answer()
            self.assertEqual(answer.status, status, answer.body)
            self.assertTrue(connection.is_closed(), 'the connection stayed open')
            self.assertEqual(self.broker.ask('GET', '/zato/ping').status, 200)
            return answer

    def test_head_over_32_kib_is_431(self) -> None:
        """A head of many fields, none too long by itself, over 32 KiB in all."""
        fields = {f'X-{n}': 'v' * 4000 for n in range(9)}
        self.refused(request_bytes('GET', '/zato/ping', fields), 431)

    def test_head_that_never_ends_is_431(self) -> None:
        """The bound holds before the head is whole."""
        self.refused(b'GET /zato/ping HTTP/1.1\r\nHost: t\r\n' + b'X-A: ' + b'v' * 40000, 431)

    def test_more_than_100_fields_is_431(self) -> None:
        """A hundred are taken, one more is not."""
        hundred = {f'X-{n}': 'v' for n in range(99)}  # and Host
        self.assertEqual(self.broker.ask('GET', '/zato/ping', fields=hundred).status, 200)
        self.refused(request_bytes('GET', '/zato/ping', {**hundred, 'X-99': 'v'}), 431)

    def test_target_over_8_kib_is_414(self) -> None:
        """A long query is no reason for a fault."""
        self.refused(request_bytes('GET', '/zato/ping?' + 'q' * 8300), 414)

    def test_body_over_20_mib_is_413_before_it_is_sent(self) -> None:
        """The length alone is enough."""
        self.refused(request_bytes('POST', '/acc/raw', {'Content-Length': str(20 * MIB + 1)}), 413)

    def test_body_of_100_mib_is_413(self) -> None:
        """A client that sends all of it, deaf to the answer, still finds the answer."""
        fields = {'Content-Length': str(100 * MIB)}
        self.refused(request_bytes('POST', '/acc/raw', fields, b'x' * 100 * MIB), 413)

    def test_chunked_body_over_20_mib_is_413(self) -> None:
        """Without a length the bound holds on the way."""
        head = b'POST /acc/raw HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n'
        chunk = b'100000\r\n' + b'x' * MIB + b'\r\n'
        self.refused(head + chunk * 21 + b'0\r\n\r\n', 413)

    def test_body_of_20_mib_is_taken(self) -> None:
        """The limit itself is within the limit; what is above 1 MiB is spooled and whole."""
        answer = self.broker.ask('POST', '/acc/raw', body=b'x' * 20 * MIB)
        self.assertEqual((answer.status, answer.body), (200, str(20 * MIB).encode()))

    def test_gzip_body_is_decoded(self) -> None:
        """gzip and deflate are taken off; another coding is 415, and says what is taken."""
        for coding, compress in (('gzip', gzip.compress), ('deflate', zlib.compress)):
            fields = {**JSON, 'Content-Encoding': coding}
            answer = self.broker.ask('POST', '/acc/echo', fields=fields, body=compress(b'{"a": 1}'))
            self.assertEqual((answer.status, answer.json()), (200, {'a': 1}))
        answer = self.broker.ask('POST', '/acc/echo', fields={**JSON, 'Content-Encoding': 'br'}, body=b'{"a": 1}')
        self.assertEqual((answer.status, answer.field('accept-encoding')), (415, 'gzip, deflate, identity'))

    def test_a_gzip_bomb_is_413_and_harms_nobody(self) -> None:
        """100 MiB of nothing in 100 KiB: never in memory."""
        (pid,) = self.broker.pids()
        Path(f'/proc/{pid}/clear_refs').write_text('5')  # the peak begins anew at what it holds now
        before = self.peak(pid)
        fields = {**JSON, 'Content-Encoding': 'gzip'}
        for _ in range(3):
            answer = self.broker.ask('POST', '/acc/echo', fields=fields, body=gzip.compress(bytes(100 * MIB)))
            self.assertEqual(answer.status, 413, answer.body)
        self.assertLess(self.peak(pid) - before, 60 * MIB)

    def peak(self, pid: int) -> int:
        """The most memory that the server held since, in bytes."""
        status = Path(f'/proc/{pid}/status').read_text()
        return int(status.partition('VmHWM:')[2].split()[0]) * 1024

    def test_unknown_expectation_is_417(self) -> None:
        """Only 100-continue is known."""
        answer = self.broker.ask('POST', '/acc/echo', fields={**JSON, 'Expect': 'the-unexpected'}, body=b'{}')
        self.assertEqual(answer.status, 417, answer.body)


class InputTests(SynchronousTestCase):
    """Well-framed requests whose content is odd: 200 or 400, never 5xx."""

    def setUp(self) -> None:
        self.broker: Broker = one_server()

    def post(self, path: str, body: bytes) -> Answer:
        return self.broker.ask('POST', path, fields=JSON, body=body)

    def test_deep_json_is_400(self) -> None:
        """A hundred thousand levels cost an answer, not the process."""
        for opening, closing in ((b'[', b']'), (b'{"a":', b'}')):
            middle = b'1' if opening != b'[' else b''
            answer = self.post('/acc/echo', opening * 100_000 + middle + closing * 100_000)
            self.assertEqual(answer.status, 400, answer.body[:200])
        self.assertEqual(self.post('/acc/echo', b'[1]').status, 200)

    def test_json_that_is_not_utf8_is_400(self) -> None:
        """RFC 8259: JSON is UTF-8."""
        for body in (b'{"a": "\xff"}', b'{"a": "\xed\xa0\x80"}', '{"a": 1}'.encode('utf-16')):
            self.assertEqual(self.post('/acc/echo', body).status, 400, body)

    def test_duplicate_keys_are_taken(self) -> None:
        """RFC 8259 lets them be; as everywhere in Python, the last one counts."""
        answer = self.post('/acc/echo', b'{"a": 1, "a": 2}')
        self.assertEqual((answer.status, answer.json()), (200, {'a': 2}))

    def test_escaped_nul_travels(self) -> None:
        """U+0000 is a character like any other; a raw one is bad JSON."""
        answer = self.post('/acc/echo', b'{"a": "x\\u0000y"}')
        self.assertEqual((answer.status, answer.json()), (200, {'a': 'x\0y'}))
        self.assertEqual(self.post('/acc/echo', b'{"a": "x\0y"}').status, 400)

    def test_numbers_without_bounds_are_no_fault(self) -> None:
        """Too large for a double, or for anybody: taken or refused, never a 5xx."""
        for number in (b'1e400', b'-1e400', b'1e999999999', b'9' * 5000, b'-' + b'9' * 100_000, b'0.' + b'1' * 10_000):
            for path in ('/acc/echo', '/acc/typed'):
                answer = self.post(path, b'{"name": "x", "qty": ' + number + b'}')
                self.assertIn(answer.status, (200, 400), (path, number[:20], answer.body[:200]))

    def test_numbers_as_text_without_bounds_are_no_fault(self) -> None:
        """A text of five thousand digits for an integer is a mistake of the caller's."""
        answer = self.post('/acc/typed', json.dumps({'name': 'x', 'qty': '9' * 5000}).encode())
        self.assertIn(answer.status, (200, 400), answer.body[:200])

    def test_lone_surrogates_are_no_fault(self) -> None:
        """In keys and in values; what is taken can also be answered."""
        for body in (b'{"name": "\\ud800", "qty": 1}', b'{"\\udfff": 1}', b'["\\ud800\\ud800"]'):
            for path in ('/acc/echo', '/acc/typed'):
                self.assertIn(self.post(path, body).status, (200, 400), (path, body))

    def test_every_mistake_is_named_at_once(self) -> None:
        """Missing and wrong elements by their paths, in one 400."""
        answer = self.post('/acc/typed', b'{"qty": "many"}')
        self.assertEqual(answer.status, 400)
        self.assertIn('qty', answer.details)
        self.assertIn('name: missing', answer.details)

    def test_json_of_the_wrong_shape_is_400(self) -> None:
        """A service with input takes an object."""
        for body in (b'[1, 2]', b'"text"', b'7', b'null', b'true', b''):
            self.assertEqual(self.post('/acc/typed', body).status, 400, body)

    def test_odd_paths_are_no_fault(self) -> None:
        """Whatever a path or query decodes to, the answer is 200, 400 or 404."""
        odd = ('%00', '%FF', '%ED%A0%80', '%C0%AF', '%', '%2', '%zz', '%2F', '%2e%2e', 'a%0d%0aX: y', '%F0%9F%A6%8A')
        for one in odd:
            for target in (f'/acc/hello/{one}', f'/acc/typed?qty=1&name={one}', f'/acc/typed?{one}'):
                answer = self.broker.ask('GET', target.replace(' ', '%20'))
                self.assertIn(answer.status, (200, 400, 404), (target, answer.body[:200]))

    def test_unicode_in_a_path_arrives(self) -> None:
        """Percent-decoded as UTF-8."""
        answer = self.broker.ask('GET', '/acc/hello/%F0%9F%A6%8A%20z%C3%A9')
        self.assertEqual(answer.json(), {'text': 'Hello \N{FOX FACE} zé'})

    def test_odd_deadlines_and_ids_are_no_fault(self) -> None:
        """Header fields that the broker itself reads."""
        for value in ('abc', '-1', '0', '1e309', '9' * 400, '', ' ', '1.5', 'NaN', '\u0661'):
            for name in ('X-Zato-Deadline-Ms', 'X-Zato-CID', 'traceparent', 'Authorization', 'Content-Type'):
                fields = {'Content-Type': 'application/json', name: value}
                answer = self.broker.ask('POST', '/acc/echo', fields=fields, body=b'{}')
                self.assertIn(answer.status, (200, 400, 415, 504), (name, value[:20], answer.body[:200]))
