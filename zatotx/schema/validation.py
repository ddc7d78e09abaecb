"""Validates documents against an object type, and reports every error with its path.

msgspec stops at the first error, so each field is converted separately.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from zatotx.schema.meta import FieldInfo, ObjectType, fields_of, fields_of_struct
from zatotx.schema.references import ReferenceTargets

FieldError = tuple[str, str]  # (path of the field, error)


def validate(object_type: ObjectType, document: Mapping[str, Any]) -> tuple[Any, list[FieldError]]:
    """Validate a document. Returns (Struct, no errors) if it is valid, otherwise (None, all errors). Invalid input
    never raises an exception.

    Only the form of references is checked, not whether the objects exist.
    """
    value, errors = _convert(object_type.struct, normalize(object_type, document))
    if value is not None and object_type.validate is not None:
        errors.extend(object_type.validate(value))
    return (None, errors) if errors else (value, [])


def validate_edit(object_type: ObjectType, current: Any, changes: Mapping[str, Any]) -> tuple[Any, list[FieldError]]:
    """Validate an edit of an existing object. Returns the same as `validate`. A nested mapping is replaced as a
    whole."""
    return validate(object_type, {**msgspec.structs.asdict(current), **normalize(object_type, changes)})


def validate_change(object_type: ObjectType, value: Any, before: Any, now: datetime) -> list[FieldError]:
    """Return the errors of a valid object that depend on the current time or on the previous value (see
    ObjectType.validate_change). `value` may be None, which `validate` returns for an invalid object."""
    if value is None or object_type.validate_change is None:
        return []
    return list(object_type.validate_change(value, before, now))


def normalize(object_type: ObjectType, document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Convert fields to the form in which the type stores them. Normalizing fields again does not change them."""
    return document if object_type.normalize is None else object_type.normalize(document)


def unknown_field_error(key: str, known: Iterable[str]) -> str:
    """Return the error message for a key that is not among the `known` keys."""
    from difflib import get_close_matches  # few processes need it

    matches = get_close_matches(key, list(known), n=1)
    return f'unknown, did you mean {matches[0]}?' if matches else 'unknown'


def _convert(struct: type[Any], document: Mapping[str, Any]) -> tuple[Any, list[FieldError]]:
    """Return the Struct, or None and the errors of all fields."""
    fields = {f.name: f for f in fields_of_struct(struct)}
    errors = [(str(key), unknown_field_error(str(key), fields)) for key in document if key not in fields]
    values: dict[str, Any] = {}
    for name, info in fields.items():
        if name in document:
            _convert_field(info, document[name], values, errors)
        elif info.required:
            errors.append((name, 'missing'))
    return (None, errors) if errors else (struct(**values), [])


def _convert_field(info: FieldInfo, raw_value: Any, values: dict[str, Any], errors: list[FieldError]) -> None:
    if isinstance(raw_value, str):
        raw_value = info.aliases.get(raw_value, raw_value)
    if info.struct is not None and isinstance(raw_value, Mapping):
        raw_value, nested = _convert(info.struct, raw_value)
        if nested:
            errors.extend((f'{info.name}.{path}', text) for path, text in nested)
            return
    try:
        value = msgspec.convert(raw_value, info.hint)
    except msgspec.ValidationError as error:
        errors.append((info.name, _datetime_error(raw_value)) if info.kind == 'datetime' and isinstance(raw_value, str)
                      else _describe_error(info, str(error)))  # fmt: skip
        return
    problem = _constraint_error(info, value)
    if problem:
        errors.append((info.name, problem))
    else:
        values[info.name] = value


def _constraint_error(info: FieldInfo, value: Any) -> str:
    """Check constraints beyond msgspec's types and bounds."""
    items = value if info.kind == 'list' and isinstance(value, list | tuple) else (value,)
    if info.choices and value is not None and any(item not in info.choices for item in items):
        one_of = ', '.join(choice or "'' (empty)" for choice in info.choices)
        got = '' if info.secret else f', got {value!r}'
        return f'must be one of: {one_of}{got}'
    if isinstance(value, str):
        if not _is_unicode(value):
            return 'must be valid Unicode text'
        if '\0' in value:
            return 'must not have a NUL character'
    return info.check(value) if info.check is not None and value is not None else ''


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode('utf-8')
    except UnicodeEncodeError:
        return False
    return True


def _datetime_error(text: str) -> str:
    try:
        datetime.fromisoformat(text.strip())
    except ValueError as error:
        reason = str(error) if 'range' in str(error) or 'must be in' in str(error) else ''
        return f'must be a date and time such as 2026-01-31T08:00:00Z, got {text!r}{reason and f" ({reason})"}'
    return f'must have the form 2026-01-31T08:00:00Z, got {text!r}'


def _describe_error(info: FieldInfo, text: str) -> FieldError:
    """Reword an error of msgspec: 'Expected `int`, got `str` - at `$[0].a`'."""
    text, _, path = text.replace('`', '').partition(' - at $')
    text = text[:1].lower() + text[1:]
    if 'matching regex' in text and info.description:
        text = f'has not the form it needs ({info.description})'
    return info.name + path, text


