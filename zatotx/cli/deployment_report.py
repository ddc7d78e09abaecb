"""How a deployment went, as it is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from zatotx.cli.errors import failure_of


def print_report(report: Mapping[str, Any]) -> None:
    """One line for what every node runs. Raises Failure naming the nodes that refused it or said nothing."""
    what = f'{report["file"]} version {report["number"]}'
    refused = report.get('refused') or {}
    missing = report.get('missing') or []
    faults = [f'{node} refused {what}: {why}' for node, why in sorted(refused.items())]
    if missing:
        faults.append(f'{", ".join(missing)} did not say in time whether it runs {what}')
    if faults:
        raise failure_of([f'{each}.' for each in faults], '{} nodes do not run it')
    services = ', '.join(report.get('services') or []) or 'no services'
    click.echo(f'Every node runs {what}: {services}')
