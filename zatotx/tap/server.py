"""The twistd plugin `zato-server`, which runs a server: `twistd -n zato-server --dir PATH/server1`."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import ClassVar

from twisted.application.service import IService
from twisted.python import usage

from zatotx.interfaces.reactor import IReactor
from zatotx.processes.secret_key import KEY_VARIABLE, read_cluster_key_from_stdin
from zatotx.system.startup_gc import freeze_survivors
from zatotx.tap.component_service import DirectoryOptions, make_component_service

# The option `--secret-key -`: reads the secret key from stdin, so that it appears in no file, no process list and no
# environment that the kernel shows.
#
# The key is then kept in this process's ZATOTX_SECRET_KEY variable, from where the workers of a server get it.

SECRET_KEY_OPTION = ['secret-key', None, None, '"-": read the secret key from stdin, not from config/secret.key.']


def read_secret_key_option(given: str | None) -> None:
    """Read the secret key as specified by the option. Raises UsageError if stdin contains no key, or if the key itself
    is on the command line."""
    if given is None:
        return
    if given != '-':
        raise usage.UsageError(
            'a secret key on the command line can be read by every user: use --secret-key - and pass the key on stdin.'
        )
    key = read_cluster_key_from_stdin()
    if not key:
        raise usage.UsageError('stdin contains no secret key: its first line must be the key.')
    os.environ[KEY_VARIABLE] = key


PID_FILE = 'server.pid'
MAX_WORKERS = 64


class Options(DirectoryOptions):
    """Command-line options of the server's plugin, which are the directory of a server, the number of workers, and the
    source of the secret key."""

    longdesc = (
        'Runs one server of a zatotx environment. Example: twistd -n zato-server --dir /opt/env/server1. SIGTERM stops '
        'the server after its running requests have finished, SIGHUP reloads the log settings and the certificates, '
        'SIGUSR2 replaces the workers of a server that has several, one after another.'
    )
    optParameters: ClassVar[list[list[str | None]]] = [  # type: ignore[misc,assignment]
        ['workers', 'w', None, 'Number of processes that share the sockets; default: [main] workers in server.toml.'],
        ['worker', None, None, 'Used by the parent process only: run as the worker of that number.'],
        SECRET_KEY_OPTION,
    ]

    def postOptions(self) -> None:
        """Read the secret key and convert the number of workers. Raises UsageError if the number is out of range."""
        super().postOptions()
        read_secret_key_option(self['secret-key'])
        workers = self['workers']
        if workers is not None:
            if not workers.isdecimal() or not 1 <= int(workers) <= MAX_WORKERS:
                raise usage.UsageError(f'--workers {workers}: specify a number from 1 to {MAX_WORKERS}.')
            self['workers'] = int(workers)


def makeService(options: Options) -> IService:
    """Create the server of the directory, or the parent process of its workers if there are several. twistd starts the
    returned service."""
    if options['worker'] is not None:
        from zatotx.tap.worker import make_server_worker

        return make_server_worker(options)

    def build(directory: str, reactor: IReactor) -> IService:
        if (options['workers'] or read_worker_count(Path(directory))) > 1:
            from zatotx.tap.build_worker_parent import make_server_parent

            return make_server_parent(directory, reactor, options['workers'])
        freeze_survivors()  # until the node has started
        from zatotx.tap.node_assembly import make_server

        return make_server(directory, reactor)

    return make_component_service(options, build, PID_FILE)


def read_worker_count(directory: Path) -> int:
    """Return the setting [main] workers of server.toml, or 1 if it is missing or invalid. Errors in the file are
    reported later, when the whole file is parsed."""
    try:
        main = tomllib.loads((directory / 'config' / 'server.toml').read_text('utf-8')).get('main', {})
        return int(main.get('workers', 1))
    except (OSError, ValueError, AttributeError, TypeError):
        return 1
