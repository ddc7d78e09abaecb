"""Recorded calls: which ones, and what is kept of them."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from zatotx.interfaces.call_samples import MAX_SLOW
from zatotx.model.call_sample import MAX_TEXT, CallSample
from zatotx.model.errors import ServiceUnavailable
from zatotx.model.message import ChannelSpec, Message, Reply
from zatotx.service.call_recorder import MAX_PENDING, ServiceCallRecorder, body_beginning, payload_beginning
from zatotx.testing.memory_call_sample_store import MemoryCallSampleStore


class CallSamplerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = MemoryCallSampleStore()

    def sampler(self, slow_threshold: int = 100, every: int = 0) -> ServiceCallRecorder:
        return ServiceCallRecorder(service='crm', slow_threshold=slow_threshold, every=every, store=self.store,
                           now=lambda: 1000.0)  # fmt: skip

    def call(self, sampler: ServiceCallRecorder, seconds: float, cid: str = 'c1', body: Any = b'{"a":1}') -> None:
        message = Message(cid, ChannelSpec(kind='http', name='crm.channel', service='crm'), 'crm', {}, body, 0.0, None)
        sampler.observe(message, Reply(200, b'{"b":2}', b'application/json'), seconds)

    def slow(self) -> list[CallSample]:
        return self.successResultOf(self.store.slow('crm'))

    def test_slow(self) -> None:
        """A call that took as long as the threshold is recorded with its texts and times."""
        sampler = self.sampler()
        self.call(sampler, 0.0999)
        self.call(sampler, 0.1, 'c2')
        (one,) = self.slow()
        self.assertEqual(one, CallSample(cid='c2', channel='crm.channel', started_at=999.9, milliseconds=100.0,
                                         request='{"a":1}', response='{"b":2}', threshold=100))  # fmt: skip
        self.assertNotIn('"a"', repr(one))
        self.assertIsNone(self.successResultOf(self.store.sample('crm')))

    def test_samples(self) -> None:
        """The first of each n calls is the sample; the latest one is kept."""
        sampler = self.sampler(every=3)
        kept = []
        for number in range(7):
            self.call(sampler, 0.001, f'c{number}')
            sample = self.successResultOf(self.store.sample('crm'))
            kept.append(None if sample is None else sample.cid)
        self.assertEqual(kept, ['c0', 'c0', 'c0', 'c3', 'c3', 'c3', 'c6'])
        self.assertEqual(self.slow(), [])

    def test_bounded(self) -> None:
        """The newest slow responses are kept."""
        sampler = self.sampler(slow_threshold=0)
        for number in range(MAX_SLOW + 5):
            self.call(sampler, 0.001, f'c{number}')
        self.assertEqual((len(self.slow()), self.slow()[0].cid), (MAX_SLOW, f'c{MAX_SLOW + 4}'))

    def test_a_slow_store(self) -> None:
        """Calls are not recorded while too many records are being written, and are recorded again afterwards."""
        waiting: list[Deferred[None]] = []

        class SlowStore(MemoryCallSampleStore):
            def record_slow(self, service: str, sample: CallSample) -> Deferred[None]:
                waiting.append(Deferred())
                return waiting[-1]

        self.store = SlowStore()
        sampler = self.sampler(slow_threshold=0)
        for _ in range(MAX_PENDING + 10):
            self.call(sampler, 1.0)
        self.assertEqual(len(waiting), MAX_PENDING)
        waiting[0].callback(None)
        self.call(sampler, 1.0)
        self.assertEqual(len(waiting), MAX_PENDING + 1)

    def test_the_store_is_away(self) -> None:
        """A failure is logged without the texts of the call, which goes on."""
        self.store.problem = ServiceUnavailable(None, 'Redis is away')
        with capturedLogs() as events:
            self.call(self.sampler(slow_threshold=0), 1.0)
        (event,) = [each for each in events if 'cannot be recorded' in str(each.get('log_format'))]
        self.assertIn('Redis is away', str(event['reason']))

    def test_texts(self) -> None:
        """Long texts are cut, and what is not text is said to be so."""
        self.assertEqual(len(body_beginning(b'x' * 100_000)), MAX_TEXT)
        self.assertEqual(len(payload_beginning('x' * 100_000)), MAX_TEXT)
        self.assertEqual(payload_beginning({'a': [1]}), '{"a":[1]}')
        self.assertEqual(payload_beginning(b'\xff'), '\N{REPLACEMENT CHARACTER}')
        self.assertIn('not text', payload_beginning(object()))
        self.assertIn('not text', body_beginning(object()))
