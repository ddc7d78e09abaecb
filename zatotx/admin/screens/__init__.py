"""The screens of the web admin. Each module contains the routes of one subject."""

from __future__ import annotations

from zatotx.admin.application import ScreenRoute
from zatotx.admin.screens import (
    data_dictionaries,
    dead_letters,
    enmasse,
    history,
    home,
    load_balancer,
    nodes,
    object_actions,
    objects,
    redis_commands,
    scheduler,
    search,
    service_detail,
    service_invoker,
    service_samples,
    service_versions,
    services,
    settings,
    statistics,
    usage_statistics,
)


def all_routes() -> tuple[ScreenRoute, ...]:
    """Return the routes of all screens."""
    modules = (
        home, objects, object_actions, scheduler, services, service_detail, service_invoker,
        service_samples, service_versions, nodes, load_balancer, history, dead_letters,
        redis_commands, data_dictionaries, enmasse, search, settings, statistics,
        usage_statistics,
    )  # fmt: skip
    return tuple(route for module in modules for route in module.ROUTES)
