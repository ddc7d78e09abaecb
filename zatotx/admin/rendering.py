"""Renders pages from templates."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache, partial
from hashlib import sha256
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from zatotx import __version__
from zatotx.admin.preferences import Preferences

STATIC_FILES = {
    'admin.css': 'static/admin.css',
    'cluster.css': 'static/cluster.css',
    'admin.js': 'static/admin.js',
    'live.js': 'static/live.js',
    'icon.svg': 'static/icon.svg',
    'htmx.min.js': 'vendor/htmx.min.js',
}
CONTENT_TYPES = {'css': 'text/css; charset=utf-8', 'js': 'text/javascript; charset=utf-8', 'svg': 'image/svg+xml'}


@cache
def load_static_files() -> dict[str, bytes]:
    """Load the contents of all static files that pages refer to."""
    root = files('zatotx.admin')
    return {name: root.joinpath(path).read_bytes() for name, path in STATIC_FILES.items()}


@cache
def _load_environment() -> Environment:
    """Return the templates, each of which is compiled at its first use."""
    digests = {name: sha256(content).hexdigest()[:12] for name, content in load_static_files().items()}
    environment = Environment(
        loader=PackageLoader('zatotx.admin', 'templates'),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals.update(static=lambda name: f'/static/{digests[name]}/{name}', version=__version__)
    environment.filters.update(shown=shown_value, prose=prose, number=format_number)
    return environment


class Renderer:
    """Renders the templates of pages. The URLs of static files contain a digest, so that browsers can cache the
    files."""

    def __init__(self) -> None:
        self._environment = _load_environment()

    def page(self, template: str, values: Mapping[str, Any], preferences: Preferences, *, fragment: str = '') -> bytes:
        """Return the HTML of a page; with `fragment`, only that block of the template."""
        loaded = self._environment.get_template(template)
        context = {**values, 'preferences': preferences, 'moment': partial(moment, preferences=preferences)}
        context['ui'] = self._environment.get_template('macros.html').make_module(context)
        if fragment and fragment in loaded.blocks:
            block = loaded.blocks[fragment](loaded.new_context(context))
            return ''.join(block).encode('utf-8', 'replace')
        return loaded.render(context).encode('utf-8', 'replace')


def moment(text: Any, preferences: Preferences) -> Markup | str:
    """Format a time, given in ISO 8601 or as Unix time, as a <time> element according to the user's preferences."""
    if text in ('', None, 0):
        return ''
    try:
        when = datetime.fromtimestamp(text, UTC) if isinstance(text, int | float) else datetime.fromisoformat(str(text))
    except (ValueError, OverflowError):
        return str(text)
    shown = preferences.show(when if when.tzinfo else when.replace(tzinfo=UTC))
    return Markup('<time datetime="{}">{}</time>').format(when.isoformat(), shown)


def shown_value(value: Any) -> str:
    """Format a value of a row as the text of a table cell."""
    if value in ('', None, [], {}):
        return '\N{EN DASH}'
    if isinstance(value, bool):
        return 'Yes' if value else 'No'
    if isinstance(value, list):
        return ', '.join(map(str, value))
    return as_json(value) if isinstance(value, Mapping) else str(value)


def format_number(value: Any) -> str:
    """Format a number with separators between thousands. Other values are returned as text."""
    return f'{value:,}' if isinstance(value, int | float) else str(value)


def prose(text: str) -> Markup:
    """Convert a description to HTML, with text in backticks as code."""
    parts = text.split('`')
    if len(parts) % 2 == 0:
        return escape(text)
    code = Markup('<code>{}</code>')
    return Markup('').join(code.format(part) if number % 2 else escape(part) for number, part in enumerate(parts))


def as_json(value: Any) -> str:
    """Format a value as indented JSON."""
    return json.dumps(value, ensure_ascii=False, indent=2, default=str)
