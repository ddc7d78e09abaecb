"""Roles of authenticated callers, which grant privileges other than the use of a channel. Pure functions.

A definition has roles, and a channel or a service may require some, one of which suffices. The required roles of the
broker's own services depend on their names; services not listed here require the admin role.
"""

from __future__ import annotations

from collections.abc import Iterable

ADMIN = 'admin'  # everything
API = 'api'  # the documented public API of Zato (feature map 8.8)
MONITOR = 'monitor'  # the state of the cluster: metrics, findings, info
VIEWER = 'viewer'  # read the whole configuration and state, without secrets, in the web admin and its endpoint
OPERATOR = 'operator'  # what a viewer may, and run things without changing the configuration
ADMIN_USER_ROLES = (ADMIN, OPERATOR, VIEWER)  # the roles that users of the web admin may have

NO_ROLES: frozenset[str] = frozenset()
_BUILTIN_DEFINITIONS = {'admin.invoke': ADMIN, 'pubapi': API}  # Basic Auth definitions that every cluster has initially

# Public services, or services whose endpoints decide (OpenAPI, if `[http] openapi` enables it).
_PUBLIC = frozenset({
    'zato.admin.login', 'zato.docs.get', 'zato.health.live', 'zato.health.ready', 'zato.helpers.echo',
    'zato.helpers.input-logger',
    'zato.helpers.sio-input-logger', 'zato.ping', 'zato.ping2',
})  # fmt: skip
# Beside them the services of the kinds' object types: see `required_roles`.
_API_AREAS = (
    'zato.channel.', 'zato.cloud.', 'zato.definition.', 'zato.email.', 'zato.kvdb.data-dict.', 'zato.notif.',
    'zato.outgoing.', 'zato.pubsub.', 'zato.query.', 'zato.scheduler.job.', 'zato.search.', 'zato.security.',
    'zato.server.message.', 'zato.service.slow-response.', 'zato.stats.',
)  # fmt: skip
_API = frozenset({
    'zato.hot-deploy.create', 'zato.info.get-info', 'zato.info.get-server-info', 'zato.server.delete',
    'zato.server.edit', 'zato.server.get-by-id', 'zato.server.get-list', 'zato.service.configure-request-response',
    'zato.service.delete', 'zato.service.edit', 'zato.service.get-by-name', 'zato.service.get-channel-list',
    'zato.service.get-deployment-info-list', 'zato.service.get-list', 'zato.service.get-request-response',
    'zato.service.get-source-info', 'zato.service.get-wsdl', 'zato.service.has-wsdl', 'zato.service.invoke',
    'zato.service.set-wsdl', 'zato.service.upload-package',
})  # fmt: skip
_MONITOR = frozenset({
    'zato.health.findings', 'zato.info.get-info', 'zato.info.get-server-info', 'zato.metrics.get',
    'zato.server.get-list',
})  # fmt: skip
# Services that only read, or concern the caller only, whatever their names are; those whose last word begins with `get`
# are found by that.
_READING = frozenset({
    'zato.admin.change-own-password', 'zato.admin.change-own-settings', 'zato.admin.logout', 'zato.health.findings',
    'zato.kvdb.data-dict.translation.translate', 'zato.service.has-wsdl',
})  # fmt: skip
# Services that run something, and leave the configuration as it is. Beside them every `ping`.
_OPERATING = frozenset({
    'zato.dead-letter.edit', 'zato.dead-letter.purge', 'zato.dead-letter.replay', 'zato.scheduler.job.execute',
    'zato.service.invoke',
})  # fmt: skip


def effective_roles(type_: str, name: str, configured: Iterable[str]) -> frozenset[str]:
    """Return the roles of a security definition. They consist of the configured roles and, for the broker's own
    definitions, of fixed roles that depend on the name of the definition."""
    own = _BUILTIN_DEFINITIONS.get(name) if type_ == 'basic_auth' else None
    return frozenset(configured) if own is None else frozenset((own, *configured))


def required_roles(
    service: str, *, is_internal: bool, configured: Iterable[str] = (), kind_areas: tuple[str, ...] = ()
) -> frozenset[str]:
    """Return the roles that allow a caller to invoke a service. The caller needs one of them; an empty result means
    that no role is required. `configured` are the roles in the configuration of the service; `kind_areas` are the name
    prefixes of the services that configure objects of kinds, which belong to the public API."""
    roles = {ADMIN, *configured} if configured else set()
    if is_internal and service not in _PUBLIC:
        roles |= _roles_by_name(service, kind_areas)
    return frozenset(roles)


def _roles_by_name(service: str, kind_areas: tuple[str, ...]) -> set[str]:
    roles = {ADMIN}
    if service in _API or service.startswith(_API_AREAS) or service.startswith(kind_areas):
        roles.add(API)
    if service in _MONITOR:
        roles.add(MONITOR)
    if _only_reads(service):
        roles |= {VIEWER, OPERATOR}
    elif service in _OPERATING or service.endswith('.ping'):
        roles.add(OPERATOR)
    return roles


def _only_reads(service: str) -> bool:
    return service in _READING or service.rpartition('.')[2].startswith('get')


def ungrantable_roles(own_roles: frozenset[str], roles: Iterable[str]) -> frozenset[str]:
    """Return those of `roles` that a caller with the roles `own_roles` may not grant. Only administrators may grant,
    revoke or take over roles that they do not have themselves."""
    return NO_ROLES if ADMIN in own_roles else frozenset(roles) - own_roles
