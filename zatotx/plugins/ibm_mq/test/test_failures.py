"""Channels whose queue manager dies, freezes, quiesces, or does not accept them: a queue manager for each test."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, capturedLogs, formatEvent

from trial_tests.support import mqi_loopback
from trial_tests.support.waiting import allowed
from zatotx.model.message import Reply
from zatotx.plugins.ibm_mq import channel
from zatotx.plugins.ibm_mq.test.channel_case import ChannelCase


class FailureCase(ChannelCase):
    """The queue manager is the test's own."""

    def find_queue_manager(self) -> mqi_loopback.LoopbackQueueManager:
        return mqi_loopback.disposable()

    @property
    def findings(self) -> str:
        """What is wrong now."""
        return ' '.join(self.channels.findings())


class LostConnectionTests(FailureCase):
    """Connections that are lost."""

    async def test_reconnect_after_2009(self) -> None:
        """A connection that breaks is replaced by a new one, and what was in its unit of work comes again."""
        await self.start()
        self.qmgr.fault('MQCMIT', 2009)
        self.qmgr.put(b'abc', self.queue)
        await self.until_empty()
        self.assertEqual(self.bodies, [b'abc', b'abc'])
        self.assertEqual((self.metric('lost_connections'), self.metric('consumers')), (1, 1))

    async def test_a_commit_whose_answer_is_lost(self) -> None:
        """A message that was committed before the connection broke does not come again."""
        await self.start()
        self.qmgr.fault('MQCMIT', 2009, after=True)
        self.qmgr.put(b'abc', self.queue)
        await self.until(lambda: self.metric('lost_connections') and self.metric('consumers'))
        self.qmgr.put(b'next', self.queue)
        await self.until_empty()
        self.assertEqual(self.bodies, [b'abc', b'next'])

    async def test_a_commit_that_was_backed_out(self) -> None:
        """Reason code 2003: the queue manager has backed the unit of work out, and the message comes again."""
        await self.start()
        self.qmgr.fault('MQCMIT', 2003)
        self.qmgr.put(b'abc', self.queue)
        await self.until_empty()
        self.assertEqual(self.bodies, [b'abc', b'abc'])

    async def test_the_queue_manager_is_killed(self) -> None:
        """Persistent messages survive the death of the queue manager, the one whose service runs too; the finding says
        why nothing comes meanwhile."""
        self.exchange.at_once = None
        await self.start()
        for text in (b'one', b'two'):
            self.qmgr.put(text, self.queue)
        await self.until(lambda: self.delivered)
        self.qmgr.kill()
        self.exchange.delivered[0].answer(b'')
        await self.until(lambda: 'consumers do not run' in self.findings)
        self.assertIn('reason code 2', self.findings)
        self.exchange.at_once = lambda message: Reply(200, b'', b'')
        self.qmgr.start()
        await self.until_empty()
        self.assertEqual(self.bodies, [b'one', b'one', b'two'])
        self.assertEqual(self.findings, '')

    async def test_the_queue_manager_is_frozen(self) -> None:
        """A call that does not return is given up, counted, and followed by another thread; when the queue manager goes
        on, the thread ends and no message is lost."""
        self.patch(channel, 'STUCK_AFTER', 0.2)
        self.patch(channel, 'CHECK_INTERVAL', 0.1)
        await self.start()
        self.qmgr.freeze()
        await self.until(lambda: self.metric('stuck_threads') >= 1, 'A stuck thread')
        self.assertIn('a call of the client library has not returned', self.findings)
        self.qmgr.thaw()
        self.qmgr.put(b'abc', self.queue)
        await self.until_empty()
        self.assertEqual(self.bodies, [b'abc'])
        await self.until(lambda: not self.metric('stuck_threads'), 'The end of the thread')

    async def test_stuck_threads_are_capped(self) -> None:
        """When as many threads are stuck as there may be, no other is started, and the finding says so."""
        self.patch(channel, 'STUCK_AFTER', 0.1)
        self.patch(channel, 'CHECK_INTERVAL', 0.1)
        self.channels.resources.stuck.limit = 1
        await self.start()
        self.qmgr.freeze()
        await self.until(lambda: 'does not start another thread' in self.findings)
        self.assertEqual(self.metric('stuck_threads'), 1)
        self.qmgr.thaw()
        await self.until(lambda: self.metric('consumers') and not self.metric('stuck_threads'))

    async def test_stopping_while_frozen(self) -> None:
        """A channel whose thread does not return stops all the same, when the time of grace is over."""
        await self.start()
        self.qmgr.freeze()
        began = self.reactor.seconds()
        await self.channels.stop()
        self.assertLess(self.reactor.seconds() - began, allowed(10))

    async def test_starting_while_frozen(self) -> None:
        """A channel whose queue manager does not answer starts after a moment, so that the node is not held up; its
        consumers connect when the queue manager goes on."""
        self.patch(channel, 'FIRST_ATTEMPT', 0.2)
        self.qmgr.freeze()
        began = self.reactor.seconds()
        await self.start(consumers=3)
        self.assertLess(self.reactor.seconds() - began, allowed(5))
        self.assertEqual(self.metric('consumers'), 0)
        self.qmgr.thaw()
        await self.until(lambda: self.metric('consumers') == 3)

    async def test_stopping_while_it_starts(self) -> None:
        """A channel that is stopped before its consumers are connected leaves none behind."""
        self.qmgr.freeze()
        starting = Deferred.fromCoroutine(self.start())
        await self.sleep(0.1)
        await self.channels.stop()
        self.qmgr.thaw()
        starting.addErrback(lambda failure: None)
        await self.until(lambda: not self.metric('stuck_threads'))
        await self.until(lambda: not self.qmgr.control('state')['queues'][self.queue]['inputs'])
        starting.cancel()

    async def test_quiesce(self) -> None:
        """A queue manager that quiesces is left at once, and found again when it is back."""
        await self.start()
        for reason in (2161, 2202):
            await self.until(lambda: self.metric('consumers'))
            self.qmgr.control('quiesce', reason=reason)
            await self.until(lambda: 'quiescing' in self.findings)
            self.assertEqual(self.qmgr.control('state')['queues'][self.queue]['inputs'], 0)
            self.qmgr.control('quiesce', reason=0)
            await self.until(lambda: self.metric('consumers'))


