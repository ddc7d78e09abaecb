"""The object type of groups of security definitions."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from zatotx.schema.meta import ObjectType, ZatoApi, field
from zatotx.schema.secrets import ConfigObject
from zatotx.schema.security.definition import FOR_CHANNELS


def _members_error(members: list[str]) -> str:
    return 'has a definition twice' if len(set(members)) < len(members) else ''


class SecurityGroup(ConfigObject, frozen=True, kw_only=True):
    """A group of security definitions. A channel with a security group accepts the credentials of any of its
    definitions."""

    name: Annotated[str, field('Name of the group', min_length=1, max_length=1000)]
    members: Annotated[
        list[Annotated[str, Meta(min_length=1)]],
        field('Security definitions in the group, of any types that channels support',
              ref='security', ref_purpose=FOR_CHANNELS,
              check=_members_error),
    ] = []


SECURITY_GROUP = ObjectType(
    key='security_group',
    struct=SecurityGroup,
    section='groups',
    title='Security group',
    zato=ZatoApi(prefix='groups'),
)