# Lenient conversion of requests to the zato.* services: values may be text, names may be Zato's, references may be
# ids.
#
# The result is a document with zatotx's field names that still needs validation; values that cannot be converted are
# left unchanged, so that validation reports them. Follows Zato's SimpleIO conventions and contract §4.

NULL_REFERENCES = frozenset({'', 'none', 'zato_none', 'zato-no-security'})
_YES = frozenset({'true', 'yes', 't', 'y', '1', 'on'})
_NO = frozenset({'false', 'no', 'f', 'n', '0', 'off'})


def parse_request_fields(
    object_type: ObjectType, request: Mapping[str, Any], references: ReferenceTargets
) -> dict[str, Any]:
    """Return the fields of the object type that a request contains. Unknown fields are ignored. Empty text counts as a
    missing field if it is not a valid value."""
    document: dict[str, Any] = {}
    for info in fields_of(object_type):
        name = zato_field_name(object_type, info.name)
        request_name = name if name in request else info.name
        if request_name not in request:
            continue
        value = request[request_name]
        if info.ref and info.kind == 'list':
            document[info.name] = [
                _resolve_reference(info, request_name, item, references) for item in _to_items(value)
            ]
        elif info.ref:
            document[info.name] = _resolve_reference(info, request_name, value, references)
        else:
            _set_value(info, value, document)
    return document


def zato_field_name(object_type: ObjectType, field: str) -> str:
    """Return Zato's name of a field in the API of an object type."""
    return field if object_type.zato is None else object_type.zato.zato_names.get(field, field)


def _set_value(info: FieldInfo, value: Any, document: dict[str, Any]) -> None:
    if isinstance(value, str):
        if not value.strip() and info.kind != 'text':
            if not info.optional:
                return  # missing
            value = None
        elif value == '' and info.optional:
            value = None
    document[info.name] = convert_field_text(info, value)


def _to_items(value: Any) -> list[Any]:
    """Return the items of a list, or of a comma-separated text; [] for None."""
    if isinstance(value, str):
        return parse_list(value)
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]


def _resolve_reference(info: FieldInfo, request_name: str, value: Any, references: ReferenceTargets) -> Any:
    """Return the name for a name or an id. Text that could be both is an id if the field name ends in `id`
    (`security_id`)."""
    if value is None or (isinstance(value, str) and value.strip().lower() in NULL_REFERENCES):
        return None
    if isinstance(value, bool) or not isinstance(value, int | str):
        return value
    text = str(value).strip()
    is_id = text.isascii() and text.isdigit() and len(text) < 19
    if not is_id or (isinstance(value, str) and not request_name.endswith('id') and references.has(info.ref, value)):
        return value
    name = references.name_of(info.ref, int(text))
    return str(value) if name is None else name


def convert_field_text(info: FieldInfo, value: Any) -> Any:
    """Convert text to the number, boolean, date, list or mapping that a field requires. Text in nested mappings is also
    converted, and other values are returned unchanged."""
    if isinstance(value, str) and info.kind in _CONVERTERS:
        value = _CONVERTERS[info.kind](value)
    if info.struct is None or not isinstance(value, Mapping):
        return value
    fields = {f.name: f for f in fields_of_struct(info.struct)}
    return {key: convert_field_text(fields[key], item) if key in fields else item for key, item in value.items()}


def parse_bool(text: str) -> Any:
    """Convert text to a boolean; return unrecognized text unchanged."""
    folded = text.strip().lower()
    if folded in _YES:
        return True
    return False if folded in _NO else text


def parse_int(text: str) -> Any:
    """Convert decimal digits to an integer; return other text unchanged. Rejects underscores, non-ASCII digits and more
    than 19 digits."""
    digits = text.strip()
    unsigned = digits[1:] if digits[:1] in ('-', '+') else digits
    return int(digits) if unsigned.isascii() and unsigned.isdigit() and len(unsigned) < 20 else text


def parse_float(text: str) -> Any:
    """Convert text to a finite float; return other text unchanged."""
    try:
        number = float(text)
    except ValueError:
        return text
    return number if '_' not in text and number - number == 0 else text


def parse_datetime(text: str) -> Any:
    """Convert ISO 8601 text to an aware datetime, UTC by default; return other text unchanged."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return text
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def parse_list(text: str) -> list[str]:
    """Split comma-separated text into a list."""
    return [item.strip() for item in text.split(',') if item.strip()]


def parse_mapping(text: str) -> Any:
    """Decode a JSON object; return other text unchanged."""
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    return value if isinstance(value, dict) else text


_CONVERTERS: Mapping[str, Callable[[str], Any]] = {
    'bool': parse_bool,
    'int': parse_int,
    'float': parse_float,
    'datetime': parse_datetime,
    'list': parse_list,
    'mapping': parse_mapping,
}
