"""The attributes that a service has on `self`, besides input, output and invoke."""

from __future__ import annotations

import logging
from http import HTTPStatus
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

import zatotx
from trial_tests.support.invoking import CID, Calls, call, outcome_of
from zatotx import Bunch, Secret, Service
from zatotx.model.message import Body
from zatotx.service.compat.bunch import bunchify, unbunchify
from zatotx.service.response import Payload
from zatotx.service.service_attributes import TimeUtil, load_user_config
from zatotx.testing.pipeline_doubles import MemorySpooledBody


def seen(look: Any, payload: Any = '', /, known: dict[str, Any] | None = None, **request: Any) -> Any:
    """Return what a function sees of a service's `self`."""

    class Looking(Service):
        name = 'looking'

        async def handle(self) -> None:
            self.response.payload = look(self)

    calls = Calls(Looking, **(known or {}))
    return outcome_of(calls.start(calls.http(**request), payload)).value


class ContextTests(SynchronousTestCase):
    def test_who_and_what(self) -> None:
        """Names, cid, caller and channel are available."""
        found = seen(lambda s: (s.name, s.get_name(), s.cid, s.principal.name, s.data_format, s.transport, s.job_type))
        self.assertEqual(found, ('looking', 'looking', CID, 'tester', 'json', 'plain_http', ''))
        self.assertTrue(seen(lambda s: s.impl_name).endswith('test_service_attributes.seen.<locals>.Looking'))
        self.assertEqual(seen(lambda s: s.impl_name), seen(lambda s: s.get_impl_name()))

    def test_in_reply_to(self) -> None:
        """A callback sees the cid of the invocation whose result it receives; any other call sees ''."""
        self.assertEqual(seen(lambda s: s.in_reply_to), '')
        self.assertEqual(seen(lambda s: s.in_reply_to, headers={b'x-zato-in-reply-to': b'0123'}), '0123')

    def test_channel(self) -> None:
        """The channel equals Zato's constant and has a name."""
        channel = seen(lambda s: s.channel)
        self.assertEqual(channel, 'http-soap')
        self.assertEqual((channel.type, channel.name, channel.data_format), ('http-soap', 'test', 'json'))
        self.assertEqual(seen(lambda s: s.chan.name), 'test')

    def test_deadline(self) -> None:
        """The remaining time is never negative."""
        calls = Calls(type('Timed', (Service,), {'handle': _nothing}))
        inbound = calls.http()
        service = calls.entries[0].cls()
        from zatotx.service.invocation import Invocation

        service._zatotx = Invocation(calls.invoker, calls.entries[0], calls.services, inbound, '', 0.0)
        calls.clock.advance(10)
        deadline = service.deadline
        self.assertEqual((deadline.remaining, deadline.passed, float(deadline)), (50, False, 60))
        self.assertEqual(repr(deadline), '<Deadline in 50.000 s>')
        calls.clock.advance(60)
        self.assertEqual((deadline.remaining, deadline.passed), (0, True))

    def test_an_instance_a_call(self) -> None:
        """Each call has its own instance."""
        instances: list[Any] = []

        class Kept(Service):
            async def handle(self) -> None:
                instances.append(self)
                self.environ['n'] = self.environ.get('n', 0) + 1
                self.response.payload = self.environ['n']

        calls = Calls(Kept)
        self.assertEqual([outcome_of(calls.start(calls.http())).value for _ in range(2)], [1, 1])
        self.assertIsNot(instances[0], instances[1])

    def test_logger(self) -> None:
        """The logger is named after the service; each record has service, cid and extra attributes of the author."""
        with self.assertLogs('looking', 'INFO') as logged:
            seen(lambda s: s.logger.info('Got %s', 5, extra={'order': 7}))
            seen(lambda s: s.logger.warning('Again'))
        first, second = (record.__dict__ for record in logged.records)
        self.assertEqual((logged.records[0].getMessage(), first['service'], first['cid'], first['order']),
                         ('Got 5', 'looking', CID, 7))
        self.assertEqual((second['service'], second['cid']), ('looking', CID))

    def test_server_and_user_config(self) -> None:
        """The node and the user configuration of the invoker are available."""
        config = bunchify({'user': {'crm': {'url': 'x'}}})
        known = {'node': 'a node', 'user_config': config}
        self.assertEqual(seen(lambda s: (s.server, s.user_config.user.crm.url), known=known), ('a node', 'x'))
        self.assertEqual(seen(lambda s: (s.server, s.user_config)), (None, {}))

    def test_usage(self) -> None:
        """The number of calls is available if calls are counted."""
        self.assertEqual(seen(lambda s: s.usage), 0)

    def test_slow_threshold(self) -> None:
        """The threshold is the configured one, otherwise Zato's default."""
        stored = SimpleNamespace(value=SimpleNamespace(slow_threshold=250))
        for row, expected in ((stored, 250), (None, 99999)):
            asked: list[tuple[str, str]] = []

            def named(*key: str, row: Any = row, asked: list[Any] = asked) -> Any:
                asked.append(key)
                return row
            node = SimpleNamespace(config=SimpleNamespace(snapshot=SimpleNamespace(find=named)))
            self.assertEqual(seen(lambda s: s.slow_threshold, known={'node': node}), expected)
            self.assertEqual(asked, [('service', 'looking')])
        self.assertEqual(seen(lambda s: s.slow_threshold), 99999)

    def test_public_names(self) -> None:
        """Each public name of `zatotx` loads on access."""
        for name in zatotx.__all__:
            self.assertTrue(hasattr(zatotx, name))
        self.assertRaises(AttributeError, getattr, zatotx, 'no_such')
        self.assertIn('Service', dir(zatotx))


