"""The operations of a running load balancer that are available to its agent and its statistics page."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal

from attrs import define
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from zatotx import __version__
from zatotx.interfaces.load_balancer import IBalancerControl, RenamedServer, ServerStatus
from zatotx.lb.config.files import ConfigurationFiles
from zatotx.lb.config.parser import parse_configuration
from zatotx.lb.statistics.statistics_source import ReadSnapshot


@implementer(IBalancerControl)
@define(eq=False, kw_only=True)
class BalancerControl:
    """Implements IBalancerControl for a running load balancer. `apply_source` applies the text of a configuration, with
    a server that it renames, and returns its errors. `set_server_state` sets the administrative state of a server, and
    raises LookupError for an unknown server."""

    clock: IReactorTime
    files: ConfigurationFiles
    read: ReadSnapshot
    apply_source: Callable[[str, RenamedServer | None], Awaitable[list[str]]]
    set_server_state: Callable[[str, str, Literal['ready', 'drain', 'maint']], None]
    started: float  # on the clock

    def config_source(self) -> str:
        """See IBalancerControl. Raises OSError or ValueError if the file cannot be read."""
        return self.files.read()

    def validate(self, source: str) -> list[str]:
        """See IBalancerControl."""
        return parse_configuration(source, self.files.directory).errors

    def apply(self, source: str, renamed: RenamedServer | None = None) -> Deferred[list[str]]:
        """See IBalancerControl."""
        return Deferred.fromCoroutine(self._apply(source, renamed))

    async def _apply(self, source: str, renamed: RenamedServer | None) -> list[str]:
        return await self.apply_source(source, renamed)

    def servers(self) -> Sequence[ServerStatus]:
        """See IBalancerControl."""
        return self.read().servers

    def set_state(self, backend: str, name: str, state: Literal['ready', 'drain', 'maint']) -> Deferred[None]:
        """See IBalancerControl."""

        async def set_state() -> None:
            self.set_server_state(backend, name, state)

        return Deferred.fromCoroutine(set_state())

    def info(self) -> Mapping[str, str | int | float]:
        """See IBalancerControl."""
        snapshot = self.read()
        return {
            'name': 'zatotx load balancer', 'version': __version__, 'pid': os.getpid(),
            'uptime': self.clock.seconds() - self.started, 'workers': snapshot.workers,
            'current_sessions': snapshot.connections, 'total_sessions': snapshot.total_requests,
        }  # fmt: skip

    def recent_errors(self) -> Sequence[str]:
        """See IBalancerControl."""
        return self.read().recent_errors
