"""The broker's built-in endpoints under /zato/. They always exist and accept any method."""

from __future__ import annotations

from zatotx.model.message import ChannelSpec
from zatotx.model.soap import SoapChannelSpec
from zatotx.rules.security import roles

PREFIX = '/zato/'
ADMIN, PUBAPI = 'admin.invoke', 'pubapi'  # names of the Basic auth definitions that every new cluster has
# Roles whose security definitions have access too.
_ADMINS, _API, _MONITORS = (roles.ADMIN,), (roles.API,), (roles.ADMIN, roles.MONITOR)


def _endpoint(
    name: str,
    service: str = '',
    security: str | None = None,
    *,
    roles: tuple[str, ...] = (),
    always_open: bool = False,
    internal_only: bool = False,
    soap: SoapChannelSpec | None = None,
) -> ChannelSpec:
    return ChannelSpec(
        name=name,
        kind='http-soap',
        service=service,
        data_format='json' if soap is None else 'soap',
        soap=soap,
        security=security,
        roles=roles,
        is_builtin_endpoint=True,
        serves_while_draining=always_open,
        internal_only=internal_only,
        merge_url_params=service == '',
    )


WSDL = '/zato/wsdl'  # of a service; `?wsdl` at a SOAP channel's path leads there too
OPEN, BASIC, OFF = 'open', 'basic', 'off'  # who may read the OpenAPI document

# Path -> endpoint. An endpoint without a service invokes the service that its path names.
BUILTIN_ENDPOINTS: dict[str, ChannelSpec] = {
    '/zato/ping': _endpoint('zato.ping', 'zato.ping', always_open=True),
    '/zato/live': _endpoint('zato.live', 'zato.health.live', always_open=True),
    '/zato/ready': _endpoint('zato.ready', 'zato.health.ready', always_open=True),
    '/zato/metrics': _endpoint('zato.metrics', 'zato.metrics.get', ADMIN, roles=_MONITORS, always_open=True),
    '/zato/api/invoke/{service}': _endpoint('zato.api.invoke', security=ADMIN, roles=_ADMINS),
    '/zato/json/{service}': _endpoint('zato.json', security=PUBAPI, roles=_API, internal_only=True),
    '/zato/soap': _endpoint('zato.soap', security=PUBAPI, roles=_API, internal_only=True, soap=SoapChannelSpec()),
    WSDL: _endpoint('zato.wsdl', 'zato.wsdl.get'),
    '/zato/cache/{key}': _endpoint('zato.cache.entry', 'zato.cache.entry', ADMIN, roles=_ADMINS),
    '/zato/cache/{operation}/{selection}': _endpoint('zato.cache.list', 'zato.cache.select', ADMIN, roles=_ADMINS),
    '/zato/cache/{operation}/{selection}/{text}': _endpoint(
        'zato.cache.select', 'zato.cache.select', ADMIN, roles=_ADMINS
    ),
    '/zato/admin/invoke': _endpoint('admin.invoke.json', 'zato.service.invoke', ADMIN, roles=_ADMINS),
}


def enabled_endpoints(openapi: str = BASIC, *, docs: bool = True, wsdl: bool = True) -> dict[str, ChannelSpec]:
    """Return the endpoints that the settings enable: DOORS, with or without WSDL, the OpenAPI document and the page
    that displays it. The page contains nothing about the cluster, so it needs no credentials; it asks for those of the
    document in a form of its own. If the browser prompted for them, it would also send them with requests that other
    sites trigger."""
    endpoints = {path: spec for path, spec in BUILTIN_ENDPOINTS.items() if wsdl or path != WSDL}
    if openapi != OFF:
        security, allowed_roles = (ADMIN, _ADMINS) if openapi == BASIC else (None, ())
        endpoints['/zato/openapi.json'] = _endpoint('zato.openapi', 'zato.openapi.get', security, roles=allowed_roles)
        if docs:
            endpoints['/zato/docs'] = _endpoint('zato.docs', 'zato.docs.get')
            endpoints['/zato/docs/{file}'] = _endpoint('zato.docs.file', 'zato.docs.get')
    return endpoints
