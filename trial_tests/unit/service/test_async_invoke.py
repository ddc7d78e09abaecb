"""self.invoke_async and self.patterns, as services see them."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from zatotx import Service
from zatotx.model.errors import BadRequest, NotFound
from zatotx.model.work_message import WorkMessage
from zatotx.testing.service_kit import ServiceKit

asked: dict[str, Any] = {}  # what the callers do, and what came of it


class Target(Service):
    name = 't.target'

    async def handle(self) -> None:
        self.response.payload = {'got': self.request.payload, 'raw': self.request.raw_request}


class Caller(Service):
    """Calls what the test says, from the reactor."""

    name = 't.caller'

    async def handle(self) -> None:
        asked['result'] = await asked['function'](self)


class CallerDef(Service):
    """The same from a thread."""

    name = 't.caller-def'

    def handle(self) -> None:
        asked['result'] = asked['function'](self)


class InvokeAsyncTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.kit = ServiceKit(Target, Caller, CallerDef)
        self.addCleanup(self.kit.close)

    def asked(self, function: Any, caller: type[Service] = Caller) -> Any:
        """Let a service call that function with itself; returns the result."""
        asked['function'] = function
        self.kit.call(caller)
        return asked['result']

    def message(self) -> WorkMessage:
        """The message that was written last."""
        message: WorkMessage = self.kit._invoker.node.work.messages[-1]
        return message

    def test_both_kinds_of_services(self) -> None:
        """The call returns the cid, awaited or not, and the message has payload, cid, channel and caller."""
        for caller in (Caller, CallerDef):
            cid = self.asked(lambda s: s.invoke_async('t.target', {'a': b'\xff'}), caller)
            message = self.message()
            self.assertEqual((message.cid, message.service, message.payload), (cid, 't.target', {'a': b'\xff'}))
            self.assertEqual((message.channel, message.expires_at), ('invoke-async', 0.0))
        self.assertEqual(self.kit.invoked_async('t.target'), [{'a': b'\xff'}] * 2)

    def test_zato_arguments(self) -> None:
        """Zato's arguments, positional ones too: channel, data_format, transport, expiration, to_json_string, cid,
        callback."""
        self.asked(lambda s: s.invoke_async(Target, {'a': 1}, 'my-channel', 'dict', None, 15, True, 'c' * 12, 'self'))
        message = self.message()
        self.assertEqual((message.channel, message.payload, message.cid, message.callbacks),
                         ('my-channel', '{"a": 1}', 'c' * 12, ('t.caller',)))  # fmt: skip
        self.assertAlmostEqual(message.expires_at - message.created_at, 15, 3)
        self.asked(lambda s: s.invoke_async('t.target', '{"a": 1}', data_format='json', callback=['t.target', Caller]))
        self.assertEqual((self.message().payload, self.message().callbacks), ({'a': 1}, ('t.target', 't.caller')))

    def test_xml(self) -> None:
        """An XML element is stored as text and parsed again."""
        from zatotx.wire.xml.parser import parse_document

        self.asked(lambda s: s.invoke_async('t.target', parse_document(b'<a><b>1</b></a>')))
        self.assertEqual((self.message().payload, self.message().data_format), (b'<a><b>1</b></a>', 'xml'))

    def test_wrong_calls(self) -> None:
        """What is wrong is an error of the call, and nothing is written."""
        self.kit.invokes('t.missing').is_missing()
        for function, error, text in (
            (lambda s: s.invoke_async('t.missing'), NotFound, 'Service t.missing does not exist'),
            (lambda s: s.invoke_async('t.target', object()), BadRequest, 'cannot be written to the work stream'),
            (lambda s: s.invoke_async('t.target', '{', data_format='json'), BadRequest, 'not JSON'),
            (lambda s: s.invoke_async('t.target', expiration=0), ValueError, 'expiration is a number of seconds'),
            (lambda s: s.invoke_async('t.target', wrong=1), TypeError, 'has no argument wrong'),
            (lambda s: s.patterns.invoke_retry.invoke_async('t.target', repeats=0), ValueError, 'repeats is 1 to'),
            (lambda s: s.patterns.invoke_retry('t.target', seconds=1, minutes=1), ValueError, 'not both'),
        ):
            with self.assertRaisesRegex(error, text):
                self.asked(function)
        self.assertEqual(self.kit._invoker.node.work.messages, [])

    def test_patterns(self) -> None:
        """parallel returns results and errors; the forms with callbacks write messages that say who asked."""
        self.kit.invokes('t.other').raises(BadRequest(None, 'no'), times=None)
        for caller in (Caller, CallerDef):
            found = self.asked(lambda s: s.patterns.parallel({'t.target': 1, 't.other': 2}), caller)
            self.assertEqual(found['t.target'].response, {'got': 1, 'raw': 1})
            self.assertEqual((found['t.other'].ok, str(found['t.other'].exception)), (False, 'no'))
        cid = self.asked(lambda s: s.patterns.fanout({'t.target': 1}, on_final='t.caller', on_target='t.target'))
        message = self.message()
        self.assertEqual((message.cid, message.source, message.part, message.callbacks),
                         (cid, 't.caller', 't.target', ('t.target',)))  # fmt: skip
        options: dict[str, Any] = {'repeats': 3, 'minutes': 2, 'context': {'x': 1}}
        self.asked(lambda s: s.patterns.invoke_retry.invoke_async('t.target', 5, **options))
        message = self.message()
        self.assertEqual((message.max_attempts, message.backoff, message.max_delay, message.context),
                         (3, 120.0, 120.0, {'x': 1}))  # fmt: skip

    def test_invoke_retry(self) -> None:
        """A service that fails is invoked again after pauses, as often as the call says."""
        self.kit.invokes('t.flaky').raises(RuntimeError('a')).raises(RuntimeError('b')).answers({'n': 3})
        found = self.asked(lambda s: s.patterns.invoke_retry('t.flaky', repeats=2, seconds=30))
        self.assertEqual((found, self.kit.clock.seconds() >= 54), ({'n': 3}, True))
