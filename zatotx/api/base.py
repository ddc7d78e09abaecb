"""What all zato.* services share: their wire form is derived from their name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from zatotx.interfaces.node import INode
from zatotx.model.errors import BadInput, Forbidden
from zatotx.rules.security.roles import ADMIN, missing_roles
from zatotx.schema.snapshot import Actor
from zatotx.service.io import xml_input
from zatotx.service.service import Service


def response_element(name: str) -> str:
    """Zato's response element: `zato.http-soap.get-list` -> `zato_http_soap_get_list_response`."""
    return name.replace('.', '_').replace('-', '_') + '_response'


class AdminService(Service):
    """Base of zato.* services. They run on the reactor; what takes long goes through `self.server.offload`.

    A class that has a `name` answers inside the element of that name, unless it is `plain`.
    """

    zato_dont_import = True
    plain: ClassVar[bool] = False  # answers its payload bare: no element, no zato_env
    server: INode

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        name = vars(cls).get('name')
        if isinstance(name, str):
            declared = vars(cls).get('SimpleIO', object)
            element = '' if cls.plain else response_element(name)
            cls.SimpleIO = type('SimpleIO', (declared,), {'response_elem': element})  # type: ignore[attr-defined]

    @property
    def sent(self) -> Any:
        """The payload, that of a SOAP message as values too."""
        return xml_input.values(self.request.payload)

    @property
    def actor(self) -> Actor:
        """Who changes what, by which door and from where, for the history."""
        who = self.principal.username or self.principal.name
        return Actor(who, self.channel.name, self.cid, self.request.http.peer)

    @property
    def asking_roles(self) -> frozenset[str]:
        """What may be asked for here: the roles of the caller. Where a service of users asks, for whomever it may be,
        all of them: their code is part of the broker."""
        run = self._zatotx.parent
        while run is not None:
            if not run.entry.is_internal:
                return frozenset((ADMIN,))
            run = run.parent
        roles: frozenset[str] = self.principal.roles
        return roles

    def refuse_roles(self, roles: Iterable[str]) -> None:
        """Raises Forbidden where one of these roles is not the caller's to give or to take."""
        missing = missing_roles(self.asking_roles, roles)
        if missing:
            raise Forbidden(
                self.cid, f'Roles are given and taken by those who have them: you lack {", ".join(sorted(missing))}'
            )


def bad_request(field: str, text: str) -> BadInput:
    """One mistake in one field of the request."""
    return BadInput([(f'$.{field}', text)])
