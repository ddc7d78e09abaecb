"""The thread pool of `def` services: threads start on demand and take jobs from one SimpleQueue.

Under load, a call costs a tenth of one in twisted.python.threadpool.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, Thread

from twisted.logger import Logger

from zatotx.model.errors import ServiceUnavailable
from zatotx.rules.limits.concurrency_limit import DEFAULT_NODE_LIMIT

Job = Callable[[], object]


class ServiceThreadPool:
    """A pool of daemon threads, so that a service that never returns cannot keep the process from exiting.

    At most `max_queued` jobs are queued; `rejected` counts the jobs rejected because the queue was full.
    """

    _log = Logger()

    def __init__(self, name: str, size: int, max_queued: int = DEFAULT_NODE_LIMIT) -> None:
        self.name = name
        self.size = size
        self.max_queued = max_queued
        self.rejected = 0
        self.started = False
        self.threads: list[Thread] = []
        self._busy_flags: list[bool] = []  # whether each thread is busy; each thread writes its own item
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._lock = Lock()

    def start(self) -> None:
        """Start running jobs, including those queued before."""
        self.started = True
        self._grow()

    def stop(self) -> None:
        """Run the queued jobs, then end all threads.

        Blocks until they have ended; never call it in the reactor's thread.
        """
        with self._lock:
            self.started = False
            threads, self.threads = self.threads, []
        for _ in threads:
            self._jobs.put(None)
        for thread in threads:
            thread.join()

    @property
    def busy(self) -> int:
        """The number of threads that run a job."""
        return sum(self._busy_flags)

    @property
    def waiting(self) -> int:
        """The number of queued jobs."""
        return self._jobs.qsize()

    def callInThread(self, job: Job) -> None:
        """Queue a job. May be called from any thread. Raises ServiceUnavailable if the queue is full."""
        if self._jobs.qsize() >= self.max_queued:
            self.rejected += 1
            reason = f'All {self.size} {self.name} threads are busy and {self.max_queued} calls wait: try again later'
            raise ServiceUnavailable(None, reason)
        self._jobs.put(job)
        if len(self.threads) < self.size:
            self._grow()

    def _grow(self) -> None:
        """Start another thread if jobs are queued. Not called any more once all threads are running."""
        with self._lock:
            if self.started and len(self.threads) < self.size and not self._jobs.empty():
                number = len(self._busy_flags)
                self._busy_flags.append(False)
                thread = Thread(target=self._work, args=(number,), daemon=True, name=f'{self.name}-{number}')
                self.threads.append(thread)
                thread.start()

    def _work(self, number: int) -> None:
        get, busy_flags = self._jobs.get, self._busy_flags
        while True:
            job = get()
            if job is None:
                return
            busy_flags[number] = True
            try:
                job()
            except Exception:
                self._log.failure('A job of the {name} threads failed', name=self.name)
            busy_flags[number] = False
            del job  # release the job's references while waiting for the next one
