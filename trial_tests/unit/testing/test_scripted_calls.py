"""The test kit's scripts: connections and services respond as scripted, and only as scripted."""

from __future__ import annotations

import unittest
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from zatotx import Inactive, NotFound, Service, ServiceUnavailable, Timeout
from zatotx.testing import Response, Row, ServiceKit, ServiceTestCase, ServiceTesting, Unscripted

Steps = Callable[[Service], Any]


class Does(Service):
    """Runs its payload, a coroutine function, on the reactor."""

    name = 'script.does'

    async def handle(self) -> None:
        self.response.payload = await self.request.payload(self)


class DoesInThread(Service):
    """Runs its payload, a function, as a `def` service."""

    name = 'script.does.thread'

    def handle(self) -> None:
        self.response.payload = self.request.payload(self)


class Scripted(ServiceTesting, SynchronousTestCase):
    """Helpers to run functions as services."""

    def does(self, steps: Steps) -> Any:
        """Return the result of a coroutine function on the reactor."""
        return self.call(Does, steps, channel='invoke').payload

    def blocks(self, steps: Steps) -> Any:
        """Return the result of a function in a `def` service."""
        return self.call(DoesInThread, steps, channel='invoke').payload


class AnswerTests(Scripted):
    """The results of connections."""

    def test_http(self) -> None:
        """HTTP responses have the attributes of `requests`, in the new and in Zato's form, awaited and blocking."""
        self.outgoing.rest['CRM'].answers({'a': 1}, status=201, headers={'X': 'y'}, times=4)

        async def new(service: Any) -> Any:
            return await service.out.rest['CRM'].get(params={'id': 7})

        async def zatos(service: Any) -> Any:
            return await service.outgoing.plain_http.get('CRM').conn.post(service.cid, {'b': 2}, {'id': 8}, headers={})

        for response in (
            self.does(new), self.does(zatos), self.blocks(lambda s: s.out.rest['CRM'].delete()),
            self.blocks(lambda s: s.outgoing.plain_http['CRM'].conn.get(s.cid, {'id': 9})),
        ):
            self.assertEqual((response.status_code, response.data, response.text), (201, {'a': 1}, '{"a":1}'))
            self.assertEqual((response.headers, response.ok, response.json()), ({'X': 'y'}, True, {'a': 1}))
        said = [str(call) for call in self.calls('rest', 'CRM')]
        self.assertEqual(said, ["get(params={'id': 7})", "post(data={'b': 2}, params={'id': 8}, headers={})",
                                'delete()', "get(params={'id': 9})"])
        self.assertEqual(self.sent('plain_http', 'CRM'), [{'b': 2}])

    def test_bodies(self) -> None:
        """Text and bytes are bodies unchanged; a Response is used as it is."""
        own = Response(status_code=203, text='tea')
        self.outgoing.soap['Old'].answers('<a/>').answers(b'<b/>').answers(own)
        found = [self.blocks(lambda s: s.out.soap['Old'].conn.post(s.cid, '<q/>')) for _ in range(3)]
        self.assertEqual([response.text for response in found], ['<a/>', '<b/>', 'tea'])
        self.assertEqual((found[0].content, found[2].status_code), (b'<a/>', 203))
        self.assertEqual(self.sent('soap', 'Old'), ['<q/>'] * 3)

    def test_sql(self) -> None:
        """Rows have their columns as attributes, by position and as a mapping."""
        self.outgoing.sql['DB'].on('fetch_all').answers([{'id': 1, 'name': 'Ann'}])
        self.outgoing.sql['DB'].on('fetch_one').answers({'id': 2})
        self.outgoing.sql['DB'].on('execute').answers(3)
        row: Row = self.blocks(lambda s: s.out.sql.get('DB').fetch_all('select 1'))[0]
        self.assertEqual((row.name, row[0], row._mapping, list(row), len(row)), ('Ann', 1, {'id': 1, 'name': 'Ann'},
                                                                                 [1, 'Ann'], 2))
        self.assertEqual((row, repr(row), hash(row)), ((1, 'Ann'), "Row({'id': 1, 'name': 'Ann'})", hash((1, 'Ann'))))
        self.assertIn('has no column age: it has id, name', str(self.assertRaises(AttributeError, getattr, row, 'age')))
        self.assertEqual(self.blocks(lambda s: s.out.sql['DB'].fetch_one('select 2')).id, 2)
        self.assertEqual(self.blocks(lambda s: s.out.sql['DB'].execute('delete')), 3)

    def test_messages(self) -> None:
        """Sends work in the new form and in Zato's, with the name after the message and further positional
        arguments."""
        for kind in ('amqp', 'jms_wmq', 'zmq', 'carrier_pigeon'):
            getattr(self.outgoing, kind)['Out'].answers(times=None)

        async def send(service: Any) -> Any:
            await service.out.amqp['Out'].send({'a': 1}, routing_key='k')
            await service.outgoing.amqp.send('b', 'Out', 'exchange', 'key', {'p': 1})
            await service.outgoing.jms_wmq.send('c', 'Out', 'queue', 2)
            await service.outgoing.zmq.send('d', 'Out')
            await service.out.carrier_pigeon['Out'].fly('e', over='sea')

        self.does(send)
        self.assertEqual([dict(call.kwargs) for call in self.calls('amqp', 'Out')],
                         [{'routing_key': 'k'}, {'exchange': 'exchange', 'routing_key': 'key', 'properties': {'p': 1}}])
        self.assertEqual(self.sent('amqp', 'Out'), [{'a': 1}, 'b'])
        self.assertEqual(dict(self.calls('ibm_mq', 'Out')[0].kwargs), {'queue': 'queue', 'delivery_mode': 2})
        self.assertEqual(self.sent('zmq', 'Out'), ['d'])
        self.assertEqual([str(call) for call in self.calls('carrier_pigeon', 'Out')], ["fly('e', over='sea')"])

    def test_what_was_sent_stays_as_it_was(self) -> None:
        """Later changes of a message do not affect the record, nor changes of a result the script."""
        self.outgoing.amqp['Out'].answers({'list': []}, times=2)

        def twice(service: Any) -> Any:
            message = {'n': [1]}
            service.out.amqp['Out'].send(message)['list'].append(1)
            message['n'].append(2)
            return service.out.amqp['Out'].send(message)

        self.assertEqual(self.blocks(twice), {'list': []})
        self.assertEqual(self.sent('amqp', 'Out'), [{'n': [1]}, {'n': [1, 2]}])

    def test_functions(self) -> None:
        """A result may be computed from the call, and delayed."""
        self.outgoing.rest['CRM'].does(lambda call: {'asked': call.method}).answers('late', after=2.5)
        self.assertEqual(self.blocks(lambda s: s.out.rest['CRM'].put(data=1)).data, {'asked': 'put'})
        self.assertEqual(self.blocks(lambda s: s.out.rest['CRM'].put(data=1)).data, 'late')
        self.assertEqual(self.clock.seconds(), 2.5)


