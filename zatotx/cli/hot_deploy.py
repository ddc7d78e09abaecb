"""`zatotx hot-deploy`: deploys code to every node."""

from __future__ import annotations

import base64
from pathlib import Path

import click

from zatotx.cli.command_output import make_path_argument, progress_if_slow
from zatotx.cli.environment.cluster_client import ClusterClient
from zatotx.cli.environment.environment_layout import find_environment
from zatotx.cli.errors import CommandError
from zatotx.cli.service import print_deployment_report


@click.command(
    epilog='\b\nExamples:\n  zatotx hot-deploy ~/env/qs-1 crm.py billing.py\n  zatotx hot-deploy ~/env/qs-1 crm/'
)
@make_path_argument()
@click.argument('files', nargs=-1, required=True, metavar='FILE…', type=click.Path(),
                help='Modules, or directories of packages.')
def hot_deploy(path: str, files: tuple[str, ...]) -> None:
    """Deploy modules and packages (given as directories) one after the other.

    Returns 0 when every node runs all of them, so that they serve the next request. If a file is refused, the command
    stops with exit code 1 and a sentence that names file and line; the previous versions stay in service.
    """
    cluster = ClusterClient(find_environment(path))
    packed = [read_upload(Path(file)) for file in files]  # all are read before the first is deployed
    for name, content in packed:
        payload = {'cluster_id': 1, 'payload': base64.b64encode(content).decode('ascii'), 'payload_name': name}
        with progress_if_slow(f'Waiting until every node runs {name}'):
            report = cluster.call('zato.service.upload-package', payload)
        if not isinstance(report, dict):
            raise CommandError(f'{name}: the server returned no report: see its log.')
        print_deployment_report(report)


def read_upload(path: Path) -> tuple[str, bytes]:
    """Return the name and the content of the file to upload."""
    from zatotx.model.errors import BadRequest
    from zatotx.service.deployment.source_package import zip_directory

    try:
        if path.is_dir():
            return f'{path.resolve().name}.zip', zip_directory(path)
        return path.name, path.read_bytes()
    except BadRequest as error:
        raise CommandError(f'{error.msg}.') from None
    except OSError as error:
        raise CommandError(f'{path} cannot be read: {error.strerror}.') from None
