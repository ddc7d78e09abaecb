"""The test kit: services run in memory, on a clock, and tests inspect what they did."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from threading import get_ident
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from zatotx import BadRequest, Forbidden, Inactive, Int, NotFound, Service, Timeout
from zatotx.model.errors import BadInput
from zatotx.model.message import Principal
from zatotx.service.io.io_declaration import BadOutput
from zatotx.testing import ServiceKit, ServiceTesting, Unscripted, load


class Add(Service):
    """Adds two numbers; rejects 13."""

    name = 'kit.add'
    input = Int('a'), Int('-b', default=1)
    output = 'total'

    async def handle(self) -> None:
        if self.request.input.a == 13:
            raise Forbidden(self.cid, 'Not with 13')
        self.response.headers['X-Sum'] = 'yes'
        self.response.status_code = 201
        self.response.payload = {'total': self.request.input.a + self.request.input.b, 'unknown': 1}


class Facts(Service):
    """Responds with everything about its call."""

    name = 'kit.facts'

    async def handle(self) -> None:
        http = self.request.http
        self.response.payload = {
            'cid': self.cid, 'channel': str(self.channel), 'named': self.channel.name, 'who': self.principal.name,
            'payload': self.request.payload, 'raw': repr(self.request.raw_request), 'method': http.method,
            'path': http.path, 'params': dict(http.params), 'get': dict(http.GET), 'post': dict(http.POST),
            'agent': self.request.headers.get('user-agent'), 'peer': http.peer, 'job': self.job_type,
            'left': self.deadline.remaining, 'now': self.time.utcnow(), 'environ': dict(self.environ),
            'limit': self.user_config.get('app', {}).get('limits', {}).get('most'),
            'at': self.invocation_time.isoformat(),
        }  # fmt: skip


class Middle(Service):
    """A `def` service that invokes another with the timeout in its payload."""

    name = 'kit.middle'

    def handle(self) -> None:
        found = self.invoke('kit.far', self.request.payload, timeout=self.request.payload.get('within'))
        self.response.payload = [found, get_ident()]


class AsyncMiddle(Service):
    name = 'kit.middle.async'

    async def handle(self) -> None:
        self.response.payload = await self.invoke(Middle, self.request.payload)


class Far(Service):
    name = 'kit.far'

    async def handle(self) -> None:
        self.response.payload = {'cid': self.cid, 'got': self.request.payload}


class Streams(Service):
    """Streams chunks from a blocking or an asynchronous generator."""

    name = 'kit.streams'

    def handle(self) -> None:
        self.response.stream((f'{number};' for number in range(3)), 'text/csv')


class Waits(Service):
    """Waits forever."""

    name = 'kit.waits'

    async def handle(self) -> None:
        self.logger.info('Waiting for %s', self.request.payload)
        try:
            await Deferred()
        finally:
            self.logger.warning('Waited enough')


class Hooked(Service):
    """Records the order of its hooks."""

    name = 'kit.hooked'

    def accept(self) -> bool:
        return bool(self.request.payload != 'unwanted')

    def before_handle(self) -> None:
        self.environ['seen'] = ['before']

    def handle(self) -> None:
        self.environ['seen'].append('handle')
        self.response.payload = self.environ['seen']

    async def after_handle(self) -> None:
        self.environ['seen'].append('after')

    def finalize_handle(self) -> None:
        raise ValueError('only logged')


class Promises(Service):
    name = 'kit.promises'
    output = 'promised'

    async def handle(self) -> None:
        self.response.payload = {'other': 1}


class Catches(Service):
    """Catches all exceptions, including those of unscripted calls."""

    name = 'kit.catches'

    async def handle(self) -> None:
        try:
            await self.invoke('kit.unknown', 1)
        except Exception:
            self.response.payload = 'fine'


class Files(Service):
    """Reads uploaded files."""

    name = 'kit.files'
    input = '-note'

    async def handle(self) -> None:
        found = [
            [file.name, file.filename, file.content_type, (await file.read()).decode()]
            for name in self.request.files for file in self.request.files.getlist(name)
        ]  # fmt: skip
        self.response.payload = {'note': self.request.input.note, 'files': found}


class CallTests(ServiceTesting, SynchronousTestCase):
    """Single calls."""

    services = (Far, Middle)
    user_config = {'app': {'limits': {'most': '5'}}}
    starts_at = datetime(2030, 5, 6, 7, 8, 9, tzinfo=UTC)

    def test_answer(self) -> None:
        """The result has the declared payload, status, headers and cid."""
        answer = self.call(Add, {'a': 41}, cid='my-own-cid')
        self.assertEqual((answer.payload, answer.status, answer.cid), ({'total': 42}, 201, 'my-own-cid'))
        self.assertEqual((answer.headers, answer.content_type, answer.element), ({'X-Sum': 'yes'}, '', ''))

    def test_faults_are_raised(self) -> None:
        """Errors of the service, bad input with every path, and invalid output are raised."""
        refused = self.assertRaises(Forbidden, self.call, Add, {'a': 13})
        self.assertEqual(refused.msg, 'Not with 13')
        wrong = self.assertRaises(BadInput, self.call, Add, {'a': 'x', 'b': []})
        self.assertEqual(wrong.details, '$.a: expected int, got str; $.b: expected int, got array')
        self.assertRaises(BadOutput, self.call, Promises)
        self.assertRaises(BadRequest, self.call, Hooked, 'unwanted')

    def test_through_a_channel(self) -> None:
        """A channel returns bytes, status and headers, for errors too."""
        answer = self.call(Add, {'a': 41}, through_channel=True)
        self.assertEqual((answer.status, answer.body, answer.json()), (201, b'{"total":42}', {'total': 42}))
        self.assertEqual((answer.content_type, answer.headers), ('application/json', {'X-Sum': 'yes'}))
        refused = self.call(Add, {'a': 13}, through_channel=True)
        self.assertEqual((refused.status, refused.details), (403, 'Not with 13'))
        self.assertIsInstance(refused.error, Forbidden)
        broken = self.call(Add, b'{', through_channel=True, data_format='json')
        self.assertEqual(broken.status, 400)
        self.assertIn('Malformed JSON', broken.text)

    def test_uploads(self) -> None:
        """Files are uploaded beside fields: content alone, or with name and type, one or several."""
        files: dict[str, Any] = {'a': b'1', 'b': [('x.csv', b'2'), ('y.txt', b'3', 'text/plain')]}
        answer = self.call(Files, {'note': 'é'}, files=files)
        self.assertEqual(answer.payload, {'note': 'é', 'files': [
            ['a', 'a', 'application/octet-stream', '1'], ['b', 'x.csv', 'application/octet-stream', '2'],
            ['b', 'y.txt', 'text/plain', '3'],
        ]})  # fmt: skip
        self.assertEqual(self.call(Files, files={}).payload, {'note': '', 'files': []})

    def test_what_is_not_there(self) -> None:
        """A service scripted as missing or inactive behaves so; one without a script fails the test."""
        self.invokes('kit.gone').is_missing()
        self.invokes('kit.off').is_inactive()
        self.assertRaises(NotFound, self.call, 'kit.gone')
        self.assertRaises(Inactive, self.call, 'kit.off')
        self.assertRaises(Unscripted, self.call, 'kit.never-heard-of')

    def test_everything_about_a_call(self) -> None:
        """The arguments of a call are what the service sees."""
        self.clock.advance(3)
        payload = self.call(
            Facts, {'x': 'é'}, method='PUT', path='/a/é b', params={'id': '7'}, query={'q': ['1', '2'], 'r': 'ž'},
            headers={'User-Agent': 'tests'}, principal='ann', timeout=5, cid='cid-of-mine', peer='10.1.2.3',
            channel_name='crm.get', environ={'k': 1},
        ).payload
        self.assertEqual(payload, {
            'cid': 'cid-of-mine', 'channel': 'http-soap', 'named': 'crm.get', 'who': 'ann', 'payload': {'x': 'é'},
            'raw': repr('{"x":"é"}'.encode()), 'method': 'PUT', 'path': '/a/é b', 'params': {'id': '7'},
            'get': {'q': ['1', '2'], 'r': 'ž'}, 'post': {}, 'agent': 'tests', 'peer': '10.1.2.3', 'job': '',
            'left': 5.0, 'now': '2030-05-06 07:08:12', 'environ': {'k': 1}, 'limit': '5',
            'at': '2030-05-06T07:08:12',
        })  # fmt: skip

    def test_channels(self) -> None:
        """Forms, raw bytes, calls by self.invoke, messages and jobs can be simulated."""
        form = self.call(Facts, {'a': ['1', '2']}, data_format='form').payload
        self.assertEqual((form['post'], form['method']), ({'a': ['1', '2']}, 'POST'))
        raw = self.call(Facts, b'\xff', channel='amqp').payload
        self.assertEqual((raw['payload'], raw['channel'], raw['method']), (b'\xff', 'amqp', ''))
        job = self.call(Facts, 'extra', channel='scheduler', job_type='cron_style', data_format='').payload
        self.assertEqual((job['payload'], job['job']), (b'extra', 'cron_style'))
        handed = object()
        by_invoke = self.call(Facts, handed, channel='invoke').payload
        self.assertIs(by_invoke['payload'], handed)
        self.assertEqual(by_invoke['channel'], 'invoke')
        self.assertRaises(TypeError, self.call, Facts, handed, channel='invoke', through_channel=True)
        self.assertEqual(self.call(Facts).payload['method'], 'GET')
        who = Principal('gw', 'gw', 'jwt', {'sub': 'x'})
        self.assertEqual(self.call(Facts, principal=who).payload['who'], 'gw')

    def test_words_that_are_none(self) -> None:
        """An unknown argument is named, with the valid ones."""
        wrong: Any = {'metod': 'GET'}
        error = self.assertRaises(TypeError, self.call, Facts, **wrong)
        self.assertIn('A call has no metod: there are', str(error))

    def test_def_services(self) -> None:
        """`def` services run in the thread of the test, nested in async ones and vice versa, with one cid."""
        far, thread = self.call(AsyncMiddle, {'x': 1}, cid='cid-of-mine').payload
        self.assertEqual(far, {'cid': 'cid-of-mine', 'got': {'x': 1}})
        self.assertEqual(thread, get_ident())

    def test_def_services_wait_on_the_clock(self) -> None:
        """A `def` service waits on the test's clock; exceeding the timeout raises Timeout."""
        self.invokes('kit.far').answers('late', after=3.0, times=2)
        self.assertEqual(self.call(Middle, {}).payload[0], 'late')
        self.assertEqual(self.clock.seconds(), 3.0)
        self.assertRaises(Timeout, self.call, Middle, {'within': 1.5})
        self.assertEqual(self.clock.seconds(), 4.5)
        self.invokes('kit.far').never_answers()
        self.assertEqual(self.call(Middle, {}, through_channel=True, timeout=7.0).status, 504)
        self.assertEqual(self.clock.seconds(), 11.5)

    def test_hooks(self) -> None:
        """Hooks run in order; an error in the last one is logged."""
        self.assertEqual(self.call(Hooked).payload, ['before', 'handle', 'after'])
        self.assertEqual(self.logged(), ['finalize_handle of kit.hooked failed; the call goes on'])

    def test_streams(self) -> None:
        """A streamed response is read to its end."""
        self.assertEqual(self.call(Streams).payload, b'0;1;2;')
        answer = self.call(Streams, through_channel=True)
        self.assertEqual((answer.body, answer.content_type), (b'0;1;2;', 'text/csv'))

    def test_unscripted_is_not_swallowed(self) -> None:
        """The test fails even if the service catches the error of an unscripted call."""
        error = self.assertRaises(Unscripted, self.call, Catches)
        self.assertIn("Service kit.catches asked service 'kit.unknown' for invoke(1), which is not", str(error))

    def test_two_services_of_one_name(self) -> None:
        """Two services with one name are rejected."""
        other = type('Other', (Service,), {'name': 'kit.add', 'handle': Add.handle})
        self.call(Add, {'a': 1})
        self.assertRaises(ValueError, self.call, other, {'a': 1})


