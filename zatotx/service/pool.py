"""The threads of `def` services: at most so many, made when there is work for them, handed their work through one
C queue. Beside twisted.python.threadpool, a call costs a tenth when many are under way.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, Thread

from twisted.logger import Logger

Job = Callable[[], object]


class ServiceThreads:
    """A pool of threads that cannot keep a process from ending: a service that never returns holds its thread only."""

    _log = Logger()

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.size = size
        self.started = False
        self.threads: list[Thread] = []
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

    def callInThread(self, job: Job) -> None:
        """Have one of the threads run `job`. Any thread may call."""
        self._jobs.put(job)
        if len(self.threads) < self.size:
            self._grow()

    def _grow(self) -> None:
        """Add a thread where work waits. Once all are there, nobody comes here any more."""
        with self._lock:
            if self.started and len(self.threads) < self.size and not self._jobs.empty():
                thread = Thread(target=self._work, daemon=True, name=f'{self.name}-{len(self.threads)}')
                self.threads.append(thread)
                thread.start()

    def _work(self) -> None:
        get = self._jobs.get
        while True:
            job = get()
            if job is None:
                return
            try:
                job()
            except Exception:
                self._log.failure('A job of the {name} threads failed', name=self.name)
            del job  # while it waits for the next one, the thread holds nothing of the last
