"""The object types of the HTTP kind."""

from __future__ import annotations

from typing import Annotated

from zatotx.rules.route_pattern import Hole, parse
from zatotx.schema.masking import Configured
from zatotx.schema.meta import ObjectType, ZatoApi, field


def _path_mistake(path: str) -> str:
    _, wrong = parse(path)
    if wrong:
        return '; '.join(wrong)
    if path == '/zato' or path.startswith('/zato/'):
        return "must not lie under /zato/, which is the broker's own"
    return ''


class RestChannel(Configured, frozen=True, kw_only=True):
    """A path that leads to a service."""

    name: Annotated[str, field('Name of the channel, unique among REST channels', min_length=1, max_length=1000)]
    is_active: Annotated[bool, field('Whether it answers; an inactive one is a 404')] = True
    url_path: Annotated[
        str,
        field('Path, with {name} for one segment and {name:path} for any number', max_length=4096, check=_path_mistake),
    ]
    service: Annotated[str, field('Service that answers', ref='service', min_length=1)]
    method: (
        Annotated[str, field('HTTP method it takes, in capitals; none = any', pattern='^[A-Z][A-Z0-9_-]{0,31}$')] | None
    ) = None
    security: Annotated[str | None, field('Security definition to log in with; none = open', ref='security')] = None
    data_format: Annotated[
        str,
        field('How bodies are read and written; file: as one file', choices=('', 'json', 'form', 'file'),
              aliases={'post': 'form'}),
    ] = ''
    timeout: Annotated[float, field('Seconds until a request is answered with 504', gt=0, le=86400)] = 60.0
    max_in_flight: (
        Annotated[
            int,
            field('Requests at once on a node, over it clients get 503; none = no limit of its own', ge=1, le=100_000),
        ] | None
    ) = None
    queue: Annotated[int, field('Requests over max_in_flight that may wait for their turn', ge=0, le=100_000)] = 0
    queue_timeout: Annotated[float, field('Seconds they wait before they get 503', gt=0, le=3600)] = 10.0
    match_slash: Annotated[bool, field('Whether {name} matches slashes too')] = False
    merge_url_params_req: Annotated[bool, field('Whether parameters of path and query join request.input')] = True
    url_params_pri: Annotated[
        str,
        field('Which wins where path and query have one name', choices=('path-over-qs', 'qs-over-path')),
    ] = 'path-over-qs'
    params_pri: Annotated[
        str,
        field(
            'Which wins where path or query and the body have one name',
            choices=('channel-params-over-msg', 'msg-over-channel-params'),
        ),
    ] = 'channel-params-over-msg'


def _mistakes(value: RestChannel) -> list[tuple[str, str]]:
    if value.queue and value.max_in_flight is None:
        return [('queue', 'needs max_in_flight: nobody has to wait where there is no limit')]
    return []


def _unique(value: RestChannel) -> str:
    """Two channels are told apart by method and path; what a parameter is called does not tell them apart."""
    pattern, _ = parse(value.url_path, match_slash=value.match_slash)
    path = '/'.join(s if isinstance(s, str) else _nameless(s) for s in pattern.segments)
    return f'{value.method or "any"} /{path}'


def _nameless(hole: Hole) -> str:
    between = '{:path}' if hole.spans else '{}'
    return hole.prefix + between + ''.join(f'{literal}{{}}' for literal in hole.middles) + hole.suffix


CHANNEL_REST = ObjectType(
    key='channel_rest',
    struct=RestChannel,
    section='channel_rest',
    title='REST channel',
    zato=ZatoApi(
        prefix='http-soap',
        fixed={'connection': 'channel', 'transport': 'plain_http'},
        names={'security': 'security_id'},
        extra_out=('host', 'soap_action', 'soap_version'),
    ),
    check=_mistakes,
    unique=_unique,
    unique_says='method and url_path',
)

OBJECT_TYPES = (CHANNEL_REST,)
