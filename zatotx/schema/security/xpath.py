"""XPath definitions: authentication by a user name and a password inside an XML body."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from zatotx.schema.meta import ObjectType, ZatoApi, field
from zatotx.schema.security.definition import SecurityDefinition

_MAX_LENGTH = 4096


class XPath(SecurityDefinition, frozen=True, kw_only=True):
    """XPath expressions that select the user name and the password in the body of XML and SOAP messages."""

    username: Annotated[str, field('Required user name in the body', min_length=1, max_length=1000)]
    username_expr: Annotated[
        str, field('XPath 1.0 expression of the user name; must select exactly one text',
                   min_length=1, max_length=_MAX_LENGTH)
    ]
    password_expr: Annotated[
        str, field('XPath 1.0 expression of the password; must select exactly one text',
                   min_length=1, max_length=_MAX_LENGTH)
    ]
    namespaces: Annotated[
        dict[str, str], field('Namespace prefixes in the expressions, in addition to soap, soap12, wsse, wsu and xsi:'
                              ' {crm: "urn:crm"}')
    ] = {}
    password: Annotated[
        str, field('Required password in the body; without one all requests are rejected', secret='encrypted')
    ] = ''


def _validate(value: XPath) -> list[tuple[str, str]]:
    return list(_expression_errors(value))


def _expression_errors(value: XPath) -> Iterator[tuple[str, str]]:
    # imported on demand: lxml is slow, and few definitions need it
    from zatotx.wire.xml.xpath import Malformed, TextPath

    for name in ('username_expr', 'password_expr'):
        try:
            TextPath(getattr(value, name), value.namespaces)
        except Malformed as error:
            yield name, str(error)


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
    validate=_validate,
)
