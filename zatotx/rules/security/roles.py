"""Roles: what a security definition may do beside using the channels that name it. Pure.

A definition has roles, a channel or a service may demand some: one of them is enough. The broker's own services demand
roles by their names; what is not in the table here is for administrators.
"""

from __future__ import annotations

from collections.abc import Iterable

ADMIN = 'admin'  # everything
API = 'api'  # what Zato's documented public API has (feature map 8.8)
MONITOR = 'monitor'  # how the cluster is: metrics, findings, facts

NONE: frozenset[str] = frozenset()
_OWN = {'admin.invoke': ADMIN, 'pubapi': API}  # Basic auth definitions that every cluster begins with

# Nothing in them is anybody's business, or their doors decide (OpenAPI, if `[http] openapi` opens it).
_ANYBODY = frozenset({
    'zato.docs.get', 'zato.health.live', 'zato.health.ready', 'zato.helpers.echo', 'zato.helpers.input-logger',
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


def roles_of(type_: str, name: str, given: Iterable[str]) -> frozenset[str]:
    """The roles of a security definition: those it was given, and what the broker's own have by their names, whatever
    becomes of their rows."""
    own = _OWN.get(name) if type_ == 'basic_auth' else None
    return frozenset(given) if own is None else frozenset((own, *given))


def required_roles(
    service: str, *, is_internal: bool, by_row: Iterable[str] = (), kind_areas: tuple[str, ...] = ()
) -> frozenset[str]:
    """The roles of which a caller of the service must have one; none = whoever its channel lets in. `by_row`: what the
    configuration says of the service; `kind_areas`: what the names of the services begin with that configure objects
    of kinds, which belong to the public API."""
    roles = {ADMIN, *by_row} if by_row else set()
    if is_internal and service not in _ANYBODY:
        roles |= _by_name(service, kind_areas)
    return frozenset(roles)


def _by_name(service: str, kind_areas: tuple[str, ...]) -> set[str]:
    roles = {ADMIN}
    if service in _API or service.startswith(_API_AREAS) or service.startswith(kind_areas):
        roles.add(API)
    if service in _MONITOR:
        roles.add(MONITOR)
    return roles


def missing_roles(mine: frozenset[str], roles: Iterable[str]) -> frozenset[str]:
    """Which of these roles are not in the gift of one who has `mine`: nobody gives, takes or takes over what he does
    not have himself, administrators aside."""
    return NONE if ADMIN in mine else frozenset(roles) - mine
