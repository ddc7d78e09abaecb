"""self.invoke between services on the reactor."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
from twisted.internet.defer import CancelledError, Deferred, gatherResults, inlineCallbacks
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.invoking import CID, Calls, outcome_of
from zatotx import Inactive, Int, InternalServerError, NotFound, Service, Timeout
from zatotx.metrics.counters import CallCounters
from zatotx.model.errors import BadInput
from zatotx.schema.service import ServiceConfig
from zatotx.schema.snapshot import Snapshot, StoredObject
from zatotx.service.compat.bunch import Bunch
from zatotx.service.service_entry import ServiceEntry


class Point(msgspec.Struct):
    x: int
    y: int = 0


class Told(Service):
    """Responds with what it knows about its call."""

    name = 'told'

    async def handle(self) -> None:
        self.response.payload = {
            'cid': self.cid, 'channel': self.channel, 'who': self.principal.name, 'left': self.deadline.remaining,
            'payload': self.request.payload, 'raw': self.request.raw_request, 'environ': self.environ,
        }  # fmt: skip


class Summed(Service):
    name = 'summed'

    class SimpleIO:
        input_required = (Int('x'), Int('y'))
        output_required = ('sum',)

    async def handle(self) -> None:
        self.response.payload.sum = self.request.input.x + self.request.input.y


class Typed(Service):
    name = 'typed'
    input = Point
    output = Point

    async def handle(self) -> None:
        self.response.payload = self.request.input


class Hanging(Service):
    name = 'hanging'
    ended: list[str] = []

    async def handle(self) -> None:
        try:
            await Deferred()
        except CancelledError:
            self.ended.append('cancelled')
            raise


class Endless(Service):
    name = 'endless'

    async def handle(self) -> None:
        await self.invoke(self.name)


def asking(*args: Any, **options: Any) -> type[Service]:
    """Return a service that invokes another and responds with the result."""

    class Asking(Service):
        async def handle(self) -> None:
            self.response.payload = await self.invoke(*args, **options)

    return Asking


class InvokeTests(SynchronousTestCase):
    def ask(self, *args: Any, **options: Any) -> Any:
        calls = Calls(asking(*args, **options), Told, Summed, Typed, Hanging, Endless)
        return outcome_of(calls.start(calls.http())).value

    def test_the_call_goes_on_as_the_same_request(self) -> None:
        """The call has the same cid, principal and deadline; its channel is 'invoke'."""
        found = self.ask('told', {'a': 1})
        self.assertEqual(found, {
            'cid': CID, 'channel': 'invoke', 'who': 'tester', 'left': 60.0, 'payload': {'a': 1}, 'raw': {'a': 1},
            'environ': {},
        })  # fmt: skip

    def test_the_earlier_of_timeout_and_deadline_counts(self) -> None:
        """A timeout can shorten the deadline but never extend it."""
        self.assertEqual(self.ask('told', timeout=5)['left'], 5.0)
        self.assertEqual(self.ask('told', timeout=500)['left'], 60.0)

    def test_payload_without_its_element(self) -> None:
        """Input is read by the declaration, on every channel; the result has no response element."""
        for payload in ({'x': 1, 'y': '2'}, Bunch(x=1, y=2), Point(1, 2), '{"x": 1, "y": 2}'):
            self.assertEqual(self.ask('summed', payload), {'sum': 3})

    def test_models_pass_as_they_are(self) -> None:
        """Values are passed between services without serialization."""
        point = Point(1, 2)
        self.assertIs(self.ask('typed', point), point)
        self.assertEqual(self.ask('typed', {'x': 3}), Point(3))

    def test_by_class(self) -> None:
        """A class is invoked by the name it is deployed under."""
        self.assertEqual(self.ask(Summed, {'x': 1, 'y': 2}), {'sum': 3})

    def test_by_module_and_class(self) -> None:
        """Zato's invoke_by_impl_name works; a missing implementation is named."""
        def asked(impl: str) -> Any:
            class ByImpl(Service):
                async def handle(self) -> None:
                    self.response.payload = await self.invoke_by_impl_name(impl, {'x': 1, 'y': 2}, as_bunch=True)
            calls = Calls(ByImpl, Summed)
            return outcome_of(calls.start(calls.http())).value
        self.assertEqual(asked(f'{__name__}.Summed').sum, 3)
        self.assertIn('no.Such', self.assertRaises(NotFound, asked, 'no.Such').details)

    def test_by_id(self) -> None:
        """Zato's invoke_by_id works; an unknown id, and one of another object, are named."""
        stored = [StoredObject(7, 'service', ServiceConfig(name='summed', impl_name='x', is_internal=False), 1),
                  StoredObject(8, 'channel_rest', ServiceConfig(name='other'), 1)]  # fmt: skip

        def asked(service_id: int | str) -> Any:
            class ById(Service):
                async def handle(self) -> None:
                    self.response.payload = await self.invoke_by_id(service_id, {'x': 1, 'y': 2})
            calls = Calls(ById, Summed, node=SimpleNamespace(config=SimpleNamespace(snapshot=Snapshot(1, stored))))
            return outcome_of(calls.start(calls.http())).value
        self.assertEqual([asked(7), asked('7')], [{'sum': 3}, {'sum': 3}])
        for unknown in (8, 9):
            self.assertIn(f'the id {unknown}', self.assertRaises(NotFound, asked, unknown).details)

    def test_bad_input_of_the_called_service(self) -> None:
        """The caller may catch BadInput; otherwise it is the response to the request."""
        bad = self.assertRaises(BadInput, self.ask, 'summed', {'x': 'a'})
        self.assertEqual(bad.errors, (('$.x', 'expected int, got str'), ('$.y', 'missing')))

    def test_arguments_of_zato(self) -> None:
        """Zato's further arguments are accepted, by position too; unknown arguments are named."""
        self.assertEqual(self.ask('told', '', 'my-channel')['channel'], 'my-channel')
        self.assertEqual(self.ask('told', '{"a": 1}', data_format='json')['payload'], {'a': 1})
        self.assertEqual(self.ask('told', environ={'k': 1}, transport=None)['environ'], {'k': 1})
        self.assertEqual(self.ask('summed', {'x': 1, 'y': 2}, serialize=True), '{"sum":3}')
        self.assertEqual(self.ask('summed', {'x': 1, 'y': 2}, as_bunch=True).sum, 3)
        self.assertEqual(self.ask('typed', {'x': 1}, 'invoke', 'dict', None, False, True).x, 1)
        error = self.assertRaises(TypeError, self.ask, 'told', surprise=1)
        self.assertIn('surprise', str(error))

    def test_unknown(self) -> None:
        """An unknown service raises NotFound with its name and the most similar one."""
        self.assertEqual(self.assertRaises(NotFound, self.ask, 'no.such').details, 'Service no.such does not exist')
        self.assertIn(", did you mean 'summed'?", self.assertRaises(NotFound, self.ask, 'sumed').details)

    def test_inactive(self) -> None:
        """An inactive service raises Inactive, however it is invoked."""
        asleep = ServiceEntry.for_class(Told, is_active=False)
        calls = Calls(asking('told'), asleep)
        inactive = self.assertRaises(Inactive, outcome_of, calls.start(calls.http()))
        self.assertEqual(inactive.details, '[told] is inactive')
        calls = Calls(asleep)
        self.assertRaises(Inactive, outcome_of, calls.start(calls.http()))

    def test_depth_is_bounded(self) -> None:
        """Calls nest up to 32 deep; then an error names the chain."""
        calls = Calls(Endless)
        calls.entries[0] = calls.services.entries['endless'] = ServiceEntry.for_class(Endless, stats=CallCounters())
        fault = self.assertRaises(InternalServerError, outcome_of, calls.start(calls.http()))
        self.assertIn('more than 32 deep: endless -> endless', fault.details)
        stats = calls.entries[0].stats
        self.assertEqual((stats.calls, stats.errors), (32, 32))

    def test_a_service_may_call_itself(self) -> None:
        """A service may invoke itself."""

        class Countdown(Service):
            name = 'countdown'

            async def handle(self) -> None:
                n = self.request.payload
                self.response.payload = [n, *(await self.invoke('countdown', n - 1))] if n else [0]

        calls = Calls(Countdown)
        self.assertEqual(outcome_of(calls.start(calls.http(), 32)).value[:3], [32, 31, 30])

    def test_timeout(self) -> None:
        """A call that exceeds its timeout is cancelled and named."""
        calls = Calls(asking('hanging', timeout=3), Hanging)
        started = calls.start(calls.http())
        calls.clock.advance(2.9)
        self.assertNoResult(started)
        calls.clock.advance(0.2)
        self.assertIn('hanging', self.assertRaises(Timeout, outcome_of, started).details)
        self.assertEqual(Hanging.ended, ['cancelled'])
        Hanging.ended.clear()

    def test_timeout_without_raising(self) -> None:
        """With Zato's raise_timeout=False the result is None."""
        calls = Calls(asking('hanging', timeout=3, raise_timeout=False), Hanging)
        started = calls.start(calls.http())
        calls.clock.advance(3)
        self.assertIsNone(outcome_of(started).value)
        Hanging.ended.clear()

    def test_cancelling_reaches_the_called_service(self) -> None:
        """When a client disconnects, the whole chain is cancelled, with or without a timeout."""
        for options in ({}, {'timeout': 5}):
            calls = Calls(asking('hanging', **options), Hanging)
            started = calls.start(calls.http())
            started.cancel()
            self.assertRaises(CancelledError, outcome_of, started)
            self.assertEqual(Hanging.ended, ['cancelled'])
            self.assertEqual(calls.clock.getDelayedCalls(), [])
            Hanging.ended.clear()

    def test_a_request_sees_one_moment(self) -> None:
        """A request continues with the services that existed when it started."""
        waits: Deferred[None] = Deferred()

        class Slow(Service):
            name = 'slow'

            async def handle(self) -> None:
                await waits
                self.response.payload = await self.invoke('told')

        calls = Calls(Slow, Told)
        started = calls.start(calls.http())
        calls.services = Calls(Slow).services  # a new map, without `told`
        waits.callback(None)
        self.assertEqual(outcome_of(started).value['cid'], CID)

    def test_several_at_once(self) -> None:
        """The awaitables of invoke can be gathered."""

        class Gathering(Service):
            async def handle(self) -> None:
                both = [Deferred.fromCoroutine(self.invoke('summed', {'x': n, 'y': n})) for n in (1, 2)]
                self.response.payload = await gatherResults(both)

        calls = Calls(Gathering, Summed)
        self.assertEqual(outcome_of(calls.start(calls.http())).value, [{'sum': 2}, {'sum': 4}])

    def test_inline_callbacks_may_yield_it(self) -> None:
        """inlineCallbacks services can yield the result of invoke."""

        class Inline(Service):
            @inlineCallbacks
            def handle(self) -> Any:
                found = yield self.invoke('summed', {'x': 1, 'y': 2})
                self.response.payload = found

        calls = Calls(Inline, Summed)
        self.assertEqual(outcome_of(calls.start(calls.http())).value, {'sum': 3})

    def test_called_services_are_counted(self) -> None:
        """Calls and errors are counted per service."""
        calls = Calls(asking('summed', {'x': 1}), ServiceEntry.for_class(Summed, stats=CallCounters()))
        self.assertRaises(BadInput, outcome_of, calls.start(calls.http()))
        stats = calls.entries[1].stats
        self.assertEqual((stats.calls, stats.errors_by_name), (1, {'BadInput': 1}))
