"""Creates forms from the descriptions of object types, and converts submitted forms to API requests. Pure: no I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from zatotx.admin.type_catalog import FieldDescription, TypeDescription

MAX_SELECT = 50  # objects up to which a reference is a list to select from; beyond, a text field with suggestions
FIRST_FIELDS = 6  # fields that are shown at once in any case; further optional ones are below "More settings"
_COMMON = frozenset({
    'name', 'is_active', 'password', 'secret', 'client_secret', 'url_path', 'host', 'port', 'address', 'url',
    'username', 'user', 'realm', 'method', 'data_format', 'members', 'engine', 'db_name', 'soap_action',
    'soap_version', 'timeout', 'extra', 'start_date', 'weeks', 'days', 'hours', 'minutes', 'seconds', 'repeats',
    'cron_definition',
})  # fmt: skip
USED, WAS_USED = '.', '.was'  # suffixes of the box and of the hidden field of an optional mapping
_NUMBERS = ('int', 'float')
_NO_DEFAULT = ('', 'none', '(empty)', '(none)')  # texts of defaults that say nothing
_LONG_TEXTS = ('key', 'crl', 'ca', 'pem', 'extra', 'wsdl', 'cert')

Choices = Mapping[str, Sequence[str]]  # field -> the names of the objects that it may refer to
FormData = Mapping[str, Sequence[str]]  # as a browser sends it


class Control(msgspec.Struct, kw_only=True):
    """One input control of a form."""

    name: str  # of the form field: 'url_path', 'retry.attempts'
    label: str
    control: str  # text, password, number, checkbox, checkboxes, select, suggest, lines, json, group, none
    value: Any = ''  # text; a list of texts of checkboxes and multiple selects; a bool of a checkbox
    help: str = ''
    error: str = ''
    options: Sequence[tuple[str, str]] = ()  # (value, label)
    is_required: bool = False
    is_multiple: bool = False
    placeholder: str = ''
    bounds: Mapping[str, Any] = {}
    step: str = ''
    controls: list[Control] = []
    is_open: bool = False  # of a group
    is_optional: bool = False  # of a group: it has a box that says whether it is used, which `value` is
    was_used: bool = False

    @property
    def element_id(self) -> str:
        return 'f-' + self.name.replace('.', '-')


class Form(msgspec.Struct, kw_only=True):
    """The controls of a form. They are divided into a group of important controls and a group of all others."""

    first: list[Control]
    more: list[Control]

    @property
    def has_error_in_more(self) -> bool:
        return any(_has_error(control) for control in self.more)


def build_form(
    description: TypeDescription,
    *,
    row: Mapping[str, Any] | None = None,
    typed: FormData | None = None,
    choices: Choices | None = None,
    errors: Mapping[str, str] | None = None,
) -> Form:
    """Build the form for a new object, or for the object in `row`. `typed` contains the submitted values, which take
    precedence. `errors` contains the errors of fields, by the field names in the request."""
    first: list[Control] = []
    more: list[Control] = []
    for one in description.fields:
        value = _value(one, row)
        control = _control(one, one.name, value, typed, choices or {}, is_new=row is None)
        _add_errors(control, one, errors or {})
        (first if _is_important(one) else more).append(control)
    while more and len(first) < FIRST_FIELDS and not more[0].controls:
        first.append(more.pop(0))
    first.sort(key=_position)
    return Form(first=first, more=more)


def _is_important(one: FieldDescription) -> bool:
    if one.fields:
        return False
    return one.is_required or one.name in _COMMON or (bool(one.reference) and one.kind != 'list')


def _position(control: Control) -> int:
    """Put the name first and the active flag second; all others keep their order."""
    return {'name': 0, 'is_active': 1}.get(control.name, 2)


def _value(one: FieldDescription, row: Mapping[str, Any] | None) -> Any:
    """Return the value of a field in a row, or the default of a new object."""
    if row is None:
        return one.default
    return row.get(one.row_name, row.get(one.zato_name))


def _control(
    one: FieldDescription, name: str, value: Any, typed: FormData | None, choices: Choices, *, is_new: bool
) -> Control:
    control = Control(
        name=name,
        label=one.label,
        control=_control_type(one, choices),
        help=one.description,
        is_required=one.is_required,
        bounds=_html_bounds(one),
        options=_options(one, choices),
        placeholder='' if one.is_required or one.default_text in _NO_DEFAULT else one.default_text,
        is_multiple=one.kind == 'list' and control_is_select(one, choices),
        step='any' if one.kind == 'float' else '',
    )
    if one.is_secret:
        control.placeholder = '' if is_new else 'unchanged'
    if control.control == 'group':
        nested = value if isinstance(value, Mapping) else {}
        control.controls = [
            _control(part, f'{name}.{part.name}', nested.get(part.name), typed, choices, is_new=True)
            for part in one.fields
        ]
        control.is_optional = one.is_optional
        control.was_used = isinstance(value, Mapping)
        control.value = control.was_used if typed is None else f'{name}{USED}' in typed
        control.is_open = bool(control.value)
        return control
    control.value = _typed_value(control, typed) if typed is not None else _shown_value(one, control, value)
    if control.control == 'select' and not control.is_multiple:
        _keep_unknown_option(control)
    return control


def _control_type(one: FieldDescription, choices: Choices) -> str:
    if one.fields:
        return 'group'
    if one.is_secret:
        return 'lines' if _is_long(one) else 'password'
    if one.kind == 'bool' and not one.is_optional:
        return 'checkbox'
    if one.kind == 'list' and one.choices:
        return 'checkboxes'
    if one.reference and one.kind == 'list' and choices.get(one.name) == []:
        return 'none'
    if control_is_select(one, choices):
        return 'select'
    if one.reference and one.kind != 'list':
        return 'suggest'
    if one.kind == 'list' or _is_long(one):
        return 'lines'
    if one.kind == 'mapping':
        return 'json'
    return 'number' if one.kind in _NUMBERS else 'text'


def control_is_select(one: FieldDescription, choices: Choices) -> bool:
    """Return whether a field is displayed as a list of options."""
    if one.choices or one.kind == 'bool':
        return one.kind != 'list'
    known = choices.get(one.name)
    return bool(one.reference) and one.reference != 'service' and known is not None and len(known) <= MAX_SELECT


def _is_long(one: FieldDescription) -> bool:
    last = one.name.rpartition('_')[2]
    return one.kind == 'text' and (last in _LONG_TEXTS or one.name in _LONG_TEXTS)


def _options(one: FieldDescription, choices: Choices) -> list[tuple[str, str]]:
    if one.kind == 'list' and one.choices:
        return [(choice, choice) for choice in one.choices]
    if one.choices:
        empty = [] if '' in one.choices or one.is_required else [('', 'None' if one.is_optional else 'Default')]
        return [*(empty if one.is_optional else []), *((choice, choice or 'None') for choice in one.choices)]
    if one.kind == 'bool' and one.is_optional:
        return [('', 'Default'), ('true', 'Yes'), ('false', 'No')]
    names = [(name, name) for name in choices.get(one.name, ())]
    is_single = one.kind != 'list' and control_is_select(one, choices)
    return [('', 'None'), *names] if is_single and not one.is_required else names


def _html_bounds(one: FieldDescription) -> dict[str, Any]:
    """Return the attributes of an input that browsers check themselves."""
    names = {'ge': 'min', 'le': 'max', 'max_length': 'maxlength'} if one.kind != 'list' else {}
    if one.kind in _NUMBERS:
        names.pop('max_length', None)
    return {
        names[bound]: int(value) if float(value).is_integer() else value
        for bound, value in one.bounds.items()
        if bound in names
    }


def _shown_value(one: FieldDescription, control: Control, value: Any) -> Any:
    if one.is_secret:
        return ''
    if control.control == 'checkbox':
        return value is True
    if control.control == 'checkboxes' or control.is_multiple:
        return [str(item) for item in value] if isinstance(value, list) else []
    return to_text(value)


def to_text(value: Any) -> str:
    """Convert a value to the text of a control."""
    if value is None or value == {}:
        return ''
    if isinstance(value, bool):
        return 'true' if value else 'false'
    if isinstance(value, list):
        return '\n'.join(map(str, value))
    if isinstance(value, Mapping):
        return json.dumps(value, ensure_ascii=False)
    return f'{value:.12g}' if isinstance(value, float) else str(value)


def _typed_value(control: Control, typed: FormData) -> Any:
    values = typed.get(control.name, ())
    if control.control == 'checkbox':
        return bool(values)
    if control.control == 'checkboxes' or control.is_multiple:
        return list(values)
    if control.control == 'password':
        return ''  # passwords are never sent back to the browser
    return values[0] if values else ''


def _keep_unknown_option(control: Control) -> None:
    """Add the current value to the options if it is not among them, so that saving a form does not change it."""
    if all(value != control.value for value, _ in control.options):
        empty = 'Choose …' if control.is_required else 'None'
        control.options = [(str(control.value), str(control.value) or empty), *control.options]


def _add_errors(control: Control, one: FieldDescription, errors: Mapping[str, str]) -> None:
    """Put the errors of a field and of what is nested in it beside their controls."""
    for path, text in errors.items():
        for name in {one.zato_name, one.name}:
            if path == name:
                control.error = text
            elif path.startswith((f'{name}.', f'{name}[')):
                _add_nested_error(control, path[len(name):], text)


def _add_nested_error(control: Control, path: str, text: str) -> None:
    nested = next((part for part in control.controls if path == f'.{part.name.rpartition(".")[2]}'), None)
    if nested is None:
        control.error = f'{path.lstrip(".")}: {text}'
    else:
        nested.error = text
        control.is_open = True


def _has_error(control: Control) -> bool:
    return bool(control.error) or any(_has_error(part) for part in control.controls)


def _has_text(value: Any) -> bool:
    return value not in ('', None, False, [])


def known_errors(description: TypeDescription, errors: Mapping[str, str]) -> set[str]:
    """Return the paths of the errors that belong to a control of the form."""
    names = {name for one in description.fields for name in (one.name, one.zato_name)}
    return {path for path in errors if path.replace('[', '.').partition('.')[0] in names}


def to_request(description: TypeDescription, typed: FormData) -> dict[str, Any]:
    """Convert a submitted form to a create or edit request. References are sent by name under the field's own name, so
    that a name that consists of digits is not interpreted as an ID."""
    request: dict[str, Any] = dict(description.fixed_fields)
    for one in description.fields:
        value = _request_value(one, one.name, typed)
        if value is not _ABSENT:
            request[one.zato_name if not one.reference else one.name] = value
    return request


_ABSENT = object()


def _request_value(one: FieldDescription, name: str, typed: FormData) -> Any:
    """Return the value of one field; _ABSENT = do not send it."""
    if one.fields:
        return _group_value(one, name, typed)
    values = [value.replace('\r\n', '\n') for value in typed.get(name, ())]
    if one.kind == 'bool' and not one.is_optional:
        return bool(values)
    if one.kind == 'list':
        lines = values if one.choices or len(values) > 1 else values[0].split('\n') if values else []
        return [line.strip() for line in lines if line.strip()]
    text = values[0] if values else ''
    if one.is_secret and not text:
        return _ABSENT
    if one.kind == 'any':
        return _parse_any(text)
    if one.kind == 'mapping' and not text.strip():
        return None if one.is_optional else {}
    return text if one.kind == 'text' else text.strip()


def _group_value(one: FieldDescription, name: str, typed: FormData) -> Any:
    """Return a nested mapping of the fields that have a value. An optional mapping that was used and whose box is not
    checked any more is None; one that was not used is used as soon as a field of it has a value."""
    nested: dict[str, Any] = {}
    for part in one.fields:
        value = _request_value(part, f'{name}.{part.name}', typed)
        if value is not _ABSENT and _has_text(value):
            nested[part.name] = value
    is_used = f'{name}{USED}' in typed or (bool(nested) and f'{name}{WAS_USED}' not in typed)
    return nested if is_used or not one.is_optional else None


def _parse_any(text: str) -> Any:
    """Return the JSON value of a text, or the text."""
    if not text.strip():
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text