async def _nothing(self: Any) -> None:
    """A handler that does nothing."""


class RequestTests(SynchronousTestCase):
    def test_http(self) -> None:
        """Method, path, parameters and case-insensitive header fields are available."""
        headers = {b'x-one': b'1', b'user-agent': b'curl', b'content-type': b'application/json'}
        found = seen(lambda s: s.request.http, headers=headers, query=b'a=1&a=2&b=%C5%BC', params={'p': 'q'})
        self.assertEqual((found.method, found.path, found.peer, found.user_agent), ('POST', '/a/b', '10.0.0.1', 'curl'))
        self.assertEqual((found.params, found.GET, found.POST), ({'p': 'q'}, {'a': ['1', '2'], 'b': 'ż'}, {}))
        self.assertEqual((found.headers['X-One'], found.headers.get('x-two')), ('1', None))
        self.assertNotIn('ż', found.headers)
        self.assertEqual((len(found.headers), sorted(found.headers)), (3, ['content-type', 'user-agent', 'x-one']))

    def test_headers_do_not_show_themselves(self) -> None:
        """The repr of headers contains only names, as values may be credentials."""
        shown = repr(seen(lambda s: s.request.headers, headers={b'authorization': b'Basic c2VjcmV0'}))
        self.assertIn('authorization', shown)
        self.assertNotIn('c2VjcmV0', shown)

    def test_channel_params(self) -> None:
        """Query and path parameters are merged; path parameters take precedence."""
        self.assertEqual(
            seen(lambda s: s.request.channel_params, query=b'a=1&b=2', params={'a': 'p'}), {'a': 'p', 'b': '2'}
        )

    def test_form(self) -> None:
        """POST is the form, also on a channel that does not decode the body."""
        headers = {b'content-type': b'application/x-www-form-urlencoded'}
        self.assertEqual(seen(lambda s: s.request.http.POST, b'a=1', headers=headers, data_format=''), {'a': '1'})
        self.assertEqual(
            seen(lambda s: s.request.http.get_form_data(), {'a': '1'}, headers=headers, data_format='form'), {'a': '1'}
        )

    def test_payload_and_raw_request(self) -> None:
        """The decoded value and the original bytes are available."""
        found = seen(lambda s: (s.request.payload, s.request.raw_request, s.request.bunchified().a.b), {'a': {'b': 1}},
                     body=b'{"a":{"b":1}}')
        self.assertEqual(found, ({'a': {'b': 1}}, b'{"a":{"b":1}}', 1))
        self.assertEqual(seen(lambda s: (s.request.cid, s.request.data_format)), (CID, 'json'))

    def test_a_spooled_body(self) -> None:
        """raw_request reads a spooled body on access."""
        spooled: Body = MemorySpooledBody(b'big')
        self.assertEqual(seen(lambda s: s.request.raw_request, body=spooled), b'big')

    def test_without_http(self) -> None:
        """The HTTP part is empty for a request from another channel."""

        class Looking(Service):
            async def handle(self) -> None:
                http = self.request.http
                self.response.payload = [
                    http.method, http.GET, http.POST, http.params, dict(http.headers), self.request.channel_params,
                    self.wsgi_environ, self.transport,
                ]  # fmt: skip

        calls = Calls(Looking)
        self.assertEqual(outcome_of(calls.start(calls.inbound())).value, ['', {}, {}, {}, {}, {}, {}, ''])

    def test_wsgi_environ(self) -> None:
        """The WSGI environ has the keys that classic services read."""
        headers = {b'x-one': b'1', b'content-type': b'text/plain'}
        found = seen(lambda s: s.wsgi_environ, headers=headers, query=b'a=1')
        self.assertEqual([found[key] for key in (
            'REQUEST_METHOD', 'PATH_INFO', 'QUERY_STRING', 'HTTP_X_ONE', 'CONTENT_TYPE', 'REMOTE_ADDR',
            'zato.http.remote_addr', 'SERVER_PROTOCOL',
        )], ['POST', '/a/b', 'a=1', '1', 'text/plain', '10.0.0.1', '10.0.0.1', 'HTTP/1.1'])  # fmt: skip


