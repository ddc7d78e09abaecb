"""The twistd plugin `zato-connector`. twistd imports all plugins at every start, so this module holds nothing but the
ServiceMaker."""

from twisted.application.service import ServiceMaker

zato_connector = ServiceMaker(
    'zatotx connector',
    'zatotx.tap.connector',
    'Runs a connector of a zatotx cluster, which fetches messages from brokers and gives them to services.',
    'zato-connector',
)
