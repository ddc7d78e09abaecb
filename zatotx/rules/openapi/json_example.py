"""An example for a JSON Schema (2020-12, as msgspec and service.io.shapes write them): a value it admits. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from zatotx.rules.openapi.pattern_example import NoExample, example_matching

Schema = Mapping[str, Any]

REF = '#/components/schemas/'
TEXT = 'text'
_BY_FORMAT = {
    'date': '2026-01-31',
    'date-time': '2026-01-31T12:00:00Z',
    'time': '12:00:00',
    'duration': 'P1D',
    'uuid': '7a2f0c5e-3d51-4c8e-9b0a-2d6f4e1c8b37',
    'decimal': '10.50',
    'password': 'secret',
    'email': 'ann@example.com',
    'uri': 'https://example.com/',
}
_MOST = 100  # items of a list or characters of a text that an example is made longer for


def make_example(schema: Schema, components: Mapping[str, Schema]) -> Any:
    """A value for the schema, whose references are found in `components`. Raises NoExample where none can be made."""
    return _Maker(components).value(schema, ())


def resolve_reference(schema: Schema, components: Mapping[str, Schema]) -> Schema:
    """The schema a reference leads to; any other as it is."""
    while '$ref' in schema:
        schema = components[schema['$ref'].removeprefix(REF)]
    return schema


class _Maker:
    """Walks a schema; `above` are the references it is inside of."""

    def __init__(self, components: Mapping[str, Schema]) -> None:
        self._components = components

    def value(self, schema: Schema, above: tuple[str, ...]) -> Any:
        if schema.get('examples'):
            return schema['examples'][0]
        if '$ref' in schema:
            ref = schema['$ref']
            if ref in above:
                raise NoExample('it goes on for ever')
            return self.value(self._components[ref.removeprefix(REF)], (*above, ref))
        if 'const' in schema:
            return schema['const']
        if 'enum' in schema:
            return next(iter(schema['enum']))
        for several in ('anyOf', 'oneOf'):
            if several in schema:
                return self._one_of(schema[several], above)
        if schema.get('default') not in (None, '', [], {}):
            return schema['default']
        return self._of_type(schema, above)

    def _one_of(self, alternatives: Iterable[Schema], above: tuple[str, ...]) -> Any:
        """Of the first that has one; null only where nothing else does."""
        for schema in sorted(alternatives, key=lambda one: one.get('type') == 'null'):
            try:
                return self.value(schema, above)
            except NoExample:
                continue
        raise NoExample('none of its alternatives has one')

    def _of_type(self, schema: Schema, above: tuple[str, ...]) -> Any:
        kind = schema.get('type')
        if isinstance(kind, list):
            kind = next((one for one in kind if one != 'null'), 'null')
        match kind:
            case 'object':
                return self._object(schema, above)
            case 'array':
                return self._array(schema, above)
            case 'integer' | 'number':
                return number(schema, whole=kind == 'integer')
            case 'boolean':
                return True
            case 'null':
                return None
            case _:
                return text(schema)

    def _object(self, schema: Schema, above: tuple[str, ...]) -> dict[str, Any]:
        required = schema.get('required', ())
        out: dict[str, Any] = {}
        for name, below in schema.get('properties', {}).items():
            try:
                out[name] = self.value(below, above)
            except NoExample:
                if name in required:
                    raise
        values = schema.get('additionalProperties')
        if not out and isinstance(values, Mapping) and not schema.get('properties'):
            keys = schema.get('propertyNames', {})
            for position in range(max(1, schema.get('minProperties', 0))):
                name = text(keys) if keys else f'key{position + 1}'
                out[name] = self.value(values, above)
        return out

    def _array(self, schema: Schema, above: tuple[str, ...]) -> list[Any]:
        out = [self.value(one, above) for one in schema.get('prefixItems', ())]
        items, least = schema.get('items', {}), schema.get('minItems', 0)
        if items is False or out:
            return out
        if schema.get('maxItems') == 0:
            return []
        try:
            one = self.value(items, above)
        except NoExample:
            if least:
                raise
            return []
        if least > _MOST or (least > 1 and schema.get('uniqueItems')):
            raise NoExample('it wants too many different items')
        return [one] * max(1, least)


def text(schema: Schema) -> str:
    """A text of the schema's form, pattern and length."""
    if 'contentEncoding' in schema:
        return 'dGV4dA=='
    least, most = schema.get('minLength', 0), schema.get('maxLength')
    found = _BY_FORMAT.get(schema.get('format', ''), TEXT)
    pattern = schema.get('pattern')
    if pattern is not None and not re.search(pattern, found):
        found = example_matching(pattern)
    elif len(found) < least <= _MOST * 100:
        found = (found * (least // len(found) + 1))[:least]
    elif most is not None and len(found) > most:
        found = found[:most]
    if len(found) < least or (most is not None and len(found) > most):
        raise NoExample('its length and its pattern do not go together')
    if pattern is not None and not re.search(pattern, found):
        raise NoExample('its length and its pattern do not go together')
    return found


def number(schema: Schema, *, whole: bool) -> int | float:
    """A number within the schema's bounds."""
    step = schema.get('multipleOf') or (1 if whole else 0.5)
    low = max(schema.get('minimum', -1e308), schema.get('exclusiveMinimum', -1e308))
    high = min(schema.get('maximum', 1e308), schema.get('exclusiveMaximum', 1e308))
    start = 1 if low <= 1 <= high else low if low > -1e308 else high
    first = -(-start // step) * step  # the next multiple at or above
    for candidate in (first, first + step, first - step, first - 2 * step, (low + high) / 2):
        value = int(candidate) if whole else float(candidate)
        if _within(value, schema) and (not schema.get('multipleOf') or value % step == 0):
            return value
    raise NoExample('no number is within its bounds')


def _within(value: float, schema: Schema) -> bool:
    return bool(
        schema.get('minimum', value) <= value <= schema.get('maximum', value)
        and not value <= schema.get('exclusiveMinimum', value - 1)
        and not value >= schema.get('exclusiveMaximum', value + 1)
    )


__all__ = ['REF', 'NoExample', 'Schema', 'make_example', 'number', 'resolve_reference', 'text']
