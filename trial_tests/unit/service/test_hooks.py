"""Hooks and handlers of verbs: which run, and in which order."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks, succeed
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.invoking import Calls, call, outcome_of
from zatotx import BadRequest, MethodNotAllowed, Service
from zatotx.model.message import ServiceResult
from zatotx.service.metadata import InvalidServiceClass, describe_service, runs_on_reactor


class Recording(Service):
    """Records each step in its response; every other hook is a coroutine."""

    steps: list[str]

    def accept(self) -> bool:
        self.steps = ['accept']
        return True

    async def validate_input(self) -> None:
        self.steps.append('validate_input')

    def before_job(self) -> None:
        self.steps.append('before_job')

    async def before_interval_based_job(self) -> None:
        self.steps.append('before_interval_based_job')

    def before_one_time_job(self) -> None:
        self.steps.append('before_one_time_job')

    async def before_handle(self) -> None:
        self.steps.append('before_handle')

    async def handle(self) -> None:
        self.steps.append('handle')
        self.response.payload = self.steps

    def validate_output(self) -> None:
        self.steps.append('validate_output')

    def after_handle(self) -> Deferred[None]:
        self.steps.append('after_handle')
        return succeed(None)

    async def after_job(self) -> None:
        self.steps.append('after_job')

    def after_interval_based_job(self) -> None:
        self.steps.append('after_interval_based_job')

    def finalize_handle(self) -> None:
        self.steps.append('finalize_handle')


class HookTests(SynchronousTestCase):
    def test_order(self) -> None:
        """The order is that of the feature map."""
        self.assertEqual(call(Recording).value, [
            'accept', 'validate_input', 'before_handle', 'handle', 'validate_output', 'after_handle', 'finalize_handle',
        ])  # fmt: skip

    def test_order_of_a_job(self) -> None:
        """A scheduled call also runs the job hooks of its type."""
        calls = Calls(Recording)
        inbound = calls.inbound(kind='scheduler')
        inbound.headers = {b'x-zato-job-type': b'interval_based'}
        self.assertEqual(outcome_of(calls.start(inbound)).value, [
            'accept', 'validate_input', 'before_job', 'before_interval_based_job', 'before_handle', 'handle',
            'validate_output', 'after_handle', 'after_job', 'after_interval_based_job', 'finalize_handle',
        ])  # fmt: skip

    def test_refused(self) -> None:
        """If accept() returns a false value, the status is 400 and nothing else runs."""

        class Refusing(Recording):
            def accept(self) -> bool:
                return False

        self.assertEqual(self.assertRaises(BadRequest, call, Refusing).status, 400)

    def test_validation_ends_the_call(self) -> None:
        """An exception of validate_input ends the call before handle."""

        class Validating(Recording):
            def validate_input(self) -> None:  # type: ignore[override]
                raise BadRequest(self.cid, 'No such account')

        self.assertEqual(str(self.assertRaises(BadRequest, call, Validating)), 'No such account')

    def test_mistakes_of_hooks_are_passed_over(self) -> None:
        """Exceptions in other hooks are logged with service and cid, and the call continues."""

        class Faulty(Service):
            name = 'faulty'

            def before_handle(self) -> None:
                raise ValueError('before')

            async def handle(self) -> None:
                self.response.payload = 'fine'

            async def finalize_handle(self) -> None:
                raise ValueError('finally')

        with self.assertLogs('faulty') as logged:
            self.assertEqual(call(Faulty).value, 'fine')
        self.assertEqual([record.getMessage() for record in logged.records], [
            'before_handle of faulty failed; the call goes on', 'finalize_handle of faulty failed; the call goes on',
        ])  # fmt: skip
        self.assertEqual([record.__dict__['cid'] for record in logged.records], ['0123456789abcdef01234567'] * 2)

    def test_mistakes_of_handle_end_the_call(self) -> None:
        """After an exception in handle, the hooks that follow it do not run."""

        class Raising(Recording):
            seen: list[Any] = []

            async def handle(self) -> None:
                raise KeyError('handle')

            def finalize_handle(self) -> None:
                self.seen.append(1)

        self.assertRaises(KeyError, call, Raising)
        self.assertEqual(Raising.seen, [])

    def test_a_cancelled_hook_ends_the_call(self) -> None:
        """Cancellation in a hook ends the call."""

        class Waiting(Recording):
            reached: list[int] = []

            def before_handle(self) -> Deferred[None]:  # type: ignore[override]
                return Deferred()

            async def handle(self) -> None:
                self.reached.append(1)

        calls = Calls(Waiting)
        started = calls.start(calls.http())
        started.cancel()
        self.assertRaises(CancelledError, outcome_of, started)
        self.assertEqual(Waiting.reached, [])

    def test_times(self) -> None:
        """After handle, the times of the call are available."""

        class Timed(Service):
            async def handle(self) -> None:
                self.response.payload = [self.handle_return_time, self.processing_time]

            def after_handle(self) -> None:
                took = self.processing_time
                assert took is not None and self.handle_return_time is not None
                self.response.payload += [took >= 0, self.handle_return_time >= self.invocation_time]

        self.assertEqual(call(Timed).value, [None, None, True, True])


class Verbs(Service):
    name = 'verbs'

    async def handle_GET(self) -> None:
        self.response.payload = 'got'

    async def handle_POST(self) -> None:
        self.response.payload = 'posted'


class VerbTests(SynchronousTestCase):
    def test_by_verb(self) -> None:
        """Each verb has its own handler; HEAD uses that of GET."""
        self.assertEqual([call(Verbs, method=verb).value for verb in ('GET', 'POST', 'HEAD')], ['got', 'posted', 'got'])

    def test_an_unknown_verb(self) -> None:
        """Other verbs respond with 405 and the allowed ones."""
        bad = self.assertRaises(MethodNotAllowed, call, Verbs, method='PUT')
        self.assertEqual(bad.headers, ((b'Allow', b'GET, POST'),))
        self.assertIn('Method PUT is not allowed here: service verbs has GET, POST', bad.details)
        bad = self.assertRaises(MethodNotAllowed, call, Verbs, method='PUT', excluded_methods=('PATCH',))
        self.assertEqual(bad.headers, ((b'Allow', b'GET, PATCH, POST'),), 'and those of other channels on the path')

    def test_handle_is_for_those_who_have_no_verb(self) -> None:
        """Calls without an HTTP verb use `handle`, or the only handler."""

        class Both(Verbs):
            async def handle(self) -> None:
                self.response.payload = 'handled'

        class One(Service):
            async def handle_DELETE(self) -> None:
                self.response.payload = 'deleted'

        self.assertRaises(MethodNotAllowed, call, Both, method='PUT')
        self.assertEqual(call(Both, method='PUT', is_builtin_endpoint=True).value, 'handled')
        for service, expected in ((Both, 'handled'), (One, 'deleted')):
            calls = Calls(service)
            self.assertEqual(outcome_of(calls.start(calls.inbound())).value, expected)
        calls = Calls(Verbs)
        self.assertRaises(MethodNotAllowed, outcome_of, calls.start(calls.inbound()))


class TraitsTests(SynchronousTestCase):
    def test_where_a_service_runs(self) -> None:
        """Coroutines, inlineCallbacks and methods annotated as asynchronous run on the reactor, others in threads."""

        @inlineCallbacks
        def inline(self: Any) -> Any:
            yield succeed(None)

        async def coroutine(self: Any) -> None: ...

        def deferred(self: Any) -> Deferred[None]:
            return succeed(None)

        def plain(self: Any) -> None: ...

        self.assertEqual([runs_on_reactor(f) for f in (inline, coroutine, deferred, plain)], [True, True, True, False])

    def test_async_is_told(self) -> None:
        """A service is asynchronous if all of its handlers are."""

        class Mixed(Verbs):
            def handle_PUT(self) -> None: ...

        self.assertEqual([describe_service(Verbs).is_async, describe_service(Mixed).is_async], [True, False])

    def test_what_is_no_service(self) -> None:
        """Everything that is wrong with a class is reported at once."""

        class Nothing(Service):
            input = 5

        class Generator(Service):
            def handle(self) -> Any:
                yield 1

            async def handle_GET(self) -> Any:
                yield 1

            def handle_POST(self, extra: int) -> None: ...

            @staticmethod
            def handle_PUT() -> None: ...

            handle_PATCH = 5

            def __init__(self, needed: int) -> None: ...

        found = self.assertRaises(InvalidServiceClass, describe_service, Nothing).errors
        self.assertEqual(found[0], 'Nothing has no handle(self)')
        self.assertIn('Nothing.input: 5 is neither a name', found[1])
        found = self.assertRaises(InvalidServiceClass, describe_service, Generator).errors
        self.assertEqual([sentence.split()[0] for sentence in found], [
            'Generator.handle', 'Generator.handle_GET', 'Generator.handle_PATCH', 'Generator.handle_POST',
            'Generator.handle_PUT', 'Generator.__init__',
        ])  # fmt: skip

    def test_inline_callbacks(self) -> None:
        """An inlineCallbacks handler runs on the reactor and is awaited."""

        class Inline(Service):
            @inlineCallbacks
            def handle(self) -> Any:
                found = yield succeed('x')
                self.response.payload = found

        self.assertEqual(call(Inline).value, 'x')

    def test_what_handle_returns_counts_for_nothing(self) -> None:
        """The return value of handle is ignored, as in Zato, with one warning in the log."""

        class Returning(Service):
            async def handle(self) -> str:
                return 'x'

        calls = Calls(Returning)
        outcomes: list[ServiceResult] = [outcome_of(calls.start(calls.http())) for _ in range(2)]
        self.assertEqual([one.value for one in outcomes], ['', ''])
