"""The template of a new lb.toml, which is written by `zatotx quickstart create` and `zatotx create load-balancer`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

FRONTEND, BACKEND = 'front_http_plain', 'bck_http_plain'  # Zato's names
DEFAULT_PORT = 11223  # Zato's
AGENT_PORT = 20151  # Zato's


class ServerAddress(NamedTuple):
    """The name and address of a server of the cluster."""

    name: str
    host: str
    port: int


_HEAD = '''\
# The configuration of this load balancer. A change takes effect with SIGHUP, or through the agent, without closing a
# connection; if it has errors, all of them are logged and the old configuration stays in force. `zatotx check-config`
# shows them without applying anything. Times are seconds, sizes are bytes, paths are relative to this load balancer's
# directory. docs/reference/load-balancer-settings.md lists all settings.

[main]                              # changes take effect with the next start
name = "{name}"
cluster = "{cluster}"
workers = 2                         # processes that share the listening sockets; a restart closes those of a single one

[timeouts]                          # defaults of all frontends and backends, which may have a table of their own
connect = 15                        # to a server
client = 15                         # inactivity of a client while it sends or receives
server = 15                         # inactivity of a server that has to respond
queue = 15                          # waiting for a server that is below its max_connections

[frontends.{frontend}]
listen = ["{listen}"]
default_backend = "{backend}"
max_connections = 10000
alive_path = "/zato-lb-alive"       # the load balancer itself responds here
stats = true                        # serves the statistics page and the metrics, see [stats]
forwarded = "x-forwarded"           # tells servers the client's address in X-Forwarded-For, -Proto and -Host
trusted_proxies = []                # addresses of proxies whose own X-Forwarded- fields are kept
# redirect_to_https = true
# deny = ["192.0.2.0/24"]
# request_rate = {{count = 100, seconds = 1, burst = 200}}      # of each client address
# routes = [{{path = "/orders", backend = "bck_orders"}}]        # the first rule that matches wins

# [frontends.front_https]
# listen = ["0.0.0.0:11443"]
# default_backend = "{backend}"
# tls = {{certificates = "tls"}}      # a directory of PEM files, whose changes take effect by themselves

[backends.{backend}]
algorithm = "least_connections"     # or round_robin, power_of_two, consistent_hash
# sticky_cookie = {{name = "zato-lb"}}

[backends.{backend}.check]   # a failed probe is repeated at once
type = "http"
path = "/zato/ready"
interval = 1
timeout = 1
rise = 2
fall = 2
'''

_TAIL = '''
[error_files]                       # bodies of responses that the load balancer itself gives
503 = "errors/503.json"             # Zato's

[stats]
path = "/zato-lb-stats"
metrics_path = "/zato-lb-metrics"   # for Prometheus
username = "admin1"
password = "{password}"
refresh = 5                         # seconds

[agent]                             # the HTTPS API through which this load balancer is administered
enabled = {agent}
listen = "127.0.0.1:{agent_port}"
{agent_files}
[log]
level = "info"

[shutdown]
grace = 30                          # seconds that requests and tunnels get to finish after SIGTERM
'''


AUTHORITIES = 'tls-agent/zato-lba-ca-certs.pem'  # of an environment
_AGENT_TLS = f'''\
certificate = "tls-agent/zato-lba-cert.pem"
key = "tls-agent/zato-lba-priv-key.pem"
ca = "{AUTHORITIES}"   # the authorities that sign the certificates of clients
crl = "{{crl}}"       # their revocation lists; "" = revocations are not checked
# verify_fields = {{{{CN = "web-admin"}}}}     what the subject of a client's certificate must have
'''
_AGENT_PLAIN = 'certificate = ""                    # plain HTTP, on a loopback address only\n'


def make_configuration(
    *, name: str, cluster: str, servers: Sequence[ServerAddress], stats_password: str, port: int = DEFAULT_PORT,
    agent_port: int = AGENT_PORT, has_agent: bool = False, agent_tls: bool = True,
    has_agent_crl: bool = True, servers_tls: bool = False,
) -> str:
    """Create the text of lb.toml. No argument may contain quotation marks, backslashes and control characters."""
    head = _HEAD.format(name=name, cluster=cluster, frontend=FRONTEND, backend=BACKEND, listen=f'127.0.0.1:{port}')
    tls = f'tls = {{ca = "{AUTHORITIES}"}}\n' if servers_tls else ''
    tables = ''.join(
        f'\n[backends.{BACKEND}.servers."{server.name}"]\nhost = "{server.host}"\nport = {server.port}\n{tls}'
        for server in servers
    )
    crl = 'tls-agent/zato-lba-crl.pem' if has_agent_crl else ''
    tail = _TAIL.format(password=stats_password, agent_port=agent_port, agent='true' if has_agent else 'false',
                        agent_files=_AGENT_TLS.format(crl=crl) if agent_tls else _AGENT_PLAIN)
    return head + tables + tail
