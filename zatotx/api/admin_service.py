"""The base class of the zato.* services, whose response elements are derived from their names."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, ClassVar

from zatotx.interfaces.node import INode
from zatotx.model.errors import BadInput, Forbidden
from zatotx.rules.security.roles import ADMIN, ungrantable_roles
from zatotx.schema.snapshot import Actor
from zatotx.service.io import xml_codec
from zatotx.service.service import Service


def response_element(name: str) -> str:
    """Return the name of Zato's response element for a service, such as `zato_http_soap_get_list_response` for
    `zato.http-soap.get-list`."""
    return name.replace('.', '_').replace('-', '_') + '_response'


class AdminService(Service):
    """Base class of the zato.* services. They run in the reactor's thread, and pass long tasks to
    `self.server.offload`.

    A class with a `name` responds in the element of that name, unless it is `plain`.
    """

    zato_dont_import = True
    plain: ClassVar[bool] = False  # responds with the bare payload: no element, no zato_env
    server: INode

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        name = vars(cls).get('name')
        if isinstance(name, str):
            declared = vars(cls).get('SimpleIO')
            options = {'response_elem': '' if cls.plain else response_element(name)}
            # Nearly 300 services declare nothing: a class for each would take 2 KB.
            simple_io = SimpleNamespace(**options) if declared is None else type('SimpleIO', (declared,), options)
            cls.SimpleIO = simple_io  # type: ignore[attr-defined]

    @property
    def received_fields(self) -> Any:
        """The payload; that of a SOAP message converted to values."""
        return xml_codec.read_element_values(self.request.payload)

    @property
    def actor(self) -> Actor:
        """Who makes a change, when, through which channel and from which address, for the history."""
        username = self.principal.username or self.principal.name
        return Actor(username, self.channel.name, self.cid, self.request.http.peer, self._zatotx.started_at)

    @property
    def caller_roles(self) -> frozenset[str]:
        """The roles of the caller.

        A call made by a user's service has all roles, whoever called that service: users' code is trusted as part of
        the broker.
        """
        invocation = self._zatotx.parent
        while invocation is not None:
            if not invocation.entry.is_internal:
                return frozenset((ADMIN,))
            invocation = invocation.parent
        roles: frozenset[str] = self.principal.roles
        return roles

    def require_roles(self, roles: Iterable[str]) -> None:
        """Raise Forbidden if the caller lacks one of these roles, which it would grant or revoke."""
        missing = ungrantable_roles(self.caller_roles, roles)
        if missing:
            raise Forbidden(
                self.cid, f'Roles are given and taken by those who have them: you lack {", ".join(sorted(missing))}'
            )


def bad_field_error(field: str, message: str) -> BadInput:
    """Return the error for one invalid field of the request."""
    return BadInput([(f'$.{field}', message)])
