"""The object type of outgoing REST connections."""

from __future__ import annotations

from typing import Annotated

from zatotx.plugins.http.schema.http_outgoing_base import HttpOutgoing, outgoing_field_combination_errors
from zatotx.schema.meta import ObjectType, ZatoApi, field


class RestOutgoing(HttpOutgoing, frozen=True, kw_only=True):
    """An outgoing REST connection to another system: `self.out.rest[name]`."""

    name: Annotated[
        str, field('Name of the connection, unique among outgoing REST ones', min_length=1, max_length=1000)
    ]


OUTGOING_REST = ObjectType(
    key='outgoing_rest',
    struct=RestOutgoing,
    section='outgoing_rest',
    title='Outgoing REST connection',
    zato=ZatoApi(
        prefix='http-soap',
        actions=('create', 'edit', 'delete', 'get-list', 'ping'),
        fixed_fields={'connection': 'outgoing', 'transport': 'plain_http'},
        zato_names={'security': 'security_id'},
        extra_response_fields=('soap_action', 'soap_version'),
    ),
    validate=outgoing_field_combination_errors,
)
