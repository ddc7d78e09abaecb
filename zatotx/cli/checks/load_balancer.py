"""Checks the configuration of load balancers."""

from __future__ import annotations

from collections.abc import Iterator

from zatotx.cli.checks.check_definition import BROKEN, WARNING, Check, CheckContext
from zatotx.cli.checks.machine_resources import check_component_is_ready, check_duplicate_ports, check_ports
from zatotx.cli.environment.component_types import LOAD_BALANCER
from zatotx.cli.environment.environment_layout import Component


def check_load_balancer_configuration(context: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check lb.toml in the same way as the load balancer itself."""
    from zatotx.lb.config.parser import parse_configuration

    try:
        source = part.settings_path.read_text('utf-8')
    except FileNotFoundError:
        yield BROKEN, f'{part.settings_path} is missing: restore it, or create the load balancer again'
        return
    except ValueError:
        yield BROKEN, f'{part.settings_path} is not UTF-8 text'
        return
    configuration, errors = parse_configuration(source, part.path)
    for error in errors:
        yield BROKEN, f'{part.settings_path}: {error}'
    if configuration is not None:
        for name, backend in configuration.backends.items():
            if not backend.servers:
                yield WARNING, f'the backend {name} of {part.settings_path} has no servers: it responds with 503'


CHECKS = (
    Check(
        'settings',
        'lb.toml is missing or has errors, or a backend has no servers',
        LOAD_BALANCER,
        check_load_balancer_configuration,
    ),
    Check(
        'ports',
        'a port of a load balancer is in use by another program, or it does not listen on it',
        LOAD_BALANCER,
        check_ports,
    ),
    Check('ports', 'a load balancer and another component have the same port', LOAD_BALANCER, check_duplicate_ports),
    Check(
        'ready',
        'a load balancer is running and does not respond',
        LOAD_BALANCER,
        check_component_is_ready,
        sends_requests=True,
    ),
)
