"""The invoker, codecs and error replies of the test kit. They are the real classes, and additionally record results and
log events."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from threading import Thread
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from zope.interface import implementer

from zatotx.interfaces.pipeline import ICodec
from zatotx.interfaces.services import IServiceEntry, IServiceMap
from zatotx.interfaces.work_stream import IWorkStream
from zatotx.model.message import Message, ServiceResult
from zatotx.model.work_message import WorkMessage, decode_work, encode_work
from zatotx.pipeline.codecs import CodecRegistry, RawCodec
from zatotx.pipeline.error_replies import ErrorReplies
from zatotx.schema.scheduler_job import SCHEDULER_JOB
from zatotx.schema.snapshot import Actor, Operation, StoredObject
from zatotx.service.invocation import Invocation
from zatotx.service.invoker import Invoker
from zatotx.system.thread_pool import DaemonThreadPool
from zatotx.testing.clock import InlineThreads, KitClock
from zatotx.testing.kit_redis.service_redis import MemoryServiceRedis
from zatotx.testing.log_recorder import LogRecorder
from zatotx.testing.request_builder import INVOKE_CHANNEL, NO_PAYLOAD, BuiltRequest
from zatotx.testing.scripted_connections import ScriptedOutgoing


@implementer(IWorkStream)
class RecordingWorkStream:
    """An IWorkStream that records the written messages, and processes no messages."""

    def __init__(self) -> None:
        self.messages: list[WorkMessage] = []

    def add(self, messages: Sequence[WorkMessage]) -> Deferred[None]:
        """See IWorkStream. Messages are encoded and decoded, so that a payload that cannot be stored fails the test."""
        try:
            self.messages += [decode_work(encode_work(message), message.id) for message in messages]
        except TypeError:
            return fail()
        return succeed(None)


class RecordingResultGroups:
    """Result groups that are created and never completed."""

    def open(self, group: str, parts: Sequence[str], final: bytes) -> Deferred[None]:
        """See IResultGroups."""
        return succeed(None)


@define(eq=False)
class RecordingConfig:
    """A test double of the configuration, which records the jobs that services create. The attribute `snapshot` is the
    object itself."""

    jobs: list[StoredObject] = field(factory=list)

    @property
    def snapshot(self) -> RecordingConfig:
        """See IConfig."""
        return self

    def change(self, operations: Sequence[Operation], actor: Actor) -> Deferred[int]:
        """See IConfig."""
        for step in operations:
            job = SCHEDULER_JOB.struct(**step.fields)
            self.jobs.append(StoredObject(len(self.jobs) + 1, SCHEDULER_JOB.key, job, len(self.jobs) + 1))
        return succeed(len(self.jobs))

    def find(self, type_: str, name: str) -> StoredObject | None:
        """Return the object of that name, as Snapshot does."""
        return next((stored for stored in self.jobs if (stored.type, stored.name) == (type_, name)), None)


@define(eq=False)
class KitNode:
    """The node that services access as `self.server` in a test."""

    outgoing: ScriptedOutgoing
    service_redis: MemoryServiceRedis
    work: RecordingWorkStream = field(factory=lambda: RecordingWorkStream())
    result_groups: RecordingResultGroups = field(factory=lambda: RecordingResultGroups())
    config: RecordingConfig = field(factory=lambda: RecordingConfig())
    name: str = 'test'
    cluster: str = 'test'


class KitInvoker(Invoker):
    """An Invoker that records the outcome of the first service of each call, before it is serialized."""

    def __init__(self, clock: Any, node: KitNode, recorder: LogRecorder, **options: Any) -> None:
        self.pool = DaemonThreadPool('service', 5)  # its threads start only if a reactor runs
        super().__init__(clock, self.pool, node=node, **options)
        self._log = Logger('zatotx.service', observer=recorder)
        self.requests: dict[int, BuiltRequest] = {}  # by id of their messages, until they run
        self.outcomes: dict[int, ServiceResult] = {}
        if isinstance(clock, KitClock):
            self.threads = InlineThreads(self, clock)
        else:
            self.pool.start()

    def close(self) -> None:
        """End the threads.

        A thread whose service never returns is abandoned: it does not keep the process from exiting.
        """
        if self.pool.started:
            Thread(target=self.pool.stop, daemon=True).start()

    def invoke(
        self, entry: IServiceEntry, services: IServiceMap, message: Message, payload: Any
    ) -> Coroutine[Any, Any, ServiceResult]:
        invocation = Invocation(
            self, entry, services, message, payload, self.now()  # type: ignore[arg-type]  # the entries of a service table are ServiceEntry
        )
        request = self.requests.pop(id(message))
        if request.invoke_payload is not NO_PAYLOAD:  # as zatotx.service.invoke.child_invocation does
            invocation.payload = invocation.raw_request = request.invoke_payload
        if request.environ is not None:
            invocation.environ = dict(request.environ)
        return self._perform_and_keep(invocation)

    async def _perform_and_keep(self, invocation: Invocation) -> ServiceResult:
        outcome = self.outcomes[id(invocation.message)] = await self.perform(invocation)
        return outcome


@implementer(ICodec)
class NullCodec(RawCodec):
    """A codec that does not serialize, for values that services pass to each other."""

    def encode_value(self, value: object) -> bytes:
        return b''


class KitCodecs(CodecRegistry):
    """The codec registry of the test kit: the real codecs of channels, and NullCodec for values that services pass to
    each other."""

    def __init__(self) -> None:
        super().__init__()
        self._unwritten = NullCodec()

    def select(self, message: Message) -> ICodec:
        if message.channel.kind == INVOKE_CHANNEL:
            codec: ICodec = self._unwritten
            return codec
        return super().select(message)


class KitErrorReplies(ErrorReplies):
    """An ErrorReplies that records its log events."""

    keep_tracebacks = True  # keeps traceback frames, as tests show the failing line

    def __init__(self, recorder: LogRecorder) -> None:
        self._log = Logger('zatotx.pipeline', observer=recorder)
