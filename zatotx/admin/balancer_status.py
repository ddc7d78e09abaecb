"""The status of the servers according to the load balancer, for pages that show it beside other information. These
pages do not wait for an agent that does not respond."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from attrs import define, field
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime

from zatotx.processes.lb_agent_client import AgentUnreachableError
from zatotx.wire.lb_agent_messages import AgentCallError

MAX_AGE = 1.0  # seconds for which an answer is kept
TIMEOUT = 2.0  # seconds


class IBalancerAgent(Protocol):
    """The interface of the load balancer's agent (see zatotx.processes.lb_agent_client)."""

    async def call(self, name: str, /, **arguments: Any) -> Any:
        """Return the result of a call. Raises AgentCallError, AgentUnreachableError."""


class BalancerUnavailableError(Exception):
    """The load balancer's agent does not respond. The message is a sentence."""


@define
class BalancerStatus:
    """Caches the status of the servers. The agent is queried at most once per MAX_AGE seconds."""

    agent: IBalancerAgent
    clock: IReactorTime
    _servers: list[Mapping[str, Any]] | None = field(default=None, init=False)
    _fetched_at: float = field(default=0.0, init=False)

    async def servers(self) -> list[Mapping[str, Any]]:
        """Return the servers of all backends, as get_server_data_dict has them. Raises BalancerUnavailableError."""
        now = self.clock.seconds()
        if self._servers is None or now - self._fetched_at > MAX_AGE:
            fetching = Deferred.fromCoroutine(self._fetch()).addTimeout(TIMEOUT, self.clock)
            try:
                self._servers, self._fetched_at = await fetching, now
            except TimeoutError:
                raise BalancerUnavailableError(f'The load balancer did not answer within {TIMEOUT:g} s') from None
            except (AgentCallError, AgentUnreachableError) as error:
                raise BalancerUnavailableError(str(error)) from None
        return self._servers

    async def _fetch(self) -> list[Mapping[str, Any]]:
        found: Mapping[str, Mapping[str, Any]] = await self.agent.call('get_server_data_dict')
        return list(found.values())