class TimeTests(ServiceTesting, SynchronousTestCase):
    """Calls that wait."""

    def test_deadline(self) -> None:
        """A service that waits forever ends at its deadline on the clock, without real waiting."""
        self.assertRaises(Timeout, self.call, Waits, 'Godot', timeout=30)
        self.assertAlmostEqual(self.clock.seconds(), 30, delta=0.1)
        self.assertEqual(self.logged(), [
            'Waiting for Godot', f'{1:024x}: service \'kit.waits\' was still running when its deadline passed',
            'Waited enough',
        ])  # fmt: skip

    def test_step_by_step(self) -> None:
        """A started call waits until the test advances the clock; its result is an error before."""
        self.invokes('kit.far').answers('late', after=3.0)
        pending = self.start(Middle, {})  # a def service is called to its end: nothing else could run meanwhile
        self.assertFalse(pending.waiting)
        waits = self.start(Waits, 'x', timeout=5)
        self.assertTrue(waits.waiting)
        self.assertIn('kit.waits still waits', str(self.assertRaises(AssertionError, waits.answer)))
        self.clock.advance(4)
        self.assertTrue(waits.waiting)
        self.clock.advance(1.1)
        self.assertRaises(Timeout, waits.answer)

    def test_a_client_that_goes_away(self) -> None:
        """A disconnecting client cancels the service."""
        waits = self.start(Waits, 'x')
        waits.cancel()
        waits.cancel()
        self.assertRaises(CancelledError, waits.answer)
        self.assertEqual(self.logged(logging.WARNING), ['Waited enough'])

    def test_records(self) -> None:
        """Records have service and cid, whatever the loggers' levels, which are restored."""
        before = logging.getLogger('kit.waits').level
        with ServiceKit(Waits) as kit:
            waits = kit.start(Waits, 'x', cid='cid-of-mine')
            waits.cancel()
            record: Any = kit.records[0]
            self.assertEqual((record.service, record.cid, record.levelname), ('kit.waits', 'cid-of-mine', 'INFO'))
            self.assertEqual(logging.getLogger('kit.waits').level, logging.DEBUG)
        self.assertEqual(logging.getLogger('kit.waits').level, before)
        self.assertEqual(logging.getLogger('kit.waits').handlers, [])


