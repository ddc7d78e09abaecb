"""Finds the connector kinds with getPlugins in the package zatotx.plugins, checks them, and loads their parts on
demand."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from attrs import frozen
from twisted.plugin import getPlugins

from zatotx.interfaces.connector_kind import CONNECTOR, ConnectorKind, IConnectorKind, MakeResponseHeaders
from zatotx.interfaces.meters import MetricDefinition
from zatotx.model.errors import StartError
from zatotx.rules.channel_placement import runs_channels
from zatotx.schema.meta import ObjectType


def import_part(path: str) -> Any:
    """Import and return the object to which a path in a declaration refers. The path has the form
    'package.module:name'."""
    module, _, name = path.partition(':')
    return getattr(import_module(module), name)


@frozen(kw_only=True)
class InstalledKind:
    """A kind that was found. `missing_reason` says why the kind is disabled, and is '' if the kind is enabled."""

    kind: ConnectorKind
    missing_reason: str = ''

    @property
    def enabled(self) -> bool:
        return not self.missing_reason

    def load(self, path: str) -> Any:
        """The object at a kind's 'package.module:name' path."""
        return import_part(path)


def find_kinds(package: Any = None) -> list[InstalledKind]:
    """Return all kinds by name. A kind whose optional library is missing is included as disabled, with a sentence that
    says which library to install."""
    if package is None:
        package = import_module('zatotx.plugins')
    kinds: list[Any] = list(getPlugins(IConnectorKind, package))
    return [
        InstalledKind(kind=kind, missing_reason=_missing(kind)) for kind in sorted(kinds, key=lambda kind: kind.name)
    ]


def object_types_of_kinds(kinds: Iterable[InstalledKind]) -> list[ObjectType]:
    """Return the object types of the kinds. The types of disabled kinds are included, so that no configuration is
    lost."""
    return [type_ for found in kinds if found.kind.schema for type_ in found.load(found.kind.schema)]


def service_name_prefixes(kinds: Iterable[InstalledKind]) -> tuple[str, ...]:
    """Return the name prefixes of the services that configure the kinds' objects, such as 'zato.http-soap.'."""
    prefixes = {f'zato.{one.zato.prefix}.' for one in object_types_of_kinds(kinds) if one.zato is not None}
    return tuple(sorted(prefixes))


def metric_definitions_of_kinds(kinds: Iterable[InstalledKind]) -> list[MetricDefinition]:
    """Return the metric definitions of the kinds."""
    return [one for found in kinds if found.kind.metrics for one in found.load(found.kind.metrics)]


def codecs_by_data_format(kinds: Iterable[InstalledKind], budget: Any) -> dict[str, Any]:
    """Return the codecs of the enabled kinds by data format. `budget` limits the content of one message
    (MessageContentLimits)."""
    found_codecs: dict[str, Any] = {}
    for found in kinds:
        if found.enabled and found.kind.codecs:
            found_codecs.update(found.load(found.kind.codecs)(budget))
    return found_codecs


def response_header_functions(kinds: Iterable[InstalledKind]) -> list[MakeResponseHeaders]:
    """Return the functions with which the enabled kinds add header fields to HTTP responses."""
    return [found.load(found.kind.response_headers) for found in kinds if found.enabled and found.kind.response_headers]


def kind_settings_errors(kinds: Iterable[InstalledKind], sections: Mapping[str, dict[str, Any]]) -> list[str]:
    """Return the errors in the sections of server.toml that belong to the kinds, as one sentence for each error."""
    errors = []
    for found in kinds:
        if found.enabled and found.kind.settings and found.kind.name in sections:
            try:
                found.load(found.kind.settings)(sections[found.kind.name])
            except StartError as error:
                errors.append(str(error))
    return errors


def runs_channels_of(kind: ConnectorKind, node_type: str, selected_kinds: Collection[str] | None) -> bool:
    """Return whether nodes of a type run the channels of a kind (see rules.channel_placement.runs_channels)."""
    return runs_channels(kind.name, kind.runs_in, node_type, selected_kinds)


def check_selected_kinds(kinds: Iterable[InstalledKind], selected_kinds: Collection[str] | None) -> None:
    """Check the setting `[main] connector_kinds` of a node. Raises StartError, which names all unknown kinds."""
    known = sorted(found.kind.name for found in kinds if found.kind.runs_in == CONNECTOR)
    unknown = sorted(set(selected_kinds or ()) - set(known))
    if unknown:
        raise StartError(f'[main] connector_kinds: no kind for connectors is called {" or ".join(map(repr, unknown))} '
                         f'(known: {", ".join(known) or "none"})')  # fmt: skip


def describe_kinds_for_info(kinds: Iterable[InstalledKind]) -> Mapping[str, Mapping[str, Any]]:
    """Return descriptions of the kinds for `zatotx info`."""
    return {
        found.kind.name: {'enabled': True} if found.enabled else {'enabled': False, 'why': found.missing_reason}
        for found in kinds
    }


def _missing(kind: ConnectorKind) -> str:
    missing = [module for module in kind.required_modules if find_spec(module) is None]
    if not missing:
        return ''
    return f'{kind.title} needs {", ".join(missing)}: {kind.install_hint}'
