"""Processes the messages of the work stream in this process. It handles attempts, retries, expiration, callbacks and
dead letters.

A process consumes two queues, the shared one and that of its server. A message is settled only after its result is
stored somewhere else: a retry in the work stream, a dead letter in the ODB, callbacks in the work stream. A process may
die at any point; the message then runs again.

========================================  ======================================================
event                                     result
========================================  ======================================================
the service succeeded                     callbacks added and the message removed, atomically
it failed, and attempts are left          the message is delayed, with its history
it failed for the last time               dead letter committed, then the message removed
the caller's expiration has passed        the message is removed and counted
the process of another consumer died      its messages are taken over and run here
========================================  ======================================================
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from time import time
from typing import Any
from uuid import uuid4

import msgspec
from attrs import define, field
from msgspec.structs import replace
from twisted.internet.defer import CancelledError, Deferred, DeferredLock, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from zatotx.interfaces.config import NodeRow
from zatotx.interfaces.dead_letters import IDeadLetterStore
from zatotx.interfaces.meters import MetricRow
from zatotx.interfaces.pipeline import IDispatcher
from zatotx.interfaces.scheduler import IRunRecorder
from zatotx.interfaces.work_stream import IResultGroups, IWorkConsumer
from zatotx.model.cid import new_cid
from zatotx.model.errors import Inactive, Timeout
from zatotx.model.job_run import CRASHED as JOB_CRASHED
from zatotx.model.job_run import FAILED, OK, SCHEDULER, TIMED_OUT, JobRun, job_from_headers, to_unix_time
from zatotx.model.message import ANONYMOUS, ChannelSpec, Message, Reply
from zatotx.model.work_message import (
    INVOKE_ASYNC_CALLBACK,
    VALUE_FORMAT,
    ValueMessage,
    WorkCounts,
    WorkDelivery,
    WorkMessage,
    decode_work,
    to_timestamp,
)
from zatotx.rules.resilience.dead_node_detection import NodeLiveness, NodeObservation
from zatotx.rules.resilience.outgoing_retry import backoff_delay
from zatotx.rules.resilience.work_retry import (
    CRASHED,
    delay_after_crash,
    is_exhausted,
    is_expired,
    record_crashed_runs,
    record_failed_run,
    work_retry_delay,
)

RUN_TIMEOUT = 86_400.0  # seconds that one run may take
IDLE_WAIT = 20.0  # seconds that an idle consumer waits in one read; new messages end the wait at once
BATCH = 20  # maximum number of messages in one read
DEFAULT_CONCURRENCY = 100  # messages of one queue that run at once in a process
FULL_PAUSE, MAX_FULL_PAUSE = 0.05, 1.0  # seconds between two looks whether the limits admit a message
NEWER_DELAY = 2.0  # seconds until a message of a newer version of zatotx is offered to all nodes again
COUNT_EVERY = 5  # heartbeats between two refreshes of the figures that need a query
TENDED_BY = 50  # nodes by which the shared queue is tended with each heartbeat, on average, however many there are
_SHARED = ''


@define
class WorkCounters:
    """Counts the messages that this process has processed, and holds the most recent counts of the whole cluster."""

    runs: int = 0
    failures: int = 0
    retries: int = 0
    dead_letters: int = 0
    expired: int = 0
    recovered: int = 0
    newer: int = 0
    running: int = 0
    queue: WorkCounts = field(factory=WorkCounts)  # the shared queue
    stored_letters: int = 0

    def rows(self) -> Iterator[MetricRow]:
        """Yield the figures of the metrics zatotx_work_* and zatotx_dead_letters."""
        yield 'zatotx_work_runs', (), self.runs
        yield 'zatotx_work_failures', (), self.failures
        yield 'zatotx_work_retries', (), self.retries
        yield 'zatotx_work_dead_letters', (), self.dead_letters
        yield 'zatotx_work_expired', (), self.expired
        yield 'zatotx_work_recovered', (), self.recovered
        yield 'zatotx_work_newer', (), self.newer
        yield 'zatotx_work_running', (), self.running
        yield 'zatotx_work_waiting', (), self.queue.waiting
        yield 'zatotx_work_delayed', (), self.queue.delayed
        yield 'zatotx_dead_letters', (), self.stored_letters


@define(eq=False, kw_only=True)
class WorkContext:
    """The components of a node that are needed to process work messages."""

    dispatcher: IDispatcher
    dead_letters: IDeadLetterStore
    clock: IReactorTime
    has_room: Callable[[str], bool]  # whether the concurrency limits admit a call of that service now
    has_service: Callable[[str], bool]
    concurrency: int = DEFAULT_CONCURRENCY
    now: Callable[[], float] = time
    random: Callable[[], float] = random.random
    counters: WorkCounters = field(factory=WorkCounters)
    groups: IResultGroups | None = None  # None = results are not collected
    recorder: IRunRecorder | None = None  # takes note of the runs of jobs
    node: str = ''  # name of the server


@define(eq=False)
class QueueRunner:
    """Processes the messages of one queue."""

    consumer: IWorkConsumer
    context: WorkContext
    _running: set[Deferred[None]] = field(factory=set, init=False)
    _loop: Deferred[None] | None = field(default=None, init=False)
    _slot: Deferred[None] | None = field(default=None, init=False)  # fires when a slot is free
    _timer: Any = field(default=None, init=False)
    _is_draining: bool = field(default=False, init=False)
    _suspects: DeferredLock = field(factory=DeferredLock, init=False)

    _log = Logger()

    def start(self) -> None:
        """Begin to take messages."""
        self.consumer.start()
        self._loop = Deferred.fromCoroutine(self._consume())
        self._loop.addErrback(self._ended)

    def drain(self) -> None:
        """Take no more messages; those that run continue."""
        self._is_draining = True
        if self._loop is not None:
            self._loop.cancel()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    async def stop(self, grace: float) -> None:
        """Wait for the running messages for up to `grace` seconds. The others remain in the work stream, and run again
        on another process."""
        self.drain()
        if self._running:
            timer: Any = self.context.clock.callLater(grace, self._cancel_all)
            await gatherResults(list(self._running))
            if timer.active():
                timer.cancel()
        await self.consumer.stop()

    async def tend(self, is_dead: Callable[[str], bool]) -> None:
        """Take over the messages of dead consumers, and release delayed messages. Raises what the consumer raises."""
        if self._is_draining:
            return
        free = self.context.concurrency - len(self._running)
        if free > 0:
            for delivery in await self.consumer.recover(is_dead, free):
                self.context.counters.recovered += 1
                self._start(delivery)
        await self._release()

    async def _consume(self) -> None:
        failures = 0
        while not self._is_draining:
            free = self.context.concurrency - len(self._running)
            if free <= 0:
                self._slot = Deferred()
                await self._slot
                continue
            try:
                found = await self.consumer.take(min(free, BATCH), IDLE_WAIT)
            except CancelledError:
                raise
            except Exception as error:
                self._log.debug('Messages of the work stream cannot be taken: {why}', why=str(error))
                await deferLater(self.context.clock, backoff_delay(failures, self.context.random, base=0.5))
                failures += 1
                continue
            failures = 0
            for delivery in found:
                self._start(delivery)

    def _start(self, delivery: WorkDelivery) -> None:
        running = Deferred.fromCoroutine(self._run(delivery))
        self.context.counters.running += 1
        self._running.add(running)
        running.addErrback(self._interrupted, delivery)
        running.addBoth(self._over, running)

    def _over(self, _: object, running: Deferred[None]) -> None:
        self.context.counters.running -= 1
        self._running.discard(running)
        slot, self._slot = self._slot, None
        if slot is not None:
            slot.callback(None)

    async def _run(self, delivery: WorkDelivery) -> None:
        context, message = self.context, delivery.message
        if delivery.is_newer:
            await self._give_back(delivery)
            return
        if delivery.crashes:
            message = record_crashed_runs(message, delivery.crashes, context.now())
            self._record_crash(message)
        if is_exhausted(message):
            await self._give_up(delivery, message)
            return
        if delivery.crashes:
            delay = delay_after_crash(message, context.random)
            if delay:
                await self._retry(delivery, message, delay)
                return
        if message.cause == CRASHED and message.attempts > 1:  # it may end this process, too: at most one such runs
            await self._suspects.run(lambda: Deferred.fromCoroutine(self._attempt(delivery, message)))
        else:
            await self._attempt(delivery, message)

    async def _attempt(self, delivery: WorkDelivery, message: WorkMessage) -> None:
        context = self.context
        pause = FULL_PAUSE
        while not context.has_room(message.service):
            await deferLater(context.clock, pause)
            pause = min(pause * 2, MAX_FULL_PAUSE)
        if is_expired(message, context.now()):
            context.counters.expired += 1
            self._log.info('{cid}: a message for service {service!r} has expired', cid=message.cid,
                           service=message.service)  # fmt: skip
            await self._until_stored(lambda: self.consumer.finish(delivery))
            return
        context.counters.runs += 1
        began, started = context.clock.seconds(), context.now()
        reply = await deliver_to_dispatcher(
            context.dispatcher, work_to_pipeline_message(message, began + (message.timeout or RUN_TIMEOUT))
        )
        error = reply.error
        self._record_run(message, started, context.clock.seconds() - began, error)
        if error is None:
            try:
                await self._finish(delivery, message, result_value(reply), None)
                return
            except TypeError as wrong:
                error = TypeError(f'the result cannot be passed to callbacks: {wrong}')
                status = 400
        else:
            status = self._status(message, error)
        context.counters.failures += 1
        message = record_failed_run(message, describe_error(error), context.now())
        delay = work_retry_delay(message, status, context.random)
        if delay is None:
            await self._give_up(delivery, message)
        else:
            await self._retry(delivery, message, delay)

    async def _give_back(self, delivery: WorkDelivery) -> None:
        """Leave a message of a newer version of zatotx alone, during an upgrade: a node of that version runs it."""
        if not self.context.counters.newer:
            self._log.warn('The work stream has messages of version {version}, which need a newer zatotx: they are '
                           'left to the nodes that have it', version=delivery.message.version)  # fmt: skip
        self.context.counters.newer += 1
        await self._until_stored(lambda: self.consumer.give_back(delivery, NEWER_DELAY))
        self._release_in(NEWER_DELAY)

    def _status(self, message: WorkMessage, error: BaseException) -> int:
        """The status that decides about retries. A service that is missing or inactive may be back soon."""
        if isinstance(error, Inactive) or not self.context.has_service(message.service):
            return 503
        status: int = getattr(error, 'status', 500)
        return status

    async def _retry(self, delivery: WorkDelivery, message: WorkMessage, delay: float) -> None:
        self.context.counters.retries += 1
        await self._until_stored(lambda: self.consumer.retry(delivery, message, delay))
        self._release_in(delay)

    async def _give_up(self, delivery: WorkDelivery, message: WorkMessage) -> None:
        if message.is_dead_lettered:
            await self._store_dead_letter(message)
        else:
            self._log.error('{cid}: {name!r} of service {service!r} failed after {attempts} attempts: {cause}',
                            cid=message.cid, name=message.channel_name, service=message.service,
                            attempts=message.attempts, cause=message.cause)  # fmt: skip
        if message.source:
            await self._finish(delivery, message, None, message.cause)
        else:
            await self._until_stored(lambda: self.consumer.finish(delivery))

    async def _store_dead_letter(self, message: WorkMessage) -> None:
        await self._until_stored(lambda: self.context.dead_letters.store_dead_letter(message))
        self.context.counters.dead_letters += 1
        self.context.counters.stored_letters += 1
        self._log.error('{cid}: a message for service {service!r} is a dead letter after {attempts} attempts: {cause} '
                        '(zatotx dead-letter show PATH {id})', cid=message.cid, service=message.service,
                        attempts=message.attempts, cause=message.cause, id=message.id)  # fmt: skip

    def _record_run(self, message: WorkMessage, started: float, duration: float, error: BaseException | None) -> None:
        """Take note of a run of a job."""
        if message.channel == SCHEDULER and self.context.recorder is not None:
            result = OK if error is None else TIMED_OUT if isinstance(error, Timeout) else FAILED
            cause = '' if error is None else describe_error(error)
            self.context.recorder.record(
                make_job_run_record(
                    message, self.context.node, started=started, duration=duration, result=result, cause=cause
                )
            )

    def _record_crash(self, message: WorkMessage) -> None:
        """Take note of a run of a job whose process died."""
        if message.channel == SCHEDULER and self.context.recorder is not None:
            self.context.recorder.record(
                make_job_run_record(
                    message, '', started=self.context.now(), duration=0.0, result=JOB_CRASHED, cause=CRASHED
                )
            )

    async def _finish(self, delivery: WorkDelivery, message: WorkMessage, result: Any, failure: str | None) -> None:
        """Remove a message that succeeded or was given up, and add what follows from its result. Raises TypeError for a
        result that cannot be stored."""
        now = self.context.now()
        payload = make_callback_report(message, result, failure, now) if message.source else result
        follow_ups = make_callback_messages(message, payload, now)
        groups = self.context.groups if message.group else None
        if groups is not None:
            follow_ups += await self._complete_group(groups, message, payload, now)
        await self._until_stored(lambda: self.consumer.finish(delivery, follow_ups))
        if groups is not None and len(follow_ups) > len(message.callbacks):
            await self._until_stored(lambda: groups.close(message.group))

    async def _complete_group(
        self, groups: IResultGroups, message: WorkMessage, report: Any, now: float
    ) -> list[WorkMessage]:
        """Record a result in its group; returns the final messages if it was the last one."""
        data = msgspec.msgpack.encode(report)
        found = await self._until_stored(lambda: groups.record(message.group, message.part, data))
        if found is None:
            return []
        final, results = found
        reports = {part: msgspec.msgpack.decode(result) for part, result in results.items()}
        messages = (decode_work(body, '') for body in msgspec.msgpack.decode(final))
        return [replace(one, payload={**one.payload, 'data': reports}, created_at=now) for one in messages]

    async def _until_stored(self, store: Callable[[], Deferred[Any]]) -> Any:
        """Repeat a step until it succeeds, and return its result. The message stays that of this process meanwhile.
        Raises TypeError."""
        failures = 0
        while True:
            try:
                return await store()
            except (CancelledError, TypeError):
                raise
            except Exception as error:
                if not failures:
                    self._log.warn('The result of a message cannot be stored yet: {why}', why=str(error))
                await deferLater(self.context.clock, backoff_delay(failures, self.context.random, base=0.2))
                failures += 1

    def _release_in(self, delay: float) -> None:
        """Release delayed messages at that time, unless a timer ends earlier."""
        if self._is_draining:
            return
        clock = self.context.clock
        if self._timer is not None and self._timer.active():
            if self._timer.getTime() <= clock.seconds() + delay:
                return
            self._timer.cancel()
        self._timer = clock.callLater(delay, lambda: Deferred.fromCoroutine(self._release()).addErrback(_ignore))

    async def _release(self) -> None:
        left = await self.consumer.release_due()
        if left is not None:
            self._release_in(max(left, 0.01))

    def _cancel_all(self) -> None:
        for running in tuple(self._running):
            running.cancel()

    def _interrupted(self, failure: Any, delivery: WorkDelivery) -> None:
        if not failure.check(CancelledError):
            self._log.failure('{cid}: the message stays in the work stream', failure, cid=delivery.message.cid)

    def _ended(self, failure: Any) -> None:
        if not failure.check(CancelledError):
            self._log.failure('Messages of the work stream are not taken any more', failure)


@define(eq=False, kw_only=True)
class WorkRunner:
    """Processes the messages of all queues of this process. `make_consumer` is called with the names of a queue and a
    consumer."""

    context: WorkContext
    make_consumer: Callable[[str, str], IWorkConsumer]
    node: str  # name of the server
    grace: float = 10.0  # seconds that running messages get when the node stops
    is_slot_free: Callable[[int], bool] = lambda slot: False  # whether no process of this server holds a slot
    _queues: list[QueueRunner] = field(factory=list, init=False)
    _silences: NodeLiveness = field(factory=NodeLiveness, init=False)
    _referred: set[int] = field(factory=set, init=False)  # nodes that own consumers
    _name: str = field(default='', init=False)
    _node_id: int = field(default=0, init=False)
    _slots: dict[int, int] = field(factory=dict, init=False)  # row id -> slot of the processes of this server
    _tending: Deferred[None] | None = field(default=None, init=False)
    _heartbeats: int = field(default=0, init=False)
    _tend_every: int = field(default=1, init=False)  # heartbeats

    _log = Logger()

    @property
    def counters(self) -> WorkCounters:
        """The figures of this process."""
        return self.context.counters

    def start(self, node_id: int) -> None:
        """Begin to run messages. `node_id`: of this process's row in the ODB, whose heartbeats show that it lives."""
        self._node_id, self._name = node_id, f'{node_id}.{uuid4().hex}'
        self._queues = [QueueRunner(self.make_consumer(queue, self._name), self.context)
                        for queue in (_SHARED, self.node)]  # fmt: skip
        for queue in self._queues:
            queue.start()

    def drain(self) -> None:
        """Take no more messages; those that run continue."""
        for queue in self._queues:
            queue.drain()

    async def stop(self) -> None:
        """Wait for the running messages, up to the grace period; the others run again on another process."""
        self.drain()
        if self._tending is not None:
            await _settled(self._tending)
        await gatherResults([Deferred.fromCoroutine(queue.stop(self.grace)) for queue in self._queues])

    def heartbeat(self, rows: Sequence[NodeRow] | None) -> None:
        """Called after each heartbeat of this node with the rows of all nodes, with None after one that failed."""
        if rows is None:
            self._silences = NodeLiveness()
            return
        self._silences = self._silences.after(
            {row.id: NodeObservation(row.seen_at, row.up_status == 'running') for row in rows},
            self.context.clock.seconds(), self._referred,
        )  # fmt: skip
        self._slots = {row.id: row.worker for row in rows if row.name == self.node}
        self._tend_every = max(1, sum(row.up_status == 'running' for row in rows) // TENDED_BY)
        if self._queues and self._tending is None:
            self._tending = Deferred.fromCoroutine(self._tend())
            self._tending.addErrback(self._untended).addBoth(self._tended)

    async def _tend(self) -> None:
        shared, own = self._queues
        # In a large cluster every node sees every dead one, and the lists of consumers are long: the nodes take turns.
        if self._heartbeats % self._tend_every == 0:
            await shared.tend(self._is_dead)
        await own.tend(self._is_dead)
        if self._heartbeats % COUNT_EVERY == 0:
            self.counters.queue = await self._queues[0].consumer.counts()
            self.counters.stored_letters = await self.context.dead_letters.count_dead_letters()
        self._heartbeats += 1

    def _is_dead(self, consumer: str) -> bool:
        """Whether the process of a consumer has ended. A row has one process at a time, as its slot is locked: other
        consumers of our row belonged to processes before us. Of other processes of this server, the lock is looked
        at; of other servers, the heartbeats."""
        number = consumer.partition('.')[0]
        node = int(number) if number.isdigit() else 0
        if node == self._node_id:
            return consumer != self._name
        self._referred.add(node)
        return self._silences.is_dead(node) or (node in self._slots and self.is_slot_free(self._slots[node]))

    def _untended(self, failure: Any) -> None:
        self._log.debug('The work stream cannot be tended: {why}', why=failure.getErrorMessage())

    def _tended(self, _: object) -> None:
        self._tending = None


def deliver_to_dispatcher(dispatcher: IDispatcher, message: Message) -> Deferred[Reply]:
    """Deliver a message to the dispatcher. Canceling the Deferred cancels the service."""
    attempt: Deferred[Reply] = Deferred(lambda _: pending.cancel())
    pending = dispatcher.deliver(message, attempt.callback)
    return attempt


def work_to_pipeline_message(work: WorkMessage, deadline: float) -> Message:
    """Convert a work message to a message for the pipeline. The message is not authorized again, because its caller was
    authorized when it was written to the work stream."""
    spec = ChannelSpec(name=work.channel_name or work.channel, kind=work.channel, service=work.service,
                       data_format=work.data_format, is_builtin_endpoint=True)  # fmt: skip
    message: Message
    headers = {**work.headers, b'x-zato-in-reply-to': work.in_reply_to.encode()} if work.in_reply_to else work.headers
    if work.data_format == VALUE_FORMAT:
        message = value = ValueMessage(work.cid, spec, work.service, headers, b'', deadline, None, work.trace)
        value.value = work.payload
    else:
        message = Message(work.cid, spec, work.service, headers, work.payload, deadline, None, work.trace)
    message.principal = work.principal or ANONYMOUS
    return message


def make_job_run_record(
    work: WorkMessage, node: str, *, started: float, duration: float, result: str, cause: str
) -> JobRun:
    """Create the history entry for a run of a job."""
    job = job_from_headers(work.headers)
    return JobRun(
        job_id=0 if job is None else job.id, job=work.channel_name, service=work.service, cid=work.cid, node=node,
        scheduled=started if job is None else to_unix_time(job.scheduled), started=started,
        duration=round(duration, 6), result=result, cause=cause,
        attempt=max(1, work.attempts + (result != JOB_CRASHED)),
    )  # fmt: skip


def make_callback_messages(work: WorkMessage, result: Any, now: float) -> list[WorkMessage]:
    """Create the messages that deliver the result of a service to its callbacks."""
    return [
        WorkMessage(id=new_cid(), cid=new_cid(), service=name, payload=result, channel=INVOKE_ASYNC_CALLBACK,
                    principal=work.principal, trace=work.trace, in_reply_to=work.cid, created_at=now)
        for name in work.callbacks
    ]  # fmt: skip


def make_callback_report(work: WorkMessage, result: Any, failure: str | None, now: float) -> dict[str, Any]:
    """Create the report of a result for the callbacks of `self.patterns`. The keys of the report have Zato's names."""
    return {
        'source': work.source, 'target': work.service, 'response': result, 'req_ts_utc': to_timestamp(work.created_at),
        'resp_ts_utc': to_timestamp(now), 'ok': failure is None, 'exception': failure or '', 'cid': work.cid,
        'context': work.context,
    }  # fmt: skip


def result_value(reply: Reply) -> Any:
    """Convert the result of a service to a value that MessagePack can represent."""
    result = getattr(reply, 'result', None)
    if result is None:
        return reply.body
    value = result.value
    return value if isinstance(value, (str, bytes)) else msgspec.to_builtins(value, builtin_types=(bytes,))


def describe_error(error: BaseException) -> str:
    """Return the cause of a failure as one line, which contains the class and the message of the exception."""
    text = getattr(error, 'details', '') or str(error)
    return f'{type(error).__name__}: {text}' if text else type(error).__name__


async def _settled(waiting: Deferred[None]) -> None:
    done: Deferred[None] = Deferred()
    waiting.addBoth(lambda _: done.callback(None))
    await done


def _ignore(failure: Any) -> None:
    """Delayed messages that cannot be released now are released after the next heartbeat."""
