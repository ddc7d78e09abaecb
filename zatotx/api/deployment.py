"""The deployment services: zato.service.upload-package, rollback, get-source-info and others, and zato.hot-deploy.*."""

from __future__ import annotations

import inspect
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import msgspec

from zatotx.api.admin_service import AdminService, bad_field_error
from zatotx.api.services import ServiceAdminService
from zatotx.interfaces.config import FileVersion
from zatotx.interfaces.node import DeploymentReport
from zatotx.model.errors import NotFound
from zatotx.service.io.elements import Text


class DeploymentService(AdminService):
    """Base class of the deployment services."""

    zato_dont_import = True

    def respond(self, report: DeploymentReport) -> None:
        """Respond with the result of a deployment."""
        version = report.version
        self.response.payload = {
            'id': version.id,
            'file': version.file,
            'number': version.number,
            'services': list(version.services),
            'sha256': version.sha256,
            'revision': version.revision,
            'refused': report.refused,
            'missing': list(report.missing),
        }


class UploadPackage(DeploymentService):
    """Deploy a module (`x.py`) or a package (`x.zip`). `payload` contains the file in base64. The response is sent
    after every node has tried to deploy the file."""

    name = 'zato.service.upload-package'

    class SimpleIO:
        input_required = (Text('payload'), Text('payload_name'))
        input_optional = ('cluster_id',)

    async def handle(self) -> None:
        try:
            content = await self.server.run_in_thread(_decode_base64, self.request.input.payload)
        except (Base64Error, ValueError) as error:
            raise bad_field_error('payload', f'is not base64: {error}') from None
        name = str(self.request.input.payload_name)
        self.respond(await self.server.deployer.deploy(name, content, self.actor))


def _decode_base64(text: str) -> bytes:
    return b64decode(''.join(text.split()), validate=True)


class Rollback(DeploymentService):
    """Activate version `number` of a file, or the previous version. `name` is the file or one of its services."""

    name = 'zato.service.rollback'

    class SimpleIO:
        input_required = (Text('name'),)
        input_optional = ('number',)
        default_value = None

    async def handle(self) -> None:
        number = self.request.input.number
        try:
            target = None if number in ('', None) else int(number)
        except (ValueError, TypeError):
            raise bad_field_error('number', f'expected int, got {type(number).__name__}') from None
        self.respond(await self.server.deployer.rollback(str(self.request.input.name), target, self.actor))


class DeployRollback(Rollback):
    """The same service as zato.service.rollback, under another name."""

    name = 'zato.deploy.rollback'

    class SimpleIO(Rollback.SimpleIO):
        pass


class HotDeployCreate(DeploymentService):
    """Activate a stored version of a file. The version is selected by its ID."""

    name = 'zato.hot-deploy.create'

    class SimpleIO:
        input_required = ('package_id',)

    async def handle(self) -> None:
        version_id = self.request.input.package_id
        for version in await self.server.odb.versions():
            if version.id == version_id:
                self.respond(await self.server.deployer.rollback(version.file, version.number, self.actor))
                return
        raise NotFound(self.cid, f'No kept version has the id {version_id}')


class GetVersions(AdminService):
    """List the stored versions of all files, or of the file `name`, newest first."""

    name = 'zato.hot-deploy.get-versions'

    class SimpleIO:
        input_optional = (Text('name'),)

    async def handle(self) -> None:
        versions = await self.server.odb.versions(self.request.input.name or None)
        ordered = sorted(versions, key=lambda version: (version.file, -version.number))
        self.response.payload = [_version_row(version) for version in ordered]


def _version_row(version: FileVersion) -> dict[str, Any]:
    return {**msgspec.to_builtins(version), 'created': _iso(version.created)}


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()


class GetDeploymentInfoList(ServiceAdminService):
    """List the results of deploying the active version of a service's file, with one result for each server."""

    name = 'zato.service.get-deployment-info-list'

    class SimpleIO:
        input_required = ('id',)

    async def handle(self) -> None:
        stored = self.by_id(self.request.input.id)
        rows = []
        for version in await self.server.odb.versions(stored.value.file) if stored.value.file else ():
            if not version.active:
                continue
            verdicts = await self.server.odb.version_results(version.id)
            for node in await self.server.odb.nodes():
                if node.worker == 0 and node.name in verdicts:
                    rows.append(_deployment_row(node.id, node.name, version, verdicts[node.name]))
        self.response.payload = rows


def _deployment_row(server_id: int, server_name: str, version: FileVersion, refused: str) -> dict[str, Any]:
    details = {
        'file': version.file,
        'version': version.number,
        'sha256': version.sha256,
        'deployment_time': _iso(version.created),
        'deployed_by': version.by,
        'refused': refused,
    }
    return {'server_id': server_id, 'server_name': server_name, 'details': msgspec.json.encode(details).decode('utf-8')}


class GetSourceInfo(ServiceAdminService):
    """Return the source code of the file that defines a service on this server, as base64."""

    name = 'zato.service.get-source-info'

    class SimpleIO:
        input_required = (Text('name'),)
        input_optional = ('cluster_id',)

    async def handle(self) -> None:
        stored = self.by_name(str(self.request.input.name))
        entry = self.server.services.current.get(stored.name)
        if entry is None:
            raise NotFound(self.cid, f'No deployed file has {stored.name}')
        path, source = await self.server.run_in_thread(_source_of, entry.cls)
        self.response.payload = {
            'service_id': stored.id,
            'server_name': self.server.name,
            'source': b64encode(source).decode('ascii'),
            'source_path': path,
            'source_hash': sha256(source).hexdigest(),
            'source_hash_method': 'SHA-256',
        }


def _source_of(cls: type) -> tuple[str, bytes]:
    """Return path and content of the module of a class. Blocking."""
    path = inspect.getsourcefile(cls)
    if path is None:
        return '', b''
    with open(path, 'rb') as stream:  # noqa: PTH123 - in a thread
        return path, stream.read()


SERVICES = (
    UploadPackage,
    Rollback,
    DeployRollback,
    HotDeployCreate,
    GetVersions,
    GetDeploymentInfoList,
    GetSourceInfo,
)
