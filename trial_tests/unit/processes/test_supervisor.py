"""The supervisor of the workers, with fake processes: when workers are started, replaced and stopped, and when it gives
up."""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.reactor import as_reactor
from zatotx.model.errors import StartError
from zatotx.processes.lock_files import DirectoryLock
from zatotx.processes.workers import control_pipe
from zatotx.processes.workers.control_pipe import RETIRE_TIMEOUT
from zatotx.processes.workers.listening_sockets import ListeningSockets
from zatotx.processes.workers.slots import find_free_slot, slot_lock_path
from zatotx.processes.workers.socket_handover import SocketLender
from zatotx.processes.workers.status_file import FILE_NAME, read_status_file
from zatotx.processes.workers.supervisor import WorkerSupervisor
from zatotx.processes.workers.worker_parent import EXIT_TIMEOUT, ParentSettings, WorkerParent
from zatotx.processes.workers.worker_process import GONE, HUNG, LEAVING, READY, STARTING, WorkerProcess, WorkerSpawner
from zatotx.rules.resilience.process_supervision import START_TIMEOUT, TIMEOUT
from zatotx.testing.log_recorder import LogRecorder

GRACE = 10.0


class Pipes:
    """A process's transport: remembers what it is told. With `obedient`, SIGTERM and SIGKILL end it."""

    def __init__(self, pid: int, worker: WorkerProcess, *, obedient: bool) -> None:
        self.pid = pid
        self.worker = worker
        self.obedient = obedient
        self.signals: list[str] = []
        self.orders: list[object] = []

    def signalProcess(self, name: str) -> None:
        self.signals.append(name)
        if name == 'KILL' or self.obedient:
            self.end(ProcessDone(0) if name == 'TERM' else ProcessTerminated(signal=9))

    def writeToChild(self, fd: int, data: bytes) -> None:
        self.orders.append(json.loads(data))

    def loseConnection(self) -> None:
        """Nothing is open."""

    def end(self, reason: Exception) -> None:
        self.worker.processEnded(Failure(reason))


