"""Determines whether a component is ready."""

from __future__ import annotations

from typing import NamedTuple

from zatotx.cli.environment.components.operations_registry import operations_of
from zatotx.cli.environment.environment_layout import Component
from zatotx.cli.environment.process_discovery import running_process

TIMEOUT = 3.0  # seconds per probe; on a busy machine a process may not run for one or two


class ComponentHealth(NamedTuple):
    state: str  # 'running', 'starting' (running but not ready) or 'stopped'
    pid: int | None = None
    reason: str = ''  # why it is not ready

    @property
    def ready(self) -> bool:
        return self.state == 'running'


def probe_component(part: Component, timeout: float = TIMEOUT) -> ComponentHealth:
    """Return the current state of a component. A component that does not respond within `timeout` seconds is not
    ready."""
    process = running_process(part)
    if process is None:
        return ComponentHealth('stopped')
    reason = operations_of(part).readiness_error(part, process, timeout)
    return ComponentHealth('starting' if reason else 'running', process.pid, reason)
