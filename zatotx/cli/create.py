"""`zatotx create`: creates single components."""

from __future__ import annotations

import click

from zatotx.cli.create_connector import create_connector


@click.group(epilog='\b\nExamples:\n  zatotx create connector ~/env/qs-1')
def create() -> None:
    """Create a single component."""


create.add_command(create_connector)
