"""Completes values in the shell: paths of environments, services, jobs and users. Completion must not delay or disturb
the prompt, so every function has a short timeout and returns nothing on errors.
"""

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
    from zatotx.cli.environment.cluster_client import ClusterClient

COMPLETION_TIMEOUT = 0.3  # seconds that a running server gets to list its services
ENVIRONMENT_MARKER, COMPONENT_MARKER = (
    'credentials.toml',
    '.zato-info',
)  # marker files of both (zatotx.cli.environment.environment_layout)
Result = TypeVar('Result')


class EnvironmentPath(click.Path):
    """The click parameter type of the argument PATH. It completes directories and, inside an environment, only the
    components."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        typed, last = os.path.split(incomplete)
        directory = Path(typed or '.').expanduser()
        if not (directory / ENVIRONMENT_MARKER).is_file():
            return [CompletionItem(incomplete, type='dir')]
        return [CompletionItem(str(Path(typed, name))) for name in component_names(directory) if name.startswith(last)]


def component_names(environment: Path) -> list[str]:
    """Return the names of the components of an environment."""
    try:
        return sorted(info.parent.name for info in environment.glob(f'*/{COMPONENT_MARKER}'))
    except OSError:
        return []


def complete_services(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the names of services of the environment in PATH, if one of its servers responds in time. Names of
    zato.* services are completed only if the text begins with "zato"."""
    from zatotx.cli.environment.cluster_client import (
        ClusterClient,  # imported before the timeout starts
    )
    from zatotx.cli.environment.environment_layout import find_environment

    path = str(ctx.params.get('path') or '')
    rows = run_with_timeout(COMPLETION_TIMEOUT, lambda: list_service_names(ClusterClient(find_environment(path)))) or []
    include_internal = incomplete.startswith('zato')
    return [
        CompletionItem(row['name'])
        for row in sorted(rows, key=lambda row: str(row['name']))
        if row['name'].startswith(incomplete) and (include_internal or not row.get('is_internal'))
    ]


def complete_jobs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the names of jobs of the environment in PATH, if one of its servers responds in time."""
    from zatotx.cli.environment.cluster_client import ClusterClient
    from zatotx.cli.environment.environment_layout import find_environment

    def names() -> list[str]:
        cluster = ClusterClient(find_environment(str(ctx.params.get('path') or '')))
        rows = cluster.call('zato.scheduler.job.get-list', {}, timeout=COMPLETION_TIMEOUT)
        return sorted(str(row['name']) for row in rows or ())

    found = run_with_timeout(COMPLETION_TIMEOUT, names) or []
    return [CompletionItem(name) for name in found if name.startswith(incomplete)]


def list_service_names(cluster: ClusterClient) -> list[dict[str, Any]]:
    """Return the names of the services that a running server lists."""
    found = cluster.call('zato.service.get-list', {'cluster_id': 1, 'name_filter': '*'}, timeout=COMPLETION_TIMEOUT)
    return list(found or [])


def object_type_keys(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the keys of configuration object types, including those of all installed kinds."""
    from zatotx.cli.environment.odb_and_redis_access import all_object_types

    keys = sorted(one.key for one in all_object_types())
    return [CompletionItem(key) for key in keys if key.startswith(incomplete)]


def complete_users(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the names of the users in the credentials.toml of PATH."""
    from zatotx.cli.environment.environment_layout import CREDENTIALS, find_environment, read_toml

    path = str(ctx.params.get('path') or '')
    found = (
        run_with_timeout(
            COMPLETION_TIMEOUT, lambda: list(usernames(read_toml(find_environment(path).environment / CREDENTIALS)))
        )
        or []
    )
    return [CompletionItem(name) for name in sorted(found) if name.startswith(incomplete)]


def usernames(credentials: Mapping[str, Any]) -> Iterator[str]:
    for section in credentials.values():
        if isinstance(section, dict) and 'username' in section:
            yield str(section['username'])


def run_with_timeout(seconds: float, work: Callable[[], Result]) -> Result | None:
    """Return the result of `work`, or None if it raises an exception or takes longer than `seconds`. In the latter case
    its thread is abandoned."""
    results: list[Result] = []

    def run() -> None:
        with suppress(Exception):  # an error message would disturb the prompt
            results.append(work())

    thread = Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return results[0] if results else None
