"""`twistd -n zato-server --dir PATH/server1`."""

from __future__ import annotations

from twisted.application.service import IService

from zatotx.tap.root import DirectoryOptions, make_root

PID_FILE = 'server.pid'


class Options(DirectoryOptions):
    """--dir, the directory of one server of an environment."""

    longdesc = 'Runs one server of a zatotx environment. Example: twistd -n zato-server --dir /opt/env/server1'


def makeService(options: Options) -> IService:
    """The server of the directory, ready to be started by twistd."""
    from zatotx.tap.assembly import make_server

    return make_root(options, make_server, PID_FILE)
