"""In-memory nodes for tests, which run in one process and open no ports. They use a real ODB, real threads and the real
pipeline, but an in-memory message bus.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from shutil import copyfile
from typing import Any

import msgspec
from attrs import define
from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from zatotx.interfaces.meters import NullUserMetrics
from zatotx.interfaces.node import ILogLevels, INode
from zatotx.interfaces.node_control import NodeStatus
from zatotx.interfaces.redis import IPubSub
from zatotx.interfaces.scheduler import LeaderRecord
from zatotx.model.cid import new_cid
from zatotx.model.errors import Conflict
from zatotx.model.message import ChannelSpec, Message, Principal, Reply
from zatotx.node.live_config import LiveConfig
from zatotx.node.node_control import NodeControl
from zatotx.odb.config_store import open_store
from zatotx.odb.offline_operations import NewCluster, create_odb
from zatotx.pipeline.codecs import CodecRegistry
from zatotx.pipeline.error_replies import ErrorReplies
from zatotx.pipeline.pipeline import Pipeline
from zatotx.pipeline.security.admin_sessions import AdminSessions
from zatotx.pipeline.security.password_verifier import PasswordVerifier
from zatotx.pipeline.security.secret_comparison import SecretComparison
from zatotx.rules.security.roles import ADMIN
from zatotx.schema.snapshot import Operation
from zatotx.schema.type_registry import ObjectTypeRegistry
from zatotx.service.call_recorder import ServiceCallRecorder
from zatotx.service.deployment.deployer import Deployer, VersionManager
from zatotx.service.invoker import Invoker
from zatotx.service.outgoing import ConnectionNamespaces
from zatotx.service.service_entry import ServiceEntry
from zatotx.service.service_store import ServiceStore
from zatotx.testing.kit_redis.service_redis import memory_service_redis
from zatotx.testing.memory_call_sample_store import MemoryCallSampleStore
from zatotx.testing.memory_redis_components import MemorySessionStore
from zatotx.testing.memory_usage_store import MemoryUsageStore
from zatotx.testing.memory_work_stream import MemoryWorkStream
from zatotx.testing.pipeline_doubles import AllowAllAuthentication, CallCountingStats

CLUSTER = 'test'
KEY = 'bm90LWEtc2VjcmV0LWp1c3QtYS10ZXN0LWtleS0xMjM='  # a Fernet key
API_CHANNEL = ChannelSpec(name='test', kind='http-soap', service='', data_format='json')
_templates: dict[tuple[str, ...], Path] = {}  # object types -> an ODB that is created once and copied


@implementer(IPubSub)
class MemoryPubSub:
    """An in-memory IPubSub. It delivers every announcement immediately, or no announcement while `is_disconnected` is
    set."""

    def __init__(self) -> None:
        self.subscriptions: list[tuple[str, Callable[[str], None]]] = []
        self.is_disconnected = False

    def publish(self, topic: str, message: str) -> Deferred[None]:
        for subscribed_topic, callback in self.subscriptions:
            if subscribed_topic == topic and not self.is_disconnected:
                callback(message)
        return succeed(None)

    def subscribe(self, topic: str, callback: Callable[[str], None]) -> None:
        self.subscriptions.append((topic, callback))


@implementer(ILogLevels)
class MemoryLogLevels:
    """In-memory log levels for tests. The level 'loud' is rejected as unknown."""

    def __init__(self) -> None:
        self.levels = {'': 'info'}

    def effective(self) -> Mapping[str, str]:
        return self.levels

    def set_level(self, name: str, level: str) -> Deferred[bool]:
        if level == 'loud':
            raise ValueError(f'{level!r} is no level')
        self.levels[name] = level
        return succeed(True)


def create_test_odb(directory: Path, types: ObjectTypeRegistry, operations: Sequence[Operation] = ()) -> str:
    """Create an SQLite ODB with one cluster, and return its URL."""
    key = tuple(sorted(object_type.key for object_type in types))
    template = _templates.get(key)
    if template is None or not template.exists():
        template = _templates[key] = directory / 'template.db'
        create_odb(f'sqlite:///{template}', KEY, NewCluster(name=CLUSTER, operations=tuple(operations)), types=types)
    path = directory / 'odb.db'
    copyfile(template, path)
    return f'sqlite:///{path}'


@define
class MemoryScheduler:
    """A test double of a scheduler. It runs no jobs, and reads the leader from the ODB."""

    odb: Any
    history: Any = None

    def leader(self) -> Deferred[LeaderRecord]:
        """Return the leader."""
        found: Deferred[LeaderRecord] = self.odb.leader()
        return found


class RecordingRestarter:
    """A test double of a restarter, which restarts nothing. `restarts` counts the requested restarts. If `error` is
    set, restarts are refused with this error."""

    def __init__(self) -> None:
        self.error, self.restarts, self.names = '', 0, list[str]()

    async def check(self) -> None:
        """Raise Conflict if there is an error."""
        if self.error:
            raise Conflict(None, self.error)

    async def begin(self) -> None:
        """Count a restart."""
        self.restarts += 1

    async def set_name(self, name: str) -> Callable[[], Any]:
        """Record a name."""
        self.names.append(name)
        return lambda: succeed(self.names.pop())


@implementer(INode)
class MemoryNode:
    """A node in memory. Call `await start()` first, then `call`, and `await stop()` at the end."""

    def __init__(self, reactor: Any, name: str, directory: Path, url: str, **parts: Any) -> None:
        """Create a node; `parts` are types (ObjectTypeRegistry), bus, and optionally internal (ServiceEntry
        objects)."""
        self.reactor, self.name, self.cluster = reactor, name, CLUSTER
        self.types: ObjectTypeRegistry = parts['types']
        self.bus: MemoryPubSub = parts['bus']
        self.pool = ThreadPool(0, 10, name)
        self.odb: Any = open_store(url, KEY, reactor=reactor, cluster=CLUSTER, types=self.types)
        self.call_samples = MemoryCallSampleStore()
        self.services = ServiceStore(
            tuple(parts.get('internal', ())), lambda name: CallCountingStats(),
            make_sampler=lambda service, slow_threshold, every: ServiceCallRecorder(
                service=service, slow_threshold=slow_threshold, every=every, store=self.call_samples,
                now=reactor.seconds),
        )  # fmt: skip
        self.code = VersionManager(
            odb=self.odb,
            store=self.services,
            directory=directory / name / 'deployed',
            reactor=reactor,
            offload=self.run_in_thread,
        )
        self.pipeline = Pipeline(
            authentication=AllowAllAuthentication(),
            store=self.services,
            invoker=Invoker(reactor, self.pool, node=self),
            codecs=CodecRegistry(),
            error_replies=ErrorReplies(),
            offload=self.run_in_thread,
        )
        self.not_ready_reasons: list[str] = []
        self.found: list[str] = []
        self.sample: dict[str, list[Any]] = {}  # of the metrics
        self.log_levels = MemoryLogLevels()
        self.user_metrics = NullUserMetrics()
        self.outgoing = ConnectionNamespaces()
        self.service_redis = memory_service_redis(reactor)
        self.work = MemoryWorkStream(reactor)
        self.dead_letters = self.odb
        self.scheduler = MemoryScheduler(self.odb)
        self.usage = MemoryUsageStore()
        self.result_groups: Any = None
        self.verifier = PasswordVerifier(self.run_in_thread, SecretComparison(reactor))
        self.admin_sessions = AdminSessions(
            snapshot=lambda: self.config.snapshot,
            verifier=self.verifier,
            sessions=MemorySessionStore(reactor),
            clock=reactor,
        )
        self.config: Any = None
        self.deployer: Any = None
        self.restarter = RecordingRestarter()
        self.is_drained = False
        self.control = NodeControl(
            name=name, bus=self.bus, clock=reactor, odb=self.odb, restarter=self.restarter, own_status=self._status,
            drain=self._drain, resume=self._resume, pid=1,
        )  # fmt: skip
        self.control.start()

    async def _status(self) -> NodeStatus:
        return NodeStatus(name=self.name, role='server', phase='ready', started=1.0, version='1', pid=1,
                          is_drained=self.is_drained, findings=tuple(self.found))  # fmt: skip

    def _drain(self) -> None:
        self.is_drained = True

    def _resume(self) -> bool:
        self.is_drained = False
        return True

    async def start(self) -> None:
        """Join the cluster and load the active configuration and code."""
        self.pool.start()
        row = await self.odb.register_node(self.name, '127.0.0.1', 17010, 1)
        self.config = LiveConfig(
            store=self.odb,
            bus=self.bus,
            clock=self.reactor,
            node_id=row.id,
            preparers=[self.code.prepare_snapshot],
            verdicts=lambda: self.code.verdicts,
        )
        self.deployer = Deployer(
            odb=self.odb, config=self.config, keeper=self.code, apply_revision=self.config.apply_and_announce
        )
        await self.config.load()
        await self.code.load()
        await self.code.apply_snapshot(self.config.snapshot)
        self.config.start()
        await self.config.sync()

    async def stop(self) -> None:
        """Leave the cluster and stop."""
        await self.config.stop()
        await self.odb.mark_node_stopped(self.config.node_id)
        await self.odb.close()
        self.pool.stop()

    def readiness_problems(self) -> list[str]:
        return self.not_ready_reasons

    def findings(self) -> list[str]:
        return self.found

    def all_findings(self) -> Deferred[list[str]]:
        return succeed(self.findings())

    def info(self) -> Mapping[str, Any]:
        cluster = {'name': self.cluster, 'revision': self.config.snapshot.revision}
        return {'name': self.name, 'cluster': cluster, 'kinds': {}}

    def metrics(self) -> Deferred[bytes]:
        return succeed(b'# metrics of ' + self.name.encode() + b'\n')

    def metric_sample(self) -> Deferred[dict[str, list[Any]]]:
        return succeed(self.sample)

    def run_in_thread(self, function: Any, *args: Any) -> Deferred[Any]:
        done: Deferred[Any] = deferToThreadPool(self.reactor, self.pool, function, *args)
        return done

    async def reply(self, service: str, payload: Any = None, *, channel: ChannelSpec = API_CHANNEL) -> Reply:
        """Process a request on a channel and return the reply to the client."""
        body = payload if isinstance(payload, bytes) else msgspec.json.encode({} if payload is None else payload)
        deadline = self.reactor.seconds() + 30.0
        message = Message(new_cid(), channel, service, {}, body, deadline)
        message.principal = Principal('admin.invoke', 'admin.invoke', 'basic_auth', roles=frozenset({ADMIN}))
        return await self.pipeline.serve(message)

    async def call(self, service: str, payload: Any = None) -> Any:
        """Call a service and return its JSON response. Raises AssertionError for a status other than 2xx."""
        reply = await self.reply(service, payload)
        if reply.status >= 300:
            raise AssertionError(f'{service} answered {reply.status}: {reply.body!r}') from reply.error
        return msgspec.json.decode(reply.body)


def make_internal_service_entry(cls: type) -> ServiceEntry:
    """Return the service entry of a zato.* service."""
    return ServiceEntry.for_class(cls, is_internal=True)


__all__ = [
    'API_CHANNEL',
    'CLUSTER',
    'KEY',
    'MemoryNode',
    'MemoryPubSub',
    'create_test_odb',
    'make_internal_service_entry',
]
