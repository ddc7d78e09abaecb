"""The types of components that an environment can have, and the order in which they start."""

from __future__ import annotations

from typing import NamedTuple

SERVER, REDIS, CONNECTOR, LOAD_BALANCER, WEB_ADMIN = 'SERVER', 'REDIS', 'CONNECTOR', 'LOAD_BALANCER', 'WEB_ADMIN'


class ComponentType(NamedTuple):
    """A type of component. Its operations are implemented by the module in `components/` with the same name."""

    name: str  # as `.zato-info` contains it; Zato's names
    plugin: str  # its twistd plugin
    module: str  # its module in zatotx.cli.environment.components
    start_order: int  # components with the same number start and stop in parallel; they stop in reverse order
    settings_file: str = ''  # relative to its directory; '' = it has none
    is_node: bool = False  # runs services: it has the secret key of the cluster, and its own row in the ODB


TYPES = {
    each.name: each
    for each in (
        ComponentType(REDIS, 'zato-redis', 'redis', 0),
        ComponentType(SERVER, 'zato-server', 'server', 1, 'config/server.toml', is_node=True),
        ComponentType(LOAD_BALANCER, 'zato-lb', 'load_balancer', 2, 'config/lb.toml'),
        ComponentType(CONNECTOR, 'zato-connector', 'connector', 2, 'config/connector.toml', is_node=True),
        ComponentType(WEB_ADMIN, 'zato-admin', 'web_admin', 3, 'config/admin.toml'),
    )
}
