"""The base of the object types of HTTP channels: the fields that REST and SOAP channels share."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from zatotx.rules.http.public_url import public_url_error
from zatotx.rules.routing.route_pattern import Placeholder, parse_pattern
from zatotx.schema.meta import field
from zatotx.schema.secrets import ConfigObject
from zatotx.schema.security.definition import FOR_CHANNELS, Role, roles_error


def _path_error(path: str) -> str:
    _, errors = parse_pattern(path)
    if errors:
        return '; '.join(errors)
    if path == '/zato' or path.startswith('/zato/'):
        return "must not lie under /zato/, which is the broker's own"
    return ''


class HttpChannel(ConfigObject, frozen=True, kw_only=True):
    """Base class of HTTP channels. A channel is a URL path that invokes a service."""

    name: Annotated[str, field('Name of the channel', min_length=1, max_length=1000)]
    is_active: Annotated[bool, field('Whether the channel is served; an inactive one returns 404')] = True
    url_path: Annotated[
        str,
        field('URL path, with {name} for a segment and {name:path} for several', max_length=4096, check=_path_error),
    ]
    service: Annotated[str, field('Service to invoke', ref='service', min_length=1)]
    security: Annotated[
        str | None,
        field('Security definition of clients; none, and no groups = public', ref='security', ref_purpose=FOR_CHANNELS),
    ] = None
    groups: Annotated[
        list[Annotated[str, Meta(min_length=1)]],
        field('Groups of security definitions that are accepted too', ref='groups'),
    ] = []
    roles: Annotated[
        list[Role],
        field('Roles of which a client must have one; empty = none is required', max_length=100, check=roles_error),
    ] = []
    public_url: Annotated[
        str,
        field('Base URL for clients, used in WSDL and OpenAPI: https://api.example.com; empty '
              '= [http] public_url of the server', max_length=2000, check=public_url_error),
    ] = ''
    timeout: Annotated[float, field('Seconds until a request times out with 504', gt=0, le=86400)] = 60.0
    max_in_flight: (
        Annotated[
            int,
            field('Maximum concurrent requests per node, further ones get 503; none = no limit', ge=1, le=100_000),
        ] | None
    ) = None
    queue: Annotated[int, field('Requests over max_in_flight that may wait', ge=0, le=100_000)] = 0
    queue_timeout: Annotated[float, field('Seconds they wait before they get 503', gt=0, le=3600)] = 10.0
    rate_limits: Annotated[
        list[Annotated[str, Meta(min_length=1)]],
        field('Rate limits of the channel; all of them apply', ref='rate_limit', max_length=20),
    ] = []
    compress: Annotated[
        bool, field('Whether to compress text responses from 1 KiB on with gzip, for clients that accept it')
    ] = False


def channel_field_combination_errors(value: HttpChannel) -> list[tuple[str, str]]:
    """Return the validation errors that involve several fields of a channel."""
    errors = []
    if value.queue and value.max_in_flight is None:
        errors.append(('queue', 'needs max_in_flight: nobody has to wait where there is no limit'))
    if value.roles and value.security is None and not value.groups:
        errors.append(('roles', 'needs security or groups: nobody has a role who does not log in'))
    if len(set(value.rate_limits)) < len(value.rate_limits):
        errors.append(('rate_limits', 'must not name a limit twice'))
    return errors


def normalize_url_pattern(url_path: str, *, match_slash: bool = False) -> str:
    """Return a URL pattern with the names of its parameters removed, so that patterns for the same paths are equal."""
    pattern, _ = parse_pattern(url_path, match_slash=match_slash)
    return '/'.join(s if isinstance(s, str) else _without_name(s) for s in pattern.segments)


def _without_name(placeholder: Placeholder) -> str:
    parameter = '{:path}' if placeholder.spans_segments else '{}'
    middles = ''.join(f'{literal}{{}}' for literal in placeholder.separators)
    return placeholder.prefix + parameter + middles + placeholder.suffix
