"""API key definitions."""

from __future__ import annotations

from typing import Annotated

from zatotx.schema.meta import ObjectType, ZatoApi, field
from zatotx.schema.security.definition import SecurityDefinition, control_character_error

DEFAULT_HEADER = 'X-API-Key'
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")  # RFC 9110 §5.6.2


def _header_error(header: str) -> str:
    return '' if header and _TOKEN.issuperset(header) else 'must be the name of a header field'


class ApiKey(SecurityDefinition, frozen=True, kw_only=True):
    """An API key in a header field or a query parameter."""

    header: Annotated[
        str, field('Header field that carries the key', max_length=200, check=_header_error)
    ] = DEFAULT_HEADER
    query: Annotated[
        str,
        field('Query parameter that carries the key; if set, header fields are ignored', max_length=200,
              check=control_character_error),
    ] = ''
    password: Annotated[
        str,
        field('The key; without one all requests are rejected', secret='encrypted',
              check=control_character_error),
    ] = ''


def _find_errors(value: ApiKey) -> list[tuple[str, str]]:
    if value.query and value.header != DEFAULT_HEADER:
        return [('query', 'give header or query, not both')]
    return []


APIKEY = ObjectType(
    key='apikey',
    struct=ApiKey,
    section='security',
    tag='apikey',
    title='API key definition',
    zato=ZatoApi(
        prefix='security.apikey',
        actions=('create', 'edit', 'delete', 'get-list', 'change-password'),
        zato_names={'header': 'username'},  # feature map 4
    ),
    validate=_find_errors,
)
