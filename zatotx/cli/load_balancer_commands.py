"""The `zatotx lb` commands that manage a running load balancer through its agent."""

from __future__ import annotations

import http.client
import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click

from zatotx.cli.command_output import (
    Decorator,
    make_format_option,
    make_path_argument,
    print_json,
    print_table,
    progress_if_slow,
)
from zatotx.cli.environment.blocking_http_request import BlockingRequest, send_and_receive
from zatotx.cli.environment.environment_layout import CREDENTIALS, read_toml
from zatotx.cli.environment.listen_addresses import WILDCARDS
from zatotx.cli.errors import CommandError, combine_errors

CONFIG_FILE = Path('config', 'lb.toml')
DIRECTORY = Path('load-balancer')  # in an environment
CLIENT = 'cli'  # the certificate that quickstart creates for these commands
DEFAULT_LISTEN = '127.0.0.1:20151'
DEFAULT_CERTIFICATE = 'tls-agent/zato-lba-cert.pem'
TIMEOUT = 20.0  # seconds of one call; the agent itself gives up after fifteen


class AgentAddress(NamedTuple):
    """The address of a load balancer's agent, and the TLS files that its clients need."""

    host: str
    port: int
    certificate: Path | None  # None = the agent has no TLS
    key: Path | None
    authorities: Path | None

    @property
    def url(self) -> str:
        host = f'[{self.host}]' if ':' in self.host else self.host
        return f'{"https" if self.certificate else "http"}://{host}:{self.port}'


# Options


