"""The data types of `zatotx doctor`: a check, the context of a check, and a finding, which is a problem that a check
found."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from zatotx.cli.environment.environment_layout import Component, Environment

BROKEN, WARNING = 'broken', 'warning'
# What a check applies to, besides the types of component. NODE: those that run services.
ENVIRONMENT, EVERY_COMPONENT, NODE = 'ENVIRONMENT', 'EVERY PART', 'NODE'
REQUEST_TIMEOUT = 3.0  # timeout in seconds of one request over the network


class Finding(NamedTuple):
    """A problem that a check has found."""

    severity: str  # BROKEN, WARNING
    where: str  # 'server1', 'environment'
    subject: str  # subject of the check
    text: str  # one sentence: what, where and what to do


class CheckContext:
    """The input of all checks in one run. It caches data that several checks need."""

    def __init__(self, environment: Environment, now: Callable[[], float] = time.time) -> None:
        """`now` returns Unix time."""
        self.environment = environment
        self.now = now
        self._cache: dict[Any, tuple[bool, Any]] = {}
        self._locks: dict[Any, threading.Lock] = {}
        self._locks_lock = threading.Lock()

    def utc_now(self) -> datetime:
        """Return the time of the run."""
        return datetime.fromtimestamp(self.now(), UTC)

    def cached(self, compute: Callable[[Component], Any], part: Component) -> Any:
        """Return `ask(part)`, which is called once per run; an exception is raised again to each caller."""
        key = compute, part.path
        with self._locks_lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._cache:
                try:
                    self._cache[key] = True, compute(part)
                except Exception as error:
                    self._cache[key] = False, error
        succeeded, result = self._cache[key]
        if not succeeded:
            raise result
        return result


CheckFunction = Callable[[CheckContext, Component], Iterable[tuple[str, str]]]  # (severity, sentence) of each finding


class Check(NamedTuple):
    """The definition of a check of `zatotx doctor`."""

    subject: str  # one or two words, shown in findings
    description: str  # the problems that it finds, for the documentation
    target: str  # ENVIRONMENT, EVERY_COMPONENT, NODE, SERVER, REDIS …
    run: CheckFunction
    sends_requests: bool = False  # sends requests to other processes or machines, so runs in its own thread


def environment_as_component(environment: Environment) -> Component:
    """Convert an environment to a Component without a process, so that checks of the whole environment can be applied
    to it."""
    return Component(ENVIRONMENT, Path(environment.environment))