class ResponseTests(SynchronousTestCase):
    def outcome(self, answer: Any, output: Any = None) -> Any:
        class Answering(Service):
            async def handle(self) -> None:
                answer(self.response)

        Answering.output = output
        return call(Answering)

    def test_nothing(self) -> None:
        """A service that sets nothing responds with 200 and an empty body."""
        outcome = self.outcome(lambda r: None)
        self.assertEqual((outcome.status, outcome.value, outcome.element), (200, '', ''))
        self.assertEqual((outcome.content_type, outcome.headers), ('', {}))

    def test_status_and_head(self) -> None:
        """Status as a number or by name, content type and header fields are sent."""

        def answer(response: Any) -> None:
            response.status_code = HTTPStatus.CREATED
            response.content_type = 'text/csv'
            response.content_encoding = 'br'
            response.headers['X-One'] = '1'

        outcome = self.outcome(answer)
        self.assertEqual((outcome.status, outcome.content_type), (201, 'text/csv'))
        self.assertIs(type(outcome.status), int)
        self.assertEqual(outcome.headers, {'Content-Encoding': 'br', 'X-One': '1'})
        self.assertEqual(self.outcome(lambda r: setattr(r, 'headers', {'A': 'b'})).headers, {'A': 'b'})

    def test_a_stream(self) -> None:
        """A stream consists of chunks of bytes or text."""

        async def chunks() -> Any:
            yield b'a'
            yield 'ż'

        outcome = self.outcome(lambda r: r.stream(chunks(), 'text/plain'))
        found: list[bytes] = []

        async def collect() -> None:
            async for chunk in outcome.stream:
                found.append(chunk)

        self.successResultOf(_started(collect()))
        self.assertEqual((found, outcome.content_type), ([b'a', 'ż'.encode()], 'text/plain'))

    def test_a_stream_that_nobody_reads_on_is_closed(self) -> None:
        """The generator's `finally` runs when the reader closes the stream."""
        over: list[str] = []

        async def chunks() -> Any:
            try:
                yield b'a'
                yield b'b'
            finally:
                over.append('closed')

        outcome = self.outcome(lambda r: r.stream(chunks()))

        async def give_up() -> None:
            await anext(outcome.stream)
            self.assertEqual(over, [])
            await outcome.stream.aclose()

        self.successResultOf(_started(give_up()))
        self.assertEqual(over, ['closed'])

    def test_deleted(self) -> None:
        """A deleted payload counts as never set."""

        def answer(response: Any) -> None:
            response.payload = {'a': 1}
            del response.payload

        self.assertEqual(self.outcome(answer).value, '')

    def test_the_payload_object(self) -> None:
        """The payload object can be read after it was written."""
        payload = Payload()
        payload.a = 1
        self.assertEqual((payload.a, payload['a'], 'a' in payload, len(payload), list(payload)), (1, 1, True, 1, ['a']))
        self.assertRaises(AttributeError, getattr, payload, 'b')
        payload.append({'x': 1})
        payload.extend([2])
        payload[1] = 3
        self.assertEqual((payload[0], len(payload)), ({'x': 1}, 2))
        self.assertEqual((payload[:], list(payload)), ([{'x': 1}, 3], [{'x': 1}, 3]))

    def test_a_payload_taken_over(self) -> None:
        """Assigning the payload object to itself changes nothing."""

        def answer(response: Any) -> None:
            response.payload.a = 1
            response.payload = response.payload

        self.assertEqual(self.outcome(answer, output='a').value, {'a': 1})


def _started(coroutine: Any) -> Any:
    from twisted.internet.defer import Deferred

    return Deferred.fromCoroutine(coroutine)


