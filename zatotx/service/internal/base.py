"""What all zato.* services share: their wire form is derived from their name."""

from __future__ import annotations

from typing import Any, ClassVar

from zatotx.interfaces.node import INode
from zatotx.model.faults import BadInput
from zatotx.schema.snapshot import Actor
from zatotx.service.service import Service


def element_of(name: str) -> str:
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
            element = '' if cls.plain else element_of(name)
            cls.SimpleIO = type('SimpleIO', (declared,), {'response_elem': element})  # type: ignore[attr-defined]

    @property
    def actor(self) -> Actor:
        """Who changes what, by which door and from where, for the history."""
        who = self.principal.username or self.principal.name
        return Actor(who, self.channel.name, self.cid, self.request.http.peer)


def bad(field: str, text: str) -> BadInput:
    """One mistake in one field of the request."""
    return BadInput([(f'$.{field}', text)])
