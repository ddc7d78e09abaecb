"""Base class of the operations on a component. Each type of component overrides the operations that differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from zatotx.cli.environment.creation_plan import CreationStep, EnvironmentPlan
from zatotx.cli.environment.environment_layout import Component
from zatotx.cli.environment.listen_addresses import ListenAddress
from zatotx.cli.environment.process_discovery import ComponentProcess

GRACE = 10.0  # seconds, the default of shutdown.grace in server.toml


class ComponentOperations:
    """The operations on a component of one type, as used by the commands."""

    def listen_addresses(self, part: Component) -> Iterator[ListenAddress]:
        """Yield the TCP addresses on which the component listens, by its settings."""
        yield from ()

    def address(self, part: Component) -> str:
        """Return the address of the component for `zatotx status`; '' if it has none."""
        return ''

    def readiness_error(self, part: Component, process: ComponentProcess, timeout: float) -> str:
        """Return why a running component is not ready, a sentence fragment; '' if it is. Returns within `timeout`
        seconds."""
        raise NotImplementedError

    def grace_period(self, part: Component) -> float:
        """Return the seconds that work in progress gets to finish after SIGTERM."""
        return GRACE

    def stop_orphans(self, part: Component) -> list[str]:
        """End what a killed process of the component has left running. Returns errors, one sentence each."""
        return []

    def restart_in_place(self, part: Component) -> list[str] | None:
        """Replace the component's processes without closing its listening sockets. Returns errors, one sentence each;
        None if the component has to be stopped and started instead."""
        return None

    def writable_directories(self, part: Component) -> list[Path]:
        """Return the directories to which the component writes."""
        return [part.path]

    def secret_files(self, part: Component) -> Iterator[Path]:
        """Yield all files and directories that only their owner may access."""
        yield part.path

    def creation_steps(self, environment: Path, plan: EnvironmentPlan) -> list[CreationStep]:
        """Return the steps with which quickstart creates the components of this type in a new environment."""
        return []

    def ports(self, plan: EnvironmentPlan) -> Mapping[str, int]:
        """Return the ports that a new environment's components of this type listen on, by name, for [ports] of
        credentials.toml and for the check that they are free."""
        return {}

    def summary(self, plan: EnvironmentPlan) -> list[tuple[str, str]]:
        """Return (title, text) of the lines that quickstart prints about the components of this type."""
        return []
