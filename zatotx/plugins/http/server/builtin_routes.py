"""The broker's own doors under /zato/. They are always there and take any method."""

from __future__ import annotations

from zatotx.model.message import ChannelSpec
from zatotx.model.soap import SoapSpec
from zatotx.rules.security import roles

PREFIX = '/zato/'
ADMIN, PUBAPI = 'admin.invoke', 'pubapi'  # names of the Basic auth definitions that every cluster begins with
# Who is let in beside them: every definition that has one of these roles.
_ADMINS, _API, _MONITORS = (roles.ADMIN,), (roles.API,), (roles.ADMIN, roles.MONITOR)


def _door(
    name: str,
    service: str = '',
    security: str | None = None,
    *,
    roles: tuple[str, ...] = (),
    always_open: bool = False,
    internal_only: bool = False,
    soap: SoapSpec | None = None,
) -> ChannelSpec:
    return ChannelSpec(
        name=name,
        kind='http-soap',
        service=service,
        data_format='json' if soap is None else 'soap',
        soap=soap,
        security=security,
        roles=roles,
        door=True,
        always_open=always_open,
        internal_only=internal_only,
        merge_url_params=service == '',
    )


WSDL = '/zato/wsdl'  # of a service; `?wsdl` of a SOAP channel's path leads there too
OPEN, BASIC, OFF = 'open', 'basic', 'off'  # who may read the OpenAPI document

# Path -> what is behind it. A door without a service of its own leads to the one its path names.
DOORS: dict[str, ChannelSpec] = {
    '/zato/ping': _door('zato.ping', 'zato.ping', always_open=True),
    '/zato/live': _door('zato.live', 'zato.health.live', always_open=True),
    '/zato/ready': _door('zato.ready', 'zato.health.ready', always_open=True),
    '/zato/metrics': _door('zato.metrics', 'zato.metrics.get', ADMIN, roles=_MONITORS, always_open=True),
    '/zato/api/invoke/{service}': _door('zato.api.invoke', security=ADMIN, roles=_ADMINS),
    '/zato/json/{service}': _door('zato.json', security=PUBAPI, roles=_API, internal_only=True),
    '/zato/soap': _door('zato.soap', security=PUBAPI, roles=_API, internal_only=True, soap=SoapSpec()),
    WSDL: _door('zato.wsdl', 'zato.wsdl.get'),
    '/zato/admin/invoke': _door('admin.invoke.json', 'zato.service.invoke', ADMIN, roles=_ADMINS),
}


def builtin_routes(openapi: str = BASIC, *, docs: bool = True, wsdl: bool = True) -> dict[str, ChannelSpec]:
    """DOORS, without that of WSDL where it is shut, and those that settings open: the OpenAPI document and the page
    that shows it. The page holds nothing of the cluster, so it is open; it asks for the credentials of the document
    itself, in a form: a browser that had them by its own prompt would send them with what other sites make it send."""
    out = {path: spec for path, spec in DOORS.items() if wsdl or path != WSDL}
    if openapi != OFF:
        who, asked = (ADMIN, _ADMINS) if openapi == BASIC else (None, ())
        out['/zato/openapi.json'] = _door('zato.openapi', 'zato.openapi.get', who, roles=asked)
        if docs:
            out['/zato/docs'] = _door('zato.docs', 'zato.docs.get')
            out['/zato/docs/{file}'] = _door('zato.docs.file', 'zato.docs.get')
    return out
