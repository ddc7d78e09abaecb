"""The services zato.service.get-input-output, which describes a service's declared input and output, and
zato.hot-deploy.get-source, which returns the code of a stored version of a file."""

from __future__ import annotations

from base64 import b64encode
from contextlib import suppress
from typing import Any

from zatotx.api.admin_service import AdminService, bad_field_error
from zatotx.api.services import ServiceAdminService
from zatotx.model.errors import BadRequest, NotFound
from zatotx.service.deployment.source_package import parse_stored
from zatotx.service.io.elements import Text
from zatotx.service.service_entry import ServiceEntry


class GetInputOutput(ServiceAdminService):
    """Return the docstring of a service, and the JSON Schemas of its input and output, in the form of the OpenAPI
    document. `input` and `output` are null if they are not declared. `components` contains the schemas to which both
    refer."""

    name = 'zato.service.get-input-output'

    class SimpleIO:
        input_required = (Text('name'),)

    async def handle(self) -> None:
        stored = self.by_name(str(self.request.input.name))
        entry = self.server.services.current.get(stored.name)
        if entry is None:
            raise NotFound(self.cid, f'No deployed file has {stored.name}')
        self.response.payload = await self.server.run_in_thread(describe_input_output, entry)


def describe_input_output(entry: ServiceEntry) -> dict[str, Any]:
    """Return the description of a service. The function takes about a millisecond, so it is called in a thread,
    which also imports the modules for it."""
    from zatotx.rules.openapi.json_example import NoExample, make_example
    from zatotx.service.io.json_schema import openapi_service_shape

    shape = openapi_service_shape(entry)
    components: dict[str, Any] = {}
    for declared in (None if shape.input is None else shape.input.whole, shape.output):
        components.update({} if declared is None else declared.components)
    found: dict[str, Any] = {'description': shape.doc.strip(), 'input': None, 'output': None, 'example': None,
                             'components': components}  # fmt: skip
    if shape.output is not None:
        found['output'] = shape.output.schema
    if shape.input is not None:
        found['input'] = shape.input.whole.schema
        with suppress(NoExample):  # for a pattern that no example is known for
            found['example'] = make_example(shape.input.whole.schema, components)
    return found


class GetFileVersion(AdminService):
    """Return the source files in a stored version of the deployed module or package `name`. Each has a path, and its
    content in base64."""

    name = 'zato.hot-deploy.get-source'

    class SimpleIO:
        input_required = (Text('name'), 'number')

    async def handle(self) -> None:
        name, number = str(self.request.input.name), self.request.input.number
        if not str(number).isdecimal():
            raise bad_field_error('number', 'expected int')
        for version in await self.server.odb.versions(name):
            if version.number == int(number):
                content = await self.server.odb.version_content(version.id)
                self.response.payload = await self.server.run_in_thread(
                    _source_files, version.file, version.form, content
                )
                return
        raise NotFound(self.cid, f'No version {number} of {name} is stored')


def _source_files(file: str, form: str, content: bytes) -> dict[str, Any]:
    """Return the files of a version. Raises BadRequest if its bytes are damaged. Called in a thread."""
    try:
        files = parse_stored(file, form, content).files
    except BadRequest as error:
        raise NotFound(None, f'The stored bytes of {file} are damaged: {error}') from None
    rows = [{'path': path, 'content': b64encode(files[path]).decode('ascii')} for path in sorted(files)]
    return {'file': file, 'files': rows}


SERVICES = (GetInputOutput, GetFileVersion)
