"""`twistd -n zato-server --dir PATH/server1`."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, ClassVar

from twisted.application.service import IService
from twisted.python import usage

from zatotx.tap import secret_key_option
from zatotx.tap.component_service import DirectoryOptions, make_component_service

PID_FILE = 'server.pid'
MOST_WORKERS = 64


class Options(DirectoryOptions):
    """--dir, the directory of one server of an environment."""

    longdesc = (
        'Runs one server of a zatotx environment. Example: twistd -n zato-server --dir /opt/env/server1. SIGTERM lets '
        'requests under way finish and ends it, SIGHUP reloads the settings of the log and certificates, SIGUSR2 '
        'replaces the workers, where there are several, one after another.'
    )
    optParameters: ClassVar[list[list[str | None]]] = [  # type: ignore[misc,assignment]
        ['workers', 'w', None, 'Processes that share the listening sockets; default: [main] workers of server.toml.'],
        ['worker', None, None, 'For the parent process alone: be the worker of that number.'],
        secret_key_option.OPTION,
    ]

    def postOptions(self) -> None:
        """Raises UsageError for a number that cannot be."""
        super().postOptions()
        secret_key_option.read_secret_key_option(self['secret-key'])
        wanted = self['workers']
        if wanted is not None:
            if not wanted.isdecimal() or not 1 <= int(wanted) <= MOST_WORKERS:
                raise usage.UsageError(f'--workers {wanted}: give a number from 1 to {MOST_WORKERS}.')
            self['workers'] = int(wanted)


def makeService(options: Options) -> IService:
    """The server of the directory, or its parent process where there are several workers, ready to be started."""
    if options['worker'] is not None:
        from zatotx.tap.worker import make_worker

        return make_worker(options)

    def build(directory: str, reactor: Any) -> IService:
        if (options['workers'] or configured_workers(Path(directory))) > 1:
            from zatotx.tap.parent import make_parent

            return make_parent(directory, reactor, options['workers'])
        from zatotx.tap.assembly import make_server

        return make_server(directory, reactor)

    return make_component_service(options, build, PID_FILE)


def configured_workers(directory: Path) -> int:
    """[main] workers of server.toml; 1 where that says nothing usable, which is complained of when it is read whole."""
    try:
        main = tomllib.loads((directory / 'config' / 'server.toml').read_text('utf-8')).get('main', {})
        return int(main.get('workers', 1))
    except (OSError, ValueError, AttributeError, TypeError):
        return 1
