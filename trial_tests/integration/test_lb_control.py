"""The control of a real load balancer keeps what every control promises."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from trial_tests.support import balancer_control
from trial_tests.support.balancer_control import CONFIG
from trial_tests.support.ports import free_port
from trial_tests.support.reactor import reactor
from zatotx.tap.build_lb_agent import ConfiguredAgent
from zatotx.tap.load_balancer_assembly import make_load_balancer


class RealControlTests(balancer_control.BalancerControlContract):
    """A load balancer in this process, which does not probe its servers: they are up."""

    timeout = 60.0

    def setUp(self) -> Deferred[None]:  # type: ignore[override]
        directory = Path(self.mktemp()).absolute()
        (directory / 'config').mkdir(parents=True)
        (directory / '.zato-info').write_text(json.dumps({'component': 'LOAD_BALANCER'}))
        source = CONFIG.replace('algorithm', 'check = {type = "none"}\nalgorithm').replace('11223', str(free_port()))
        (directory / 'config' / 'lb.toml').write_text(source)
        balancer = make_load_balancer(directory, reactor)
        self.addCleanup(balancer.stopService)
        agent: Any = balancer.agent
        assert isinstance(agent, ConfiguredAgent)
        self.control = agent.control
        return balancer.startService()
