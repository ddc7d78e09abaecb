"""The twistd plugin `zato-lb`: `twistd -n zato-lb --dir PATH/load-balancer`."""

from __future__ import annotations

from pathlib import Path

from twisted.application.service import IService

from zatotx.interfaces.reactor import IReactor
from zatotx.tap.component_service import DirectoryOptions, make_component_service

PID_FILE = 'load_balancer.pid'


class Options(DirectoryOptions):
    """Options of the plugin: --dir, the load-balancer/ directory of an environment."""

    longdesc = (
        'Runs the load balancer of a zatotx environment. Example: twistd -n zato-lb --dir /opt/env/load-balancer. '
        'SIGTERM stops it after its running requests have finished, SIGHUP puts a changed lb.toml into force.'
    )


def makeService(options: Options) -> IService:
    """Return the load balancer of the directory, not yet started."""
    return make_component_service(options, _build, PID_FILE)


def _build(directory: str, reactor: IReactor) -> IService:
    from zatotx.tap.lb_assembly import make_load_balancer

    return make_load_balancer(Path(directory), reactor)
