"""Interfaces of a connector kind. A kind implements one protocol in a package below zatotx/plugins/, which is found by
getPlugins and never imported by name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from attrs import Factory, field, frozen
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort
from twisted.plugin import IPlugin
from zope.interface import Attribute, Interface, implementer

from zatotx.interfaces.config import PreparedConfigChange
from zatotx.interfaces.inbound_delivery import IDeadLetterSink, IIdempotencyKeyStore
from zatotx.interfaces.meters import IMeters, null_meters
from zatotx.interfaces.pipeline import IDispatcher
from zatotx.interfaces.reactor import IReactor
from zatotx.interfaces.redis import ILeaseStore, IScriptRunner
from zatotx.interfaces.work_stream import IWorkStream
from zatotx.rules.channel_placement import CONNECTOR, SERVER, Placement
from zatotx.rules.limits.memory_budget import MemoryBudget
from zatotx.schema.meta import ObjectType
from zatotx.schema.snapshot import Snapshot

# Called with the definition of an HTTP channel when the configuration is applied: returns None, or a function of the
# header fields of a request (lower-case names) that returns the header fields to add to its response.
MakeResponseHeaders = Callable[[Any], Callable[[Mapping[bytes, bytes]], Iterable[tuple[bytes, bytes]]] | None]


class IChannel(Interface):
    """The channels of one kind in one node. They receive messages by listening, or by fetching them."""

    def start(dispatcher: IDispatcher) -> Deferred[None]:
        """Start delivering messages to the dispatcher. Fails with a sentence if it cannot (e.g. address in use)."""

    def prepare(snapshot: Snapshot) -> Deferred[PreparedConfigChange]:
        """Build the new configuration beside the active one. `commit` swaps it synchronously; the node commits all
        components together after the last one is prepared."""

    def apply(snapshot: Snapshot) -> Deferred[None]:
        """Prepare and commit this component alone. Fires when the configuration is active."""

    def retire() -> Deferred[None]:
        """Stop accepting clients and close each connection after its next response, because another process has taken
        over. Fires when no connection is left."""

    def drain() -> None:
        """Stop accepting work; messages in progress continue."""

    def stop() -> Deferred[None]:
        """Fires when the last response was sent, or when the grace period has ended."""

    # Optional: findings() -> Iterable[str], what is wrong now, a sentence each, for `zatotx doctor`;
    # metrics() -> Iterable[MetricRow], the figures of the metrics that the kind declares.


class IPlacedTask(Interface):
    """A task that runs in the processes of the cluster that its placement selects."""

    def start() -> Deferred[None]:
        """Run the task, now or as soon as this process has its turn. Fires when it has begun, or waits for its turn."""

    def stop() -> Deferred[None]:
        """End the task and give its turn to another process. Fires when that is done."""


class ILineSink(Interface):
    """A buffered writer for frequent log lines. All lines of a reactor iteration are written together, and no method
    raises an exception."""

    json: bool = Attribute('Whether lines should be JSON objects; may change at any time')

    def write_line(text: str) -> None:
        """Append one line, without its line ending."""


def listen_on_own_socket(reactor: IReactor, description: str, factory: Any) -> Deferred[IListeningPort]:
    """Listen on a Twisted endpoint description with a socket that this process binds itself."""
    listening: Deferred[IListeningPort] = serverFromString(reactor, description).listen(factory)
    return listening


@implementer(IPlacedTask)
@frozen
class LocalTask:
    """Runs the task in this process immediately, without coordination with other processes."""

    begin: Callable[[], Any]
    end: Callable[[], Any]

    def start(self) -> Deferred[None]:
        return maybeDeferred(self.begin)

    def stop(self) -> Deferred[None]:
        return maybeDeferred(self.end)


class PlacedTaskFactory(Protocol):
    """A function that creates an IPlacedTask. `name` is unique in the cluster. `nodes` are the nodes in the
    configuration, or empty for all nodes. `begin` and `end` start and stop the task, and may return a Deferred."""

    def __call__(
        self, name: str, placement: Placement, nodes: Collection[str], begin: Callable[[], Any],
        end: Callable[[], Any],
    ) -> IPlacedTask: ...


def make_local_task(
    name: str, placement: Placement, nodes: Collection[str], begin: Callable[[], Any], end: Callable[[], Any]
) -> IPlacedTask:
    """Implement PlacedTaskFactory for a process without peers: the task always runs in this process."""
    task: IPlacedTask = LocalTask(begin, end)
    return task


@frozen(kw_only=True)
class ChannelContext:
    """The interface of a node for the channels of a kind."""

    reactor: IReactor  # IReactorTime, IReactorTCP, IReactorThreads …
    settings: dict[str, Any]  # the kind's section of server.toml
    line_sink: Callable[[str], ILineSink]  # returns the ILineSink for a file name in logs/
    work_dir: str  # directory for temporary files of this node
    run_in_thread: Callable[..., Deferred[Any]]  # (function, *args): runs it in the node's thread pool
    memory_budget: MemoryBudget = field(
        factory=MemoryBudget
    )  # memory budget of request bodies, shared by the whole process
    # The meters by channel kind in Zato's terms ('http-soap'), and by kind of outgoing connection.
    channel_meters: Callable[[str], IMeters] = null_meters
    outgoing_meters: Callable[[str], IMeters] = null_meters
    # Called with a Twisted endpoint description and a protocol factory; workers get the socket that the parent process
    # bound.
    listen: Callable[[str, Any], Deferred[IListeningPort]] = field(
        default=Factory(lambda context: partial(listen_on_own_socket, context.reactor), takes_self=True)
    )
    place_task: PlacedTaskFactory = make_local_task
    declaration: ConnectorKind | None = None  # of the kind
    dead_letters: IDeadLetterSink | None = None  # None = messages that are given up are logged and dropped
    processed_keys: IIdempotencyKeyStore | None = None  # None = duplicates are not recognized
    response_headers: Sequence[MakeResponseHeaders] = ()  # of all kinds, for channels that send HTTP responses
    # Whether this node runs the node's own endpoints (/zato/…) of this kind, but none of its channels: a connector.
    endpoints_only: bool = False


@frozen(kw_only=True)
class OutgoingContext:
    """The interface of a node for the outgoing connections of a kind."""

    reactor: IReactor
    settings: dict[str, Any]  # the kind's section of server.toml
    run_in_thread: Callable[..., Deferred[Any]]  # (function, *args): runs it in the node's thread pool
    meters: Callable[[str], IMeters] = null_meters  # by kind of connection: 'rest', 'soap' …
    redis: Any = None  # ICommands and IBatch
    scripts: IScriptRunner | None = None
    leases: ILeaseStore | None = None
    work: IWorkStream | None = None  # None = guaranteed delivery is not available
    redis_key: Callable[..., str] = ':'.join  # (kind, *names): a Redis key in the namespace of this cluster
    encrypt: Callable[[str], str] = str  # encrypts values stored in Redis
    decrypt: Callable[[str], str] = str  # decrypts such values, and the encrypted half of a dual secret
    client_name: str = 'zatotx'  # identifies this process to peers: 'server1@host'


class IConnectorKind(IPlugin):
    """The plugin interface of a connector kind."""

    name: str = Attribute('Short, stable identifier: "http", "amqp" …')
    title: str = Attribute('Display name')


@implementer(IConnectorKind)
@frozen(kw_only=True)
class ConnectorKind:
    """The plugin object of a connector kind, defined in the `__init__.py` of its package. The object refers to the
    parts of the kind by dotted paths, so that discovery does not import them."""

    name: str
    title: str
    # The type of nodes that run its channels. SERVER: all servers. CONNECTOR: all connectors, or those kinds that
    # `[main] connector_kinds` names; servers where that names the kind. Outgoing connections work in every node.
    runs_in: str
    channel: str = ''  # 'package.module:factory', called with (ChannelContext) -> IChannel
    outgoing: str = ''  # 'package.module:factory', called with (OutgoingContext) -> IOutgoingKind
    codecs: str = ''  # 'package.module:factory', called with (Budget) -> Mapping of data formats to ICodec
    schema: str = ''  # 'package.module:OBJECT_TYPES', a sequence of ObjectType
    settings: str = ''  # 'package.module:check', called with its section of server.toml; raises StartError
    settings_type: str = ''  # 'package.module:Struct' of that section, for the generated reference
    settings_template: str = ''  # 'package.module:TEXT' of that section, as quickstart writes it into server.toml
    metrics: str = ''  # 'package.module:DEFINITIONS', a sequence of MetricDefinition
    response_headers: str = ''  # 'package.module:function', a MakeResponseHeaders: adds to responses of HTTP channels
    doubles: str = ''  # 'package.module:SIGNATURES': name of `self.out` -> ApiSignature, for the users' test kit
    default_endpoints: Sequence[str] = ()  # default endpoints if its section of server.toml has no `listen`
    # Whether its `listen` addresses serve the broker's own endpoints (/zato/…), which commands call.
    serves_endpoints: bool = False
    # Commands of `zatotx`: name -> 'package.module:command', a click command. 'crypto zmq-key' is a command of the
    # group `zatotx crypto`. Declare them in the kind's __init__.py; zatotx's own commands have precedence.
    commands: Mapping[str, str] = {}
    listeners: Mapping[str, str] = {}  # object type of channels -> the field with the address that they listen on
    placement: Mapping[str, Placement] = {}  # object type of channels -> where they run; default: EVERY_WORKER
    required_modules: Sequence[str] = ()  # modules of optional libraries; the kind is disabled if one is missing
    install_hint: str = ''  # the hint shown then, e.g. 'pip install zatotx[ibm-mq]'


__all__ = [
    'CONNECTOR',
    'SERVER',
    'ChannelContext',
    'ConnectorKind',
    'IChannel',
    'IConnectorKind',
    'ILineSink',
    'ObjectType',
    'OutgoingContext',
]
