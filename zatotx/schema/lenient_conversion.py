"""Lenient conversion of requests to the zato.* services: values may be text, names may be Zato's, references may be
ids.

The result is a document with zatotx's field names that still needs validation; values that cannot be converted are left
unchanged, so that validation reports them. Follows Zato's SimpleIO conventions and contract §4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from zatotx.schema.fields import FieldInfo, fields_of, fields_of_struct
from zatotx.schema.meta import ObjectType
from zatotx.schema.references import References

NULL_REFERENCES = frozenset({'', 'none', 'zato_none', 'zato-no-security'})
_YES = frozenset({'true', 'yes', 't', 'y', '1', 'on'})
_NO = frozenset({'false', 'no', 'f', 'n', '0', 'off'})


def parse_request(object_type: ObjectType, request: Mapping[str, Any], references: References) -> dict[str, Any]:
    """Returns the fields of the object type that a request contains. Ignores unknown fields. Empty text counts as a
    missing field if it is not a valid value."""
    document: dict[str, Any] = {}
    for info in fields_of(object_type):
        name = zato_name(object_type, info.name)
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


def zato_name(object_type: ObjectType, field: str) -> str:
    """Returns Zato's name of a field."""
    return field if object_type.zato is None else object_type.zato.zato_names.get(field, field)


def _set_value(info: FieldInfo, value: Any, document: dict[str, Any]) -> None:
    if isinstance(value, str):
        if not value.strip() and info.kind != 'text':
            if not info.optional:
                return  # missing
            value = None
        elif value == '' and info.optional:
            value = None
    document[info.name] = convert_text(info, value)


def _to_items(value: Any) -> list[Any]:
    """Returns the items of a list, or of a comma-separated text; [] for None."""
    if isinstance(value, str):
        return parse_list(value)
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]


def _resolve_reference(info: FieldInfo, request_name: str, value: Any, references: References) -> Any:
    """Returns the name for a name or an id. Text that could be both is an id if the field name ends in `id`
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


def convert_text(info: FieldInfo, value: Any) -> Any:
    """Converts text to the number, boolean, date, list or mapping that the field requires, also inside nested mappings.
    Returns other values unchanged."""
    if isinstance(value, str) and info.kind in _CONVERTERS:
        value = _CONVERTERS[info.kind](value)
    if info.struct is None or not isinstance(value, Mapping):
        return value
    fields = {f.name: f for f in fields_of_struct(info.struct)}
    return {key: convert_text(fields[key], item) if key in fields else item for key, item in value.items()}


def parse_bool(text: str) -> Any:
    """Converts text to a boolean; returns unrecognized text unchanged."""
    folded = text.strip().lower()
    if folded in _YES:
        return True
    return False if folded in _NO else text


def parse_int(text: str) -> Any:
    """Converts decimal digits to an integer; returns other text unchanged. Rejects underscores, non-ASCII digits and
    more than 19 digits."""
    digits = text.strip()
    unsigned = digits[1:] if digits[:1] in ('-', '+') else digits
    return int(digits) if unsigned.isascii() and unsigned.isdigit() and len(unsigned) < 20 else text


def parse_float(text: str) -> Any:
    """Converts text to a finite float; returns other text unchanged."""
    try:
        number = float(text)
    except ValueError:
        return text
    return number if '_' not in text and number - number == 0 else text


def parse_datetime(text: str) -> Any:
    """Converts ISO 8601 text to an aware datetime, UTC by default; returns other text unchanged."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return text
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def parse_list(text: str) -> list[str]:
    """Splits comma-separated text."""
    return [item.strip() for item in text.split(',') if item.strip()]


def parse_mapping(text: str) -> Any:
    """Decodes a JSON object; returns other text unchanged."""
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
