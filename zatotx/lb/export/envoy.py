"""Generates a static Envoy configuration (API v3) that is equivalent to lb.toml. The output is JSON, which Envoy
accepts as YAML. Pure functions.

Envoy has no counterpart for: statuses and bodies of single errors, limits of the rate of one address, limits and queues
of single servers, backup servers other than by priority, and the statistics page. `notes` lists what is affected.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zatotx.lb.config.model import (
    Backend,
    Configuration,
    Frontend,
    HeaderRules,
    HealthCheck,
    RoutingRule,
    Server,
    ServerTls,
)
from zatotx.lb.tls.certificate_files import chain_files, key_file
from zatotx.rules.balancing.sticky_cookie import make_cookie_name
from zatotx.rules.listen_address import to_endpoint
from zatotx.wire.http.host_names import is_address

_TYPES = 'type.googleapis.com/envoy.extensions'
_HTTP_MANAGER = f'{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager'
_ROUTER = f'{_TYPES}.filters.http.router.v3.Router'
_TCP_PROXY = f'{_TYPES}.filters.network.tcp_proxy.v3.TcpProxy'
_POLICIES = {'round_robin': 'ROUND_ROBIN', 'least_connections': 'LEAST_REQUEST', 'power_of_two': 'LEAST_REQUEST',
             'consistent_hash': 'RING_HASH'}  # fmt: skip

_SYSTEM_AUTHORITIES = '/etc/ssl/certs/ca-certificates.crt'  # Envoy has no default

Json = dict[str, Any]


def export_envoy(configuration: Configuration, directory: Path) -> str:
    """Generate the text of envoy.json. `directory` is the load balancer's directory, and file names are relative to
    it."""
    document = {
        'static_resources': {
            'listeners': [
                _listener(configuration, name, frontend, number, directory)
                for name, frontend in configuration.frontends.items() for number in range(len(frontend.listen))
            ],
            'clusters': [_cluster(name, backend, directory) for name, backend in configuration.backends.items()],
        }
    }
    return json.dumps(document, indent=2) + '\n'


def unsupported_setting_notes(configuration: Configuration) -> list[str]:
    """Return one sentence for each setting of lb.toml that the exported configuration does not implement."""
    found = []
    for name, frontend in configuration.frontends.items():
        if frontend.request_rate or frontend.connection_rate:
            found.append(f'frontends.{name}: rates of single addresses need a rate limit service')
        if frontend.allow or frontend.deny:
            found.append(f'frontends.{name}: access lists need the RBAC filter')
        if frontend.stats:
            found.append(f"frontends.{name}: there is no statistics page; see Envoy's admin interface")
    for name, backend in configuration.backends.items():
        if any(server.max_connections for server in backend.servers.values()):
            found.append(f'backends.{name}: max_connections of single servers, and their queue, are not exported')
        if len({server.tls for server in backend.servers.values()}) > 1:
            found.append(f'backends.{name}: all servers are connected to with the TLS settings of the first one')
    if configuration.error_files:
        found.append('error_files: bodies of errors are not exported')
    return found


def _listener(configuration: Configuration, name: str, frontend: Frontend, number: int, directory: Path) -> Json:
    """Return the listener of an address of a frontend. Names of listeners are unique."""
    filters = [_http_manager(configuration, name, frontend)] if frontend.mode == 'http' else [{
        'name': 'envoy.filters.network.tcp_proxy',
        'typed_config': {'@type': _TCP_PROXY, 'stat_prefix': name, 'cluster': frontend.default_backend},
    }]  # fmt: skip
    chain: Json = {'filters': filters}
    if frontend.tls is not None:
        chain['transport_socket'] = _listener_tls(frontend, directory)
    listener: Json = {'name': f'{name}-{number + 1}' if number else name,
                      'address': _address(frontend.listen[number]), 'filter_chains': [chain]}  # fmt: skip
    if frontend.proxy_protocol:
        listener['listener_filters'] = [{
            'name': 'envoy.filters.listener.proxy_protocol',
            'typed_config': {'@type': f'{_TYPES}.filters.listener.proxy_protocol.v3.ProxyProtocol'},
        }]  # fmt: skip
    return listener


def _address(address: str) -> Json:
    kind, *fields = to_endpoint(address).replace('\\:', '\0').split(':')
    named = dict(field.split('=', 1) for field in fields if '=' in field)
    positional = [field for field in fields if '=' not in field]
    if kind == 'unix':
        return {'pipe': {'path': named.get('address') or positional[0]}}
    host = named.get('interface', '0.0.0.0').replace('\0', ':')  # noqa: S104 - the default of Twisted's endpoints
    return _socket_address(host, int(named.get('port') or positional[0]))


def _socket_address(host: str, port: int) -> Json:
    return {'socket_address': {'address': host, 'port_value': port}}


def _listener_tls(frontend: Frontend, directory: Path) -> Json:
    tls = frontend.tls
    assert tls is not None
    certificates = [{'certificate_chain': _file(file), 'private_key': _file(key_file(file))}
                    for file in chain_files(directory / tls.certificates)]
    minimum = {'TLSv1.2': 'TLSv1_2', 'TLSv1.3': 'TLSv1_3'}[tls.minimum_version]
    context: Json = {'tls_certificates': certificates, 'tls_params': {'tls_minimum_protocol_version': minimum}}
    if tls.client_ca:
        context['validation_context'] = {'trusted_ca': _file(directory / tls.client_ca)}
        if tls.client_crl:
            context['validation_context']['crl'] = _file(directory / tls.client_crl)
    config: Json = {'@type': f'{_TYPES}.transport_sockets.tls.v3.DownstreamTlsContext', 'common_tls_context': context,
                    'require_client_certificate': tls.client_certificates == 'required'}
    return {'name': 'envoy.transport_sockets.tls', 'typed_config': config}


def _http_manager(configuration: Configuration, name: str, frontend: Frontend) -> Json:
    routes = [_route(configuration, rule) for rule in frontend.routes]
    if frontend.alive_path:
        routes.insert(0, {'match': {'path': frontend.alive_path},
                          'direct_response': {'status': 200, 'body': {'inline_string': 'OK'}}})
    if frontend.default_backend:
        routes.append({'match': {'prefix': '/'}, 'route': _action(configuration, frontend.default_backend)})
    host: Json = {'name': name, 'domains': ['*'], 'routes': routes}
    if frontend.redirect_to_https:
        host['require_tls'] = 'ALL'
    host |= _headers('request', frontend.request_headers) | _headers('response', frontend.response_headers)
    config: Json = {
        '@type': _HTTP_MANAGER, 'stat_prefix': name, 'codec_type': 'HTTP1', 'use_remote_address': True,
        'xff_num_trusted_hops': len(frontend.trusted_proxies), 'upgrade_configs': [{'upgrade_type': 'websocket'}],
        'stream_idle_timeout': _time(frontend.timeouts.client), 'request_timeout': '0s',
        'request_headers_timeout': _time(frontend.timeouts.request),
        'common_http_protocol_options': {'idle_timeout': _time(frontend.timeouts.keep_alive)},
        'route_config': {'name': name, 'virtual_hosts': [host]},
        'http_filters': [{'name': 'envoy.filters.http.router', 'typed_config': {'@type': _ROUTER}}],
    }
    return {'name': 'envoy.filters.network.http_connection_manager', 'typed_config': config}


def _route(configuration: Configuration, rule: RoutingRule) -> Json:
    match: Json
    if rule.path.endswith('$'):
        match = {'path': rule.path[:-1]}
    elif rule.path and rule.path != '/':
        match = {'path_separated_prefix': rule.path.rstrip('/')}
    else:
        match = {'prefix': '/'}
    headers: list[Json] = [
        {'name': name, 'present_match': True} if value == '*' else {'name': name, 'string_match': {'exact': value}}
        for name, value in rule.headers.items()
    ]
    if rule.host:
        wanted = {'suffix': rule.host[1:]} if rule.host.startswith('*.') else {'exact': rule.host}
        headers.append({'name': ':authority', 'string_match': {**wanted, 'ignore_case': True}})
    if headers:
        match['headers'] = headers
    return {'match': match, 'route': _action(configuration, rule.backend)}


def _action(configuration: Configuration, name: str) -> Json:
    backend = configuration.backends[name]
    action: Json = {'cluster': name, 'timeout': '0s', 'idle_timeout': _time(backend.timeouts.server)}
    if backend.retries.attempts:
        action['retry_policy'] = {'retry_on': 'connect-failure,refused-stream', 'num_retries': backend.retries.attempts}
    source, _, key = backend.hash_on.partition(':')
    policies: list[Json] = []
    if backend.sticky_cookie is not None:
        cookie = backend.sticky_cookie
        policies.append({'cookie': {'name': make_cookie_name(cookie.name, configuration.main.cluster),
                                    'ttl': f'{cookie.max_age}s', 'path': '/'}})
    if backend.algorithm == 'consistent_hash':
        choices: dict[str, Json] = {'address': {'connection_properties': {'source_ip': True}}, 'header': {
            'header': {'header_name': key}}, 'cookie': {'cookie': {'name': key}}}  # fmt: skip
        policies.append(choices[source])
    if policies:
        action['hash_policy'] = policies
    return action


def _headers(kind: str, rules: HeaderRules) -> Json:
    found: Json = {}
    if rules.set:
        found[f'{kind}_headers_to_add'] = [
            {'header': {'key': name, 'value': value.replace('%', '%%')},
             'append_action': 'OVERWRITE_IF_EXISTS_OR_ADD'} for name, value in rules.set.items()
        ]
    if rules.remove:
        found[f'{kind}_headers_to_remove'] = list(rules.remove)
    return found


def _cluster(name: str, backend: Backend, directory: Path) -> Json:
    policy = 'RING_HASH' if backend.sticky_cookie is not None else _POLICIES[backend.algorithm]
    cluster: Json = {
        'name': name, 'type': 'STRICT_DNS', 'connect_timeout': _time(backend.timeouts.connect), 'lb_policy': policy,
        'load_assignment': {'cluster_name': name, 'endpoints': _endpoints(backend)},
        'circuit_breakers': {'thresholds': [{'max_pending_requests': max(1, backend.max_queue)}]},
    }
    if backend.algorithm == 'consistent_hash':
        cluster['common_lb_config'] = {
            'consistent_hashing_lb_config': {'hash_balance_factor': backend.hash_balance}}
    if backend.check.type != 'none':
        cluster['health_checks'] = [_health_check(backend)]
    ejection = backend.ejection
    if ejection.failures:
        cluster['outlier_detection'] = {
            'split_external_local_origin_errors': True, 'consecutive_local_origin_failure': ejection.failures,
            'enforcing_consecutive_5xx': 0, 'enforcing_consecutive_gateway_failure': 0,
            'base_ejection_time': _time(ejection.duration), 'max_ejection_time': _time(ejection.max_duration),
            'max_ejection_percent': 100,
        }  # fmt: skip
    tls = next((server.tls for server in backend.servers.values() if server.tls is not None), None)
    socket: Json | None = None
    if tls is not None:
        names = sorted({tls.server_name or server.host for server in backend.servers.values()})
        socket = _server_tls(tls, names, directory)
    if backend.proxy_protocol:
        config: Json = {'version': backend.proxy_protocol.upper()}
        socket = {'name': 'envoy.transport_sockets.upstream_proxy_protocol', 'typed_config': {
            '@type': f'{_TYPES}.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport', 'config': config,
            'transport_socket': socket or {
                'name': 'envoy.transport_sockets.raw_buffer',
                'typed_config': {'@type': f'{_TYPES}.transport_sockets.raw_buffer.v3.RawBuffer'}}}}  # fmt: skip
    if socket is not None:
        cluster['transport_socket'] = socket
    return cluster


def _server_tls(tls: ServerTls, names: Sequence[str], directory: Path) -> Json:
    """Return the TLS settings of connections to servers, whose certificates are valid for one of these names. Without
    them, Envoy would accept any certificate of the authority."""
    context: Json = {}
    if tls.verify:
        context['validation_context'] = {
            'trusted_ca': _file(directory / tls.ca if tls.ca else Path(_SYSTEM_AUTHORITIES)),
            'match_typed_subject_alt_names': [
                {'san_type': 'IP_ADDRESS' if is_address(name) else 'DNS', 'matcher': {'exact': name}} for name in names
            ],
        }
    if tls.certificate:
        context['tls_certificates'] = [{'certificate_chain': _file(directory / tls.certificate),
                                        'private_key': _file(directory / (tls.key or tls.certificate))}]
    return {'name': 'envoy.transport_sockets.tls', 'typed_config': {
        '@type': f'{_TYPES}.transport_sockets.tls.v3.UpstreamTlsContext', 'common_tls_context': context,
        **({'sni': tls.server_name} if tls.server_name else {})}}  # fmt: skip


def _file(path: Path) -> Json:
    return {'filename': str(path)}


def _endpoints(backend: Backend) -> list[Json]:
    groups: list[Json] = []
    for priority, is_backup in enumerate((False, True)):
        members = [_endpoint(server, backend.check) for server in backend.servers.values()
                   if server.backup == is_backup and server.state != 'maint']
        if members:
            groups.append({'priority': priority if groups else 0, 'lb_endpoints': members})
    return groups


def _endpoint(server: Server, check: HealthCheck) -> Json:
    endpoint: Json = {'address': _socket_address(server.host, server.port)}
    if check.port:
        endpoint['health_check_config'] = {'port_value': check.port}
    return {'endpoint': endpoint, 'load_balancing_weight': max(1, server.weight),
            'health_status': 'DRAINING' if server.state == 'drain' or not server.weight else 'UNKNOWN'}


def _health_check(backend: Backend) -> Json:
    check = backend.check
    common: Json = {'timeout': _time(check.timeout), 'interval': _time(check.interval),
                    'healthy_threshold': check.rise, 'unhealthy_threshold': check.fall}
    if check.type == 'tcp':
        return common | {'tcp_health_check': {}}
    statuses = [{'start': status, 'end': status + 1} for status in check.status]
    return common | {'http_health_check': {'path': check.path, 'expected_statuses': statuses,
                                           **({'host': check.host} if check.host else {})}}


def _time(seconds: float) -> str:
    return f'{seconds:g}s'
