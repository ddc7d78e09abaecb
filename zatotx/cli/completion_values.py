"""What may stand where the cursor is: paths of environments, services, users. A person waits for it at the prompt, so
it is quick or it is nothing, and it never fails loudly."""

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

PATIENCE = 0.3  # seconds that a running server gets to say which services it has
ENVIRONMENT, PART = 'credentials.toml', '.zato-info'  # what makes a directory one (zatotx.cli.environment.layout)
Result = TypeVar('Result')


class EnvironmentPath(click.Path):
    """PATH: any directory, and inside an environment its parts alone."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        typed, last = os.path.split(incomplete)
        directory = Path(typed or '.').expanduser()
        if not (directory / ENVIRONMENT).is_file():
            return [CompletionItem(incomplete, type='dir')]
        return [CompletionItem(str(Path(typed, name))) for name in parts(directory) if name.startswith(last)]


def parts(environment: Path) -> list[str]:
    """The names of the parts of an environment."""
    try:
        return sorted(info.parent.name for info in environment.glob(f'*/{PART}'))
    except OSError:
        return []


def services(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Services of the environment that PATH names, where a server of it says so in time; zato.* ones once they are
    begun."""
    from zatotx.cli.environment.cluster_client import (
        Cluster,  # before the clock runs: what importing takes is not the server's time
    )
    from zatotx.cli.environment.layout import find_environment

    path = str(ctx.params.get('path') or '')
    rows = bounded(PATIENCE, lambda: listed(Cluster(find_environment(path)))) or []
    wants_internal = incomplete.startswith('zato')
    return [
        CompletionItem(row['name'])
        for row in sorted(rows, key=lambda row: str(row['name']))
        if row['name'].startswith(incomplete) and (wants_internal or not row.get('is_internal'))
    ]


def listed(cluster: Cluster) -> list[dict[str, Any]]:
    """What a running server says of its services."""
    found = cluster.call('zato.service.get-list', {'cluster_id': 1, 'name_filter': '*'}, timeout=PATIENCE)
    return list(found or [])


def object_type_keys(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The types of configuration objects, those of all kinds that are installed."""
    from zatotx.cli.environment.odb_access import object_types

    keys = sorted(one.key for one in object_types())
    return [CompletionItem(key) for key in keys if key.startswith(incomplete)]


def users(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The users that credentials.toml of PATH has."""
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
    """What `work` gives, if it does so in time and does not fail; else None. What is late is left behind."""
    results: list[Result] = []

    def run() -> None:
        with suppress(Exception):  # whatever is wrong, it is not said into the line that somebody is typing
            results.append(work())

    thread = Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return results[0] if results else None
