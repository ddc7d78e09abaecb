"""The twistd plugin `zato-connector`, which runs a connector: `twistd -n zato-connector --dir PATH/connector1`.

A connector is the node of a server that no client connects to: it runs the channels that fetch messages, and services.
It listens for its own endpoints only, by default on the loopback interface.
"""

from __future__ import annotations

from typing import ClassVar

from twisted.application.service import IService

from zatotx.interfaces.reactor import IReactor
from zatotx.system.startup_gc import freeze_survivors
from zatotx.tap.component_service import DirectoryOptions, make_component_service
from zatotx.tap.server import SECRET_KEY_OPTION, read_secret_key_option

PID_FILE = 'connector.pid'


class Options(DirectoryOptions):
    """Command-line options of the connector's plugin, which are the directory of a connector and the source of the
    secret key."""

    longdesc = (
        'Runs one connector of a zatotx environment. Example: twistd -n zato-connector --dir /opt/env/connector1. '
        'SIGTERM stops it after the messages that it processes, SIGHUP reloads the log settings.'
    )
    optParameters: ClassVar[list[list[str | None]]] = [SECRET_KEY_OPTION]  # type: ignore[misc,assignment]

    def postOptions(self) -> None:
        """Read the secret key. Raises UsageError if there is none where the option says."""
        super().postOptions()
        read_secret_key_option(self['secret-key'])


def makeService(options: Options) -> IService:
    """Create the Twisted service that runs the connector in the directory that `options` names."""

    def build(directory: str, reactor: IReactor) -> IService:
        freeze_survivors()  # until the node has started
        from zatotx.tap.node_assembly import make_connector

        return make_connector(directory, reactor)

    return make_component_service(options, build, PID_FILE)
