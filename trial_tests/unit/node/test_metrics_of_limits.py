"""What the metrics say of limits and pools, put together as a server does it."""

from __future__ import annotations

from typing import Any, cast

import msgspec
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zatotx.metrics.definitions import OVERFLOW_LABEL
from zatotx.metrics.meters import MAX_NAMES
from zatotx.metrics.snapshot import take_snapshot
from zatotx.model.message import ChannelSpec
from zatotx.node.settings import Settings, parse_settings
from zatotx.tap.build_limits import ServerLimits
from zatotx.testing.pipeline_doubles import FunctionEntry, make_message

CHANNEL = ChannelSpec(name='narrow', kind='http-soap', service='a', max_in_flight=1, queue=1, queue_timeout=1.0)


class Store:
    def __init__(self, names: list[str]) -> None:
        self.current = [FunctionEntry(name, None) for name in names]  # type: ignore[arg-type]  # none is called


class SettingTests(SynchronousTestCase):
    def test_every_mistake_is_named(self) -> None:
        """Bounds, types and unknown keys of [limits], all at once."""
        wrong = {'in_flight': 0, 'service_in_flight': 4001, 'json_depth': 'deep', 'json_keys': -1, 'form_feilds': 5,
                 'body_memory': 1_000_000}
        document = {'main': {'name': 'one', 'cluster': 'c'}, 'odb': {'url': 'x'}, 'kvdb': {'url': 'x'}, 'limits': wrong}
        settings, mistakes = parse_settings(document)
        self.assertIsNone(settings)
        for name in wrong:
            self.assertTrue(any(mistake.startswith(f'limits.{name}: ') for mistake in mistakes), mistakes)


class FigureTests(SynchronousTestCase):
    def setUp(self) -> None:
        document = {'main': {'name': 'one', 'cluster': 'c'}, 'odb': {'url': 'sqlite://'}, 'kvdb': {'url': 'redis://x'},
                    'limits': {'in_flight': 7, 'service_in_flight': 5, 'json_depth': 3,
                               'body_memory': 100_000_000}, 'threads': {'services': 2}}
        settings, mistakes = parse_settings(document)
        assert isinstance(settings, Settings), mistakes
        self.limited = ServerLimits(settings, Clock())

    def figures(self, names: list[str]) -> dict[tuple[str, tuple[str, ...]], Any]:
        store = Store(names)
        if names:
            store.current[-1].concurrency_limit.rejected = 4
        found = take_snapshot(self.limited.metric_sources(cast('Any', store)))
        return {(name, tuple(labels)): value for name, rows in found.items() for labels, value in rows}

    def test_all_of_it(self) -> None:
        """Node, services, channels, pools, each by its settings."""
        admission = self.limited.admission
        admission.node.enter()
        entrance = admission.queue_of(CHANNEL)
        for channel in (CHANNEL, CHANNEL):
            admission.enter_channel(channel, entrance)
        entrance.reject()
        got = self.figures(['a', 'b'])
        expected = {
            ('zatotx_node_in_flight', ()): 1, ('zatotx_node_limit', ()): 7, ('zatotx_node_refused', ()): 0,
            ('zatotx_body_memory_bytes', ()): 0, ('zatotx_body_memory_limit_bytes', ()): 100_000_000,
            ('zatotx_body_memory_refused', ()): 0,
            ('zatotx_service_limit', ('a',)): 1000, ('zatotx_service_refused', ('b',)): 4,
            ('zatotx_channel_queue_length', ('http-soap', 'narrow')): 1,
            ('zatotx_channel_refused', ('http-soap', 'narrow', 'queue_full')): 1,
            ('zatotx_channel_refused', ('http-soap', 'narrow', 'queue_late')): 0,
            ('zatotx_pool_threads', ('service',)): 2, ('zatotx_pool_busy', ('service',)): 0,
            ('zatotx_pool_waiting', ('service',)): 0, ('zatotx_pool_refused', ('service',)): 0,
            ('zatotx_pool_threads', ('worker',)): 4, ('zatotx_threads_stuck', ()): 0,
        }  # fmt: skip
        self.assertEqual({key: got.get(key) for key in expected}, expected)

    def test_services_are_made_by_the_settings(self) -> None:
        """The gate of a service, and the budget of a message."""
        self.assertEqual(self.limited.make_service_limit('a').limit, 5)
        spec = msgspec.structs.replace(CHANNEL, data_format='json')
        codec = self.limited.codecs.select(make_message(channel=spec))
        self.assertIsInstance(codec.decode(make_message(b'[' * 3 + b']' * 3)), list)

    def test_labels_are_bounded(self) -> None:
        """Beyond the most, services are shown as one."""
        got = self.figures([f's{n:05}' for n in range(MAX_NAMES + 3)])
        self.assertEqual(got['zatotx_service_refused', (OVERFLOW_LABEL,)], 4)
        self.assertEqual(sum(name == 'zatotx_service_limit' for name, _ in got), MAX_NAMES)
