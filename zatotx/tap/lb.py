"""The twistd plugin `zato-lb`, which runs a load balancer: `twistd -n zato-lb --dir PATH/load-balancer`."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import ClassVar

from twisted.application.service import IService
from twisted.python import usage

from zatotx.interfaces.reactor import IReactor
from zatotx.tap.component_service import DirectoryOptions, make_component_service

PID_FILE = 'load_balancer.pid'
MAX_WORKERS = 64


class Options(DirectoryOptions):
    """Command-line options of the load balancer's plugin. The option --dir is the directory load-balancer/ of an
    environment."""

    longdesc = (
        'Runs the load balancer of a zatotx environment. Example: twistd -n zato-lb --dir /opt/env/load-balancer. '
        'SIGTERM stops it after its running requests have finished, SIGHUP puts a changed lb.toml into force, SIGUSR2 '
        'replaces the program, if there are workers, without closing its sockets.'
    )
    optParameters: ClassVar[list[list[str | None]]] = [  # type: ignore[misc,assignment]
        ['workers', 'w', None, 'Number of processes that share the sockets; default: [main] workers in lb.toml.'],
        ['worker', None, None, 'Used by the parent process only: run as the worker of that number.'],
    ]

    def postOptions(self) -> None:
        """Convert the number of workers. Raises UsageError if it is out of range."""
        super().postOptions()
        workers = self['workers']
        if workers is not None:
            if not workers.isdecimal() or not 1 <= int(workers) <= MAX_WORKERS:
                raise usage.UsageError(f'--workers {workers}: specify a number from 1 to {MAX_WORKERS}.')
            self['workers'] = int(workers)


def makeService(options: Options) -> IService:
    """Create the Twisted service that runs the load balancer in the directory that `options` names."""
    if options['worker'] is not None:
        from zatotx.tap.lb_worker import make_load_balancer_worker

        return make_load_balancer_worker(options)

    def build(directory: str, reactor: IReactor) -> IService:
        workers = options['workers'] or read_worker_count(Path(directory))
        if workers > 1:
            from zatotx.tap.build_lb_parent import make_load_balancer_parent

            return make_load_balancer_parent(Path(directory), reactor, workers)
        from zatotx.tap.load_balancer_assembly import make_load_balancer

        return make_load_balancer(Path(directory), reactor)

    return make_component_service(options, build, PID_FILE)


def read_worker_count(directory: Path) -> int:
    """Return the setting [main] workers of lb.toml, or 1 if it is missing or invalid. Errors in the file are reported
    later, when the whole file is parsed."""
    try:
        main = tomllib.loads((directory / 'config' / 'lb.toml').read_text('utf-8')).get('main', {})
        return int(main.get('workers', 1))
    except (OSError, ValueError, AttributeError, TypeError):
        return 1
