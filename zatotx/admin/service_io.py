"""The declared input and output of a service. They are converted to the rows of a table, and to the controls of the
form that invokes the service.

Both are drawn from the JSON Schemas of zato.service.get-input-output. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import frozen

from zatotx.admin.forms import Control, FormData

REF = '#/components/schemas/'
MAX_DEPTH = 5  # of nested objects that a table shows
PREFIX = 'in.'  # of the names of form fields
_JSON_KINDS = ('object', 'list')
_EMPTY = ({'enum': ['', None]}, {'type': 'null'})
_TEXT_TYPES = {'string', 'number', 'boolean'}

Schema = Mapping[str, Any]


@frozen
class IoRow:
    """One element of input or output, as a row of a table."""

    depth: int  # 0 = top level
    name: str
    type: str
    is_required: bool
    description: str = ''


@frozen(kw_only=True)
class FieldShape:
    """The information about one value that its JSON Schema contains."""

    kind: str  # text, integer, number, boolean, object, list, any, choice
    schema: Schema  # resolved, without the alternatives for an empty value
    format: str = ''
    choices: tuple[Any, ...] = ()
    items: FieldShape | None = None  # of a list

    @property
    def text(self) -> str:
        """The type in words."""
        if self.kind == 'list':
            return 'list' if self.items is None or self.items.kind == 'any' else f'list of {self.items.text}'
        return self.format or self.kind


@frozen
class ServiceIo:
    """The declared input and output of a service, as shown by the web admin."""

    input: Schema | None = None
    output: Schema | None = None
    components: Mapping[str, Schema] = {}
    description: str = ''
    example: Any = None

    @classmethod
    def from_response(cls, response: Mapping[str, Any]) -> ServiceIo:
        """Return what zato.service.get-input-output has answered."""
        return cls(**{name: response[name] for name in ('input', 'output', 'components', 'description', 'example')})

    def input_rows(self) -> list[IoRow]:
        """Return the rows of the input; [] if none is declared."""
        return [] if self.input is None else list(self._rows(self.input, 0))

    def output_rows(self) -> list[IoRow]:
        """Return the rows of the output; [] if none is declared."""
        return [] if self.output is None else list(self._rows(self.output, 0))

    def _rows(self, schema: Schema, depth: int) -> Iterator[IoRow]:
        shape = self.shape(schema)
        while shape.kind == 'list' and shape.items is not None:
            shape = shape.items
        properties, required = shape.schema.get('properties', {}), shape.schema.get('required', ())
        if not properties and depth == 0:
            whole = self.shape(schema)
            yield IoRow(0, '', whole.text, is_required=True, description=_remarks(whole))
        for name, field in properties.items() if depth < MAX_DEPTH else ():
            one = self.shape(field)
            yield IoRow(depth, name, one.text, name in required, _remarks(one))
            yield from self._rows(field, depth + 1)

    def shape(self, schema: Schema, depth: int = 0) -> FieldShape:
        """Return what a schema says."""
        found = self._resolve(schema)
        alternatives = [self._resolve(one) for one in found.get('anyOf', ()) if one not in _EMPTY]
        if alternatives:
            kinds = [self.shape(one, depth + 1) for one in alternatives] if depth < MAX_DEPTH else []
            if any(one.kind == 'boolean' for one in kinds):
                return FieldShape(kind='boolean', schema=found)
            return kinds[0] if len(kinds) == 1 or (kinds and len({one.kind for one in kinds}) == 1) else FieldShape(
                kind='any', schema=found)  # fmt: skip
        if 'enum' in found or 'const' in found:
            choices = tuple(found.get('enum', (found.get('const'),)))
            return FieldShape(kind='choice', schema=found, choices=choices)
        types = _types(found)
        if types == {'array'}:
            items = self.shape(found['items'], depth + 1) if 'items' in found and depth < MAX_DEPTH else None
            return FieldShape(kind='list', schema=found, items=items)
        return FieldShape(kind=_kind(types, found), schema=found, format=found.get('format', ''))

    def _resolve(self, schema: Schema) -> Schema:
        seen = set()
        while (target := schema.get('$ref', '')).startswith(REF) and target not in seen:
            seen.add(target)
            schema = self.components.get(target.removeprefix(REF), {})
        return schema

    # -- the form

    def fields(self) -> list[tuple[str, FieldShape, bool]]:
        """Return name, shape, and whether it is required, of the elements of an input that is an object."""
        shape = None if self.input is None else self.shape(self.input)
        if shape is None or shape.kind != 'object':
            return []
        required = shape.schema.get('required', ())
        return [(name, self.shape(field), name in required)
                for name, field in shape.schema.get('properties', {}).items()]  # fmt: skip

    def controls(self, typed: FormData, errors: Mapping[str, str]) -> list[Control]:
        """Return a control for each element of the input, with what was typed, and the errors beside them."""
        return [_control(name, shape, is_required, typed, errors) for name, shape, is_required in self.fields()]

    def payload(self, typed: FormData) -> dict[str, Any]:
        """Return the input that was typed into the controls. Elements left empty are not part of it."""
        values = ((name, shape, _typed_text(typed, PREFIX + name)) for name, shape, _ in self.fields())
        return {name: _value(shape, text) for name, shape, text in values if text.strip()}

    def secret_names(self) -> set[str]:
        """Return the names of the elements that are passwords."""
        return {name for name, shape, _ in self.fields() if shape.format == 'password'}

    def placeholder(self) -> str:
        """Return an example of the input as JSON; '' if none is known."""
        return '' if self.example is None else json.dumps(self.example, ensure_ascii=False)


def _types(schema: Schema) -> set[str]:
    types = schema.get('type', ())
    return ({types} if isinstance(types, str) else set(types)) - {'null'}


def _kind(types: set[str], schema: Schema) -> str:
    """Return the kind of a value with these JSON types. Elements accept numbers as text, too."""
    if 'object' in types:
        return 'object' if types == {'object'} else 'any'
    if types == {'boolean'}:
        return 'boolean'
    if 'integer' in types:
        return 'integer'
    if types == {'number'} or (types == {'number', 'string'} and 'format' not in schema):
        return 'number'
    if types and types <= _TEXT_TYPES | {'array'}:
        return 'text'
    return 'any'


def _remarks(shape: FieldShape) -> str:
    """Return description, choices, bounds and default of a value as text."""
    schema, remarks = shape.schema, []
    if schema.get('description'):
        remarks.append(str(schema['description']))
    if shape.choices:
        remarks.append('one of ' + ', '.join(_as_text(choice) or "''" for choice in shape.choices))
    names = {'minimum': 'at least', 'maximum': 'at most', 'exclusiveMinimum': 'above', 'exclusiveMaximum': 'below',
             'minLength': 'length at least', 'maxLength': 'length at most', 'pattern': 'pattern'}  # fmt: skip
    remarks += [f'{text} {schema[name]}' for name, text in names.items()
                if name in schema and not (name == 'pattern' and shape.kind in ('integer', 'number', 'boolean'))]
    if schema.get('default') not in (None, '', [], {}):
        remarks.append(f'default {_as_text(schema["default"])}')
    return '; '.join(remarks)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _control(
    name: str, shape: FieldShape, is_required: bool, typed: FormData, errors: Mapping[str, str]
) -> Control:  # fmt: skip
    control = Control(
        name=PREFIX + name, label=name, control=_control_type(shape), is_required=is_required, help=_help(shape),
        value=_typed_text(typed, PREFIX + name), step='any' if shape.kind == 'number' else '',
        error='; '.join(text for path, text in errors.items() if _concerns(path, name)),
    )  # fmt: skip
    if control.control == 'password':
        control.value = ''
    if control.control == 'select':
        choices: Sequence[Any] = (True, False) if shape.kind == 'boolean' else shape.choices
        control.options = [('', 'Not sent'), *((_as_text(one), _as_text(one)) for one in choices if one != '')]
    return control


def _control_type(shape: FieldShape) -> str:
    if shape.kind in ('boolean', 'choice'):
        return 'select'
    if shape.format == 'password':
        return 'password'
    if shape.kind in _JSON_KINDS:
        return 'lines' if _is_simple_list(shape) else 'json'
    return 'number' if shape.kind in ('integer', 'number') else 'text'


def _is_simple_list(shape: FieldShape) -> bool:
    return shape.kind == 'list' and shape.items is not None and shape.items.kind in ('text', 'integer', 'number')


def _help(shape: FieldShape) -> str:
    how = ''
    if _is_simple_list(shape):
        how = 'One per line'
    elif shape.kind == 'any':
        how = 'Text, or JSON that begins with { or ['
    elif shape.kind in _JSON_KINDS:
        how = 'JSON'
    return '. '.join(part for part in ('' if shape.choices else shape.text, how, _remarks(shape)) if part)


def _concerns(path: str, name: str) -> bool:
    return path == name or path.startswith((f'{name}.', f'{name}['))


def _typed_text(typed: FormData, name: str) -> str:
    values = typed.get(name, ())
    return values[0].replace('\r\n', '\n') if values else ''


def _value(shape: FieldShape, text: str) -> Any:
    """Return the value of what was typed. Text that cannot be one is sent as it is: the service says what is wrong."""
    if _is_simple_list(shape):
        assert shape.items is not None
        return [_value(shape.items, line.strip()) for line in text.split('\n') if line.strip()]
    if shape.kind == 'text' or (shape.kind == 'any' and text.lstrip()[:1] not in ('{', '[')):
        return text
    if shape.kind == 'choice':
        return next((choice for choice in shape.choices if _as_text(choice) == text), text)
    try:
        return json.loads(text)
    except ValueError:
        return text
