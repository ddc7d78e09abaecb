"""The twistd plugin `zato-redis`, which runs the embedded Redis: `twistd -n zato-redis --dir PATH/redis`."""

from __future__ import annotations

from pathlib import Path

from twisted.application.service import IService

from zatotx.interfaces.reactor import IReactor
from zatotx.tap.component_service import DirectoryOptions, make_component_service

PID_FILE = 'redis.pid'


class Options(DirectoryOptions):
    """Command-line options of the Redis plugin. The option --dir is the directory redis/ of an environment."""

    longdesc = 'Runs the Redis (Valkey) of a zatotx environment. Example: twistd -n zato-redis --dir /opt/env/redis'


def makeService(options: Options) -> IService:
    """Create the Twisted service that runs the embedded Redis in the directory that `options` names."""
    return make_component_service(options, _build, PID_FILE)


def _build(directory: str, reactor: IReactor) -> IService:
    from zatotx.logs.process_log import LoggedService
    from zatotx.redis.embedded_server import make_redis_service

    return LoggedService(make_redis_service(directory, reactor), Path(directory) / 'logs' / 'redis.log', reactor)