class MatchTests(Scripted):
    """Which entry of a script applies to which call."""

    def test_order(self) -> None:
        """Entries are used in order, each as often as declared; a further call fails the test."""
        self.outgoing.rest['CRM'].answers(1).answers(2, times=2)
        get = lambda s: s.out.rest['CRM'].get().data  # noqa: E731
        self.assertEqual([self.blocks(get) for _ in range(3)], [1, 2, 2])
        error = self.assertRaises(Unscripted, self.blocks, get)
        self.assertEqual(str(error), "Service script.does.thread asked rest 'CRM' for get(), which is not scripted. "
                                     'Scripted for it: any method(…) (used up), any method(…) (used up).')

    def test_matchers(self) -> None:
        """Entries match by method, by arguments or predicates on them, or by the whole call; further arguments are
        ignored."""
        crm = self.outgoing.rest['CRM']
        crm.on('get', params={'id': 1}).answers('one')
        crm.on('get', params=lambda params: params['id'] > 5).answers('big')
        crm.on('post', where=lambda call: call.data['x'] == 1).answers('posted')
        crm.on(headers={'A': 'b'}).answers('headed')
        self.outgoing.sql['DB'].on('fetch_all', 'select 1').answers([])
        self.assertEqual(self.blocks(lambda s: s.out.rest['CRM'].post(data={'x': 1}).data), 'posted')
        self.assertEqual(self.blocks(lambda s: s.out.rest['CRM'].get(params={'id': 6}, headers={}).data), 'big')
        self.assertEqual(self.blocks(lambda s: s.out.rest['CRM'].get(params={'id': 1}).data), 'one')
        self.assertEqual(self.blocks(lambda s: s.out.rest['CRM'].head(headers={'A': 'b'}).data), 'headed')
        self.assertEqual(self.blocks(lambda s: s.out.sql['DB'].fetch_all('select 1', {'more': 1})), [])
        error = self.assertRaises(Unscripted, self.blocks, lambda s: s.out.sql['DB'].fetch_all())
        self.assertIn("fetch_all('select 1') (used up)", str(error))

    def test_nothing_scripted(self) -> None:
        """The error says what is scripted, and how to script the call."""
        self.outgoing.amqp['Audit'].answers(times=None)
        error = self.assertRaises(Unscripted, self.call, 'no.such', {})
        self.assertTrue(str(error).startswith("The test asked service 'no.such' for invoke({})"), error)
        error = self.assertRaises(Unscripted, self.blocks, lambda s: s.out.ftp.get('Files').listdir('/x'))
        self.assertEqual(str(error), "Service script.does.thread asked ftp 'Files' for listdir('/x'), which is not "
                                     "scripted. Scripted are: amqp 'Audit'. Say what it gives with "
                                     "self.outgoing.ftp['Files'].answers(…).")

    def test_bad_scripts(self) -> None:
        """Invalid scripts are rejected where they are written."""
        self.assertRaises(ValueError, self.outgoing.rest['CRM'].answers, 1, times=0)
        self.assertRaises(TypeError, self.outgoing.amqp['Out'].answers_status, 500)
        self.assertRaises(TypeError, self.outgoing.sql['DB'].answers, [], status=500)


