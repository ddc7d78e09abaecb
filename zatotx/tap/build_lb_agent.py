"""Builds the load balancer's agent, and the task that renews its certificate revocation list."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred

from zatotx.interfaces.load_balancer import IBalancerControl
from zatotx.interfaces.reactor import IReactor
from zatotx.lb.config.model import AgentSettings
from zatotx.system.thread_pool import DaemonThreadPool, make_offload


class ConfiguredAgent(MultiService):
    """Runs the agent if it is enabled in the configuration when the load balancer starts. If the key of the authority
    that issued the agent's revocation list is available, the list is signed again before it expires."""

    def __init__(self, directory: Path, control: IBalancerControl, settings: Callable[[], AgentSettings],
                 reactor: IReactor) -> None:  # fmt: skip
        super().__init__()  # type: ignore[no-untyped-call]
        self._directory = directory
        self.control = control
        self._settings = settings
        self._reactor = reactor
        self._pool = DaemonThreadPool('agent', 1)

    def startService(self) -> None:
        """Start the agent. Raises StartError if its settings or files cannot be used, or its address is in use."""
        settings = self._settings()
        if settings.enabled and not self.services:
            self._add_services(settings)
        self._pool.start()
        super().startService()  # type: ignore[no-untyped-call]

    def _add_services(self, settings: AgentSettings) -> None:
        # Imported here: a load balancer without an agent needs neither Klein nor the authority.
        from zatotx.ca.revocation_list_renewal import RevocationListRenewal, find_authority
        from zatotx.lb.agent.agent_service import AgentService

        reactor = self._reactor
        AgentService(settings, self._directory, self.control, reactor).setServiceParent(self)  # type: ignore[no-untyped-call]
        authority = find_authority(self._directory / settings.crl) if settings.crl and settings.certificate else None
        if authority is not None:
            run_in_thread = make_offload(reactor, self._pool)
            RevocationListRenewal(authority, reactor, run_in_thread).setServiceParent(self)  # type: ignore[no-untyped-call]

    def stopService(self) -> Deferred[Any]:
        """Stop the agent; fires when its socket is closed and no thread signs a list."""
        stopping: Deferred[Any] = super().stopService()  # type: ignore[no-untyped-call]
        return stopping.addBoth(self._stopped)

    def _stopped(self, result: Any) -> Any:
        self._pool.close()
        return result


def make_load_balancer_agent(
    directory: Path, control: IBalancerControl, settings: Callable[[], AgentSettings], reactor: IReactor
) -> IService:
    """Create the agent of a load balancer as a service, without starting it. `settings` returns the section [agent] of
    the configuration when the service is started."""
    service: IService = ConfiguredAgent(directory, control, settings, reactor)
    return service
