"""The twistd plugin `zato-admin`, which runs the web admin: `twistd -n zato-admin --dir PATH/web-admin`."""

from __future__ import annotations

from pathlib import Path

from twisted.application.service import IService

from zatotx.interfaces.reactor import IReactor
from zatotx.tap.component_service import DirectoryOptions, disable_core_dumps, make_component_service

PID_FILE = 'web_admin.pid'


class Options(DirectoryOptions):
    """Command-line options of the web admin's plugin. The option --dir is the directory web-admin/ of an
    environment."""

    longdesc = 'Runs the web admin of a zatotx environment. Example: twistd -n zato-admin --dir /opt/env/web-admin'


def makeService(options: Options) -> IService:
    """Create the Twisted service that runs the web admin in the directory that `options` names."""
    return make_component_service(options, _build, PID_FILE)


def _build(directory: str, reactor: IReactor) -> IService:
    from twisted.internet.protocol import Factory

    from zatotx.admin.service import make_admin_service
    from zatotx.logs.process_log import LoggedService

    disable_core_dumps()
    Factory.noisy = False  # each connection to a server would have two lines in the log
    log = Path(directory) / 'logs' / 'web-admin.log'
    return LoggedService(make_admin_service(directory, reactor), log, reactor)
