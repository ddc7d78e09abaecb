"""Values for shell completion: paths of environments, services, users. Completion must not delay or disturb the prompt,
so every function has a short timeout and returns nothing on errors."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from zatotx.cli.environment.cluster_client import Cluster

PATIENCE = 0.3  # seconds that a running server gets to list its services
ENVIRONMENT, PART = 'credentials.toml', '.zato-info'  # marker files of both (zatotx.cli.environment.layout)
Result = TypeVar('Result')


class EnvironmentPath(click.Path):
    """The click type of PATH: completes directories, and inside an environment only its components."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        typed, last = os.path.split(incomplete)
        directory = Path(typed or '.').expanduser()
        if not (directory / ENVIRONMENT).is_file():
            return [CompletionItem(incomplete, type='dir')]
        return [CompletionItem(str(Path(typed, name))) for name in parts(directory) if name.startswith(last)]


def parts(environment: Path) -> list[str]:
    """Return the names of the components of an environment."""
    try:
        return sorted(info.parent.name for info in environment.glob(f'*/{PART}'))
    except OSError:
        return []


def services(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the services of the environment in PATH, if one of its servers responds in time; zato.* services only
    after "zato" has been typed."""
    from zatotx.cli.environment.cluster_client import (
        Cluster,  # imported before the timeout starts
    )
    from zatotx.cli.environment.layout import find_environment

    path = str(ctx.params.get('path') or '')
    rows = bounded(PATIENCE, lambda: listed(Cluster(find_environment(path)))) or []
    include_internal = incomplete.startswith('zato')
    return [
        CompletionItem(row['name'])
        for row in sorted(rows, key=lambda row: str(row['name']))
        if row['name'].startswith(incomplete) and (include_internal or not row.get('is_internal'))
    ]


def listed(cluster: Cluster) -> list[dict[str, Any]]:
    """Return the services that a running server lists."""
    found = cluster.call('zato.service.get-list', {'cluster_id': 1, 'name_filter': '*'}, timeout=PATIENCE)
    return list(found or [])


def users(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the users in the credentials.toml of PATH."""
    from zatotx.cli.environment.layout import CREDENTIALS, find_environment, read_toml

    path = str(ctx.params.get('path') or '')
    found = (
        bounded(PATIENCE, lambda: list(existing_names(read_toml(find_environment(path).environment / CREDENTIALS))))
        or []
    )
    return [CompletionItem(name) for name in sorted(found) if name.startswith(incomplete)]


def existing_names(credentials: Mapping[str, Any]) -> Iterator[str]:
    for section in credentials.values():
        if isinstance(section, dict) and 'username' in section:
            yield str(section['username'])


def bounded(seconds: float, work: Callable[[], Result]) -> Result | None:
    """Return the result of `work`, or None if it fails or takes longer than `seconds`; then its thread is abandoned."""
    results: list[Result] = []

    def run() -> None:
        with suppress(Exception):  # an error message would disturb the prompt
            results.append(work())

    thread = Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return results[0] if results else None
