"""Channels over real pymqi and the loopback queue manager: what becomes of a message, whatever its service does."""

from __future__ import annotations

from twisted.logger import LogLevel, capturedLogs, formatEvent

from zatotx.model.errors import BadRequest, InactiveService, InternalServerError, NoSuchService, ServiceUnavailable
from zatotx.model.message import Reply
from zatotx.plugins.ibm_mq import consumer_thread
from zatotx.plugins.ibm_mq.test.channel_case import ChannelCase, failed
from zatotx.plugins.ibm_mq.wire.mqrfh2 import Folder, Header, encode_header
from zatotx.schema.delivery import DeliveryRetry


class SettlementTests(ChannelCase):
    """Commit, back-out and the queues for what is given up."""

    async def test_a_message_is_committed_after_its_service(self) -> None:
        """The message is in the unit of work while its service runs, and gone when that has ended well."""
        self.exchange.at_once = None
        await self.start()
        self.qmgr.put(b'abc', self.queue)
        await self.until(lambda: self.exchange.delivered)
        self.assertEqual((self.qmgr.depth(self.queue), self.qmgr.browse(self.queue)), (1, []))
        self.exchange.delivered[0].answer(b'done')
        await self.until_empty()
        self.assertEqual(self.bodies, [b'abc'])
        self.assertEqual((self.metric('consumers'), self.metric('backed_out'), self.letters), (1, 0, []))

    async def test_order(self) -> None:
        """One consumer delivers the messages of a queue in their order, the higher priorities first."""
        for number in range(20):
            self.qmgr.put(b'%d' % number, self.queue, priority=9 if number == 19 else 4)
        await self.start()
        await self.until_empty()
        self.assertEqual(self.bodies, [b'19', *(b'%d' % number for number in range(19))])

    async def test_a_failed_message_is_backed_out_until_the_threshold(self) -> None:
        """A message whose service fails is delivered again, with its back-out count, BOTHRESH times in all, then it is
        moved to BOQNAME in the same unit of work, with its identifier."""
        self.exchange.at_once = lambda message: failed(InternalServerError(message.cid, 'no luck'))
        await self.start()
        self.qmgr.put(b'abc', self.queue, msg_id=bytes(range(24)))
        await self.until(lambda: self.qmgr.depth(self.backout_queue))
        await self.until_empty()
        self.assertEqual([message.headers[b'jmsxdeliverycount'] for message in self.delivered], [b'1', b'2', b'3'])
        self.assertEqual(self.qmgr.browse(self.backout_queue), [b'abc'])
        (moved,) = self.qmgr.control('browse', queue=self.backout_queue)
        self.assertIn(bytes(range(24)).hex(), moved['descriptor'])
        self.assertEqual((self.metric('backed_out'), self.metric('redelivered'), self.letters), (3, 2, []))

    async def test_a_message_that_is_wrong_is_moved_at_once(self) -> None:
        """An error of the message itself (4xx) needs no further attempt."""
        self.exchange.at_once = lambda message: failed(BadRequest(message.cid, 'no such order'))
        await self.start()
        self.qmgr.put(b'abc', self.queue)
        await self.until(lambda: self.qmgr.depth(self.backout_queue))
        self.assertEqual((len(self.delivered), self.metric('backed_out')), (1, 0))

    async def test_dead_letter_without_a_back_out_queue(self) -> None:
        """Where the queue has no BOQNAME, the message becomes a dead letter after `max_backouts`, then it is committed;
        a delivery of the same message has the same id."""
        self.qmgr.define(self.queue, backout_threshold=0, backout_queue='')
        self.exchange.at_once = lambda message: failed(InternalServerError(message.cid, 'no luck'))
        await self.start(max_backouts=2)
        self.qmgr.put(b'abc', self.queue, msg_id=bytes(range(24)))
        await self.until_empty()
        (letter,) = self.letters
        self.assertEqual((letter.message.body, letter.id), (b'abc', 'ID:' + bytes(range(24)).hex()))
        assert letter.history.last is not None
        self.assertIn('it was backed out 2 times', letter.history.last.cause)

    async def test_log_of_back_outs(self) -> None:
        """Messages whose service fails again and again are one line in the log, and one with their number."""
        self.patch(consumer_thread, 'BACK_OUT_DELAY', 0.01)
        self.exchange.at_once = lambda message: failed(InternalServerError(message.cid, 'no luck'))
        for number in range(20):
            self.qmgr.put(b'%d' % number, self.queue)
        with capturedLogs() as events:
            await self.start()
            await self.until(lambda: self.qmgr.depth(self.backout_queue) == 20)
            await self.channels.stop()
        lines = [str(formatEvent(event)) for event in events if event['log_level'] >= LogLevel.warn]
        title, moved = 'Channel in (jms-wmq): ', f'a message was moved to the back-out queue {self.backout_queue}'
        self.assertEqual(lines[0], f'{title}the service of a message failed: no luck')
        self.assertTrue(lines[1].startswith(f'{title}{moved}: '), lines[1])
        summaries = [line for line in lines[2:] if ' times in the last 10 s. The last time: ' in line]
        self.assertEqual(len(summaries), len(lines) - 2)
        self.assertLess(len(lines), 10)  # a slow machine may take more than ten seconds

    async def test_a_back_out_queue_that_is_full(self) -> None:
        """Where BOQNAME takes nothing, the message becomes a dead letter that says so."""
        self.qmgr.define(self.backout_queue, max_depth=0)
        await self.give_up('reason code 2053')

    async def test_a_back_out_queue_that_does_not_exist(self) -> None:
        """Where BOQNAME names no queue, the message becomes a dead letter that says so."""
        self.qmgr.define(self.queue, backout_queue='NO.SUCH')
        await self.give_up('reason code 2085')

    async def give_up(self, reason: str) -> None:
        """A wrong message becomes a dead letter whose cause names the reason."""
        self.exchange.at_once = lambda message: failed(BadRequest(message.cid, 'wrong'))
        await self.start()
        self.qmgr.put(b'abc', self.queue)
        await self.until_empty()
        (letter,) = self.letters
        assert letter.history.last is not None
        self.assertIn('its service failed: ', letter.history.last.cause)
        self.assertIn(reason, letter.history.last.cause)

    async def test_a_dead_letter_that_cannot_be_stored(self) -> None:
        """While the ODB is away the message stays on its queue; it is a dead letter when the ODB is back."""
        self.qmgr.define(self.queue, backout_queue='')
        self.letters.error = ServiceUnavailable(None, 'the ODB is away')
        self.exchange.at_once = lambda message: failed(BadRequest(message.cid, 'wrong'))
        await self.start()
        self.qmgr.put(b'abc', self.queue)
        await self.until(lambda: len(self.delivered) >= 2)
        self.assertEqual(self.qmgr.depth(self.queue), 1)
        self.letters.error = None
        await self.until_empty()
        self.assertEqual(len(self.letters), 1)

    async def test_on_error_dead_letter(self) -> None:
        """With on_error: dead_letter the first failure makes a dead letter; with retry, the last attempt."""
        self.exchange.at_once = lambda message: failed(InternalServerError(message.cid, 'no luck'))
        await self.start(on_error='dead_letter', retry=DeliveryRetry(attempts=2, backoff=0.01))
        self.qmgr.put(b'abc', self.queue)
        await self.until_empty()
        self.assertEqual((len(self.delivered), len(self.letters), self.metric('backed_out')), (2, 1, 0))

    async def test_a_service_that_is_not_there(self) -> None:
        """A message whose service is not deployed, or not active, is held until it is, and counts no back-out."""
        errors = [NoSuchService(None, 'No such service `one`'), InactiveService('one')]
        self.exchange.at_once = lambda message: failed(errors.pop(0)) if errors else Reply(200, b'', b'')
        await self.start()
        self.qmgr.put(b'abc', self.queue)
        await self.until_empty()
        self.assertEqual([message.headers[b'jmsxdeliverycount'] for message in self.delivered], [b'1'] * 3)
        self.assertEqual(self.qmgr.browse(self.backout_queue), [])

    async def test_a_channel_that_stops_while_it_holds_a_message(self) -> None:
        """The message is on its queue again."""
        self.exchange.at_once = lambda message: failed(NoSuchService(None, 'No such service `one`'))
        await self.start()
        self.qmgr.put(b'abc', self.queue)
        await self.until(lambda: self.delivered)
        await self.channels.stop()
        self.assertEqual(self.qmgr.browse(self.queue), [b'abc'])

    async def test_consumers_share_a_queue(self) -> None:
        """Several consumers have a message each at the same time; one that fails takes no other with it."""
        self.exchange.at_once = None
        await self.start(consumers=3)
        for number in range(3):
            self.qmgr.put(b'%d' % number, self.queue)
        await self.until(lambda: len(self.delivered) == 3)
        self.assertEqual(self.metric('in_flight'), 3)
        self.exchange.delivered[0].answer(b'')
        await self.until(lambda: self.qmgr.depth(self.queue) == 2)
        self.exchange.delivered[1].reply(failed(BadRequest(None, 'wrong')))
        self.exchange.delivered[2].answer(b'')
        await self.until_empty()
        self.assertEqual(self.qmgr.browse(self.backout_queue), [self.bodies[1]])


