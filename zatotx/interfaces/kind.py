"""A kind: one protocol in one folder under zatotx/plugins/, found by getPlugins, never imported by name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from attrs import Factory, field, frozen
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort
from twisted.plugin import IPlugin
from zope.interface import Attribute, Interface, implementer

from zatotx.interfaces.config import Prepared
from zatotx.interfaces.delivery import IDeadLetterSink, IProcessedKeys
from zatotx.interfaces.meters import IMeters, no_meter
from zatotx.interfaces.pipeline import IDispatcher
from zatotx.rules.limits.byte_budget import ByteBudget
from zatotx.rules.placement import Placement
from zatotx.schema.meta import ObjectType
from zatotx.schema.snapshot import Snapshot

SERVER, CONNECTOR = 'server', 'connector'


class IChannel(Interface):
    """The listening or fetching side of a kind in one node."""

    def start(exchange: IDispatcher) -> Deferred[None]:
        """Begin to take work for the exchange. Fails with a sentence where it cannot (address in use …)."""

    def prepare(snapshot: Snapshot) -> Deferred[Prepared]:
        """Build the new configuration beside the old one. Its `commit` swaps it whole, at once: the node commits all
        parts together when the last one is prepared."""

    def apply(snapshot: Snapshot) -> Deferred[None]:
        """Prepare and commit this part alone. Fires when it is in force."""

    def retire() -> Deferred[None]:
        """Take no new clients, serve those that are here, and let each go with its next answer: another process has
        taken over. Fires when nobody is left."""

    def drain() -> None:
        """Take no new work from now on; what runs goes on."""

    def stop() -> Deferred[None]:
        """Fires when the last answer is out, or the grace period ended what was left."""

    # Optional: findings() -> Iterable[str], what is wrong now, a sentence each, for `zatotx doctor`;
    # metrics() -> Iterable[MetricRow], the figures of the metrics that the kind declares.


class IPlacedTask(Interface):
    """A task that runs in those processes of the cluster that its placement says."""

    def start() -> Deferred[None]:
        """Run the task, now or as soon as this process has its turn. Fires when it has begun, or waits for its turn."""

    def stop() -> Deferred[None]:
        """End the task and give its turn to another process. Fires when that is done."""


class ILineSink(Interface):
    """Takes whole lines from the hot path; writes them later, in one write a reactor turn. Never raises."""

    json: bool = Attribute('Whether lines are to be JSON objects from now on; may change at any time')

    def line(text: str) -> None:
        """Add one line, without its end."""


def listen_alone(reactor: Any, description: str, factory: Any) -> Deferred[IListeningPort]:
    """As Twisted does, with a socket of this process's own."""
    listening: Deferred[IListeningPort] = serverFromString(reactor, description).listen(factory)
    return listening


@implementer(IPlacedTask)
@frozen
class UnplacedTask:
    """Runs the task in this process at once, as for EVERY_WORKER."""

    begin: Callable[[], Any]
    end: Callable[[], Any]

    def start(self) -> Deferred[None]:
        return maybeDeferred(self.begin)

    def stop(self) -> Deferred[None]:
        return maybeDeferred(self.end)


class PlaceTask(Protocol):
    """Makes an IPlacedTask of a name that is unique in the cluster. `nodes`: those that the configuration names, all
    where it names none. `begin` and `end` start and stop the task; both may return a Deferred."""

    def __call__(
        self, name: str, placement: Placement, nodes: Collection[str], begin: Callable[[], Any],
        end: Callable[[], Any],
    ) -> IPlacedTask: ...


def place_everywhere(
    name: str, placement: Placement, nodes: Collection[str], begin: Callable[[], Any], end: Callable[[], Any]
) -> IPlacedTask:
    """PlaceTask of a process that is alone."""
    task: IPlacedTask = UnplacedTask(begin, end)
    return task