class ConfigurationErrorTests(FailureCase):
    """What somebody has to change: the finding says what, and the channel works as soon as it is changed."""

    async def found(self, *texts: str) -> None:
        """The channel does not run, and the finding has these texts."""
        await self.start()
        self.assertEqual(self.metric('consumers'), 0)
        for text in ('Channel in (jms-wmq)', *texts):
            self.assertIn(text, self.findings)

    async def works(self) -> None:
        """A message is processed."""
        self.qmgr.put(b'abc', self.queue)
        await self.until_empty()
        self.assertEqual((self.bodies, self.findings), ([b'abc'], ''))

    async def test_wrong_password(self) -> None:
        """2035, without the password."""
        self.qmgr.control('configure', users={mqi_loopback.USER: 'another'})
        await self.found('is not authorized', '2035')
        self.assertNotIn(mqi_loopback.PASSWORD, self.findings)
        self.qmgr.control('configure', users={mqi_loopback.USER: mqi_loopback.PASSWORD})
        await self.works()

    async def test_one_line_for_many_consumers(self) -> None:
        """What keeps consumers from connecting is one line in the log, however many there are and however often they
        try, and one when all are connected."""
        self.qmgr.control('configure', users={mqi_loopback.USER: 'another'})
        with capturedLogs() as events:
            await self.start(consumers=10)
            await self.until(lambda: any('it is not authorized' in str(formatEvent(event)) for event in events))
            await self.sleep(0.5)
            self.qmgr.control('configure', users={mqi_loopback.USER: mqi_loopback.PASSWORD})
            await self.until(lambda: self.metric('consumers') == 10)
        lines = [str(formatEvent(event)) for event in events if event['log_level'] >= LogLevel.info]
        self.assertIn('Channel in (jms-wmq): it is not authorized', lines[0])
        self.assertEqual(lines[1:], ['Channel in (jms-wmq) works again'])

    async def test_unknown_queue(self) -> None:
        """2085."""
        self.qmgr.control('delete', name=self.queue)
        await self.found('names a queue that does not exist', '2085')
        self.qmgr.define(self.queue)
        await self.works()

    async def test_get_inhibited(self) -> None:
        """2016, also for an MQGET that waits."""
        await self.start()
        self.qmgr.define(self.queue, inhibit_get=1)
        await self.until(lambda: 'GET is disabled' in self.findings)
        self.qmgr.define(self.queue, inhibit_get=0)
        await self.works()

    async def test_exclusive_queue(self) -> None:
        """2042: one of two consumers has the queue; the other one is the finding."""
        self.qmgr.define(self.queue, exclusive=True)
        await self.start(consumers=2)
        self.assertIn('1 of 2 consumers do not run', self.findings)
        self.assertIn('2042', self.findings)
        self.qmgr.put(b'abc', self.queue)
        await self.until_empty()

    async def test_another_queue_manager(self) -> None:
        """2058: the name is not that of the queue manager that listens."""
        await self.start(definition_fields={'queue_manager': 'OTHER'})
        self.assertIn('names a queue manager that does not listen there', self.findings)

    async def test_several_addresses(self) -> None:
        """The addresses are tried in their order."""
        names = ['127.0.0.1(1)', f'localhost({self.qmgr.port})']
        await self.start(definition_fields={'host': '', 'connection_names': names, 'queue_manager': 'QM1'})
        await self.works()

    async def test_tls_that_does_not_fit(self) -> None:
        """2381 without a key repository, 2393 where the channel has another CipherSpec."""
        tls = {'ssl': True, 'ssl_cipher_spec': 'ANY_TLS12', 'ssl_key_repository': self.mktemp()}
        await self.start(definition_fields=tls)
        self.assertIn('cannot read the key repository', self.findings)
        Path(f'{tls["ssl_key_repository"]}.kdb').touch()
        self.qmgr.control('configure', channels={mqi_loopback.CHANNEL: 'ANY_TLS13'})
        await self.until(lambda: 'cannot agree on TLS' in self.findings)
        self.qmgr.control('configure', channels={mqi_loopback.CHANNEL: 'ANY_TLS12'})
        await self.works()

    async def test_an_alias(self) -> None:
        """2068: a queue that has no thresholds and no depth leaves those of the channel itself."""
        self.qmgr.fault('MQINQ', 2068, count=3)
        await self.start()
        await self.works()

    async def test_a_user_who_may_not_inquire(self) -> None:
        """2035 of MQOPEN for inquiry leaves the thresholds of the channel itself."""
        self.qmgr.fault('MQOPEN', 2035)
        await self.start()
        await self.works()
