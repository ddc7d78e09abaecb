"""The CORS settings of a channel, which specify the sites whose scripts may use the channel from browsers."""

from __future__ import annotations

from typing import Annotated

import msgspec

from zatotx.rules.http.cors import ANY, CorsRules, header_names_error, origin_error
from zatotx.schema.meta import field

_MAX_AGE = 86_400  # seconds; browsers take less


def _origins_error(origins: list[str]) -> str:
    errors = [f'{origin!r} {error}' for origin in origins if (error := origin_error(origin))]
    if not origins:
        return "must name a site at least, or be ['*']"
    if ANY in origins and len(origins) > 1:
        errors.append(f'{ANY!r} is every site: it must stand alone')
    return '; '.join(errors)


def _methods_error(methods: list[str]) -> str:
    invalid = [method for method in methods if not (method.isascii() and method.isalpha() and method.isupper())]
    return f'must be methods in capitals: {", ".join(map(repr, invalid))} is none' if invalid else ''


class Cors(msgspec.Struct, frozen=True, kw_only=True):
    """The CORS settings of a channel."""

    origins: Annotated[
        list[str],
        field('Allowed sites, e.g. https://shop.example; * = every site', max_length=200, check=_origins_error),
    ]
    methods: Annotated[
        list[str],
        field('Methods they may use; empty = those of the channel', max_length=20, check=_methods_error),
    ] = []
    headers: Annotated[
        list[str], field('Header fields they may send; * = any', max_length=100, check=header_names_error)
    ] = msgspec.field(default_factory=lambda: [ANY])
    expose: Annotated[
        list[str], field('Response fields that their scripts may read', max_length=100, check=header_names_error)
    ] = []
    credentials: Annotated[
        bool, field('Whether browsers send the cookies, passwords and certificates of this server')
    ] = False
    max_age: Annotated[int, field('Seconds that a browser may cache the rules', ge=0, le=_MAX_AGE)] = 600


def cors_errors(value: Cors | None) -> list[tuple[str, str]]:
    """Return the validation errors that involve several CORS fields."""
    if value is None or not value.credentials:
        return []
    errors = []
    if ANY in value.origins:
        errors.append(('cors.credentials', 'must not be true where every site may: any of them could act for its '
                      'visitors'))  # fmt: skip
    if ANY in value.expose:
        errors.append(('cors.expose', f'must be names where credentials are sent: browsers do not know {ANY!r} then'))
    return errors


def cors_rules(value: Cors) -> CorsRules:
    """Convert the settings to the CORS rules that the server applies to requests."""
    return CorsRules(
        origins=None if ANY in value.origins else frozenset(origin.lower() for origin in value.origins),
        methods=tuple(value.methods),
        headers=None if ANY in value.headers else frozenset(name.lower() for name in value.headers),
        expose_headers=tuple(value.expose),
        credentials=value.credentials,
        max_age=value.max_age,
    )