class ContentTests(ChannelCase):
    """What services get, and what cannot be given to them."""

    async def test_text_and_properties(self) -> None:
        """The body of a JMS text message is UTF-8 text, its fields and properties are headers."""
        header = Header(format='MQSTR', ccsid=819, folders=[Folder(name='usr', values={'Color': 'red', 'n': 3})])
        self.qmgr.put(encode_header(header) + 'é'.encode('latin-1'), self.queue, format=b'MQHRF2  ')
        await self.start()
        await self.until_empty()
        (message,) = self.delivered
        self.assertEqual(message.body, 'é'.encode())
        self.assertEqual((message.headers[b'color'], message.headers[b'n']), (b'red', b'3'))
        self.assertEqual((message.channel.kind, message.channel.name), ('jms-wmq', 'in'))
        self.assertTrue(message.headers[b'jmsmessageid'].startswith(b'ID:414d51'))

    async def test_without_jms(self) -> None:
        """With use_jms: false the queue manager leaves the header out."""
        header = Header(format='MQSTR', folders=[Folder(name='usr', values={'color': 'red'})])
        self.qmgr.put(encode_header(header) + b'abc', self.queue, format=b'MQHRF2  ')
        await self.start(use_jms=False)
        await self.until_empty()
        self.assertEqual(self.bodies, [b'abc'])
        self.assertNotIn(b'color', self.delivered[0].headers)

    async def test_messages_that_no_service_gets(self) -> None:
        """A half-written MQRFH2, text of a wrong or unknown CCSID and a message that is too large are moved to the
        back-out queue unchanged; the messages behind them are processed."""
        wrong = [b'RFH \2', b'\xff\xfe', b'abc', b'x' * 5000]
        self.qmgr.put(wrong[0], self.queue, format=b'MQHRF2  ')
        self.qmgr.put(wrong[1], self.queue)
        self.qmgr.put(wrong[2], self.queue, ccsid=4711)
        self.qmgr.put(wrong[3], self.queue)
        self.qmgr.put(b'fine', self.queue)
        await self.start(definition_fields={'max_message_size': 4096})
        await self.until_empty()
        self.assertEqual(self.bodies, [b'fine'])
        self.assertEqual(self.qmgr.browse(self.backout_queue), wrong)

    async def test_large_messages(self) -> None:
        """A message larger than the first buffer comes whole."""
        body = b'0123456789' * 100_000
        self.qmgr.put(body, self.queue)
        await self.start()
        await self.until_empty()
        self.assertEqual(self.bodies, [body])

    async def test_expired_messages(self) -> None:
        """A message whose time is over is not delivered."""
        self.qmgr.put(b'late', self.queue, expiry=1)
        await self.sleep(0.2)
        self.qmgr.put(b'fine', self.queue)
        await self.start()
        await self.until_empty()
        self.assertEqual(self.bodies, [b'fine'])


class ReplyTests(ChannelCase):
    """Requests that name a queue for the reply."""

    async def test_reply(self) -> None:
        """The response of the service is put on the reply-to queue, in the unit of work of the request, with the
        request's identifier as correlation id."""
        replies = self.backout_queue
        self.qmgr.put(b'abc', self.queue, type=1, reply_to_queue=replies.encode(), msg_id=bytes(range(24)))
        await self.start()
        await self.until_empty()
        (reply,) = self.qmgr.control('browse', queue=replies)
        self.assertEqual(bytes.fromhex(reply['data']), b'ABC')
        descriptor = bytes.fromhex(reply['descriptor'])
        self.assertEqual((descriptor[72:96], descriptor[32:40]), (bytes(range(24)), b'MQSTR   '))

    async def test_a_reply_that_cannot_be_put(self) -> None:
        """The request is committed, as its service has run; the reply is counted and logged."""
        self.qmgr.put(b'abc', self.queue, type=1, reply_to_queue=b'NO.SUCH')
        await self.start()
        await self.until_empty()
        self.assertEqual((len(self.delivered), self.metric('failed_replies')), (1, 1))