class LogInputTests(SynchronousTestCase):
    def logged(self, look: Any, payload: Any = '', **known: Any) -> str:
        class Logging(Service):
            name = 'logging'
            input = known.get('input')
            output = known.get('output')

            async def handle(self) -> None:
                look(self)

        calls = Calls(Logging)
        with self.assertLogs('logging') as logged:
            outcome_of(calls.start(calls.http(), payload))
        return logged.records[0].getMessage()

    def test_secrets_are_masked(self) -> None:
        """Secrets are masked by type, by their usual names, and by names that the author gives."""
        shown = self.logged(
            lambda s: s.log_input('Got', suppress_keys=['pin']),
            {'user': 'ann', 'password': 'S1', 'pin': 'S2', 'card': 'S3', 'below': 'x'},
            input=('user', 'password', 'pin', Secret('card'), 'below'),
        )
        self.assertTrue(shown.startswith('Got input: '))
        self.assertIn("'user': 'ann'", shown)
        self.assertFalse([secret for secret in ('S1', 'S2', 'S3') if secret in shown])

    def test_at_any_depth(self) -> None:
        """Secrets are masked at any depth, in undeclared payloads too."""
        shown = self.logged(lambda s: s.log_input(), {'a': [{'password': 'S1', 'b': 1}]})
        self.assertIn("'b': 1", shown)
        self.assertNotIn('S1', shown)

    def test_output(self) -> None:
        """Secrets in output are masked, in whatever form it was set."""

        def answer(service: Any) -> None:
            service.response.payload.token = 'S1'
            service.response.payload.a = 1
            service.log_output(level=logging.WARNING)

        shown = self.logged(answer, output=('a', 'token'))
        self.assertIn("'a': 1", shown)
        self.assertNotIn('S1', shown)

    def test_length_is_bounded(self) -> None:
        """The logged text has a maximum length."""
        self.assertLess(len(self.logged(lambda s: s.log_input(), {'a': 'x' * 100_000})), 21_000)


class TimeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.time = TimeUtil(lambda: 1_767_225_599.0)  # 2025-12-31 23:59:59 UTC

    def test_now(self) -> None:
        """Formats use Arrow's tokens, with Zato's defaults."""
        self.assertEqual(self.time.utcnow(), '2025-12-31 23:59:59')
        self.assertEqual(self.time.utcnow('YYYY'), '2025')
        self.assertEqual(self.time.now('YYYY-MM-DD HH', 'Europe/Warsaw'), '2026-01-01 00')
        self.assertEqual(self.time.utcnow(needs_format=False).year, 2025)

    def test_days(self) -> None:
        """The current date depends on the time zone."""
        self.assertEqual((self.time.today(), self.time.today('DD', 'Europe/Warsaw')), ('2025-12-31', '01'))
        self.assertEqual((self.time.yesterday(), self.time.yesterday('DD', 'Europe/Warsaw')), ('2025-12-30', '31'))
        self.assertEqual(self.time.today(needs_format=False).hour, 0)
        self.assertEqual(self.time.yesterday(needs_format=False).day, 30)

    def test_reformat(self) -> None:
        """Text is converted between formats; text that does not match the first one is an error."""
        self.assertEqual(self.time.reformat('01/02/2026', 'DD/MM/YYYY', 'YYYY-MM-DD'), '2026-02-01')
        self.assertRaises(ValueError, self.time.reformat, 'x', 'DD/MM/YYYY', 'YYYY')

    def test_formats_in_redis(self) -> None:
        """Formats stored in Redis are rejected with a message."""
        self.assertIn('kvdb:mine', str(self.assertRaises(ValueError, self.time.utcnow, 'kvdb:mine')))

    def test_on_a_service(self) -> None:
        """self.time returns the current time."""
        self.assertRegex(seen(lambda s: s.time.utcnow()), r'^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$')


class UserConfigTests(SynchronousTestCase):
    def test_load(self) -> None:
        """INI files are available as file.section.key: values are text, keys keep their case."""
        path = Path(self.mktemp())
        path.write_text('[crm]\nUrl = http://x/%s\n', 'utf-8')
        config = load_user_config({'user': path})
        self.assertEqual(config.user.crm.Url, 'http://x/%s')

    def test_mistakes(self) -> None:
        """Every file that cannot be read is named with its reason."""
        bad = Path(self.mktemp())
        bad.write_text('no section = 1', 'utf-8')
        absent = Path(self.mktemp())
        error = self.assertRaises(ValueError, load_user_config, {'a': bad, 'b': absent})
        for path in (bad, absent):
            self.assertIn(f'{path}: ', str(error))


class BunchTests(SynchronousTestCase):
    def test_attributes_are_keys(self) -> None:
        """Keys are read, written and deleted as attributes."""
        bunch = Bunch(a=1)
        bunch.b = 2
        del bunch.a
        self.assertEqual((bunch, bunch.b, bunch.copy().b), ({'b': 2}, 2, 2))
        self.assertRaises(AttributeError, getattr, bunch, 'a')
        self.assertRaises(AttributeError, delattr, bunch, 'a')
        self.assertEqual(repr(bunch), "Bunch({'b': 2})")

    def test_all_the_way_down(self) -> None:
        """Values are converted both ways at any depth, including lists and tuples."""
        deep = {'a': [{'b': ({'c': 1},)}]}
        bunch = bunchify(deep)
        self.assertEqual(bunch.a[0].b[0].c, 1)
        for plain in (unbunchify(bunch), bunch.toDict()):
            self.assertEqual(plain, deep)
            self.assertIs(type(plain['a'][0]), dict)
        self.assertEqual(Bunch.fromDict({'a': {'b': 1}}).a.b, 1)
