"""The request and its user, as passed to the handlers of screens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from attrs import field, frozen

from zatotx.admin.balancer_status import BalancerStatus, IBalancerAgent
from zatotx.admin.cluster_api import Caller, IClusterApi
from zatotx.admin.invocation_history import InvocationHistory
from zatotx.admin.live import LiveFeed
from zatotx.admin.preferences import Preferences
from zatotx.admin.rolling_restart import RollingRestart
from zatotx.admin.type_catalog import Catalog, CatalogCache
from zatotx.rules.security.roles import ADMIN, OPERATOR

Texts = Mapping[str, Sequence[str]]


@frozen
class FormFile:
    """A file that was uploaded with a form."""

    filename: str  # as the browser sent it; never used as a path
    content: bytes = field(repr=False)


@frozen
class User:
    """The logged-in user of the web admin who sent a request."""

    username: str
    roles: frozenset[str]
    settings: Mapping[str, str] = field(factory=dict)  # of dates and colors; {} = those in the cookie
    is_local: bool = False  # the break-glass account, which no server knows

    @property
    def may_change(self) -> bool:
        """Whether the API accepts changes of the configuration from the user."""
        return ADMIN in self.roles

    @property
    def may_operate(self) -> bool:
        """Whether the API runs things for the user: invoke, ping, replay."""
        return not self.roles.isdisjoint((ADMIN, OPERATOR))


@frozen(kw_only=True)
class PageRequest:
    """One request of a logged-in user, as passed to the handlers of screens."""

    method: str
    path: str
    query: Texts
    form: Texts
    api: IClusterApi
    caller: Caller
    catalogs: CatalogCache
    user: User
    invocations: InvocationHistory
    preferences: Preferences
    now: float  # Unix time
    live: LiveFeed
    rolling_restart: RollingRestart
    balancer: IBalancerAgent | None = None  # None = there is none
    balancer_status: BalancerStatus | None = None  # likewise
    files: Mapping[str, FormFile] = field(factory=dict)

    async def call(self, service: str, payload: Mapping[str, Any] | None = None) -> Any:
        """Invoke an internal service as the user. Raises ApiError."""
        return await self.api.call(service, payload or {}, self.caller)

    async def call_each(self, service: str, payload: Mapping[str, Any] | None = None) -> list[Any]:
        """Invoke an internal service on every server as the user. Raises ApiError."""
        answers: list[Any] = await self.api.call_each(service, payload or {}, self.caller)
        return answers

    async def catalog(self) -> Catalog:
        """Return the object types of the cluster. Raises ApiError."""
        return await self.catalogs.get(self.caller)

    def argument(self, name: str, default: str = '') -> str:
        """Return one parameter of the query."""
        values = self.query.get(name, ())
        return values[0] if values else default

    def text(self, name: str, default: str = '') -> str:
        """Return one field of the form, with the line ends of Unix."""
        values = self.form.get(name, ())
        return values[0].replace('\r\n', '\n') if values else default

    def link(self, **changes: object) -> str:
        """Return the URL of this page with some parameters of the query replaced; '' and None remove them."""
        query = {name: values[-1] for name, values in self.query.items() if values}
        for name, value in changes.items():
            if value in ('', None):
                query.pop(name, None)
            else:
                query[name] = str(value)
        return f'{self.path}?{urlencode(query)}' if query else self.path
