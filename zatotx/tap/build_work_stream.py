"""Builds the work stream of a server, and the runner that processes its messages."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from zatotx.interfaces.dead_letters import IDeadLetterStore
from zatotx.interfaces.pipeline import IDispatcher
from zatotx.interfaces.reactor import IReactor
from zatotx.interfaces.scheduler import IRunRecorder
from zatotx.interfaces.work_stream import IWorkConsumer
from zatotx.node.settings import Settings
from zatotx.node.work_runner import WorkContext, WorkCounters, WorkRunner
from zatotx.pipeline.pipeline import Pipeline
from zatotx.processes.workers.slots import is_file_locked, slot_lock_path
from zatotx.redis.client import RedisClient, ScriptRunner
from zatotx.redis.idempotency_key_store import RedisIdempotencyKeyStore
from zatotx.redis.key_names import RedisKeys
from zatotx.redis.result_groups import RedisResultGroups
from zatotx.redis.work_stream import RedisWorkConsumer, RedisWorkStream


def make_work_stream(client: RedisClient, cluster: str) -> RedisWorkStream:
    """Create the work stream of a cluster."""
    return RedisWorkStream(client, ScriptRunner(client), RedisKeys(cluster))


def make_result_groups(client: RedisClient, cluster: str) -> RedisResultGroups:
    """Create the store for the results of groups of invocations in a cluster."""
    return RedisResultGroups(client, ScriptRunner(client), RedisKeys(cluster))


def make_idempotency_key_store(reactor: IReactor, client: RedisClient, cluster: str) -> RedisIdempotencyKeyStore:
    """Create the store for the idempotency keys of messages that the channels of a cluster have processed."""
    return RedisIdempotencyKeyStore(reactor, ScriptRunner(client), RedisKeys(cluster))


def make_work_runner(
    settings: Settings, home: Path, reactor: IReactor, work: RedisWorkStream, *, client: RedisClient,
    pipeline: Pipeline, dispatcher: IDispatcher, dead_letters: IDeadLetterStore, counters: WorkCounters,
    recorder: IRunRecorder,
) -> WorkRunner:
    """Create the runner that processes the work messages of this process, without starting it."""
    context = WorkContext(
        dispatcher=dispatcher, dead_letters=dead_letters, clock=reactor, has_room=pipeline.has_room,
        has_service=lambda name: pipeline.store.current.get(name) is not None,
        concurrency=settings.limits.work_in_flight, counters=counters,
        groups=make_result_groups(client, settings.main.cluster), recorder=recorder, node=settings.main.name,
    )  # fmt: skip
    make_consumer = partial(_make_consumer, settings, reactor, work, client)
    return WorkRunner(context=context, make_consumer=make_consumer, node=settings.main.name,
                      grace=settings.shutdown.grace,
                      is_slot_free=lambda slot: not is_file_locked(slot_lock_path(home / 'work', slot)))  # fmt: skip


def _make_consumer(
    settings: Settings, reactor: IReactor, work: RedisWorkStream, client: RedisClient, queue: str, name: str
) -> IWorkConsumer:
    main = settings.main
    consumer: IWorkConsumer = RedisWorkConsumer(
        reactor, client.address, work, queue=queue, name=name, timeout=settings.kvdb.timeout,
        connection=RedisKeys(main.cluster).connection_name(main.name), connection_log=client.connection_log,
    )  # fmt: skip
    return consumer
