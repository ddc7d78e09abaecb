"""API keys."""

from __future__ import annotations

from typing import Annotated

from zatotx.schema.meta import ObjectType, ZatoApi, field
from zatotx.schema.security.definition import Definition, line_mistake

HEADER = 'X-API-Key'
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")  # RFC 9110 §5.6.2


def _header_mistake(header: str) -> str:
    return '' if header and _TOKEN.issuperset(header) else 'must be the name of a header field'


class ApiKey(Definition, frozen=True, kw_only=True):
    """A key in a header field or in the query: who may use the channels that name this definition."""

    header: Annotated[
        str, field('Header field that has the key', max_length=200, check=_header_mistake)
    ] = HEADER
    query: Annotated[
        str,
        field('Parameter of the query that has the key; then no header field is looked at', max_length=200,
              check=line_mistake),
    ] = ''
    password: Annotated[
        str,
        field('The key; until there is one nobody is admitted', secret='encrypted',
              check=line_mistake),
    ] = ''


def _mistakes(value: ApiKey) -> list[tuple[str, str]]:
    if value.query and value.header != HEADER:
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
        names={'header': 'username'},  # feature map 4
    ),
    check=_mistakes,
)
