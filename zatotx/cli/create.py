"""`zatotx create`: creates single components and users."""

from __future__ import annotations

import click

from zatotx.cli.create_cluster import create_cluster, create_odb
from zatotx.cli.create_connector import create_connector
from zatotx.cli.create_load_balancer import create_load_balancer
from zatotx.cli.create_server import create_server
from zatotx.cli.create_user import create_user
from zatotx.cli.create_web_admin import create_web_admin


@click.group(
    epilog='\b\nExamples:\n  zatotx create server ~/env/qs-1\n  zatotx create connector ~/env/qs-1\n'
    '  zatotx create load-balancer /opt/lb --server 10.0.0.1:17010'
)
def create() -> None:
    """Create a cluster, a single component, or a user of the web admin."""


for command in (
    create_odb, create_cluster, create_server, create_connector, create_load_balancer, create_web_admin, create_user,
):  # fmt: skip
    create.add_command(command)
