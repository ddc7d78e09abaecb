"""The command `zatotx lines`."""

from __future__ import annotations

import socket

import click


@click.group()
def lines() -> None:
    """Talk to channels of lines: send."""


@lines.command()
@click.argument('port', type=int)
@click.argument('text')
def send(port: int, text: str) -> None:
    """Send a line to a channel of this machine, and print its reply."""
    with socket.create_connection(('127.0.0.1', port), 20) as connection, connection.makefile('rw') as file:
        file.write(f'{text}\n')
        file.flush()
        click.echo(file.readline().rstrip('\n'))
