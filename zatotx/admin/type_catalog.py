"""A catalog of the cluster's object types, which is fetched with zato.schema.get-list and cached for a short time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec
from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from zatotx.admin.cluster_api import ApiError, Caller, IClusterApi

AREAS = ('Security', 'Channels', 'Outgoing', 'Definitions', 'Scheduler', 'Other')  # in the order of the menu
OWN_SCREENS = {'scheduler_job': ('/scheduler', 'Scheduler')}  # lists of types that have a screen of their own
MAX_AGE = 15.0  # seconds for which descriptions are kept: a kind installed later appears after that


class FieldDescription(msgspec.Struct, frozen=True, kw_only=True):
    """The description of a field of an object type (see zatotx.api.object_type_descriptions)."""

    name: str
    zato_name: str
    label: str
    kind: str
    is_optional: bool = False
    is_required: bool = False
    default: Any = None
    default_text: str = ''
    description: str = ''
    is_secret: bool = False
    reference: str = ''
    reference_types: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    bounds: Mapping[str, float] = {}
    fields: tuple[FieldDescription, ...] = ()

    @property
    def row_name(self) -> str:
        """The column of a row of get-list that has the value; for a reference the name of the object."""
        if self.reference and self.kind != 'list':
            return f'{self.zato_name.removesuffix("_id")}_name'
        return self.zato_name


class TypeDescription(msgspec.Struct, frozen=True, kw_only=True):
    """The description of an object type (see zatotx.api.object_type_descriptions)."""

    key: str
    title: str
    heading: str
    area: str
    prefix: str
    fields: tuple[FieldDescription, ...]
    section: str = ''
    actions: tuple[str, ...] = ()
    fixed_fields: Mapping[str, str] = {}
    builtin_names: tuple[str, ...] = ()

    def service(self, action: str) -> str:
        """Return the name of the service of an action."""
        return f'zato.{self.prefix}.{action}'

    @property
    def list_url(self) -> str:
        """The URL of the list of its objects."""
        return OWN_SCREENS.get(self.key, (f'/objects/{quote(self.key)}', ''))[0]

    @property
    def title_in_text(self) -> str:
        """The title within a sentence: 'outgoing REST connection', 'REST channel'."""
        return self.title[:1].lower() + self.title[1:] if self.title[1:2].islower() else self.title

    @property
    def field_names(self) -> frozenset[str]:
        return frozenset(one.name for one in self.fields)


class Catalog:
    """All object types by key, in the order in which the menu shows them."""

    def __init__(self, types: Sequence[TypeDescription]) -> None:
        order = {area: number for number, area in enumerate(AREAS)}
        ordered = sorted(types, key=lambda one: (order.get(one.area, len(AREAS)), one.heading.casefold()))
        self._by_key = {one.key: one for one in ordered}

    def __iter__(self) -> Iterator[TypeDescription]:
        return iter(self._by_key.values())

    def get(self, key: str) -> TypeDescription | None:
        """Return the type with that key, or None."""
        return self._by_key.get(key)

    def menu(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """Return the areas with the URLs and headings of their lists."""
        areas: dict[str, list[tuple[str, str]]] = {}
        for one in self:
            areas.setdefault(one.area, []).append((one.list_url, OWN_SCREENS.get(one.key, ('', one.heading))[1]))
        return list(areas.items())


@define
class CatalogCache:
    """Fetches the catalog of object types, at most once per MAX_AGE seconds."""

    api: IClusterApi
    clock: IReactorTime
    _catalog: Catalog | None = None
    _fetched_at: float = field(default=0.0)

    async def get(self, caller: Caller) -> Catalog:
        """Return the catalog. Raises ApiError, unless an older one is known and the cluster is unavailable."""
        now = self.clock.seconds()
        if self._catalog is None or now - self._fetched_at > MAX_AGE:
            try:
                rows = await self.api.call('zato.schema.get-list', {}, caller)
            except ApiError as error:
                if self._catalog is None or error.status in (401, 403):
                    raise
                return self._catalog
            self._catalog, self._fetched_at = Catalog(msgspec.convert(rows, list[TypeDescription])), now
        return self._catalog