class UsesThreads(Service):
    name = 'kit.uses-threads'

    async def handle(self) -> None:
        self.response.payload = await deferToThread(get_ident)


class DefWithReactor(Service):
    name = 'kit.def-with-reactor'

    def handle(self) -> None:
        self.response.payload = [self.invoke(UsesThreads), get_ident()]


class ReactorTests(ServiceTesting, TestCase):
    """Services that need a reactor, in trial's asynchronous TestCase."""

    reactor = reactor
    services = (UsesThreads,)

    async def test_awaited(self) -> None:
        """With a reactor, `def` services run in real threads."""
        one, two = (await self.start(DefWithReactor)).payload
        self.assertNotIn(get_ident(), (one, two))

    async def test_call_says_what_to_do(self) -> None:
        """A call cannot wait for the running reactor; the error says what to do."""
        error = self.assertRaises(AssertionError, self.call, UsesThreads)
        self.assertIn('answer = await kit.start(…)', str(error))

    async def test_faults(self) -> None:
        """An awaited call raises what the service raised."""
        with self.assertRaises(Forbidden):
            await self.start(Add, {'a': 13})


class LoadTests(SynchronousTestCase):
    """Services loaded from files."""

    def write(self, text: str, name: str = 'crm_api.py') -> Path:
        path = Path(self.mktemp())
        path.mkdir()
        (path / name).write_text(text, 'utf-8')
        return path / name

    def test_a_file(self) -> None:
        """A file is loaded as in a deployment, with Zato's imports and names by file, but from its own path."""
        path = self.write('from zato.server.service import Service\n\nLIMIT = 5\n\nclass GetRates(Service):\n'
                          '    def handle(self):\n        self.response.payload = LIMIT\n')
        crm = load(path)
        self.assertEqual((crm.LIMIT, crm.GetRates.get_name()), (5, 'crm-api.get-rates'))
        self.assertEqual(crm.GetRates.handle.__code__.co_filename, str(path.resolve()))
        self.assertIn('has no Other', str(self.assertRaises(AttributeError, getattr, crm, 'Other')))
        with ServiceKit(crm) as kit:
            self.assertEqual(kit.call('crm-api.get-rates').payload, 5)
            self.assertEqual(kit.call(crm.GetRates).payload, 5)

    def test_a_package(self) -> None:
        """A package is loaded by its directory, with its own imports."""
        path = self.write('LIMIT = 6\n', '__init__.py').parent
        package = path.rename(path.with_name('billing'))
        (package / 'rates.py').write_text('from zatotx import Service\nfrom billing import LIMIT\n\n'
                                          'class Get(Service):\n    async def handle(self):\n'
                                          '        self.response.payload = LIMIT\n')
        with ServiceKit(load(package)) as kit:
            self.assertEqual(kit.call('billing.rates.get').payload, 6)

    def test_mistakes(self) -> None:
        """Mistakes raise the error of a deployment, with file and line."""
        for text, sentence in (
            ('import nowhere\n', "crm_api.py:1: ModuleNotFoundError: No module named 'nowhere'"),
            ('def f(:\n', 'crm_api.py:1: SyntaxError: invalid syntax'),
            ('x = 1\n', 'crm_api.py: there is no service in it, '
             'which is a class that inherits from Service and has handle(self)'),
        ):
            refused = self.assertRaises(BadRequest, load, self.write(text))
            self.assertEqual(refused.msg, sentence)
        self.assertRaises(FileNotFoundError, load, 'nowhere.py')