class FaultTests(Scripted):
    """Scripted errors, typed and naming the connection, on the reactor and in `def` services."""

    def raised(self, kind: type[Exception]) -> tuple[str, float]:
        """Return what a call of rest CRM raises in both ways, and after how many seconds."""
        began = self.clock.seconds()

        async def get(service: Any) -> Any:
            return await service.out.rest['CRM'].get()

        error: Any = self.assertRaises(kind, self.does, get)
        seconds = self.clock.seconds() - began
        other: Any = self.assertRaises(kind, self.blocks, lambda s: s.out.rest['CRM'].get())
        self.assertEqual(other.msg, error.msg)
        self.assertEqual(len(error.cid), 24)
        return error.msg, seconds

    def test_times_out(self) -> None:
        """Timeout is raised after the timeout."""
        self.outgoing.rest['CRM'].times_out(times=2)
        said, seconds = self.raised(Timeout)
        self.assertEqual(said, 'Outgoing connection CRM (rest) gave no answer within 10 s')
        self.assertAlmostEqual(seconds, 10, delta=0.001)

    def test_refuses_and_cut_off(self) -> None:
        """ServiceUnavailable is raised at once; uncaught, it is a 503 response of the channel."""
        self.outgoing.rest['CRM'].refuses(times=2).cut_off(times=3)
        said, seconds = self.raised(ServiceUnavailable)
        self.assertEqual(said, 'Outgoing connection CRM (rest) cannot be used: nobody is at its address')
        self.assertEqual(seconds, 0)
        self.assertIn('cut off by its circuit breaker', self.raised(ServiceUnavailable)[0])

        class Asks(Service):
            name = 'script.asks'

            async def handle(self) -> None:
                await self.out.rest['CRM'].get()

        answer = self.call(Asks, through_channel=True)
        self.assertEqual((answer.status, 'CRM' in answer.details), (503, True))

    def test_status_and_own_errors(self) -> None:
        """A bad status is a response; any exception can be raised."""
        self.outgoing.rest['CRM'].answers_status(500, 'broken').raises(OSError('cable'))
        response = self.blocks(lambda s: s.out.rest['CRM'].get())
        self.assertEqual((response.status_code, response.text, response.ok), (500, 'broken', False))
        self.assertRaises(OSError, self.blocks, lambda s: s.out.rest['CRM'].get())

    def test_never_answers(self) -> None:
        """The service waits until its deadline."""
        self.outgoing.rest['CRM'].never_answers()
        self.assertRaises(Timeout, self.blocks, lambda s: s.out.rest['CRM'].get())
        self.assertAlmostEqual(self.clock.seconds(), 60, delta=0.1)

    def test_inactive_and_missing(self) -> None:
        """Accessing the connection raises an error naming it."""
        self.outgoing.rest['CRM'].is_inactive()
        self.outgoing.rest['ERP'].is_missing()
        inactive = self.assertRaises(Inactive, self.blocks, lambda s: s.out.rest['CRM'])
        self.assertEqual(inactive.msg, '[CRM] is inactive')
        missing = self.assertRaises(NotFound, self.blocks, lambda s: s.out.rest['ERP'])
        self.assertEqual(missing.msg, "There is no outgoing connection 'ERP' of kind rest")


