"""The twistd plugin `zato-admin`. twistd imports all plugins at every start, so this module holds nothing but the
ServiceMaker."""

from twisted.application.service import ServiceMaker

zato_admin = ServiceMaker(
    'zatotx admin',
    'zatotx.tap.admin',
    'Runs the web admin of a zatotx environment.',
    'zato-admin',
)
