"""Checks the running cluster: the rows of the nodes in the ODB, and the problems that the servers of this environment
report.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from zatotx import __version__
from zatotx.cli.checks.check_definition import BROKEN, NODE, REQUEST_TIMEOUT, WARNING, Check, CheckContext
from zatotx.cli.checks.odb_and_redis import inspect_odb
from zatotx.cli.environment.blocking_http_request import (
    BlockingRequest,
    IncompleteResponseError,
    UnreachableError,
    basic_auth_header,
    send_request,
)
from zatotx.cli.environment.cluster_client import error_reason, response_element
from zatotx.cli.environment.environment_layout import Component, read_credentials
from zatotx.cli.environment.listen_addresses import first_tcp_address
from zatotx.cli.environment.process_discovery import is_listening_on_port, read_worker_status, running_process
from zatotx.cli.errors import CommandError
from zatotx.rules.resilience.process_supervision import NODE_TIMEOUT

if TYPE_CHECKING:
    from zatotx.odb.odb_health import OdbHealth


def check_nodes(context: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check that every node that was not stopped sends heartbeats and has applied the cluster's current revision."""
    found: OdbHealth = context.cached(inspect_odb, part)
    local = {node.name for node in context.environment.nodes}
    for row in found.nodes:
        is_own = row.name == part.name
        if row.up_status != 'running' or not (is_own or (row.name not in local and _first(context, part))):
            continue
        if is_own and row.worker >= expected_process_count(
            part
        ):  # the row of a server that died, which the pid file shows
            continue
        yield from check_node(row, found.revision, context.now())


def check_node(row: Any, revision: int, now: float) -> Iterator[tuple[str, str]]:
    """Check a node whose status is `running`. `row` is the NodeRow of the node."""
    silent = now - row.seen_at
    name = f'worker {row.worker} of {row.name}' if row.worker else row.name
    if silent > NODE_TIMEOUT:
        yield BROKEN, (f'{name} has sent no heartbeat for {silent:.0f} s: see its logs; it may be dead, frozen or '
                       'disconnected from the ODB')  # fmt: skip
    elif row.applied_revision < revision:
        yield WARNING, (f'{name} runs revision {row.applied_revision} of the configuration, the cluster is at '
                        f'{revision}: see its log if this persists')  # fmt: skip


def expected_process_count(part: Component) -> int:
    """Return the number of processes that a server should have, or 0 if the server is not running. Rows of workers with
    higher numbers are left over from an earlier run, and are ignored."""
    process = running_process(part)
    if process is None:
        return 0
    status = read_worker_status(part, process)
    return 1 if status is None else status.wanted


def _first(context: CheckContext, part: Component) -> bool:
    """Whether the server is the one that reports on nodes elsewhere, for all servers that share an ODB."""
    return context.environment.nodes[0] == part


def check_server_findings(context: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Report the problems that a running server has detected, and whether its version differs from the installed
    one."""
    process = running_process(part)
    if process is None or not is_listening_on_port(process.pid, first_tcp_address(part).port):
        return
    info = invoke_on_server(part, 'zato.info.get-info')
    version = str(info.get('version', ''))
    if version and version != __version__:
        yield WARNING, (f'it runs zatotx {version}, but {__version__} is installed: '
                        f"update it with 'zatotx restart {part.path}'")  # fmt: skip
    for sentence in invoke_on_server(part, 'zato.health.findings').get('findings', ()):
        yield WARNING, str(sentence)


def invoke_on_server(part: Component, service: str) -> dict[str, Any]:
    """Invoke an internal service on the server `part`, and return the response. Raises CommandError."""
    headers = {
        'Authorization': basic_auth_header(read_credentials(part.path.parent, 'api')),
        'Content-Type': 'application/json',
        'X-Zato-Deadline-Ms': str(int(REQUEST_TIMEOUT * 1000)),
    }
    try:
        response = send_request(
            first_tcp_address(part),
            BlockingRequest('POST', f'/zato/api/invoke/{quote(service)}', headers, b'{}'),
            REQUEST_TIMEOUT,
        )
    except (UnreachableError, IncompleteResponseError) as error:
        raise CommandError(f'the server could not be queried: {error}.') from None
    if response.status == 401:
        raise CommandError("it does not accept the password of [api] in credentials.toml: set one with 'zatotx update "
                      f"password {part.path.parent} admin.invoke'.")  # fmt: skip
    if response.status >= 400:
        raise CommandError(f'the server could not be queried ({service}): {error_reason(response)}.')
    result = response_element(response)
    return result if isinstance(result, dict) else {}


CHECKS = (
    Check('cluster', 'a server, worker or connector that was not stopped sends no heartbeat, or runs an older revision',
          NODE, check_nodes, sends_requests=True),
    Check('server', 'a running server or connector reports problems (zato.health.findings): stuck threads, stalls of '
          'the reactor, an unavailable ODB or Redis, refused code; or its version is not the one that is installed',
          NODE, check_server_findings, sends_requests=True),
)  # fmt: skip
