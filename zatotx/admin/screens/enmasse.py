"""Screens for exporting the configuration as YAML, and for importing it after the changes have been shown."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from zatotx.admin.application import ScreenRoute
from zatotx.admin.cluster_api import ApiError
from zatotx.admin.page_request import PageRequest
from zatotx.admin.responses import FileDownload, Page, Redirect, Response
from zatotx.admin.screens.objects import IN_PLACE
from zatotx.admin.yaml_document import InvalidYaml, load_yaml

CHANGED = 'The cluster has changed since this was shown: look at what would change now, and apply it then.'


async def show(request: PageRequest) -> Response:
    """Show the forms for export and import."""
    return _page('')


def _page(text: str, *, plan: Any = None, messages: list[str] | None = None, status: int = 200) -> Page:
    values = {'title': 'Import and export', 'text': text, 'plan': plan, 'messages': messages or [],
              'digest': '' if plan is None else digest_of(plan)}  # fmt: skip
    return Page('enmasse.html', values, status)


def digest_of(plan: Mapping[str, Any]) -> str:
    """Return a digest of the changes that an import would make. The same plan has the same digest."""
    return sha256('\n'.join(plan['diff']).encode()).hexdigest()


async def export(request: PageRequest) -> Response:
    """Export the configuration as YAML, with placeholders instead of secrets."""
    done = await request.call('zato.enmasse.export')
    return FileDownload(done['yaml'].encode(), f'configuration-{done["revision"]}.yaml', 'application/yaml')


async def load(request: PageRequest) -> Response:
    """Show the changes that an import would make. With the field `apply`, make the changes."""
    file = request.files.get('file')
    text = request.text('document') if file is None else file.content.decode('utf-8', 'replace')
    is_applied = bool(request.text('apply'))
    try:
        document = load_yaml(text)
        done = await request.call('zato.enmasse.import', {'document': document, 'dry_run': True})
        if is_applied and request.text('digest') != digest_of(done):
            return _page(text, plan=done, messages=[CHANGED], status=409)
        if is_applied:
            done = await request.call('zato.enmasse.import', {'document': document, 'dry_run': False})
    except InvalidYaml as error:
        return _page(text, messages=[str(error)], status=400)
    except ApiError as error:
        if error.status not in IN_PLACE:
            raise
        return _page(text, messages=[*error.messages, *error.field_errors.values()], status=error.status)
    if is_applied:
        return Redirect('/enmasse', f'Imported: {done["changed"]} changed, {done["unchanged"]} unchanged.')
    return _page(text, plan=done)


ROUTES = (
    ScreenRoute('GET', '/enmasse', show),
    ScreenRoute('POST', '/enmasse', load),
    ScreenRoute('POST', '/enmasse/export', export, changes=False),
)
