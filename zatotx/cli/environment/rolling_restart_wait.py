"""Waits during a rolling restart until the load balancer sends requests to the restarted server, so that no request
fails.
"""

from __future__ import annotations

import time

from zatotx.cli.environment.component_types import LOAD_BALANCER
from zatotx.cli.environment.environment_layout import Component, components_of
from zatotx.cli.environment.process_discovery import running_process
from zatotx.cli.errors import CommandError

_TIMEOUT = 20.0  # seconds
_POLL_INTERVAL = 0.1
_WORKERS = 0.3  # seconds in which all workers of a load balancer know what its parent says
_PROBES = 4.0  # seconds in which a load balancer notices that a server is ready


def wait_until_balanced(server: Component) -> None:
    """Wait until the environment's load balancer sends requests to a server that has become ready, so that the next
    server can be stopped. If no load balancer is running, the function returns immediately. If the agent of the load
    balancer cannot be reached, it waits for the duration of the load balancer's probes."""
    from zatotx.cli.load_balancer_commands import names_of_balanced_servers

    balancers = [part for part in components_of(server.path.parent) if part.kind == LOAD_BALANCER]
    for balancer in balancers:
        if running_process(balancer) is None:
            continue
        end = time.monotonic() + _TIMEOUT
        try:
            while server.name not in names_of_balanced_servers(str(balancer.path)) and time.monotonic() < end:
                time.sleep(_POLL_INTERVAL)
            time.sleep(_WORKERS)
        except CommandError:  # it has no agent, or one that does not accept our certificate
            time.sleep(_PROBES)
