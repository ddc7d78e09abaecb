"""What runs: the nodes of the cluster by their rows, and what each server of this environment finds in itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from zatotx import __version__
from zatotx.cli.checks.finding import BROKEN, PATIENCE, WARNING, Check, CheckContext
from zatotx.cli.checks.stores import GONE, inspect_odb
from zatotx.cli.environment.cluster_client import element, error_reason
from zatotx.cli.environment.http_request import CutOffError, Request, UnreachableError, basic_auth, send_request
from zatotx.cli.environment.layout import SERVER, Component, credentials
from zatotx.cli.environment.listen_addresses import address
from zatotx.cli.environment.pid_files import running_process
from zatotx.cli.environment.port_owner import holds_port
from zatotx.cli.environment.worker_status import read_worker_status
from zatotx.cli.errors import CommandError

if TYPE_CHECKING:
    from zatotx.odb.health import OdbHealth


def workers(scene: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Every node that has not been stopped gives its signs of life, and runs the cluster's revision."""
    found: OdbHealth = scene.once(inspect_odb, part)
    local = {server.name for server in scene.place.servers}
    for row in found.nodes:
        mine = row.name == part.name
        if row.up_status != 'running' or not (mine or (row.name not in local and _first(scene, part))):
            continue
        if mine and row.worker >= node_finding(part):  # its pid file tells of a server that died
            continue
        yield from check_node(row, found.revision, scene.now())


def check_node(row: Any, revision: int, now: float) -> Iterator[tuple[str, str]]:
    """What is to be said of a node that says it runs. `row`: NodeRow."""
    silent = now - row.seen_at
    name = f'worker {row.worker} of {row.name}' if row.worker else row.name
    if silent > GONE:
        yield BROKEN, (f'{name} has given no sign of life for {silent:.0f} s: see its logs; it may be dead, frozen or '
                       'cut off from the ODB')  # fmt: skip
    elif row.applied_revision < revision:
        yield WARNING, (f'{name} runs revision {row.applied_revision} of the configuration, the cluster is at '
                        f'{revision}: see its log if that stays so')  # fmt: skip


def node_finding(part: Component) -> int:
    """How many processes a server means to have: the row of a worker beyond them is of an earlier life. 0 where it does
    not run."""
    process = running_process(part)
    if process is None:
        return 0
    roster = read_worker_status(part, process)
    return 1 if roster is None else roster.wanted


def _first(scene: CheckContext, part: Component) -> bool:
    """Of servers that share an ODB one tells of the nodes elsewhere."""
    return scene.place.servers[0] == part


def node_findings(scene: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """What a running server finds wrong with itself, and its version."""
    process = running_process(part)
    if process is None or not holds_port(process.pid, address(part).port):
        return
    info = invoke(part, 'zato.info.get-info')
    version = str(info.get('version', ''))
    if version and version != __version__:
        yield WARNING, (f'it runs zatotx {version}, {__version__} is installed here: '
                        f"'zatotx restart {part.path}' brings it up")  # fmt: skip
    for sentence in invoke(part, 'zato.health.findings').get('findings', ()):
        yield WARNING, str(sentence)


def invoke(part: Component, service: str) -> dict[str, Any]:
    """The answer of an internal service of this very server. Raises Failure."""
    fields = {
        'Authorization': basic_auth(credentials(part.path.parent, 'api')),
        'Content-Type': 'application/json',
        'X-Zato-Deadline-Ms': str(int(PATIENCE * 1000)),
    }
    try:
        answer = send_request(
            address(part), Request('POST', f'/zato/api/invoke/{quote(service)}', fields, b'{}'), PATIENCE
        )
    except (UnreachableError, CutOffError) as error:
        raise CommandError(f'it was asked how it is: {error}.') from None
    if answer.status == 401:
        raise CommandError("it does not know the password of [api] in credentials.toml: set one with 'zatotx update "
                      f"password {part.path.parent} admin.invoke'.")  # fmt: skip
    if answer.status >= 400:
        raise CommandError(f'it was asked how it is ({service}): {error_reason(answer)}.')
    found = element(answer)
    return found if isinstance(found, dict) else {}


CHECKS = (
    Check('cluster', 'a server or worker that was not stopped gives no sign of life, or runs an older revision', SERVER,
          workers, asks=True),
    Check('server', 'what a running server finds in itself (zato.health.findings): stuck threads, stalls of the '
          'reactor, an ODB or a Redis that is away, refused code; or it runs another version than the one installed',
          SERVER, node_findings, asks=True),
)  # fmt: skip
