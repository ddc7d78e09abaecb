"""What a node reports about itself, and what drains it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zatotx.interfaces.connector_kind import CONNECTOR, SERVER
from zatotx.metrics.counters import STALL_BUCKETS
from zatotx.node.node import READY, NodeState
from zatotx.node.node_control import NodeControl, merge_statuses
from zatotx.node.node_status_figures import count_long_stalls, node_status_figures
from zatotx.processes.workers.control_pipe import SINGLE_PROCESS
from zatotx.tap.build_node_control import NodeControlComponents, make_node_control
from zatotx.testing.memory_node import MemoryPubSub


class FigureTests(SynchronousTestCase):
    def test_users_services(self) -> None:
        """The broker's own services and channels do not count."""
        sample: dict[str, Any] = {
            'zatotx_channel_requests': [(('http-soap', 'orders'), 5), (('http-soap', 'zato.admin'), 9)],
            'zatotx_service_calls': [(('crm.get',), 4), (('zato.ping',), 7)],
            'zatotx_service_errors': [(('crm.get',), 1), (('zato.ping',), 7)],
            'zatotx_service_in_flight': [(('crm.get',), 2), (('zato.ping',), 1)],
            'zatotx_service_duration_seconds': [(('crm.get',), (0.5, [4])), (('zato.ping',), (9.0, [7]))],
            'zatotx_reactor_stall_seconds': [((), (1.0, [1] * (len(STALL_BUCKETS) + 1)))],
        }
        self.assertEqual(node_status_figures(sample), {
            'requests': 5, 'calls': 4, 'errors': 1, 'in_flight': 2, 'seconds': 0.5, 'stalls': 7})  # fmt: skip
        self.assertEqual(node_status_figures({}), dict.fromkeys(node_status_figures(sample), 0))

    def test_stalls(self) -> None:
        """Stalls of 100 ms and less do not count."""
        counts = [0] * (len(STALL_BUCKETS) + 1)
        counts[STALL_BUCKETS.index(0.1)], counts[STALL_BUCKETS.index(0.25)], counts[-1] = 50, 2, 1
        self.assertEqual(count_long_stalls(counts), 3)


class DrainableChannel:
    """A channel that counts how often it was drained."""

    def __init__(self) -> None:
        self.drained = 0

    def drain(self) -> None:
        self.drained += 1


class PlainApi:
    """What the control of a node reads of it."""

    name, odb, config, exposition, started = 'node', None, None, None, 0.0

    def run_in_thread(self, function: Any, *arguments: Any) -> Any:
        raise AssertionError('not needed')


class DrainTests(SynchronousTestCase):
    def control(self, role: str) -> NodeControl:
        self.channel, self.state, self.stopped = DrainableChannel(), NodeState(READY), 0

        def stop_work() -> None:
            self.stopped += 1

        channels: Any = {'amqp': self.channel}
        node = NodeControlComponents(Path(self.mktemp()), role, SINGLE_PROCESS, state=self.state, channels=channels,
                              stop_work=stop_work)  # fmt: skip
        api: Any = PlainApi()
        reactor: Any = Clock()
        return make_node_control(node, api, MemoryPubSub(), reactor)

    def test_server(self) -> None:
        """A drained server is not ready and keeps its channels; it is ready again when it is resumed."""
        control = self.control(SERVER)
        control.drain()
        self.assertIn('drained', self.state.not_ready_reason)
        self.assertEqual((self.channel.drained, self.stopped), (0, 0))
        self.assertIs(control.resume(), True)
        self.assertEqual(self.state.not_ready_reason, '')

    def test_connector(self) -> None:
        """A drained connector fetches nothing more, and has to be restarted."""
        control = self.control(CONNECTOR)
        self.assertIs(control.resume(), True)  # it is not drained
        control.drain()
        control.drain()
        self.assertEqual((self.channel.drained, self.stopped), (1, 1))
        self.assertIs(control.resume(), False)

    def test_no_nodes(self) -> None:
        """Without replies there is no status."""
        self.assertEqual(merge_statuses([]), [])
