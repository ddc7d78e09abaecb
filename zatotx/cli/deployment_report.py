"""Prints the report of a deployment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from zatotx.cli.errors import combine_errors


def print_deployment_report(report: Mapping[str, Any]) -> None:
    """Print one line if every node runs the version. Raises CommandError that names the nodes that refused it or did
    not respond."""
    version = f'{report["file"]} version {report["number"]}'
    refused = report.get('refused') or {}
    missing = report.get('missing') or []
    errors = [f'{node} refused {version}: {reason}' for node, reason in sorted(refused.items())]
    if missing:
        errors.append(f'{", ".join(missing)} did not report in time whether it runs {version}')
    if errors:
        raise combine_errors([f'{each}.' for each in errors], '{} nodes do not run it')
    services = ', '.join(report.get('services') or []) or 'no services'
    click.echo(f'Every node runs {version}: {services}')
