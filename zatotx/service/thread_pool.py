"""The threads of `def` services: at most so many, made when there is work for them, handed their work through one
C queue. Beside twisted.python.threadpool, a call costs a tenth when many are under way.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, Thread

from twisted.logger import Logger

from zatotx.model.errors import ServiceUnavailable
from zatotx.rules.limits.limits import NODE

Job = Callable[[], object]


class ServiceThreads:
    """A pool of threads that cannot keep a process from ending: a service that never returns holds its thread only.

    At most `most_waiting` jobs wait. `refused` counts those that found no place.
    """

    _log = Logger()

    def __init__(self, name: str, size: int, most_waiting: int = NODE) -> None:
        self.name = name
        self.size = size
        self.most_waiting = most_waiting
        self.refused = 0
        self.started = False
        self.threads: list[Thread] = []
        self._at_work: list[bool] = []  # by thread, each of which writes its own
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._lock = Lock()

    def start(self) -> None:
        """Work may be run from now on, and what was given before."""
        self.started = True
        self._grow()

    def stop(self) -> None:
        """Run what was given, then end every thread. Blocks until they have ended: not for the reactor's thread."""
        with self._lock:
            self.started = False
            threads, self.threads = self.threads, []
        for _ in threads:
            self._jobs.put(None)
        for thread in threads:
            thread.join()

    @property
    def busy(self) -> int:
        """How many threads do something now."""
        return sum(self._at_work)

    @property
    def waiting(self) -> int:
        """How many jobs wait for a thread."""
        return self._jobs.qsize()

    def callInThread(self, job: Job) -> None:
        """Have one of the threads run `job`. Any thread may call. Raises ServiceUnavailable where too many jobs wait
        already: none of the threads gets on, so that this one would wait for nothing."""
        if self._jobs.qsize() >= self.most_waiting:
            self.refused += 1
            why = f'All {self.size} {self.name} threads are busy and {self.most_waiting} calls wait: try again later'
            raise ServiceUnavailable(None, why)
        self._jobs.put(job)
        if len(self.threads) < self.size:
            self._grow()

    def _grow(self) -> None:
        """Add a thread where work waits. Once all are there, nobody comes here any more."""
        with self._lock:
            if self.started and len(self.threads) < self.size and not self._jobs.empty():
                number = len(self._at_work)
                self._at_work.append(False)
                thread = Thread(target=self._work, args=(number,), daemon=True, name=f'{self.name}-{number}')
                self.threads.append(thread)
                thread.start()

    def _work(self, number: int) -> None:
        get, at_work = self._jobs.get, self._at_work
        while True:
            job = get()
            if job is None:
                return
            at_work[number] = True
            try:
                job()
            except Exception:
                self._log.failure('A job of the {name} threads failed', name=self.name)
            at_work[number] = False
            del job  # while it waits for the next one, the thread holds nothing of the last
