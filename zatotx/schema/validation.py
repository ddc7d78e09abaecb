"""Validation of documents against an object type; reports every error with its path.

msgspec stops at the first error, so each field is converted separately.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

import msgspec

from zatotx.schema.fields import FieldInfo, fields_of_struct
from zatotx.schema.meta import ObjectType

FieldError = tuple[str, str]  # (path of the field, error)


def validate(object_type: ObjectType, document: Mapping[str, Any]) -> tuple[Any, list[FieldError]]:
    """Returns the Struct and no errors, or None and all errors. Never raises for invalid input.

    Only the form of references is checked, not whether the objects exist.
    """
    value, errors = _convert(object_type.struct, normalize(object_type, document))
    if value is not None and object_type.validate is not None:
        errors.extend(object_type.validate(value))
    return (None, errors) if errors else (value, [])


def validate_edit(object_type: ObjectType, current: Any, changes: Mapping[str, Any]) -> tuple[Any, list[FieldError]]:
    """Like validate, for an existing object of which some fields change; a mapping changes as a whole."""
    return validate(object_type, {**msgspec.structs.asdict(current), **normalize(object_type, changes)})


def normalize(object_type: ObjectType, document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns fields as the type stores them. Applying it twice makes no difference."""
    return document if object_type.normalize is None else object_type.normalize(document)


def unknown_field_error(key: str, known: Iterable[str]) -> str:
    """Returns the error for a key that is not among `known`."""
    matches = get_close_matches(key, list(known), n=1)
    return f'unknown, did you mean {matches[0]}?' if matches else 'unknown'


def _convert(struct: type[Any], document: Mapping[str, Any]) -> tuple[Any, list[FieldError]]:
    """Returns the Struct, or None and the errors of all fields."""
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
        errors.append(_describe_error(info, str(error)))
        return
    problem = _constraint_error(info, value)
    if problem:
        errors.append((info.name, problem))
    else:
        values[info.name] = value


def _constraint_error(info: FieldInfo, value: Any) -> str:
    """Checks constraints beyond msgspec's types and bounds."""
    if info.choices and value is not None and value not in info.choices:
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


def _describe_error(info: FieldInfo, text: str) -> FieldError:
    """Rewords an error of msgspec: 'Expected `int`, got `str` - at `$[0].a`'."""
    text, _, path = text.replace('`', '').partition(' - at $')
    text = text[:1].lower() + text[1:]
    if 'matching regex' in text and info.description:
        text = f'has not the form it needs ({info.description})'
    return info.name + path, text
