"""`zatotx create`: creates single components."""

from __future__ import annotations

import click

from zatotx.cli.create_connector import create_connector
from zatotx.cli.create_load_balancer import create_load_balancer


@click.group(
    epilog='\b\nExamples:\n  zatotx create connector ~/env/qs-1\n'
    '  zatotx create load-balancer /opt/lb --server 10.0.0.1:17010'
)
def create() -> None:
    """Create a single component."""


create.add_command(create_connector)
create.add_command(create_load_balancer)
