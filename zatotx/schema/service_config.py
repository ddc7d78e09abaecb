"""The configuration of services. There is one object per service, which is maintained by deployments and node starts,
and not by enmasse."""

from __future__ import annotations

from typing import Annotated

from zatotx.schema.meta import ObjectType, field
from zatotx.schema.secrets import ConfigObject
from zatotx.schema.security.definition import Role, roles_error

DEFAULT_SLOW_THRESHOLD = 99999  # milliseconds: Zato's default, which effectively disables it
MAX_IN_FLIGHT = 4_000  # contract §4


class ServiceConfig(ConfigObject, frozen=True, kw_only=True):
    """The stored configuration of a service."""

    name: Annotated[str, field('Name of the service, unique in the cluster', min_length=1, max_length=1000)]
    is_active: Annotated[bool, field('Whether it may be invoked')] = True
    impl_name: Annotated[str, field('Module and class that implement it')] = ''
    is_internal: Annotated[bool, field('Whether it is a zato.* service')] = False
    slow_threshold: Annotated[
        int,
        field('Milliseconds from which a response counts as slow, and is recorded; the default records none', ge=0),
    ] = DEFAULT_SLOW_THRESHOLD
    sample_req_resp_freq: Annotated[int, field('Each n-th call is recorded as a sample; 0 = none', ge=0)] = 0
    max_in_flight: (
        Annotated[
            int,
            field('Concurrent calls per node; further callers get 503; none = the default in server.toml', ge=1,
                  le=MAX_IN_FLIGHT),
        ] | None
    ) = None
    roles: Annotated[
        list[Role], field('The caller must have one of these roles; none = no role required', max_length=100,
                          check=roles_error),
    ] = []
    wsdl: Annotated[str, field('An uploaded WSDL that replaces the generated one; empty = none')] = ''
    wsdl_name: Annotated[str, field('File name of the uploaded WSDL', max_length=1000)] = ''
    file: Annotated[str, field('The deployed file whose active version contains it; empty if there is none')] = ''


SERVICE = ObjectType(key='service', struct=ServiceConfig, section='', title='Service')
