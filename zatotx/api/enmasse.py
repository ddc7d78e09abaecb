"""zato.enmasse.import and export: the configuration as one document."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from zatotx.api.base import AdminService, bad_request
from zatotx.api.history import snapshot_to_yaml
from zatotx.model.errors import BadRequest, ServiceUnavailable
from zatotx.service.io.elements import AsIs, Bool

APPLY_TIMEOUT = 60.0  # seconds that all nodes have to apply an import


class Import(AdminService):
    """Apply `document` to the configuration of the cluster, or with `dry_run` return the changes it would make.

    The import is atomic, and live on every node when the service responds. With `replace`, fields that the document
    omits are reset to their defaults. `resolved` means that references such as `${NAME}` were already replaced, and
    remaining ones are text; otherwise they are rejected.
    """

    name = 'zato.enmasse.import'

    class SimpleIO:
        input_required = (AsIs('document'),)
        input_optional = (Bool('replace'), Bool('dry_run'), Bool('resolved'))

    async def handle(self) -> None:
        request_input, config = self.request.input, self.server.config
        if not isinstance(request_input.document, Mapping):
            raise bad_request('document', f'expected an object, got {type(request_input.document).__name__}')
        # Large, and most processes never import a document.
        from zatotx.rules.enmasse.import_plan import plan_import
        from zatotx.rules.security.password_hash import verify_password

        plan = await self.server.run_in_thread(
            partial(
                plan_import,
                dict(request_input.document),
                self.server.types,
                config.snapshot,
                replace=bool(request_input.replace),
                verify=verify_password,
                references_resolved=bool(request_input.resolved),
            )
        )
        if plan.errors:
            raise BadRequest(self.cid, '\n'.join(map(str, plan.errors)))
        revision = config.snapshot.revision
        if plan.operations and not request_input.dry_run:
            revision = await config.change(plan.operations, self.actor)
            lagging_nodes = await config.wait_until_applied(revision, APPLY_TIMEOUT)
            if lagging_nodes:
                nodes = ', '.join(lagging_nodes)
                raise ServiceUnavailable(self.cid, f'The import is stored, but not in force yet on {nodes}')
        self.response.payload = {
            'diff': list(plan.diff_lines),
            'open': list(plan.anonymous_channels),
            'changed': len(plan.operations),
            'unchanged': plan.unchanged,
            'dry_run': bool(request_input.dry_run),
            'revision': revision,
        }


class Export(AdminService):
    """Return the configuration as YAML, which can be imported again; secrets as `${NAME}` unless requested."""

    name = 'zato.enmasse.export'

    class SimpleIO:
        input_optional = (Bool('include_secrets'),)

    async def handle(self) -> None:
        snapshot = self.server.config.snapshot
        secrets = bool(self.request.input.include_secrets)
        text = await self.server.run_in_thread(snapshot_to_yaml, snapshot, self.server.types, secrets)
        self.response.payload = {'yaml': text, 'revision': snapshot.revision}


SERVICES = (Import, Export)
