"""Manages the configured channels of one kind in a node. Channels are built from the active configuration, and are
replaced individually when their configuration changes.

The counterpart of `outgoing_connections` for messages that come in. A kind builds one InboundChannel for each object;
Channels decides when it runs: it compares snapshots, obeys the placement, starts the new channel before it stops the
old one, and tries again with growing delays where a channel cannot start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.logger import Logger
from zope.interface import implementer

from zatotx.connectors.connection_registry import UnavailableConnection
from zatotx.connectors.connection_supervisor import ConnectionState, ConnectionSupervisor
from zatotx.connectors.inbound_delivery import MessageDelivery
from zatotx.connectors.inbound_delivery_policy import make_policy_delivery, to_retry_policy
from zatotx.connectors.lazy_imports import import_modules_now, modules_to_import
from zatotx.connectors.listener_registry import ListenerRegistry
from zatotx.connectors.outgoing_connections import Sources, is_same_configuration, no_references
from zatotx.connectors.rate_limited_event_log import RateLimitedEventLog
from zatotx.interfaces.config import PreparedConfigChange, commit_when_prepared
from zatotx.interfaces.connector_kind import ChannelContext, ConnectorKind, IChannel, IPlacedTask
from zatotx.interfaces.meters import IChannelMeter
from zatotx.interfaces.pipeline import IDispatcher
from zatotx.interfaces.reactor import IReactor
from zatotx.model.errors import ServiceError
from zatotx.rules.channel_placement import Placement
from zatotx.rules.listen_address import to_endpoint
from zatotx.schema.delivery_fields import DeliveryRetry, MessageChannelBase
from zatotx.schema.placement_fields import PlacedChannelBase
from zatotx.schema.snapshot import Snapshot, StoredObject
from zatotx.system.time_slices import TimeSlices


class InboundChannel(Protocol):
    """The interface of a channel that a kind builds for each configured object."""

    async def start(self, dispatcher: IDispatcher, lost: Callable[[str], None]) -> None:
        """Begin to receive messages. Raises where that cannot be: it is tried again later. `lost` is to be called with
        the reason when the channel receives no more, so that it is started again."""

    def stop(self) -> Deferred[None]:
        """Receive no more. Fires when the messages under way are settled, at the latest when the time of grace is over;
        those that are left are returned to the peer."""

    def findings(self) -> Iterator[str]:
        """What keeps the channel from working well now, a sentence each."""


@frozen(kw_only=True)
class ChannelParts:
    """The parameters with which a channel is built."""

    title: str  # for messages: 'Channel orders (lines)'
    address: str  # the endpoint description that it listens on; '' = it does not listen
    meter: IChannelMeter
    listeners: ListenerRegistry
    context: ChannelContext
    events: RateLimitedEventLog  # of all versions of the channel


def make_channel_delivery(
    parts: ChannelParts, dispatcher: IDispatcher, keys: MessageChannelBase | DeliveryRetry | None
) -> MessageDelivery:
    """Return the delivery of a channel's messages. `keys` is the channel's configuration if its Struct derives from
    MessageChannelBase. Otherwise `keys` are the retry settings, or None for a single attempt."""
    if isinstance(keys, MessageChannelBase):
        return make_policy_delivery(parts.events, parts.context, dispatcher, keys)
    context = parts.context
    return MessageDelivery(title=parts.title, events=parts.events, dispatcher=dispatcher, clock=context.reactor,
                           policy=to_retry_policy(keys), dead_letters=context.dead_letters,
                           processed_keys=context.processed_keys)  # fmt: skip


def no_node_restriction(stored: StoredObject) -> Sequence[str]:
    """Return an empty list of node names, for object types that do not restrict the nodes on which they run."""
    return ()


def default_placement_of_kind(stored: StoredObject) -> Placement | None:
    """Return None, for object types without a placement setting. The placement that the kind declares then applies."""
    return None


def configured_nodes(stored: StoredObject) -> Sequence[str]:
    """Return the names of the nodes on which an object runs, if its Struct derives from PlacedChannelBase."""
    value: PlacedChannelBase = stored.value
    return value.nodes


def configured_placement(stored: StoredObject) -> Placement | None:
    """Return the placement of an object whose Struct derives from PlacedChannelBase."""
    value: PlacedChannelBase = stored.value
    return Placement(value.placement)


@frozen(kw_only=True)
class ChannelType:
    """Defines how channels are built from the objects of one type.

    `build` is called with the object, the objects that it refers to, and the parts. It raises ValueError or
    ServiceError, with the rest of the sentence '<title> cannot be used: …'.
    """

    object_type: str  # 'channel_lines'
    kind: str  # what messages and metrics call it: 'lines'
    build: Callable[[StoredObject, Sources, ChannelParts], InboundChannel]
    references: Callable[[StoredObject, Snapshot], Sources] = no_references  # a change of these rebuilds the channel
    # names of the nodes that it may run on; none = all
    nodes: Callable[[StoredObject], Sequence[str]] = no_node_restriction
    placement: Callable[[StoredObject], Placement | None] = default_placement_of_kind  # None = as the kind declares
    modules: tuple[str, ...] = ()  # that take long to import: a thread does so before the first channel is built


@frozen
class _Built:
    sources: Sources
    nodes: Sequence[str]
    placement: Placement | None
    result: InboundChannel | UnavailableConnection


_ByName = Mapping[tuple[str, str], _Built]  # by object type and name


@implementer(IChannel)
class Channels:
    """Implements IChannel for any number of channel types."""

    _log = Logger()

    def __init__(self, context: ChannelContext, types: Sequence[ChannelType]) -> None:
        self._context = context
        self._types = types
        self._kind = context.declaration or ConnectorKind(name='', title='', runs_in='')
        self._meters = {channel_type.kind: context.channel_meters(channel_type.kind) for channel_type in types}
        self._built: _ByName = {}
        self._slots: dict[tuple[str, str], _Slot] = {}
        self._event_logs: dict[tuple[str, str], RateLimitedEventLog] = {}
        self._dispatcher: IDispatcher | None = None
        self._stopping: list[Deferred[None]] = []
        self._is_draining = False
        self.listeners = ListenerRegistry(context.listen)

    # IChannel

    def start(self, dispatcher: IDispatcher) -> Deferred[None]:
        """See IChannel. A channel that cannot start does not keep the node from starting: it is a finding."""
        self._dispatcher = dispatcher
        return _all([slot.start(dispatcher) for slot in self._slots.values()])

    def prepare(self, snapshot: Snapshot) -> Deferred[PreparedConfigChange]:
        """See IChannel. Channels are built here; `commit` starts them and stops those that they replace."""
        return Deferred.fromCoroutine(self._prepare(snapshot))

    async def _prepare(self, snapshot: Snapshot) -> PreparedConfigChange:
        if modules := modules_to_import(self._types, snapshot):
            await self._context.run_in_thread(import_modules_now, modules)
        slices = TimeSlices(self._context.reactor)
        built: dict[tuple[str, str], _Built] = {}
        names: dict[str, list[str]] = {}
        for channel_type in self._types:
            stored = snapshot.objects_of_types(channel_type.object_type)
            names.setdefault(channel_type.kind, []).extend(each.name for each in stored)
            for each in stored:
                if slices.is_over():
                    await slices.next()
                if each.value.is_active:
                    built[channel_type.object_type, each.name] = self._built_for(channel_type, each, snapshot)
        return PreparedConfigChange(partial(self._commit, built, names))

    def apply(self, snapshot: Snapshot) -> Deferred[None]:
        """See IChannel."""
        return commit_when_prepared(self.prepare(snapshot))

    def retire(self) -> Deferred[None]:
        """See IChannel."""
        return self.stop()

    def drain(self) -> None:
        """See IChannel."""
        if not self._is_draining:
            self._is_draining = True
            self._stopping += [slot.stop() for slot in self._slots.values()]

    def stop(self) -> Deferred[None]:
        """See IChannel."""
        self.drain()
        stopped = _all(self._stopping)
        return stopped.addCallback(lambda _: Deferred.fromCoroutine(self._end()))

    async def _end(self) -> None:
        for log in self._event_logs.values():
            log.flush()
        await self.listeners.closed()

    def findings(self) -> Iterator[str]:
        """What keeps channels from working now, a sentence each."""
        for slot in self._slots.values():
            yield from slot.findings()
        for built in self._built.values():
            if isinstance(built.result, UnavailableConnection):
                yield built.result.sentence

    def _built_for(self, channel_type: ChannelType, stored: StoredObject, snapshot: Snapshot) -> _Built:
        sources: Sources = (stored, *channel_type.references(stored, snapshot))
        existing = self._built.get((channel_type.object_type, stored.name))
        if existing is not None and is_same_configuration(existing.sources, sources):
            return existing
        return _Built(sources, channel_type.nodes(stored), channel_type.placement(stored),
                      self._build(channel_type, stored, sources[1:]))  # fmt: skip

    def _build(
        self, channel_type: ChannelType, stored: StoredObject, references: Sources
    ) -> InboundChannel | UnavailableConnection:
        field_name = self._kind.listeners.get(channel_type.object_type)
        title = _title(channel_type, stored.name)
        parts = ChannelParts(
            title=title,
            address=to_endpoint(getattr(stored.value, field_name)) if field_name else '',
            meter=self._meters[channel_type.kind].get(stored.name),
            listeners=self.listeners,
            context=self._context,
            events=self._event_logs.setdefault((channel_type.object_type, stored.name),
                                               RateLimitedEventLog(title, self._context.reactor)),
        )  # fmt: skip
        try:
            return channel_type.build(stored, references, parts)
        except (ValueError, ServiceError) as error:
            unavailable = UnavailableConnection(parts.title, str(error))
            self._log.error('{sentence}', sentence=unavailable.sentence)
            return unavailable

    def _commit(self, built: _ByName, names: Mapping[str, Sequence[str]]) -> Deferred[None]:
        before, self._built = self._built, built
        for kind, existing in names.items():
            self._meters[kind].retain(existing)
        changing = [self._change(key, built.get(key)) for key in {**before, **built}
                    if built.get(key) is not before.get(key)]  # fmt: skip
        return _all(changing)

    def _change(self, key: tuple[str, str], new: _Built | None) -> Deferred[None]:
        slot = self._slots.get(key)
        channel = None if new is None or isinstance(new.result, UnavailableConnection) else new.result
        if slot is not None and channel is not None and new is not None and slot.placed_as(new.nodes, new.placement):
            return slot.replace(channel)
        if slot is not None:
            del self._slots[key]
            self._stop_later(slot)
        if channel is None or new is None or self._is_draining:
            return succeed(None)
        channel_type = next(each for each in self._types if each.object_type == key[0])
        placement = new.placement or self._kind.placement.get(key[0], Placement.EVERY_WORKER)
        slot = self._slots[key] = _Slot(_title(channel_type, key[1]), self._context.reactor, new.nodes, new.placement,
                                        channel)  # fmt: skip
        slot.task = self._context.place_task('.'.join(key), placement, new.nodes, slot.begin, slot.end)
        return succeed(None) if self._dispatcher is None else slot.start(self._dispatcher)

    def _stop_later(self, slot: _Slot) -> None:
        """Not waited for: a change is in force when nothing new comes in; what runs may take the time of grace."""
        stopping = slot.stop()
        self._stopping.append(stopping)
        stopping.addBoth(lambda _: self._stopping.remove(stopping) if stopping in self._stopping else None)


@define(eq=False)
class _Run:
    """One channel while it is to run: started by a supervisor, until `stop`."""

    supervisor: ConnectionSupervisor[InboundChannel]
    attempted: Deferred[None]  # fires when the first attempt to start it has ended


@define(eq=False)
class _Slot:
    """One configured channel, through all its edits. `title` is what messages call it."""

    title: str
    reactor: IReactor
    nodes: Sequence[str]
    placement: Placement | None
    channel: InboundChannel
    task: IPlacedTask = field(init=False)  # set right after its creation: the task calls `begin` and `end`
    _dispatcher: IDispatcher | None = field(default=None, init=False)
    _run: _Run | None = field(default=None, init=False)
    _ending: list[Deferred[None]] = field(factory=list, init=False)

    _log = Logger()

    def placed_as(self, nodes: Sequence[str], placement: Placement | None) -> bool:
        """Whether an edit leaves the placement as it is."""
        return self.nodes == nodes and self.placement is placement

    def start(self, dispatcher: IDispatcher) -> Deferred[None]:
        """Run the channel where and when its placement says. Fires when it runs, could not start, or has to wait."""
        self._dispatcher = dispatcher
        return self.task.start()

    def stop(self) -> Deferred[None]:
        """Fires when the channel is settled and its placement is given back."""
        stopped = self.task.stop()
        stopped.addErrback(lambda failure: self._log.failure('{title} did not stop well', failure, title=self.title))
        return stopped

    def begin(self) -> Deferred[None]:
        """Called by the placed task: this process runs the channel from now on."""
        run = self._run = self._started(self.channel)
        return _after(run.attempted)

    def end(self) -> Deferred[None]:
        """Called by the placed task: this process runs the channel no more."""
        run, self._run = self._run, None
        if run is not None:
            self._end(run)
        return _all(list(self._ending))

    def replace(self, channel: InboundChannel) -> Deferred[None]:
        """Run this channel instead. The old one is stopped when the new one has started, or cannot start."""
        self.channel, before = channel, self._run
        if before is None:
            return succeed(None)
        run = self._run = self._started(channel)
        return _after(run.attempted).addCallback(lambda _: self._end(before))

    def findings(self) -> Iterator[str]:
        """What keeps the channel from working now."""
        run = self._run
        if run is None:
            return
        if run.supervisor.state is not ConnectionState.UP and run.supervisor.failures.cause:
            yield f'{self.title} does not run: {run.supervisor.failures.cause}'
        yield from self.channel.findings()

    def _started(self, channel: InboundChannel) -> _Run:
        attempted: Deferred[None] = Deferred()
        dispatcher = self._dispatcher
        assert dispatcher is not None

        async def connect() -> InboundChannel:
            try:
                await channel.start(dispatcher, lambda reason: supervisor.lost(reason))
            finally:
                if not attempted.called:
                    attempted.callback(None)
            return channel

        async def close(channel: InboundChannel) -> None:
            await channel.stop()

        supervisor = ConnectionSupervisor(self.title, connect, close, clock=self.reactor, up=_ignore, down=_ignore)
        supervisor.start()
        return _Run(supervisor, attempted)

    def _end(self, run: _Run) -> None:
        ending = run.supervisor.stop()
        self._ending.append(ending)
        ending.addBoth(lambda _: self._ending.remove(ending) if ending in self._ending else None)


def _title(channel_type: ChannelType, name: str) -> str:
    return f'Channel {name} ({channel_type.kind})'


def _ignore(*args: object) -> None:
    """Nothing is to be done when a channel starts or stops."""


def _after(source: Deferred[None]) -> Deferred[None]:
    after: Deferred[None] = Deferred()

    def fire(result: None) -> None:
        after.callback(None)

    source.addCallback(fire)
    return after


def _all(waiting: Sequence[Deferred[None]]) -> Deferred[None]:
    """Fires when all of them have; leaves their results alone."""
    gathered: Deferred[Any] = gatherResults([_after(channel_type) for channel_type in waiting])
    return gathered.addCallback(lambda _: None)