class InvokeTests(Scripted):
    """Scripted services."""

    def test_answers(self) -> None:
        """Scripted services respond by payload and in order, also in place of a provided service; their calls are
        recorded."""
        self.invokes('crm.rates').on({'to': 'EUR'}).answers({'rate': 4})
        self.invokes('crm.rates').answers(1).does(lambda call: call.data)

        async def three(service: Any) -> Any:
            return [await service.invoke('crm.rates', payload) for payload in ('x', {'to': 'EUR'}, {'to': 'PLN'})]

        self.assertEqual(self.does(three), [1, {'rate': 4}, {'to': 'PLN'}])
        self.assertEqual(self.sent('service', 'crm.rates'), ['x', {'to': 'EUR'}, {'to': 'PLN'}])
        self.invokes('script.does').answers('scripted')
        self.assertEqual(self.blocks(lambda s: s.invoke(Does, 1)), 'scripted')

    def test_faults(self) -> None:
        """A scripted service may be slow, missing or inactive."""
        self.invokes('a.late').times_out(3)
        late = self.assertRaises(Timeout, self.blocks, lambda s: s.invoke('a.late'))
        self.assertEqual((late.msg, self.clock.seconds()), ('Service a.late gave no answer within 3 s', 3.0))
        self.invokes('a.gone').is_missing()
        self.assertRaises(NotFound, self.blocks, lambda s: s.invoke('a.gone'))
        self.invokes('a.off').is_inactive()
        self.assertRaises(Inactive, self.blocks, lambda s: s.invoke('a.off'))


def bad_tests() -> type[unittest.TestCase]:
    """Tests that are run to see how they fail."""

    class Bad(ServiceTestCase):
        def test_leaves_over(self) -> None:
            self.outgoing.rest['CRM'].on('get', params={'id': 1}).answers(1)
            self.outgoing.amqp['Out'].answers(times=None)

        def test_fails_before(self) -> None:
            self.outgoing.rest['CRM'].answers(1)
            self.assertEqual(1, 2)

        def test_swallows(self) -> None:
            self.start(Does, _swallow, channel='invoke')

    return Bad


async def _swallow(service: Any) -> None:
    try:
        await service.out.rest['CRM'].get()
    except Exception:
        service.logger.info('Nobody will know')


class LeftoverTests(SynchronousTestCase):
    """A script must be used completely."""

    def ends(self, name: str) -> list[str]:
        """Return the last lines of unittest's report on one of the bad tests."""
        result = unittest.TestResult()
        bad_tests()(name).run(result)
        return [text.strip().splitlines()[-1] for _, text in [*result.failures, *result.errors]]

    def test_unused(self) -> None:
        """A test fails if it leaves entries unused, and names them; those for any number of calls may remain."""
        self.assertEqual(self.ends('test_leaves_over'),
                         ["AssertionError: Scripted and never asked for: rest 'CRM' get(params={'id': 1})"])

    def test_one_failure_is_enough(self) -> None:
        """A failed test is not blamed for unused entries too."""
        self.assertEqual(self.ends('test_fails_before'), ['AssertionError: 1 != 2'])

    def test_swallowed(self) -> None:
        """An unscripted call fails the test at its end at the latest."""
        (line,) = self.ends('test_swallows')
        self.assertIn("Service script.does asked rest 'CRM' for get()", line)

    def test_context_manager(self) -> None:
        """A kit as context manager checks its script when the block succeeds, and passes other errors on."""

        def leave(error: Exception | None) -> None:
            with ServiceKit() as kit:
                kit.outgoing.rest['CRM'].answers(1)
                if error:
                    raise error

        self.assertIn('never asked for', str(self.assertRaises(AssertionError, leave, None)))
        self.assertRaises(KeyError, leave, KeyError('x'))
