"""User name and password somewhere in an XML body."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from zatotx.schema.meta import ObjectType, ZatoApi, field
from zatotx.schema.security.definition import Definition

_LONGEST = 4096


class XPath(Definition, frozen=True, kw_only=True):
    """Expressions that lead to a user name and a password: who may use the XML and SOAP channels that name this
    definition."""

    username: Annotated[str, field('What the body must have as user name', min_length=1, max_length=1000)]
    username_expr: Annotated[
        str, field('XPath 1.0 of the user name: it must lead to one text', min_length=1, max_length=_LONGEST)
    ]
    password_expr: Annotated[
        str, field('XPath 1.0 of the password: it must lead to one text', min_length=1, max_length=_LONGEST)
    ]
    namespaces: Annotated[
        dict[str, str], field('Prefixes of the expressions, beside soap, soap12, wsse, wsu and xsi: {crm: "urn:crm"}')
    ] = {}
    password: Annotated[
        str, field('What the body must have as password; until there is one nobody is admitted', secret='encrypted')
    ] = ''


def _mistakes(value: XPath) -> list[tuple[str, str]]:
    return list(_wrong_paths(value))


def _wrong_paths(value: XPath) -> Iterator[tuple[str, str]]:
    from zatotx.wire.xml.xpath import Malformed, TextPath  # lxml takes its time, and few have such definitions

    for name in ('username_expr', 'password_expr'):
        try:
            TextPath(getattr(value, name), value.namespaces)
        except Malformed as wrong:
            yield name, str(wrong)


XPATH = ObjectType(
    key='xpath',
    struct=XPath,
    section='security',
    tag='xpath',
    title='XPath definition',
    zato=ZatoApi(
        prefix='security.xpath',
        actions=('create', 'edit', 'delete', 'get-list', 'change-password'),
        sec_type='xpath_sec',
    ),
    check=_mistakes,
)
