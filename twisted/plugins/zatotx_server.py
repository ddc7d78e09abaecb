"""`twistd zato-server`: found by twistd, imported on every start, hence nothing but the maker."""

from twisted.application.service import ServiceMaker

zato_server = ServiceMaker(
    'zatotx server',
    'zatotx.tap.server',
    'A server of a zatotx cluster: hosts services and the channels that clients connect to.',
    'zato-server',
)
