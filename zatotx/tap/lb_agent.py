"""Builds the load balancer's agent, and what keeps its revocation list valid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from twisted.application.service import IService, MultiService
from twisted.internet.threads import deferToThreadPool

from zatotx.ca.list_renewal import RevocationListRenewal, find_authority
from zatotx.interfaces.load_balancer import IBalancerControl
from zatotx.interfaces.reactor import IReactor
from zatotx.lb.agent.service import Agent as AgentService
from zatotx.lb.config.model import Agent as AgentSettings


class ConfiguredAgent(MultiService):
    """Runs the agent if it is enabled when the load balancer starts. If its revocation list is that of an authority
    whose key is here, the list is signed again before it expires."""

    def __init__(self, directory: Path, control: IBalancerControl, settings: Callable[[], AgentSettings],
                 reactor: IReactor) -> None:  # fmt: skip
        super().__init__()  # type: ignore[no-untyped-call]
        self._directory = directory
        self._control = control
        self._settings = settings
        self._reactor = reactor

    def startService(self) -> None:
        """Start the agent. Raises StartError if its settings or files cannot be used, or its address is in use."""
        settings, reactor = self._settings(), self._reactor
        if settings.enabled and not self.services:
            AgentService(settings, self._directory, self._control, reactor).setServiceParent(self)  # type: ignore[no-untyped-call]
            authority = find_authority(self._directory / settings.crl) if settings.crl else None
            if authority is not None:
                RevocationListRenewal(
                    authority, reactor, lambda *call: deferToThreadPool(reactor, reactor.getThreadPool(), *call)
                ).setServiceParent(self)  # type: ignore[no-untyped-call]
        super().startService()  # type: ignore[no-untyped-call]


def make_agent(
    directory: Path, control: IBalancerControl, settings: Callable[[], AgentSettings], reactor: IReactor
) -> IService:
    """Return the agent of a load balancer as a service, not yet started. `settings` returns [agent] of the
    configuration when the service is started."""
    service: IService = ConfiguredAgent(directory, control, settings, reactor)
    return service