class Hired:
    """Starts processes that are none."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.workers: list[WorkerProcess] = []
        self.late: list[bool] = []
        self.handed: list[Mapping[str, int]] = []
        self.obedient = True
        self.failing = False

    def __call__(self, slot: int, *, listen_when_ready: bool, descriptors: Mapping[str, int]) -> WorkerProcess:
        if self.failing:
            raise OSError(11, 'Resource temporarily unavailable')
        worker = WorkerProcess(slot, as_reactor(self.clock))
        self.workers.append(worker)
        self.late.append(listen_when_ready)
        self.handed.append(descriptors)
        transport: Any = Pipes(1000 + len(self.workers), worker, obedient=self.obedient)
        worker.makeConnection(transport)
        return worker

    def pipes(self, number: int) -> Pipes:
        """Of the worker that was started as that one, from 0."""
        transport: Any = self.workers[number].transport
        found: Pipes = transport
        return found

    def ready(self, *numbers: int) -> None:
        for number in numbers:
            self.workers[number].childDataReceived(control_pipe.NOTICE_DESCRIPTOR, b'["ready", ""]\n')

    def beat(self, *numbers: int) -> None:
        for number in numbers:
            self.workers[number].childDataReceived(control_pipe.NOTICE_DESCRIPTOR, b'["heartbeat", ""]\n')

    def refuse(self, number: int, why: str) -> None:
        self.workers[number].childDataReceived(
            control_pipe.NOTICE_DESCRIPTOR, json.dumps(['refused', why]).encode() + b'\n'
        )
        self.die(number, ProcessTerminated(exitCode=1))

    def die(self, number: int, reason: Exception | None = None) -> None:
        self.pipes(number).end(reason or ProcessTerminated(signal=9))


class Logs:
    """Of the parent."""

    def start(self) -> None:
        """Nothing to do."""

    def stop(self) -> None:
        """Nothing to do."""


class SupervisorTests(SynchronousTestCase):
    """Supervising two workers."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.hired = Hired(self.clock)
        self.given_up: list[str] = []
        self.left: list[int] = []
        self.crew = WorkerSupervisor(
            reactor=as_reactor(self.clock), spawn=self.hired,
            find_free_slot=lambda besides: min(set(range(99)) - besides),
            descriptors=lambda: {'tcp:1': 7}, on_change=lambda: None, on_give_up=self.given_up.append,
            on_slot_freed=self.left.append, random=lambda: 0.999, target_count=2,
        )  # fmt: skip

    def seats(self) -> list[int]:
        return [worker.slot for worker in self.crew.active]

    def serving(self) -> None:
        self.crew.fill()
        self.hired.ready(0, 1)

    def test_as_many_as_are_wanted(self) -> None:
        """Each worker has its own slot and all sockets; the supervisor reports when all are ready."""
        self.crew.fill()
        self.assertEqual(self.seats(), [0, 1])
        self.assertEqual(self.hired.handed, [{'tcp:1': 7}] * 2)
        self.hired.ready(0)
        self.assertNoResult(self.crew.all_ready)
        self.hired.ready(1)
        self.successResultOf(self.crew.all_ready)

    def test_a_dead_one_is_replaced_at_once(self) -> None:
        """After the first death a worker is started immediately, in the free slot, and listens only when it is ready
        because another one serves."""
        self.serving()
        self.hired.die(0)
        self.assertEqual((self.left, self.seats()), ([0], [1]))
        self.clock.advance(0)
        self.assertEqual(sorted(self.seats()), [0, 1])
        self.assertEqual(self.hired.late, [False, False, True])

    def test_all_die_at_once(self) -> None:
        """If all die, new workers listen only when they are ready: clients wait in the accept queue rather than get a
        503."""
        self.serving()
        self.hired.die(0)
        self.hired.die(1)
        self.clock.advance(0)
        self.assertEqual(self.hired.late, [False, False, True, True])

    def test_repeated_deaths(self) -> None:
        """After the second death the next start is delayed."""
        self.serving()
        self.hired.die(0)
        self.hired.die(1)
        self.clock.advance(0)
        self.assertEqual(len(self.crew.active), 2)  # the pause of the first death filled both places
        self.hired.ready(2, 3)
        self.hired.die(2)
        self.clock.advance(0)
        self.assertEqual(len(self.crew.active), 1)
        self.clock.advance(0.5)
        self.assertEqual(len(self.crew.active), 2)

    def test_gives_up(self) -> None:
        """After 5 deaths in 30 s it gives up with one sentence, and starts no more workers."""
        self.serving()
        for number in range(5):
            self.assertEqual(self.given_up, [])
            self.hired.die(number)
            self.clock.advance(1.1)
        (sentence,) = self.given_up
        self.assertIn('5 workers died within 30 s, the last one: it was ended by signal 9', sentence)
        self.clock.advance(60)
        self.assertEqual(len(self.hired.workers), 6)
        self.flushLoggedErrors()

    def test_gives_up_at_the_start(self) -> None:
        """If no worker has served yet, the start fails with the sentence."""
        self.crew.fill()
        for number in range(5):
            self.hired.die(number)
            self.clock.advance(1.1)
        self.assertIn('5 workers died', str(self.failureResultOf(self.crew.all_ready, StartError).value))
        self.assertEqual(self.given_up, [])

    def test_refused_at_the_start(self) -> None:
        """If a worker reports why it cannot start, the start fails with that sentence and is not repeated."""
        self.crew.fill()
        self.hired.refuse(0, 'The ODB is unavailable')
        self.assertEqual(str(self.failureResultOf(self.crew.all_ready, StartError).value), 'The ODB is unavailable')

    def test_refused_at_the_start_though_another_serves(self) -> None:
        """The same if another worker serves already."""
        self.crew.fill()
        self.hired.ready(1)
        self.hired.refuse(0, 'The ODB is unavailable')
        self.failureResultOf(self.crew.all_ready, StartError)

    def test_refused_when_nobody_serves(self) -> None:
        """If all have died and the next one reports why it cannot start, the server stops with that sentence."""
        self.serving()
        self.hired.die(0)
        self.hired.die(1)
        self.clock.advance(0)
        self.hired.refuse(2, 'The ODB is unavailable')
        self.assertEqual(self.given_up, ['The ODB is unavailable'])
        self.flushLoggedErrors()

    def test_deaths_after_giving_up(self) -> None:
        """It gives up once, and a delayed start is cancelled."""
        self.crew.target_count = 6
        self.crew.fill()
        self.hired.ready(*range(6))
        for number in range(6):
            self.hired.die(number)
        self.assertEqual(len(self.given_up), 1)
        self.clock.advance(100)
        self.assertEqual(len(self.hired.workers), 6)
        self.successResultOf(self.crew.stop(GRACE))
        self.flushLoggedErrors()

    def test_one_that_takes_over_before_all_are_ready(self) -> None:
        """If a worker dies while others start and one serves, its replacement listens only when it is ready."""
        self.crew.fill()
        self.hired.ready(0)
        self.hired.die(1)
        self.clock.advance(0)
        self.assertEqual(self.hired.late, [False, False, True])

    def test_refused_later(self) -> None:
        """While another worker serves, a failed start is repeated with delays, without giving up."""
        self.serving()
        self.hired.die(0)
        self.clock.advance(0)
        for number in range(2, 12):
            self.hired.refuse(number, 'The ODB is unavailable')
            self.seconds(10, 1)
        self.assertEqual(self.given_up, [])
        self.hired.ready(12)
        self.assertEqual(len(self.crew.ready), 2)

    def test_no_process_to_be_had(self) -> None:
        """If no process can be created, or no slot is free, that is logged and the start is repeated."""
        self.serving()
        self.hired.failing = True
        self.hired.die(0)
        self.clock.advance(0)
        self.hired.failing = False
        seat, self.crew.find_free_slot = self.crew.find_free_slot, self.no_seat
        self.clock.advance(1)
        self.assertEqual(len(self.crew.active), 1)
        self.crew.find_free_slot = seat
        self.clock.advance(2)
        self.assertEqual(len(self.crew.active), 2)

    def no_seat(self, besides: set[int]) -> int:
        raise StartError('there are 256 processes that do not end')

    def test_stops(self) -> None:
        """All workers get SIGTERM; the Deferred fires when all have ended, and none is replaced."""
        self.serving()
        self.successResultOf(self.crew.stop(GRACE))
        self.assertEqual([self.hired.pipes(n).signals for n in (0, 1)], [['TERM'], ['TERM']])
        self.assertEqual(self.crew.workers, [])
        self.clock.advance(100)
        self.assertEqual(len(self.hired.workers), 2)

    def test_one_that_does_not_end_is_killed(self) -> None:
        """A worker is killed after the time limit, not before."""
        self.hired.obedient = False
        self.serving()
        stopping = self.crew.stop(GRACE)
        self.hired.die(0, ProcessDone(0))
        self.clock.advance(GRACE - 0.1)
        self.assertNoResult(stopping)
        self.clock.advance(0.2)
        self.successResultOf(stopping)
        self.assertEqual([self.hired.pipes(n).signals for n in (0, 1)], [['TERM'], ['TERM', 'KILL']])

    def test_stopped_while_one_is_awaited(self) -> None:
        """A delayed start is cancelled."""
        self.serving()
        self.hired.die(0)
        self.hired.die(1)
        self.successResultOf(self.crew.stop(GRACE))
        self.clock.advance(100)
        self.assertEqual(len(self.hired.workers), 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_its_children_hold_its_pipes(self) -> None:
        """A program that a service started and that outlives the worker keeps its pipes open: the worker counts as gone
        all the same, after the time its last words may take."""
        self.serving()
        self.hired.workers[0].processExited(Failure(ProcessTerminated(signal=11)))
        self.assertEqual(len(self.crew.active), 2)
        self.clock.advance(0.6)
        self.assertEqual(self.left, [0])
        self.hired.die(0)  # its pipes close at last: no second death
        self.assertEqual(self.left, [0])

    def seconds(self, count: float, *beating: int) -> None:
        """So many pass, second by second, in which these workers give heartbeats."""
        for _ in range(int(count)):
            self.hired.beat(*beating)
            self.clock.advance(1)

    def test_one_that_hangs_is_replaced(self) -> None:
        """A worker that gives no heartbeat for as long as it may is killed, and does not count as ready from then on,
        even if the kernel cannot end it; another one is started at once on another seat."""
        self.serving()
        self.hired.pipes(0).signalProcess = self.hired.pipes(0).signals.append  # type: ignore[method-assign, assignment]
        self.seconds(TIMEOUT, 1)
        self.assertEqual([self.hired.pipes(n).signals for n in (0, 1)], [['KILL'], []])
        self.assertEqual((self.hired.workers[0].phase, self.seats()), (HUNG, [1, 2]))
        self.seconds(60, 1)
        self.assertEqual(self.hired.pipes(0).signals, ['KILL'])

    def test_all_hang(self) -> None:
        """Whatever they wait for: all are replaced, and that is no reason to end the server."""
        self.crew.target_count = 6
        self.crew.fill()
        self.hired.ready(*range(6))
        self.seconds(TIMEOUT)
        self.assertEqual((self.given_up, len(self.crew.active), len(self.hired.workers)), ([], 6, 12))

    def test_a_slow_parent(self) -> None:
        """One that looks late itself does not give more time for that."""
        self.serving()
        for _ in range(4):
            self.hired.beat(1)
            self.clock.advance(TIMEOUT / 4 + 0.01)
        self.assertEqual([self.hired.pipes(n).signals for n in (0, 1)], [['KILL'], []])

    def test_one_that_is_busy_is_left_alone(self) -> None:
        """A service that keeps the reactor for less than the timeout, again and again."""
        self.serving()
        for _ in range(10):
            self.seconds(TIMEOUT - 1, 1)
            self.hired.beat(0)
        self.assertEqual(self.seats(), [0, 1])

    def test_one_that_hangs_while_it_starts(self) -> None:
        """A worker that is not ready within the time limit is killed with a sentence in the log, and another one is
        started. This neither ends the server nor fails its start."""
        log = LogRecorder()
        globalLogPublisher.addObserver(log)
        self.addCleanup(globalLogPublisher.removeObserver, log)
        self.crew.fill()
        self.hired.ready(1)
        self.seconds(START_TIMEOUT - 1, 1)
        self.assertEqual([self.hired.pipes(n).signals for n in (0, 1)], [[], []])
        self.seconds(2, 1)
        self.assertEqual([self.hired.pipes(n).signals for n in (0, 1)], [['KILL'], []])
        (error,) = log.messages(logging.ERROR)
        self.assertIn('Worker 0 (process 1001) was not ready within 120 s and is killed; starting another one', error)
        self.hired.ready(2)
        self.successResultOf(self.crew.all_ready)
        self.assertEqual((self.given_up, sorted(self.seats())), ([], [0, 1]))

    def test_none_ever_becomes_ready(self) -> None:
        """Each one gets the whole time."""
        self.crew.fill()
        self.seconds(3 * START_TIMEOUT + 5)
        self.assertEqual((self.given_up, len(self.hired.workers)), ([], 8))
        self.assertEqual(self.hired.pipes(7).signals, [])

    def test_one_that_leaves_may_be_silent(self) -> None:
        """It gives no heartbeats; leaving has a limit of its own."""
        self.hired.obedient = False
        self.crew.fill()
        self.hired.ready(0)
        self.crew.retire(self.hired.workers[0], 600)
        self.seconds(300)
        self.assertEqual((self.hired.workers[0].phase, self.hired.pipes(0).signals), (LEAVING, []))

    def test_all_stood_still(self) -> None:
        """The machine slept, or the whole group was stopped, for an hour: whoever goes on with the parent is left
        alone, and who does not is replaced, once the parent has waited for as long as ever."""
        self.serving()
        self.seconds(TIMEOUT - 3)
        self.clock.advance(3600)
        self.assertEqual(self.seats(), [0, 1])
        self.hired.beat(0, 1)
        self.seconds(TIMEOUT - 1, 1)
        self.assertEqual([self.hired.pipes(n).signals for n in (0, 1)], [[], []])
        self.seconds(2, 1)
        self.assertEqual([self.hired.pipes(n).signals for n in (0, 1)], [['KILL'], []])

    def test_phases(self) -> None:
        """What is said of a worker."""
        self.crew.fill()
        worker = self.hired.workers[0]
        self.assertEqual(worker.phase, STARTING)
        self.hired.ready(0)
        self.assertEqual(worker.phase, READY)
        worker.retire()
        self.assertEqual(worker.phase, LEAVING)
        self.assertEqual(self.hired.pipes(0).orders, ['retire'])
        self.hired.die(0, ProcessDone(0))
        self.assertEqual(worker.phase, GONE)


class ParentTests(SynchronousTestCase):
    """From start to end of a parent process, its sockets and files real."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.hired = Hired(self.clock)
        self.work = Path(self.mktemp())
        self.work.mkdir()
        self.asked = ParentSettings(workers=2, listen=['tcp:0:interface=127.0.0.1'], grace=GRACE)
        self.wrong: StartError | None = None
        self.reloads = 0
        self.lock = DirectoryLock(self.work / 'lock')
        self.lock.acquire()
        self.parent = self.made()
        self.addCleanup(self.parent.sockets.close_except, ())

    def made(self) -> WorkerParent:
        sockets = ListeningSockets()
        crew = WorkerSupervisor(
            reactor=as_reactor(self.clock), spawn=self.hired,
            find_free_slot=lambda besides: find_free_slot(self.work, besides),
            descriptors=sockets.descriptors, on_change=lambda: self.parent.write_status(), on_give_up=self.fail,
        )  # fmt: skip
        return WorkerParent(
            reactor=as_reactor(self.clock),
            work=self.work,
            read_settings=self.plan,
            supervisor=crew,
            sockets=sockets,
            lender=SocketLender(as_reactor(self.clock)),
            lock=self.lock,
            logs=Logs(),
            reload_files=self.followed,
        )

    def plan(self) -> ParentSettings:
        if self.wrong is not None:
            raise self.wrong
        return self.asked

    def followed(self) -> None:
        self.reloads += 1

    def serve(self) -> None:
        starting = self.parent.startService()
        self.hired.ready(0, 1)
        self.successResultOf(starting)

    def listed(self) -> list[tuple[int, str]]:
        roster = read_status_file(self.work, os.getpid())
        assert roster is not None
        return [(worker.worker, worker.state) for worker in roster.workers]

    def ended(self) -> tuple[int, str]:
        roster = read_status_file(self.work, os.getpid())
        assert roster is not None
        return roster.done, roster.why

    def test_start(self) -> None:
        """It has started when every worker is ready, and says in work/workers.json how each is."""
        starting = self.parent.startService()
        self.hired.ready(1)
        self.assertNoResult(starting)
        self.assertEqual(self.listed(), [(0, 'starting'), (1, 'ready')])
        self.hired.ready(0)
        self.successResultOf(starting)
        self.assertEqual(self.listed(), [(0, 'ready'), (1, 'ready')])

    def test_the_address_is_taken(self) -> None:
        """One sentence, and no worker is started."""
        other = ListeningSockets()
        other.open(['tcp:0:interface=127.0.0.1'])
        self.addCleanup(other.close_except, ())
        port = other.bound['tcp:0:interface=127.0.0.1'].port
        self.asked = ParentSettings(workers=2, listen=[f'tcp:{port}:interface=127.0.0.1'], grace=GRACE)
        failure = self.failureResultOf(self.parent.startService(), StartError)
        self.assertIn(f"cannot listen on 'tcp:{port}:interface=127.0.0.1': Address already in use", str(failure.value))
        self.assertEqual(self.hired.workers, [])

    def test_workers_of_a_killed_parent_are_waited_for(self) -> None:
        """They still have the address: it is tried again until they have let go of it."""
        other = ListeningSockets()
        other.open(['tcp:0:interface=127.0.0.1'])
        port = other.bound['tcp:0:interface=127.0.0.1'].port
        self.asked = ParentSettings(workers=2, listen=[f'tcp:{port}:interface=127.0.0.1'], grace=GRACE)
        orphan = DirectoryLock(slot_lock_path(self.work, 0))
        orphan.acquire()
        self.addCleanup(orphan.release)
        starting = self.parent.startService()
        self.clock.pump([0.1] * 5)
        self.assertNoResult(starting)
        other.close_except(())
        self.clock.advance(0.1)
        self.assertEqual([worker.slot for worker in self.hired.workers], [1, 2])  # seat 0 is the orphan's

    def test_their_patience_has_an_end(self) -> None:
        """An orphan that does not let go: the sentence after all."""
        other = ListeningSockets()
        other.open(['tcp:0:interface=127.0.0.1'])
        self.addCleanup(other.close_except, ())
        port = other.bound['tcp:0:interface=127.0.0.1'].port
        self.asked = ParentSettings(workers=2, listen=[f'tcp:{port}:interface=127.0.0.1'], grace=GRACE)
        orphan = DirectoryLock(slot_lock_path(self.work, 0))
        orphan.acquire()
        self.addCleanup(orphan.release)
        starting = self.parent.startService()
        self.clock.pump([0.1] * 1000)
        self.failureResultOf(starting, StartError)

    def test_stop(self) -> None:
        """All workers are gone, sockets closed, the list removed, the directory free for another."""
        self.serve()
        stopping: Deferred[None] = self.parent.stopService()
        self.successResultOf(stopping)
        self.assertEqual((self.parent.sockets.bound, (self.work / FILE_NAME).exists()), ({}, False))
        again = DirectoryLock(self.work / 'lock')
        again.acquire()
        again.release()

    def test_stop_while_it_starts(self) -> None:
        """No error, nobody left."""
        starting = self.parent.startService()
        starting.addErrback(lambda failure: None)
        self.successResultOf(self.parent.stopService())
        self.assertEqual(self.parent.supervisor.workers, [])

    def test_replace(self) -> None:
        """SIGUSR2: the new one is ready before the old one is told to go, and one after another; the socket stays."""
        self.serve()
        bound = dict(self.parent.sockets.bound)
        self.parent.replace()
        self.assertEqual(self.listed(), [(0, 'ready'), (1, 'ready'), (2, 'starting')])
        self.assertEqual(self.hired.late, [False, False, True])
        self.assertEqual(self.hired.pipes(0).orders, [])
        self.hired.ready(2)
        self.assertEqual(self.hired.pipes(0).orders, ['retire'])
        self.assertEqual((self.listed()[0], len(self.hired.workers)), ((0, 'leaving'), 3))
        self.hired.die(0, ProcessDone(0))
        self.assertEqual(self.listed(), [(1, 'ready'), (2, 'ready'), (0, 'starting')])
        self.assertEqual(self.ended(), (0, ''))
        self.hired.ready(3)
        self.hired.die(1, ProcessDone(0))
        self.assertEqual(self.listed(), [(2, 'ready'), (0, 'ready')])
        self.assertEqual((self.ended(), self.parent.sockets.bound), ((1, ''), bound))

    def test_one_that_does_not_go_is_killed(self) -> None:
        """After the time to linger, to drain and a little more."""
        self.serve()
        self.parent.replace()
        self.hired.ready(2)
        self.clock.advance(RETIRE_TIMEOUT + GRACE + EXIT_TIMEOUT - 0.1)
        self.assertEqual(self.hired.pipes(0).signals, [])
        self.clock.advance(0.2)
        self.assertEqual(self.hired.pipes(0).signals, ['KILL'])
        self.assertEqual(len(self.hired.workers), 4)  # and it goes on

    def test_a_replacement_that_cannot_start(self) -> None:
        """The old ones go on, all of them, and the reason is told."""
        self.serve()
        self.parent.replace()
        self.hired.refuse(2, 'kvdb.url: expected `str`')
        self.assertEqual(self.ended(), (1, 'kvdb.url: expected `str`'))
        self.assertEqual(self.listed(), [(0, 'ready'), (1, 'ready')])
        self.clock.advance(60)
        self.assertEqual(self.parent.supervisor.target_count, len(self.parent.supervisor.ready))

    def test_wrong_settings(self) -> None:
        """Nothing is begun, and once they are right the next wish is fulfilled."""
        self.serve()
        self.wrong = StartError('server.toml: main.workers: Expected `int`')
        self.parent.replace()
        self.assertEqual(self.ended(), (1, 'server.toml: main.workers: Expected `int`'))
        self.assertEqual(len(self.hired.workers), 2)
        self.wrong = None
        self.parent.replace()
        self.assertEqual(len(self.hired.workers), 3)

    def test_other_settings(self) -> None:
        """A replacement takes over how many and where: here three instead of two, and one more address."""
        self.serve()
        self.asked = ParentSettings(
            workers=3, listen=['tcp:0:interface=127.0.0.1', 'tcp:0:interface=127.0.0.2'], grace=GRACE
        )
        self.parent.replace()
        for new, old in ((2, 0), (3, 1)):
            self.hired.ready(new)
            self.hired.die(old, ProcessDone(0))
        self.hired.ready(4)
        self.assertEqual(len(self.parent.supervisor.ready), 3)
        self.assertEqual(list(self.hired.handed[2]), self.asked.listen)
        self.asked = ParentSettings(workers=1, listen=['tcp:0:interface=127.0.0.2'], grace=GRACE)
        self.parent.replace()
        self.hired.ready(5)
        for old in (2, 3, 4):
            self.hired.die(old, ProcessDone(0))
        self.assertEqual(len(self.parent.supervisor.workers), 1)
        self.assertEqual(list(self.parent.sockets.bound), self.asked.listen)

    def test_a_new_address_nobody_would_serve(self) -> None:
        """A replacement that fails leaves no socket open that no worker accepts from."""
        self.serve()
        self.asked = ParentSettings(
            workers=3, listen=['tcp:0:interface=127.0.0.1', 'tcp:0:interface=127.0.0.2'], grace=GRACE
        )
        self.parent.replace()
        self.hired.refuse(2, 'no')
        self.assertEqual(list(self.parent.sockets.bound), ['tcp:0:interface=127.0.0.1'])
        self.assertEqual(self.parent.supervisor.target_count, 2)

    def test_asked_twice(self) -> None:
        """A second wish during the first is fulfilled after it."""
        self.serve()
        self.parent.replace()
        self.parent.replace()
        for new, old in ((2, 0), (3, 1), (4, 2), (5, 3)):
            self.hired.ready(new)
            self.hired.die(old, ProcessDone(0))
        self.assertEqual(self.ended(), (2, ''))
        self.assertEqual(len(self.hired.workers), 6)

    def test_an_old_one_dies_meanwhile(self) -> None:
        """Before its turn: nothing more is to be done about it, and there are as many as are wanted at the end."""
        self.serve()
        self.parent.replace()
        self.hired.die(1)
        self.hired.ready(2)
        self.hired.die(0, ProcessDone(0))
        self.clock.advance(1)
        for number in range(3, len(self.hired.workers)):
            self.hired.ready(number)
        self.clock.advance(1)
        self.assertEqual(self.ended(), (1, ''))
        self.assertEqual(len(self.parent.supervisor.ready), 2)

    def test_stopped_meanwhile(self) -> None:
        """A stop ends the replacement too, also while an old one drains: all are gone, nobody is started any more."""
        self.serve()
        self.parent.replace()
        self.hired.ready(2)
        self.successResultOf(self.parent.stopService())
        self.assertEqual((self.parent.supervisor.workers, len(self.hired.workers)), ([], 3))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_reload(self) -> None:
        """SIGHUP: the parent follows its files, and each worker is told."""
        self.serve()
        self.parent.reload()
        self.assertEqual(self.reloads, 1)
        self.assertEqual([self.hired.pipes(n).orders for n in (0, 1)], [['reload'], ['reload']])

    def test_a_list_of_an_earlier_parent(self) -> None:
        """counts for nothing."""
        self.serve()
        self.assertIsNone(read_status_file(self.work, os.getpid() + 1))
        (self.work / FILE_NAME).write_text('{')
        self.assertIsNone(read_status_file(self.work, os.getpid()))


class Spawned:
    """A reactor that notes what it is to start."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def spawnProcess(self, worker: WorkerProcess, executable: str, args: list[str], **call: Any) -> None:
        self.calls.append({'args': args, **call})
        transport: Any = Pipes(1, worker, obedient=True)
        worker.makeConnection(transport)


class SpawnerTests(SynchronousTestCase):
    def test_what_a_worker_gets(self) -> None:
        """The two pipes, the hand-over and the sockets, each by its own number; the place as the first order."""
        reactor = Spawned()
        command = lambda slot: ['python', 'twistd', str(slot)]  # noqa: E731
        spawn = WorkerSpawner(as_reactor(reactor), command, socket.socket, {'PATH': '/bin'})
        worker = spawn(3, listen_when_ready=True, descriptors={'tcp:1': 20, 'unix:x': 21})
        (call,) = reactor.calls
        self.assertEqual(call['args'], ['python', 'twistd', '3'])
        handover = call['childFDs'].pop(5)
        self.assertEqual(call['childFDs'], {0: 0, 1: 1, 2: 2, 3: 'w', 4: 'r', 6: 20, 7: 21})
        self.assertGreater(handover, 7)
        transport: Any = worker.transport
        (order,) = transport.orders
        self.assertEqual(
            (order['slot'], order['listen_when_ready'], order['inherited_sockets']),
            (3, True, {'tcp:1': 6, 'unix:x': 7}),
        )
        self.assertEqual(order['handover'], 5)

    def test_a_secret_key(self) -> None:
        """It goes down the pipe: neither the command line nor the environment of a worker has it, nor a repr."""
        reactor = Spawned()
        environ = {'ZATOTX_SECRET_KEY': 'hush', 'A': 'b'}
        spawn = WorkerSpawner(as_reactor(reactor), lambda seat: ['twistd'], socket.socket, environ)
        worker = spawn(0, listen_when_ready=False, descriptors={})
        self.assertEqual(reactor.calls[0]['env'], {'A': 'b'})
        transport: Any = worker.transport
        self.assertEqual(transport.orders[0]['secret_key'], 'hush')
        self.assertNotIn(
            'hush', repr(spawn) + repr(control_pipe.WorkerSpec(slot=0, listen_when_ready=False, secret_key='hush'))
        )
