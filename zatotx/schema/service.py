"""Services as configuration: a row each, kept by deployment and by the start of a node, never by enmasse."""

from __future__ import annotations

from typing import Annotated

from zatotx.schema.masking import ConfigObject
from zatotx.schema.meta import ObjectType, field
from zatotx.schema.security.definition import Role, roles_mistake

SLOW = 99999  # milliseconds: Zato's default, which is never
MOST_IN_FLIGHT = 4_000  # contract §4


class ServiceRow(ConfigObject, frozen=True, kw_only=True):
    """What the cluster keeps of a service beside its code."""

    name: Annotated[str, field('Name of the service, unique in the cluster', min_length=1, max_length=1000)]
    is_active: Annotated[bool, field('Whether it may be invoked')] = True
    impl_name: Annotated[str, field('Module and class that implement it')] = ''
    is_internal: Annotated[bool, field('Whether it is one of zato.*')] = False
    slow_threshold: Annotated[int, field('Milliseconds from which on a response counts as slow', ge=0)] = SLOW
    max_in_flight: (
        Annotated[
            int,
            field('Calls at once on a node, over it callers get 503; none = as server.toml says', ge=1,
                  le=MOST_IN_FLIGHT),
        ] | None
    ) = None
    roles: Annotated[
        list[Role], field('Roles of which a caller must have one; none = whoever its channel lets in', max_length=100,
                          check=roles_mistake),
    ] = []
    wsdl: Annotated[str, field('A WSDL that was uploaded for it, told in place of the one made; empty = none')] = ''
    wsdl_name: Annotated[str, field('What the file of that WSDL was called', max_length=1000)] = ''
    file: Annotated[str, field('The deployed file whose active version has it; empty where none has')] = ''


SERVICE = ObjectType(key='service', struct=ServiceRow, section='', title='Service')
