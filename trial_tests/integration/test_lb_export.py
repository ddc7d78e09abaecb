"""Tests of exported configurations: the real HAProxy accepts what is generated for it, and what is generated for Envoy
is as its API says."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.certificate import write_certificate
from zatotx.lb.config.model import Configuration
from zatotx.lb.config.parser import parse_configuration
from zatotx.lb.config.template import ServerAddress, make_configuration
from zatotx.lb.export.envoy import export_envoy, unsupported_setting_notes
from zatotx.lb.export.haproxy import export_haproxy

EVERYTHING = '''
[main]
cluster = "prod"
workers = 2
[error_files]
503 = "errors/503.json"
[stats]
password = "it's"
[frontends.web]
listen = ["127.0.0.1:18443", "[::1]:18443", "unix:/tmp/lb-export.sock"]
default_backend = "app"
stats = true
redirect_to_https = true
deny = ["192.0.2.0/24"]
allow = ["10.0.0.0/8", "127.0.0.1"]
connection_rate = {count = 100}
request_rate = {count = 10, seconds = 60, burst = 20}
trusted_proxies = ["10.0.0.1"]
forwarded = "both"
request_headers = {set = {X-Via = "100 % ours"}, remove = ["X-Old"]}
response_headers = {remove = ["Server"]}
tls = {certificates = "tls", client_certificates = "optional", client_ca = "tls/one.pem"}
[[frontends.web.routes]]
host = "*.example.com"
path = "/api"
headers = {X-Version = "2", X-Any = "*"}
backend = "hashed"
[[frontends.web.routes]]
host = "example.com"
path = "/exact$"
backend = "sticky"
[frontends.db]
mode = "tcp"
listen = ["127.0.0.1:15432"]
default_backend = "postgres"
proxy_protocol = true
[backends.app]
algorithm = "round_robin"
slow_start = 10
servers.s1 = {host = "127.0.0.1", port = 1, weight = 10, max_connections = 5}
servers.s2 = {host = "::1", port = 2, backup = true}
servers.s3 = {host = "127.0.0.1", port = 3, state = "maint"}
[backends.hashed]
algorithm = "consistent_hash"
hash_on = "header:X-Tenant"
check = {path = "/ready", host = "app.example", status = [200, 204], port = 99}
servers.s1 = {host = "127.0.0.1", port = 1, tls = {ca = "tls/one.pem", server_name = "app.example"}}
[backends.sticky]
algorithm = "power_of_two"
sticky_cookie = {max_age = 60, secure = true}
proxy_protocol = "v2"
servers.s1 = {host = "127.0.0.1", port = 1}
[backends.postgres]
mode = "tcp"
servers.s1 = {host = "127.0.0.1", port = 5432}
'''


# Messages and enums of Envoy's API v3 that the export uses, by the protocol buffers in the package xds-protos 1.85.
ENVOY_API: Any = json.loads(Path(__file__).parents[1].joinpath('support', 'envoy_api.json').read_text())
_ANY = 'google.protobuf.Any'
_JSON_TYPES: dict[str, type | tuple[type, ...]] = {
    'string': str, 'bool': bool, 'uint32': int, 'uint64': int, 'int32': int, 'int64': int, 'double': (int, float),
    'google.protobuf.UInt32Value': int, 'google.protobuf.BoolValue': bool,
}  # fmt: skip


def api_errors(value: Any, type_: str = 'envoy.config.bootstrap.v3.Bootstrap', path: str = '') -> list[str]:
    """What is not as Envoy's API defines it."""
    if type_.endswith('*'):
        if not isinstance(value, list):
            return [f'{path} is not a list']
        found = [api_errors(each, type_[:-1], f'{path}[{number}]') for number, each in enumerate(value)]
        return [error for errors in found for error in errors]
    if type_ == _ANY:
        value = dict(value)
        type_ = value.pop('@type').removeprefix('type.googleapis.com/')
    if type_ == 'google.protobuf.Duration':
        return [] if isinstance(value, str) and re.fullmatch(r'\d+(\.\d+)?s', value) else [f'{path} is no duration']
    if type_ in _JSON_TYPES:
        return [] if isinstance(value, _JSON_TYPES[type_]) else [f'{path} is not of type {type_}']
    if type_ in ENVOY_API['enums']:
        return [] if value in ENVOY_API['enums'][type_] else [f'{path} is none of {type_}']
    fields = ENVOY_API['messages'].get(type_)
    if fields is None:
        return [f'{path}: there is no message {type_}']
    return [
        error for name, each in value.items()
        for error in (api_errors(each, fields[name], f'{path}.{name}') if name in fields else [f'{path} has no {name}'])
    ]  # fmt: skip


class ExportTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        for name in ('tls', 'errors'):
            (self.directory / name).mkdir(parents=True)
        write_certificate(self.directory / 'tls' / 'one.pem')
        (self.directory / 'errors' / '503.json').write_text('{}')

    def read(self, source: str) -> Configuration:
        configuration, errors = parse_configuration(source, self.directory)
        self.assertEqual(errors, [])
        assert configuration is not None
        return configuration

    def check(self, text: str) -> None:
        """Let HAProxy check a configuration; warnings count too."""
        path = self.directory / 'haproxy.cfg'
        path.write_text(text)
        done = subprocess.run(['haproxy', '-c', '-f', path], capture_output=True, text=True, timeout=30, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ''), text)

    def test_haproxy_accepts_what_quickstart_writes(self) -> None:
        """The configuration of a new environment is valid for HAProxy."""
        servers = (ServerAddress('server1', '127.0.0.1', 17010), ServerAddress('server2', '127.0.0.1', 17011))
        self.check(export_haproxy(self.read(make_configuration(
            name='lb', cluster='c', servers=servers, stats_password='s3cret')), self.directory))  # fmt: skip

    def test_haproxy_accepts_everything(self) -> None:
        """A configuration with every feature is valid for HAProxy, and says what it should."""
        text = export_haproxy(self.read(EVERYTHING), self.directory)
        self.check(text)
        for line in (
            'balance roundrobin', 'balance hdr(X-Tenant)', 'hash-balance-factor 125', 'balance random(2)',
            'cookie zato-lb-prod insert indirect nocache httponly secure maxlife 60s attr "SameSite=Lax"',
            'server s2 [::1]:2 weight 1 check inter 1000ms rise 2 fall 2 observe layer4 error-limit 3 on-error '
            'mark-down slowstart 10000ms backup',
            'http-check expect rstatus ^(200|204)$', 'bind 127.0.0.1:15432 accept-proxy',
            'use_backend sticky if { req.hdr(host),host_only -i example.com } { path /exact }',
        ):
            self.assertIn(f'    {line}', text)

    def test_envoy_api(self) -> None:
        """Each object of the configuration for Envoy is a message of its API, with fields, types and values of enums as
        the API defines them; a wrong one would be noticed."""
        text = export_envoy(self.read(EVERYTHING), self.directory)
        self.assertEqual(api_errors(json.loads(text)), [])
        for right, wrong in (('"port_value"', '"port"'), ('"RING_HASH"', '"HASH"'), ('"1s"', '1'),
                             ('.v3.TcpProxy"', '.v3.Proxy"')):  # fmt: skip
            self.assertIn(right, text)
            self.assertNotEqual(api_errors(json.loads(text.replace(right, wrong))), [], wrong)

    def test_envoy(self) -> None:
        """The configuration for Envoy has all listeners, routes and clusters, and what is missing is said."""
        configuration = self.read(EVERYTHING)
        found: Any = json.loads(export_envoy(configuration, self.directory))['static_resources']
        self.assertEqual([(one['name'], one['address']) for one in found['listeners']], [
            ('web', {'socket_address': {'address': '127.0.0.1', 'port_value': 18443}}),
            ('web-2', {'socket_address': {'address': '::1', 'port_value': 18443}}),
            ('web-3', {'pipe': {'path': '/tmp/lb-export.sock'}}),
            ('db', {'socket_address': {'address': '127.0.0.1', 'port_value': 15432}}),
        ])  # fmt: skip
        manager = found['listeners'][0]['filter_chains'][0]['filters'][0]['typed_config']
        routes = manager['route_config']['virtual_hosts'][0]['routes']
        self.assertEqual([route['route']['cluster'] for route in routes[1:]], ['hashed', 'sticky', 'app'])
        self.assertEqual({one['name']: one['lb_policy'] for one in found['clusters']},
                         {'app': 'ROUND_ROBIN', 'hashed': 'RING_HASH', 'sticky': 'RING_HASH',
                          'postgres': 'LEAST_REQUEST'})
        self.assertEqual(len(found['clusters'][0]['load_assignment']['endpoints']), 2)
        self.assertEqual(len(unsupported_setting_notes(configuration)), 5)
        by_name = {one['name']: one for one in found['clusters']}
        tls = by_name['hashed']['transport_socket']['typed_config']['common_tls_context']['validation_context']
        self.assertEqual(tls['match_typed_subject_alt_names'],
                         [{'san_type': 'DNS', 'matcher': {'exact': 'app.example'}}])
        endpoint = by_name['hashed']['load_assignment']['endpoints'][0]['lb_endpoints'][0]['endpoint']
        self.assertEqual(endpoint['health_check_config'], {'port_value': 99})
        self.assertEqual(by_name['sticky']['transport_socket']['typed_config']['config'], {'version': 'V2'})
