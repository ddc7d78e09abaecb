"""A document against an object type: the Struct, or every mistake with its path.

msgspec stops at the first mistake, so each field is converted on its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

import msgspec

from zatotx.schema.fields import FieldInfo, fields_of_struct
from zatotx.schema.meta import ObjectType

Mistake = tuple[str, str]  # (path of the field, what is wrong with it)


def validate(object_type: ObjectType, document: Mapping[str, Any]) -> tuple[Any, list[Mistake]]:
    """The Struct made of the document and no mistakes, or None and all mistakes. Never raises for bad input.

    References are checked for their form only: whether they lead somewhere the caller knows.
    """
    value, mistakes = _read(object_type.struct, document)
    if value is not None and object_type.check is not None:
        mistakes.extend(object_type.check(value))
    return (None, mistakes) if mistakes else (value, [])


def validate_edit(object_type: ObjectType, current: Any, changes: Mapping[str, Any]) -> tuple[Any, list[Mistake]]:
    """As validate, for an existing object of which only some fields change; a mapping changes as a whole."""
    return validate(object_type, {**msgspec.structs.asdict(current), **changes})


def unknown_fields(key: str, known: Iterable[str]) -> str:
    """What to say of a key that is none of `known`."""
    near = get_close_matches(key, list(known), n=1)
    return f'unknown, did you mean {near[0]}?' if near else 'unknown'


def _read(struct: type[Any], document: Mapping[str, Any]) -> tuple[Any, list[Mistake]]:
    """The Struct, or None and the mistakes of all its fields."""
    fields = {f.name: f for f in fields_of_struct(struct)}
    mistakes = [(str(key), unknown_fields(str(key), fields)) for key in document if key not in fields]
    values: dict[str, Any] = {}
    for name, info in fields.items():
        if name in document:
            _take(info, document[name], values, mistakes)
        elif info.required:
            mistakes.append((name, 'missing'))
    return (None, mistakes) if mistakes else (struct(**values), [])


def _take(info: FieldInfo, given: Any, values: dict[str, Any], mistakes: list[Mistake]) -> None:
    if isinstance(given, str):
        given = info.aliases.get(given, given)
    if info.struct is not None and isinstance(given, Mapping):
        given, inside = _read(info.struct, given)
        if inside:
            mistakes.extend((f'{info.name}.{path}', text) for path, text in inside)
            return
    try:
        value = msgspec.convert(given, info.hint)
    except msgspec.ValidationError as error:
        mistakes.append(_said(info, str(error)))
        return
    wrong = _wrong(info, value)
    if wrong:
        mistakes.append((info.name, wrong))
    else:
        values[info.name] = value


def _wrong(info: FieldInfo, value: Any) -> str:
    """What msgspec's types and bounds cannot say."""
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


def _said(info: FieldInfo, text: str) -> Mistake:
    """msgspec's words in ours: 'Expected `int`, got `str` - at `$[0].a`'."""
    text, _, place = text.replace('`', '').partition(' - at $')
    text = text[:1].lower() + text[1:]
    if 'matching regex' in text and info.description:
        text = f'has not the form it needs ({info.description})'
    return info.name + place, text
