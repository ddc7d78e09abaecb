"""The services zato.enmasse.import and zato.enmasse.export, which import and export the configuration as one
document."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec

from zatotx.api.admin_service import AdminService, bad_field_error
from zatotx.api.configuration_history import snapshot_to_yaml
from zatotx.model.errors import BadRequest, ServiceError, ServiceUnavailable
from zatotx.rules.enmasse.dictionary_import import SECTION, DictionaryPlan, export_rows, plan_dictionary
from zatotx.rules.redis.data_dictionary import DataDictionary
from zatotx.schema.snapshot import Snapshot
from zatotx.schema.type_registry import ObjectTypeRegistry
from zatotx.service.io.elements import AsIs, Bool

APPLY_TIMEOUT = 60.0  # seconds that all nodes have to apply an import


class Import(AdminService):
    """Import `document` into the configuration of the cluster. With `dry_run`, only return the changes that the import
    would make.

    `document` is an object, or its JSON text: large documents as objects exceed the limits of requests.

    The import is atomic, and live on every node when the service responds. The data dictionary, which is in Redis, is
    stored after it, atomically, too; if that fails, the response says so, and the same import completes it. With
    `replace`, fields that the document omits are reset to their defaults. `resolved` means that references such as
    `${NAME}` were already replaced, and remaining ones are text; otherwise they are rejected.
    """

    name = 'zato.enmasse.import'

    class SimpleIO:
        input_required = (AsIs('document'),)
        input_optional = (Bool('replace'), Bool('dry_run'), Bool('resolved'))

    async def handle(self) -> None:
        request_input, config = self.request.input, self.server.config
        document = await self._read_document()
        dictionary = await self._plan_dictionary(document)
        # Large, and most processes never import a document.
        from zatotx.rules.enmasse.import_plan import plan_import
        from zatotx.rules.security.password_verification import verify_password

        plan = await self.server.run_in_thread(
            partial(
                plan_import,
                document,
                self.server.types,
                config.snapshot,
                replace=bool(request_input.replace),
                verify=verify_password,
                references_resolved=bool(request_input.resolved),
                now=datetime.now(UTC),
            )
        )
        errors = [*plan.errors, *dictionary.errors]
        if errors:
            raise BadRequest(self.cid, '\n'.join(map(str, errors)))
        revision = config.snapshot.revision
        if plan.operations and not request_input.dry_run:
            revision = await config.change(plan.operations, self.actor)
            lagging_nodes = await config.wait_until_applied(revision, APPLY_TIMEOUT)
            if lagging_nodes:
                nodes = ', '.join(lagging_nodes)
                raise ServiceUnavailable(self.cid, f'The import is stored, but not in force yet on {nodes}')
        if dictionary.changed and not request_input.dry_run:
            await self._store_dictionary(dictionary, revision)
        self.response.payload = {
            'diff': [*plan.diff_lines, *dictionary.diff_lines],
            'open': list(plan.anonymous_channels),
            'changed': len(plan.operations) + dictionary.changed,
            'unchanged': plan.unchanged + dictionary.unchanged,
            'dry_run': bool(request_input.dry_run),
            'revision': revision,
        }

    async def _read_document(self) -> dict[str, Any]:
        """Return the document, an object or its JSON text. Raises BadInput."""
        document = self.request.input.document
        if isinstance(document, str):
            from zatotx.rules.enmasse.document_text import decode_document

            try:
                document = await self.server.run_in_thread(decode_document, document)
            except msgspec.DecodeError as error:
                raise bad_field_error('document', f'the text is not JSON: {error}') from None
        if not isinstance(document, Mapping):
            raise bad_field_error('document', f'expected an object, got {type(document).__name__}')
        return dict(document)

    async def _plan_dictionary(self, document: dict[str, Any]) -> DictionaryPlan:
        """Take the data dictionary out of a document, and plan its import, for which Redis must be available."""
        if SECTION not in document:
            return DictionaryPlan(DataDictionary())
        rows, stored = document.pop(SECTION), await self.server.service_redis.data_dictionary.load()
        resolved = bool(self.request.input.resolved)
        plan: DictionaryPlan = await self.server.run_in_thread(
            partial(plan_dictionary, rows, stored, references_resolved=resolved)
        )
        return plan

    async def _store_dictionary(self, plan: DictionaryPlan, revision: int) -> None:
        """Store the data dictionary, after the configuration: it is in Redis, which shares no transaction with the
        ODB. If this fails, the same import completes it."""

        def apply(current: DataDictionary) -> None:
            errors = plan_dictionary(plan.rows, current, references_resolved=bool(self.request.input.resolved)).errors
            if errors:
                raise BadRequest(self.cid, '\n'.join(map(str, errors)))

        try:
            await self.server.service_redis.data_dictionary.change(apply)
        except ServiceError as error:
            raise ServiceUnavailable(
                self.cid,
                f'The import is incomplete: the configuration is in force (revision {revision}), but the data'
                f' dictionary is not stored: {error.details}. Import again.',
            ) from error


class Export(AdminService):
    """Export the configuration as YAML, which can be imported again. Secrets are written as `${NAME}` unless the
    request asks for them."""

    name = 'zato.enmasse.export'

    class SimpleIO:
        input_optional = (Bool('include_secrets'),)

    async def handle(self) -> None:
        snapshot = self.server.config.snapshot
        secrets = bool(self.request.input.include_secrets)
        dictionary = await self.server.service_redis.data_dictionary.load()
        text = await self.server.run_in_thread(_to_yaml, snapshot, self.server.types, secrets, dictionary)
        self.response.payload = {'yaml': text, 'revision': snapshot.revision}


def _to_yaml(snapshot: Snapshot, types: ObjectTypeRegistry, secrets: bool, dictionary: DataDictionary) -> str:
    """Return the configuration and the data dictionary as an enmasse document."""
    rows = export_rows(dictionary)
    return snapshot_to_yaml(snapshot, types, secrets, {SECTION: rows} if rows else {})


SERVICES = (Import, Export)
