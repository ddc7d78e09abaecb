"""Configured channels: when they start, stop, and replace each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from trial_tests.support.reactor import as_reactor
from zatotx.connectors.channels import ChannelParts, Channels, ChannelType
from zatotx.interfaces.connector_kind import ChannelContext, ConnectorKind, IChannel, LocalTask
from zatotx.interfaces.pipeline import IDispatcher
from zatotx.metrics.meters import MeterRegistry
from zatotx.rules.channel_placement import Placement
from zatotx.schema.snapshot import Snapshot, StoredObject


class Value(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    address: str = 'tcp:1'
    is_active: bool = True
    nodes: tuple[str, ...] = ()
    placement: str = ''


@define(eq=False)
class Double:
    """A channel that notes what is done with it."""

    value: Value
    events: list[str]
    parts: ChannelParts
    error: Exception | None = None
    lost: Callable[[str], None] | None = None
    ended: Deferred[None] = field(factory=lambda: succeed(None))

    async def start(self, dispatcher: IDispatcher, lost: Callable[[str], None]) -> None:
        self.events.append(f'start {self.value.address}')
        self.lost = lost
        if self.error is not None:
            raise self.error

    def stop(self) -> Deferred[None]:
        self.events.append(f'stop {self.value.address}')
        return self.ended

    def findings(self) -> Iterator[str]:
        yield from ()


class ChannelsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.events: list[str] = []
        self.made: list[Double] = []
        self.error: Exception | None = None
        self.placed: list[tuple[Any, ...]] = []
        self.meters = MeterRegistry()
        kind = ConnectorKind(name='x', title='X', runs_in='', listeners={'channel_x': 'address'},
                             placement={'channel_x': Placement.ONE_WORKER_PER_NODE})  # fmt: skip
        context = ChannelContext(
            reactor=as_reactor(self.clock),
            settings={},
            line_sink=lambda name: None,  # type: ignore[arg-type,return-value]
            work_dir='',
            declaration=kind,
            run_in_thread=lambda *args: succeed(None),
            channel_meters=self.meters.channels,
            place_task=self.place,
        )
        self.channels = Channels(context, [
            ChannelType(
                object_type='channel_x', kind='x', build=self.build, nodes=lambda stored: stored.value.nodes,
                placement=lambda stored: Placement(stored.value.placement) if stored.value.placement else None,
            ),
        ])  # fmt: skip
        self.dispatcher: Any = object()

    def place(self, name: str, placement: Placement, nodes: Any, begin: Any, end: Any) -> Any:
        self.placed.append((name, placement, nodes))
        return LocalTask(begin, end)

    def build(self, stored: StoredObject, sources: Any, parts: ChannelParts) -> Double:
        if stored.value.address == 'wrong':
            raise ValueError('its address is wrong')
        made = Double(stored.value, self.events, parts, self.error)
        self.made.append(made)
        return made

    def apply(self, *values: Value) -> None:
        stored = [StoredObject(number, 'channel_x', value, 1) for number, value in enumerate(values)]
        self.successResultOf(self.channels.apply(Snapshot(1, stored)))

    def start(self) -> None:
        self.successResultOf(self.channels.start(self.dispatcher))

    def test_interface(self) -> None:
        """Channels provides IChannel."""
        self.assertTrue(verifyObject(IChannel, self.channels))

    def test_start(self) -> None:
        """Channels of the first configuration wait for the node's start; later ones start at once. The declaration
        gives their address and placement."""
        self.apply(Value(name='a'))
        self.assertEqual(self.events, [])
        self.start()
        self.apply(Value(name='a'), Value(name='b', address='tcp:2', nodes=('n',)))
        self.assertEqual(self.events, ['start tcp:1', 'start tcp:2'])
        self.assertEqual(self.made[0].parts.address, 'tcp:1')
        self.assertEqual(self.placed, [('channel_x.a', Placement.ONE_WORKER_PER_NODE, ()),
                                       ('channel_x.b', Placement.ONE_WORKER_PER_NODE, ('n',))])

    def test_edit(self) -> None:
        """The new channel starts before the old one stops; an unchanged one is left alone."""
        self.start()
        self.apply(Value(name='a'), Value(name='b', address='tcp:2'))
        self.events.clear()
        self.apply(Value(name='a', address='tcp:3'), Value(name='b', address='tcp:2'))
        self.assertEqual(self.events, ['start tcp:3', 'stop tcp:1'])

    def test_other_nodes(self) -> None:
        """A channel that is to run on other nodes is placed anew."""
        self.start()
        self.apply(Value(name='a'))
        self.apply(Value(name='a', nodes=('n',)))
        self.assertEqual([nodes for _, _, nodes in self.placed], [(), ('n',)])
        self.assertEqual(self.events, ['start tcp:1', 'stop tcp:1', 'start tcp:1'])

    def test_other_placement(self) -> None:
        """An edit of the placement places the channel anew; objects that choose none have that of the kind."""
        self.apply(Value(name='a'))
        self.apply(Value(name='a', placement='one_node_of_cluster'))
        self.assertEqual([placed[1] for placed in self.placed],
                         [Placement.ONE_WORKER_PER_NODE, Placement.ONE_NODE_OF_CLUSTER])  # fmt: skip

    def test_removed_and_inactive(self) -> None:
        """Channels that are deleted or switched off stop; the change does not wait for what they still do. Stopping the
        node does."""
        self.start()
        self.apply(Value(name='a'), Value(name='b', address='tcp:2'))
        self.made[0].ended = Deferred()
        self.apply(Value(name='b', address='tcp:2', is_active=False))
        self.assertEqual(self.events[2:], ['stop tcp:1', 'stop tcp:2'])
        stopping = self.channels.stop()
        self.assertNoResult(stopping)
        self.made[0].ended.callback(None)
        self.successResultOf(stopping)

    def test_cannot_start(self) -> None:
        """A channel that cannot start is a finding, and tried again; the change is in force meanwhile."""
        self.start()
        self.error = OSError('the address is in use')
        self.apply(Value(name='a'))
        self.assertEqual(list(self.channels.findings()), ['Channel a (x) does not run: the address is in use'])
        self.made[0].error = None
        self.clock.advance(60)
        self.assertEqual((list(self.channels.findings()), self.events), ([], ['start tcp:1'] * 2))

    def test_wrong_configuration(self) -> None:
        """A channel that cannot be built is a finding; the others run."""
        self.start()
        self.apply(Value(name='a', address='wrong'), Value(name='b'))
        self.assertEqual(list(self.channels.findings()), ['Channel a (x) cannot be used: its address is wrong'])
        self.assertEqual(self.events, ['start tcp:1'])

    def test_lost(self) -> None:
        """A channel that receives no more is started again."""
        self.start()
        self.apply(Value(name='a'))
        lost = self.made[0].lost
        assert lost is not None
        lost('the peer closed the connection')
        self.assertEqual(list(self.channels.findings()), ['Channel a (x) does not run: the peer closed the connection'])
        self.clock.advance(60)
        self.assertEqual(self.events, ['start tcp:1'] * 2)

    def test_stopped(self) -> None:
        """Once the node drains, nothing starts any more."""
        self.start()
        self.apply(Value(name='a'))
        self.channels.drain()
        self.apply(Value(name='a'), Value(name='b', address='tcp:2'))
        self.successResultOf(self.channels.stop())
        self.assertEqual(self.events, ['start tcp:1', 'stop tcp:1'])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_meters(self) -> None:
        """The meters of channels that are gone are forgotten."""
        self.start()
        self.apply(Value(name='a'), Value(name='b', is_active=False))
        self.apply(Value(name='b', is_active=False))
        self.assertEqual([name for name, _ in self.meters.channels('x').items()], [])