def _connection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say how to reach the agent; passed to the command by their names."""
    options = (
        ('cert', 'FILE', 'The client certificate. Default: that of the name cli in PATH/ca.'),
        ('key', 'FILE', 'The key of the client certificate. Default: that of the name cli in PATH/ca.'),
        ('ca', 'FILE', "The certificate of the authority that signed the agent's. Default: that in PATH/ca."),
        ('address', 'HOST:PORT', "The agent's address. Default: [agent] listen in lb.toml."),
    )
    for name, metavar, text in reversed(options):
        command = click.option(f'--{name}', default='', metavar=metavar, help=text)(command)
    return command


def _backend_option() -> Decorator:
    return click.option('--backend', default=None, metavar='NAME',
                        help='The backend of the server. Default: the only one that has it.')  # fmt: skip


def _file_argument() -> Decorator:
    return click.argument('file', metavar='FILE|-', type=click.Path(),
                          help='The text of the configuration; - reads it from standard input.')  # fmt: skip


# Commands


@click.command(
    'servers', epilog='\b\nExamples:\n  zatotx lb servers ~/env/qs-1\n  zatotx lb servers ~/env/qs-1 --format json'
)
@make_path_argument()
@_connection_options
@make_format_option()
def list_balanced_servers(path: str, form: str, **options: str) -> None:
    """List the servers of all backends with their states."""
    rows = list(_call(path, options, 'get_server_data_dict').values())
    if form == 'json':
        print_json(rows)
        return
    print_table(('BACKEND', 'SERVER', 'STATE', 'ADDRESS', 'SESSIONS', 'REQUESTS', 'ERRORS', 'REASON'), [
        (row['backend'], row['name'], row['state'], row['address'], row['current_sessions'], row['total_requests'],
         row['errors'], row['reason']) for row in rows
    ])  # fmt: skip


def _state_command(state: str, short_help: str, text: str, outcome: str) -> click.Command:
    """Return the command that sets the administrative state of servers."""

    @click.command(state, short_help=short_help, help=text,
                   epilog=f'\b\nExamples:\n  zatotx lb {state} ~/env/qs-1 server1')
    @make_path_argument()
    @click.argument('names', metavar='SERVER…', nargs=-1, required=True, help='Servers that lb servers lists.')
    @_backend_option()
    @_connection_options
    @make_format_option()
    def command(path: str, names: tuple[str, ...], backend: str | None, form: str, **options: str) -> None:
        for name in names:
            _call(path, options, 'set_server_state', name=name, state=state, backend=backend)
        if form == 'json':
            print_json({'servers': list(names), 'state': state})
        else:
            click.echo(f'{", ".join(names)}: {outcome}.')

    return command


drain = _state_command('drain', 'Give servers no new clients.',
                       'Give servers no new clients; requests in progress, and clients with a sticky cookie, stay.',
                       'no new clients')  # fmt: skip
maint = _state_command('maint', 'Take servers out of service.', 'Take servers out of service, without probing them.',
                       'out of service')  # fmt: skip
ready = _state_command('ready', 'Put servers back into service.',
                       'Put servers back into service after drain or maint; they get clients when a probe succeeds.',
                       'in service')  # fmt: skip


@click.command(
    short_help='Print the configuration.',
    epilog='\b\nExamples:\n  zatotx lb config ~/env/qs-1 > lb.toml\n  zatotx lb config ~/env/qs-1 --format json',
)
@make_path_argument()
@_connection_options
@make_format_option()
def config(path: str, form: str, **options: str) -> None:
    """Print the configuration of the running load balancer as text, or its content as JSON."""
    if form == 'json':
        print_json(_call(path, options, 'get_config'))
    else:
        click.echo(_call(path, options, 'get_config_source_code'), nl=False)


@click.command(epilog='\b\nExamples:\n  zatotx lb validate ~/env/qs-1 lb.toml')
@make_path_argument()
@_file_argument()
@_connection_options
@make_format_option()
def validate(path: str, file: str, form: str, **options: str) -> None:
    """Validate a configuration file without changing anything. Reports all errors."""
    _call(path, options, 'validate_save_source_code', source=_read_file(file), save=False)
    if form == 'json':
        print_json({'valid': True})
    else:
        click.echo('The configuration is valid.')


@click.command(
    short_help='Put a configuration into force.',
    epilog='\b\nExamples:\n  zatotx lb apply ~/env/qs-1 lb.toml\n  sed s/round_robin/least_connections/ lb.toml | '
    'zatotx lb apply ~/env/qs-1 -',
)
@make_path_argument()
@_file_argument()
@_connection_options
@make_format_option()
def apply(path: str, file: str, form: str, **options: str) -> None:
    """Validate a configuration, write it to lb.toml and activate it without closing connections. If it has errors, all
    of them are reported and nothing is changed."""
    with progress_if_slow('Waiting for the load balancer'):
        _call(path, options, 'validate_save_source_code', source=_read_file(file), save=True)
    if form == 'json':
        print_json({'applied': True})
    else:
        click.echo('The configuration is in force.')


@click.command(
    short_help='Show information, statistics, errors or sessions.',
    epilog='\b\nExamples:\n  zatotx lb show ~/env/qs-1 info\n  zatotx lb show ~/env/qs-1 stat',
)
@make_path_argument()
@click.argument('what', type=click.Choice(['info', 'stat', 'errors', 'sess']), help="HAProxy's name of a command.")
@_connection_options
def show(path: str, what: str, **options: str) -> None:
    """Print the output of HAProxy's command `show WHAT`: information about the process, server statistics as CSV, the
    last errors, or the sessions of each server."""
    click.echo(_call(path, options, 'execute_command', command=f'show {what}'), nl=False)


AGENT_COMMANDS = (list_balanced_servers, drain, maint, ready, config, validate, apply, show)


# The call


def _call(path: str, options: dict[str, str], name: str, /, **arguments: Any) -> Any:
    """Return the result of a call. Raises CommandError."""
    from zatotx.wire.lb_agent_messages import AgentCallError, decode_response, encode_call
    from zatotx.wire.malformed import Malformed

    address = find_agent(path, options)
    given = {key: value for key, value in arguments.items() if value is not None}
    status, body = call_agent(address, name, encode_call(given))
    try:
        return decode_response(status, body)
    except AgentCallError as error:
        if error.errors and status == 400:
            raise combine_errors(list(error.errors), f'{error}, {{}} errors') from None
        known = f' (known: {", ".join(error.errors)})' if error.errors else ''
        raise CommandError(f'{error}{known}.') from None
    except Malformed as error:
        raise CommandError(f'What responds at {address.url} is not an agent: {error}.') from None


def names_of_balanced_servers(path: str) -> set[str]:
    """Return the names of the servers to which the load balancer at `path` sends requests. Raises CommandError."""
    states = _call(path, dict.fromkeys(('cert', 'key', 'ca', 'address'), ''), 'get_servers_state')
    return {name for names in states.get('UP', {}).values() for name in names}


def call_agent(address: AgentAddress, name: str, body: bytes) -> tuple[int, bytes]:
    """Send a call to the agent, and return the status and the body of the response. Raises CommandError."""
    from zatotx.wire.lb_agent_messages import CONTENT_TYPE, PATH

    end = time.monotonic() + TIMEOUT
    connection = connect_to_agent(address)
    request = BlockingRequest('POST', f'{PATH}{name}', {'Content-Type': CONTENT_TYPE}, body)
    try:
        response = send_and_receive(connection, request, end)
        return response.status, response.body
    except TimeoutError:
        raise CommandError(f'The agent at {address.url} did not respond within {TIMEOUT:g} s.') from None
    except (OSError, http.client.HTTPException) as error:
        raise CommandError(f'The agent at {address.url} {describe_closed_connection(error)}.') from None
    finally:
        connection.close()


def connect_to_agent(address: AgentAddress) -> http.client.HTTPConnection:
    """Open an HTTP connection to the agent, without sending a request. Raises CommandError."""
    try:
        connection = make_agent_connection(address)
        connection.connect()
    except ssl.SSLCertVerificationError as error:
        raise CommandError(f'The certificate of the agent at {address.url} is not accepted: {error.verify_message}.'
                           ) from None  # fmt: skip
    except ssl.SSLError as error:
        raise CommandError(f'The agent at {address.url} {describe_closed_connection(error)}.') from None
    except OSError as error:
        raise CommandError(
            f'The agent at {address.url} is unreachable: {error.strerror or error}; is the load balancer running, with '
            '[agent] enabled?'
        ) from None
    return connection


def make_agent_connection(address: AgentAddress) -> http.client.HTTPConnection:
    """Create an HTTP connection to the agent, without opening it. Raises CommandError if a TLS file cannot be used."""
    if address.certificate is None:
        return http.client.HTTPConnection(address.host, address.port, timeout=TIMEOUT)
    for file in (address.certificate, address.key, address.authorities):
        if file is not None and not file.is_file():
            raise CommandError(
                f"{file} is missing: create it with 'zatotx ca create client PATH {CLIENT}', or give --cert, --key and "
                '--ca.'
            )
    context = ssl.create_default_context(cafile=str(address.authorities) if address.authorities else None)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    try:
        context.load_cert_chain(address.certificate, address.key)
    except (ssl.SSLError, OSError) as error:
        raise CommandError(f'{address.certificate} and its key cannot be used: {error.strerror or error}.') from None
    return http.client.HTTPSConnection(address.host, address.port, timeout=TIMEOUT, context=context)


def describe_closed_connection(error: Exception) -> str:
    """Return the reason why an agent has closed a connection, as a clause."""
    from zatotx.rules.http.tls_errors import describe_late_handshake_error

    reason = getattr(error, 'reason', '') or ''
    described = describe_late_handshake_error([str(reason).replace('_', ' ').lower()])
    if described:
        return f'{described}; the log of the load balancer has the reason'
    return f'closed the connection: {getattr(error, "strerror", None) or error or type(error).__name__}'


def find_agent(path: str, options: dict[str, str]) -> AgentAddress:
    """Return the address of an agent. It is the agent of the load balancer at `path`, or the address in the options.
    Raises CommandError."""
    directory = Path(path).absolute()
    # That of a container has no credentials.toml.
    is_environment = any((directory / name).is_file() for name in (CREDENTIALS, DIRECTORY / CONFIG_FILE))
    environment = directory if is_environment else directory.parent
    settings = _agent_settings(environment, directory)
    address = options['address'] or str(settings.get('listen', DEFAULT_LISTEN))
    host, _, port = address.rpartition(':')
    if not host or not port.isdecimal():
        raise CommandError(f'The address of the agent is {address!r}: it must be HOST:PORT, such as {DEFAULT_LISTEN}.')
    has_tls = bool(settings.get('certificate', DEFAULT_CERTIFICATE)) or bool(options['cert'])
    authority = environment / 'ca'
    host = host.strip('[]')
    return AgentAddress(
        WILDCARDS.get(host, host), int(port),
        certificate=Path(options['cert'] or authority / 'out-cert' / f'{CLIENT}-cert.pem') if has_tls else None,
        key=Path(options['key'] or options['cert'] or authority / 'out-priv' / f'{CLIENT}-priv.pem'),
        authorities=Path(options['ca'] or authority / 'ca-material' / 'ca-cert.pem'),
    )  # fmt: skip


def _agent_settings(environment: Path, directory: Path) -> dict[str, Any]:
    """Return [agent] of the load balancer's lb.toml; {} if the load balancer is elsewhere."""
    for candidate in (directory, environment / DIRECTORY):
        if (candidate / CONFIG_FILE).is_file():
            settings = read_toml(candidate / CONFIG_FILE).get('agent', {})
            return settings if isinstance(settings, dict) else {}
    return {}


def _read_file(file: str) -> str:
    try:
        return sys.stdin.read() if file == '-' else Path(file).read_text('utf-8')
    except FileNotFoundError:
        raise CommandError(f'{file} does not exist.') from None
    except UnicodeDecodeError:
        raise CommandError(f'{file} is not UTF-8 text.') from None
