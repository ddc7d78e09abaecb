"""Stops components: sends SIGTERM, waits until they have drained, and kills those that hang."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from contextlib import suppress

from zatotx.cli.environment.layout import SERVER, Component, get_setting, read_settings
from zatotx.cli.environment.pid_files import POLL_INTERVAL, Process, running_process
from zatotx.cli.environment.readiness_probe import embedded_redis_error, redis_command

GRACE = 10.0  # seconds, the default of shutdown.grace in server.toml
MARGIN = 20.0  # seconds after the grace period until a process counts as hanging
KILL_WAIT = 5.0


def stop_components(parts: Sequence[Component]) -> list[str]:
    """Stop all servers in parallel, then Redis, which they use until they end. Returns errors, one sentence each."""
    servers = [part for part in parts if part.kind == SERVER]
    others = [part for part in reversed(parts) if part.kind != SERVER]
    errors = stop_in_parallel(servers)
    for part in others:
        errors.extend(stop_in_parallel([part]))
        errors.extend(stop_orphan(part))
    return errors


def stop_orphan(part: Component) -> list[str]:
    """Shut down a Redis whose supervisor was killed, after it has saved its data."""
    socket = part.path / 'redis.sock'
    end = time.monotonic() + KILL_WAIT
    while not embedded_redis_error(part.path):
        if time.monotonic() > end:
            return [f'{part.name} does not end: see {part.path}/server.pid for its process']
        with suppress(OSError):  # it closes the connection instead of responding
            redis_command(socket, b'SHUTDOWN')
        time.sleep(POLL_INTERVAL)
    return []


def stop_in_parallel(parts: Sequence[Component]) -> list[str]:
    running = [(part, process) for part in parts if (process := running_process(part)) is not None]
    started = time.monotonic()
    for _, process in running:
        process.send(signal.SIGTERM)
    errors = []
    for part, process in running:
        limit = stop_timeout(part)
        if not process.ended_within(started + limit - time.monotonic()):
            errors.append(kill_process(part, process, limit))
    for part in parts:
        if running_process(part) is None:  # left by a killed process
            part.pid_file.unlink(missing_ok=True)
    return errors


def stop_timeout(part: Component) -> float:
    """Return how many seconds a component may take to stop: its grace period plus a margin."""
    return grace_period(part) + MARGIN


def grace_period(part: Component) -> float:
    """Return the seconds that running requests get to finish."""
    return get_setting(read_settings(part), 'shutdown', 'grace', GRACE) if part.kind == SERVER else GRACE


def kill_process(part: Component, process: Process, limit: float) -> str:
    """Kill a process that did not stop. Returns the message about it."""
    process.send(signal.SIGKILL)
    if process.ended_within(KILL_WAIT):
        return f'{part.name} did not end within {limit:g} s of SIGTERM and was killed: see {part.path}/logs for why'
    return f'{part.name} (process {process.pid}) did not end after SIGKILL: it hangs in the kernel'
