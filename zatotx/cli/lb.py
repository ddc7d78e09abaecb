"""`zatotx lb`: commands for load balancers."""

from __future__ import annotations

import click

from zatotx.cli.command_output import make_path_argument, print_note
from zatotx.cli.environment.component_types import LOAD_BALANCER
from zatotx.cli.environment.environment_layout import Component, find_environment
from zatotx.cli.errors import CommandError
from zatotx.cli.load_balancer_commands import AGENT_COMMANDS


@click.group(
    commands={each.name or '': each for each in AGENT_COMMANDS},
    epilog='\b\nExamples:\n  zatotx lb servers ~/env/qs-1\n  zatotx lb drain ~/env/qs-1 server1\n'
    '  zatotx lb apply ~/env/qs-1 lb.toml\n  zatotx lb export ~/env/qs-1 --for haproxy > haproxy.cfg',
)
def lb() -> None:
    """Manage a load balancer, and export its configuration."""


@lb.command(
    short_help='Write the configuration of another load balancer.',
    epilog='\b\nExamples:\n  zatotx lb export ~/env/qs-1 --for haproxy > haproxy.cfg\n'
    '  zatotx lb export ~/env/qs-1/load-balancer --for envoy > envoy.json',
)
@make_path_argument()
@click.option('--for', 'program', required=True, type=click.Choice(['haproxy', 'envoy']), help='The other program.')
def export(path: str, program: str) -> None:
    """Export the load balancer's configuration for HAProxy or Envoy.

    It is printed to stdout. What the other program cannot do is printed to stderr, or is a comment.
    """
    from zatotx.lb.config.parser import parse_configuration
    from zatotx.lb.export.envoy import export_envoy, unsupported_setting_notes
    from zatotx.lb.export.haproxy import export_haproxy

    part = find_load_balancer(path)
    try:
        source = part.settings_path.read_text('utf-8')
    except ValueError:
        raise CommandError(f'{part.settings_path} is not UTF-8 text.') from None
    configuration, errors = parse_configuration(source, part.path)
    if configuration is None:
        raise CommandError(f'{part.settings_path} has errors: {" ".join(errors)}')
    if program == 'haproxy':
        click.echo(export_haproxy(configuration, part.path), nl=False)
        return
    click.echo(export_envoy(configuration, part.path), nl=False)
    for note in unsupported_setting_notes(configuration):
        print_note(f'Not exported: {note}.')


def find_load_balancer(path: str) -> Component:
    """Return the load balancer at `path`, or the load balancer of the environment at `path`. Raises CommandError if
    there is none."""
    environment = find_environment(path)
    for part in environment.components:
        if part.kind == LOAD_BALANCER:
            return part
    raise CommandError(f"{path} has no load balancer: create one with 'zatotx create load-balancer'.")
