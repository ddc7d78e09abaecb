"""The twistd plugin `zato-server`. twistd imports all plugins at every start, so this module holds nothing but the
ServiceMaker."""

from twisted.application.service import ServiceMaker

zato_server = ServiceMaker(
    'zatotx server',
    'zatotx.tap.server',
    'Runs a server of a zatotx cluster, which hosts services and the channels that clients connect to.',
    'zato-server',
)
