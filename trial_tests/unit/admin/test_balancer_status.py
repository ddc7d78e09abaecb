"""What pages show of the load balancer: asked rarely, and without waiting for an agent that does not answer."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.unit.admin.test_load_balancer import SERVER, MemoryAgent
from zatotx.admin.balancer_status import MAX_AGE, TIMEOUT, BalancerStatus, BalancerUnavailableError
from zatotx.processes.lb_agent_client import AgentUnreachableError


class SilentAgent:
    """An agent that never answers."""

    async def call(self, name: str, /, **arguments: Any) -> Any:
        return await Deferred()


class BalancerStatusTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def servers(self, status: BalancerStatus) -> Deferred[Any]:
        return Deferred.fromCoroutine(status.servers())

    def test_kept_for_a_moment(self) -> None:
        """The agent is asked once for pages that come at the same time."""
        agent = MemoryAgent()
        status = BalancerStatus(agent, self.clock)
        for _ in range(3):
            self.assertEqual(self.successResultOf(self.servers(status)), [SERVER])
        self.assertEqual(len(agent.calls), 1)
        self.clock.advance(MAX_AGE + 0.1)
        self.successResultOf(self.servers(status))
        self.assertEqual(len(agent.calls), 2)

    def test_unavailable(self) -> None:
        """An agent that is away is named; one that does not answer is given up after two seconds."""
        agent = MemoryAgent()
        agent.answers['get_server_data_dict'] = AgentUnreachableError('The agent at https://h:1 is unreachable')
        failed = self.servers(BalancerStatus(agent, self.clock))
        self.assertIn('https://h:1', str(self.failureResultOf(failed, BalancerUnavailableError).value))
        waiting = self.servers(BalancerStatus(SilentAgent(), self.clock))
        self.clock.advance(TIMEOUT)
        self.assertIn('2 s', str(self.failureResultOf(waiting, BalancerUnavailableError).value))
