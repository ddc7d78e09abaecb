"""Stopping parts: SIGTERM, the time to drain, and the truth about it where that was not enough."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from contextlib import suppress

from zatotx.cli.environment.layout import SERVER, Component, setting, settings
from zatotx.cli.environment.pid_files import STEP, Process, running_process
from zatotx.cli.environment.readiness_probe import redis_command, redis_error

GRACE = 10.0  # seconds, the default of shutdown.grace in server.toml
MARGIN = 20.0  # seconds beyond the grace period until a process counts as hung
KILL_WAIT = 5.0


def stop_components(parts: Sequence[Component]) -> list[str]:
    """Servers together, then Redis, which they use to their end; what did not go well, a sentence each."""
    servers = [part for part in parts if part.kind == SERVER]
    others = [part for part in reversed(parts) if part.kind != SERVER]
    faults = stop_in_parallel(servers)
    for part in others:
        faults.extend(stop_in_parallel([part]))
        faults.extend(stop_orphan(part))
    return faults


def stop_orphan(part: Component) -> list[str]:
    """A Redis whose supervisor was killed goes on alone: ask it to save and end."""
    socket = part.path / 'redis.sock'
    end = time.monotonic() + KILL_WAIT
    while not redis_error(part.path):
        if time.monotonic() > end:
            return [f'{part.name} does not end: see {part.path}/server.pid for its process']
        with suppress(OSError):  # it hangs up instead of answering
            redis_command(socket, b'SHUTDOWN')
        time.sleep(STEP)
    return []


def stop_in_parallel(parts: Sequence[Component]) -> list[str]:
    found = [(part, process) for part in parts if (process := running_process(part)) is not None]
    begun = time.monotonic()
    for _, process in found:
        process.send(signal.SIGTERM)
    faults = []
    for part, process in found:
        limit = stop_timeout(part)
        if not process.ended_within(begun + limit - time.monotonic()):
            faults.append(kill(part, process, limit))
    for part in parts:
        if running_process(part) is None:  # what a killed process left
            part.pid_file.unlink(missing_ok=True)
    return faults


def stop_timeout(part: Component) -> float:
    """How long a drain may take: the part's own grace period and a margin."""
    return grace_period(part) + MARGIN


def grace_period(part: Component) -> float:
    """Seconds that requests under way get to finish."""
    return setting(settings(part), 'shutdown', 'grace', GRACE) if part.kind == SERVER else GRACE


def kill(part: Component, process: Process, limit: float) -> str:
    """The end of a process that does not end; what to tell about it."""
    process.send(signal.SIGKILL)
    if process.ended_within(KILL_WAIT):
        return f'{part.name} did not end within {limit:g} s of SIGTERM and was killed: see {part.path}/logs for why'
    return f'{part.name} (process {process.pid}) survived even SIGKILL: it hangs in the kernel'
