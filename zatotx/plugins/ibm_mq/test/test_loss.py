"""No message is lost, wherever the connection breaks: before and after each call of a message's way."""

from __future__ import annotations

from typing import Any

from zatotx.model.errors import BadRequest, ServiceUnavailable
from zatotx.model.message import Message, Reply
from zatotx.plugins.ibm_mq.test.channel_case import ChannelCase, failed


class BrokenConnectionTests(ChannelCase):
    """Three messages: one is processed, one fails at first, and one is moved to the back-out queue."""

    def answer(self, message: Message) -> Reply:
        """What the service says."""
        if message.body == b'wrong':
            return failed(BadRequest(message.cid, 'wrong'))
        if message.body == b'flaky' and self.bodies.count(b'flaky') == 1:
            return failed(ServiceUnavailable(message.cid, 'not yet'))
        return Reply(200, b'', b'text/plain')

    async def check(self, call: str, *, after: bool) -> None:
        """Break the connection once, at this call."""
        self.exchange.at_once = self.answer
        for body in (b'wrong', b'flaky', b'fine'):
            self.qmgr.put(body, self.queue)
        await self.start()
        await self.until_empty()
        self.assertEqual(self.metric('lost_connections'), 1, (call, after))
        self.assertEqual(self.qmgr.browse(self.backout_queue), [b'wrong'])
        self.assertIn(b'fine', self.bodies)
        self.assertGreaterEqual(self.bodies.count(b'flaky'), 2)
        self.assertEqual(self.letters, [])


def _make(call: str, after: bool) -> Any:
    async def test(self: BrokenConnectionTests) -> None:
        self.qmgr.fault(call, 2009, after=after)
        await self.check(call, after=after)

    test.__doc__ = f'The connection breaks {"after" if after else "before"} {call}.'
    return test


for _call in ('MQGET', 'MQPUT', 'MQCMIT', 'MQBACK'):
    for _after in (False, True):
        setattr(BrokenConnectionTests, f'test_{"after" if _after else "before"}_{_call.lower()}', _make(_call, _after))


class StoresAwayTests(ChannelCase):
    """What keeps processed keys and dead letters is away."""

    async def test_a_message_is_held_while_dead_letters_cannot_be_stored(self) -> None:
        """A failed message waits in its unit of work, without back-outs, until the ODB is back."""
        self.letters.error = ServiceUnavailable(None, 'the ODB is away')
        self.exchange.at_once = lambda message: failed(BadRequest(message.cid, 'wrong'))
        await self.start(on_error='dead_letter')
        self.qmgr.put(b'abc', self.queue)
        await self.until(lambda: len(self.delivered) >= 2)
        self.letters.error = None
        await self.until_empty()
        self.assertEqual({message.headers[b'jmsxdeliverycount'] for message in self.delivered}, {b'1'})
        self.assertEqual(len(self.letters), 1)
        self.flushLoggedErrors(ServiceUnavailable)
