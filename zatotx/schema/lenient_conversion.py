"""The leniency of Zato's doors: a request's values may be text, its names Zato's, its references ids.

What comes out is a document in our names, still to be validated; what could not be understood is left as it was, so
that validation names it. Forms: Zato's SimpleIO conventions, and contract §4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from zatotx.schema.fields import FieldInfo, fields_of, fields_of_struct
from zatotx.schema.meta import ObjectType
from zatotx.schema.references import References

NO_REFERENCE = frozenset({'', 'none', 'zato_none', 'zato-no-security'})
_YES = frozenset({'true', 'yes', 't', 'y', '1', 'on'})
_NO = frozenset({'false', 'no', 'f', 'n', '0', 'off'})


def parse_request(object_type: ObjectType, request: Mapping[str, Any], references: References) -> dict[str, Any]:
    """The fields of the object type that the request has. Unknown fields are left out; a field given as empty text
    where that is no value counts as not given."""
    document: dict[str, Any] = {}
    for info in fields_of(object_type):
        name = zato_name(object_type, info.name)
        given = name if name in request else info.name
        if given not in request:
            continue
        value = request[given]
        if info.ref and info.kind == 'list':
            document[info.name] = [_reference(info, given, one, references) for one in _several(value)]
        elif info.ref:
            document[info.name] = _reference(info, given, value, references)
        else:
            _plain(info, value, document)
    return document


def zato_name(object_type: ObjectType, field: str) -> str:
    """What Zato calls the field."""
    return field if object_type.zato is None else object_type.zato.names.get(field, field)


def _plain(info: FieldInfo, value: Any, document: dict[str, Any]) -> None:
    if isinstance(value, str):
        if not value.strip() and info.kind != 'text':
            if not info.optional:
                return  # not given
            value = None
        elif value == '' and info.optional:
            value = None
    document[info.name] = from_text(info, value)


def _several(value: Any) -> list[Any]:
    """A list as doors give it: itself, or text with commas between its members; nothing for nothing."""
    if isinstance(value, str):
        return to_list(value)
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]


def _reference(info: FieldInfo, given: str, value: Any, references: References) -> Any:
    """The name, from a name or an id. Text that is both is an id where the field is called one (`security_id`)."""
    if value is None or (isinstance(value, str) and value.strip().lower() in NO_REFERENCE):
        return None
    if isinstance(value, bool) or not isinstance(value, int | str):
        return value
    text = str(value).strip()
    is_id = text.isascii() and text.isdigit() and len(text) < 19
    if not is_id or (isinstance(value, str) and not given.endswith('id') and references.has(info.ref, value)):
        return value
    name = references.name_of(info.ref, int(text))
    return str(value) if name is None else name


def from_text(info: FieldInfo, value: Any) -> Any:
    """A value given as text where the field is a number, a switch, a date, a list or a mapping; likewise what a mapping
    with fields of its own has in it. Anything else as it is."""
    if isinstance(value, str) and info.kind in _CONVERTERS:
        value = _CONVERTERS[info.kind](value)
    if info.struct is None or not isinstance(value, Mapping):
        return value
    inside = {f.name: f for f in fields_of_struct(info.struct)}
    return {key: from_text(inside[key], each) if key in inside else each for key, each in value.items()}


def to_bool(text: str) -> Any:
    """True or False, or the text where it says neither."""
    folded = text.strip().lower()
    if folded in _YES:
        return True
    return False if folded in _NO else text


def to_int(text: str) -> Any:
    """The number, or the text where it is none. Digits only: no underscores, no other alphabets, no 10,000 digits."""
    digits = text.strip()
    bare = digits[1:] if digits[:1] in ('-', '+') else digits
    return int(digits) if bare.isascii() and bare.isdigit() and len(bare) < 20 else text


def to_float(text: str) -> Any:
    """The number, or the text where it is none or not finite."""
    try:
        number = float(text)
    except ValueError:
        return text
    return number if '_' not in text and number - number == 0 else text


def to_datetime(text: str) -> Any:
    """An aware datetime; one without a zone is UTC. The text where it is no date."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return text
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def to_list(text: str) -> list[str]:
    """The texts between its commas."""
    return [one.strip() for one in text.split(',') if one.strip()]


def to_mapping(text: str) -> Any:
    """The object that the text has as JSON; the text where it has none."""
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    return value if isinstance(value, dict) else text


_CONVERTERS: Mapping[str, Callable[[str], Any]] = {
    'bool': to_bool,
    'int': to_int,
    'float': to_float,
    'datetime': to_datetime,
    'list': to_list,
    'mapping': to_mapping,
}
