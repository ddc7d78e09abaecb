"""The twistd plugin `zato-lb`. twistd imports all plugins at every start, so this module holds nothing but the
ServiceMaker."""

from twisted.application.service import ServiceMaker

zato_lb = ServiceMaker(
    'zatotx load balancer',
    'zatotx.tap.lb',
    'Runs the load balancer of a zatotx environment.',
    'zato-lb',
)
