"""The object type of REST channels."""

from __future__ import annotations

from typing import Annotated

from zatotx.plugins.http.schema.cors import Cors, cors_errors
from zatotx.plugins.http.schema.http_channel_base import (
    HttpChannel,
    channel_field_combination_errors,
    normalize_url_pattern,
)
from zatotx.schema.meta import ObjectType, ZatoApi, field


class RestChannel(HttpChannel, frozen=True, kw_only=True):
    """A REST channel: a URL path that invokes a service."""

    name: Annotated[str, field('Name of the channel, unique among REST channels', min_length=1, max_length=1000)]
    method: (
        Annotated[str, field('HTTP method, in capitals; none = any', pattern='^[A-Z][A-Z0-9_-]{0,31}$')] | None
    ) = None
    data_format: Annotated[
        str,
        field('Format of bodies; file: as one file', choices=('', 'json', 'xml', 'form', 'file'),
              aliases={'post': 'form'}),
    ] = ''
    cors: Annotated[
        Cors | None, field('CORS rules: sites whose pages may use the channel; none = same origin only')
    ] = None
    etag: Annotated[
        bool, field('Whether responses to GET have an ETag, and 304 is sent to clients with a current copy')
    ] = False
    match_slash: Annotated[bool, field('Whether {name} matches slashes too')] = False
    merge_url_params_req: Annotated[bool, field('Whether request.input includes path and query parameters')] = True
    url_params_pri: Annotated[
        str,
        field('Which value takes precedence if path and query share a name', choices=('path-over-qs', 'qs-over-path')),
    ] = 'path-over-qs'
    params_pri: Annotated[
        str,
        field(
            'Which value takes precedence if path or query and the body share a name',
            choices=('channel-params-over-msg', 'msg-over-channel-params'),
        ),
    ] = 'channel-params-over-msg'


def _errors(value: RestChannel) -> list[tuple[str, str]]:
    return [*channel_field_combination_errors(value), *cors_errors(value.cors)]


def _unique(value: RestChannel) -> str:
    """Return the key of a channel: method and path; the names of parameters do not matter."""
    return f'{value.method or "any"} /{normalize_url_pattern(value.url_path, match_slash=value.match_slash)}'


CHANNEL_REST = ObjectType(
    key='channel_rest',
    struct=RestChannel,
    section='channel_rest',
    title='REST channel',
    zato=ZatoApi(
        prefix='http-soap',
        fixed_fields={'connection': 'channel', 'transport': 'plain_http'},
        zato_names={'security': 'security_id'},
        extra_response_fields=('host', 'soap_action', 'soap_version'),
    ),
    validate=_errors,
    unique_text=_unique,
    unique_label='method and url_path',
)