@frozen(kw_only=True)
class KindContext:
    """What a node lends to a kind."""

    reactor: Any  # IReactorTime, IReactorTCP, IReactorThreads …
    settings: dict[str, Any]  # the kind's section of server.toml
    lines: Callable[[str], ILineSink]  # an ILineSink by the name of its file in logs/
    work_dir: str  # a directory of the node's own for temporary files
    offload: Callable[..., Deferred[Any]]  # (function, *args): run in the node's worker threads
    memory: ByteBudget = field(factory=ByteBudget)  # that the bodies of requests take, one for the whole process
    # The meters of the channels of a kind, in Zato's words ('http-soap'), and of a kind of outgoing connections.
    channel_meters: Callable[[str], IMeters] = no_meter
    outgoing_meters: Callable[[str], IMeters] = no_meter
    # (Twisted endpoint description, protocol factory): a listening port. A worker gets the one its parent bound.
    listen: Callable[[str, Any], Deferred[IListeningPort]] = field(
        default=Factory(lambda context: partial(listen_alone, context.reactor), takes_self=True)
    )
    place: PlaceTask = place_everywhere
    declaration: ConnectorKind | None = None  # of the kind
    dead_letters: IDeadLetterSink | None = None  # None = messages that are given up are logged and dropped
    processed_keys: IProcessedKeys | None = None  # None = duplicates are not recognized


@frozen(kw_only=True)
class OutgoingContext:
    """What a node lends to the outgoing connections of a kind."""

    reactor: Any
    settings: dict[str, Any]  # the kind's section of server.toml
    offload: Callable[..., Deferred[Any]]  # (function, *args): run in the node's worker threads
    meters: Callable[[str], IMeters] = no_meter  # those of a kind of connections: 'rest', 'soap' …
    keyvalue: Any = None  # IKeyValue and IBatch
    scripts: Any = None  # IScripts
    leases: Any = None  # ILeases
    key: Callable[..., str] = ':'.join  # (kind, *names): a name in Redis of this cluster's own
    seal: Callable[[str], str] = str  # encrypts what is kept in Redis
    unseal: Callable[[str], str] = str  # reads that, and the encrypted half of a secret of both forms
    component: str = 'zatotx'  # who calls, as peers see it: 'server1@host'


class IConnectorKind(IPlugin):
    """What getPlugins finds."""

    name: str = Attribute('Short and stable: "http", "amqp" …')
    title: str = Attribute('For people')


@implementer(IConnectorKind)
@frozen(kw_only=True)
class ConnectorKind:
    """The plugin object of a kind's `__init__.py`. Names its parts by dotted path, so that finding kinds loads none."""

    name: str
    title: str
    runs_in: str  # SERVER or CONNECTOR
    channel: str = ''  # 'package.module:factory', called with (KindContext) -> IChannel
    outgoing: str = ''  # 'package.module:factory', called with (OutgoingContext) -> IOutgoingKind
    codecs: str = ''  # 'package.module:factory', called with (Budget) -> Mapping of data formats to ICodec
    schema: str = ''  # 'package.module:OBJECT_TYPES', a sequence of ObjectType
    settings: str = ''  # 'package.module:check', called with its section of server.toml; raises StartError
    settings_type: str = ''  # 'package.module:Struct' of that section, for the generated reference
    settings_template: str = ''  # 'package.module:TEXT' of that section, as quickstart writes it into server.toml
    metrics: str = ''  # 'package.module:DEFINITIONS', a sequence of MetricDefinition
    doubles: str = ''  # 'package.module:SIGNATURES': name of `self.out` -> ApiSignature, for the users' test kit
    listens: Sequence[str] = ()  # where it listens, where its section of server.toml has no `listen`
    listeners: Mapping[str, str] = {}  # object type of channels -> the field with the address that they listen on
    placement: Mapping[str, Placement] = {}  # object type of channels -> where they run; default: EVERY_WORKER
    needs: Sequence[str] = ()  # modules of optional libraries; one missing disables the kind
    install: str = ''  # what to say then, e.g. 'pip install zatotx[ibm-mq]'


__all__ = [
    'CONNECTOR', 'SERVER', 'ConnectorKind', 'IChannel', 'IConnectorKind', 'ILineSink', 'KindContext', 'ObjectType',
    'OutgoingContext',
]
