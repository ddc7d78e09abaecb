"""Typed models as declared input and output. Models are msgspec Structs, dataclasses (including Zato 3.x Models), and
lists of them.

msgspec converts a value in one call and stops at the first mistake; only then does `mistakes_of` walk the type to list
all of them.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import msgspec

from zatotx.service.io.validation_error import NOT_GIVEN, ValidationError

_LISTS = (list, set, frozenset, Sequence)
UNIONS = (typing.Union, types.UnionType)


class ModelField(msgspec.Struct, frozen=True):
    """One field of a Struct or dataclass."""

    name: str  # attribute in Python
    key: str  # key in messages
    type: Any
    required: bool


def is_model(declared: Any) -> bool:
    """Return whether a declaration is a typed model: a Struct, a dataclass, or a list or union of them."""
    if isinstance(declared, type) and not hasattr(declared, '__args__'):
        return issubclass(declared, msgspec.Struct) or dataclasses.is_dataclass(declared)
    args = typing.get_args(declared)
    return any(is_model(arg) for arg in args)


def model_fields(model: Any) -> tuple[ModelField, ...] | None:
    """Return the fields of a Struct or dataclass, or None for other types.

    Raises NameError for an annotation that cannot be resolved.
    """
    if not isinstance(model, type) or typing.get_origin(model) is not None:
        return None
    if issubclass(model, msgspec.Struct):
        return tuple(
            ModelField(field.name, field.encode_name, field.type, field.required)
            for field in msgspec.structs.fields(model)
        )
    if not dataclasses.is_dataclass(model):
        return None
    hints = typing.get_type_hints(model, include_extras=True)
    return tuple(
        ModelField(
            field.name,
            field.name,
            hints[field.name],
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
        )
        for field in dataclasses.fields(model)
    )


def object_fields(model: Any) -> tuple[ModelField, ...] | None:
    """Return the fields of a model that is encoded as an object, or None for other types."""
    return None if _is_array_like(model) else model_fields(model)


def _is_array_like(model: Any) -> bool:
    config = getattr(model, '__struct_config__', None)
    return config is not None and bool(config.array_like)


def unwrap_type(declared: Any) -> Any:
    """Remove Annotated from a type, and None from an optional type."""
    if typing.get_origin(declared) is typing.Annotated:
        return unwrap_type(typing.get_args(declared)[0])
    if typing.get_origin(declared) in UNIONS:
        others = [arg for arg in typing.get_args(declared) if arg is not type(None)]
        return unwrap_type(others[0]) if len(others) == 1 else declared
    return declared


def is_list_type(declared: Any) -> bool:
    """Return whether a type is a list, set, sequence or tuple."""
    plain = unwrap_type(declared)
    return plain in _LISTS or typing.get_origin(plain) in (*_LISTS, tuple) or plain is tuple


def has_dataclasses(declared: Any, seen: frozenset[Any] = frozenset()) -> bool:
    """Return whether a type contains a dataclass at any depth."""
    if dataclasses.is_dataclass(declared):
        return True
    if declared in seen:
        return False
    fields = model_fields(declared)
    if fields is not None:
        return any(has_dataclasses(item.type, seen | {declared}) for item in fields)
    return any(has_dataclasses(item, seen) for item in typing.get_args(declared) if _is_type(item))


def _is_type(value: Any) -> bool:
    return isinstance(value, type) or typing.get_origin(value) is not None


def convert_to_type(value: Any, declared: Any, *, from_text: bool = False) -> Any:
    """Convert `value` to the declared type. Raises ValidationError, which lists all errors.

    A number without a fraction is an integer in any notation (JSON Schema 2020-12 validation, section 6.1.1). As
    msgspec accepts 1.0 only in texts, other values are searched for it after an error.
    """
    try:
        return _converted(value, declared, from_text)
    except msgspec.ValidationError as error:
        if not from_text:
            value = floats_to_integers(value, declared)
        try:
            return _converted(value, declared, from_text)
        except msgspec.ValidationError:
            errors = list(find_errors(value, declared, from_text)) or [_parse_msgspec_error(str(error))]
        raise ValidationError(errors) from None


def _converted(value: Any, declared: Any, text: bool) -> Any:
    return msgspec.convert(value, declared, strict=not text, from_attributes=False, str_keys=True)


def floats_to_integers(value: Any, declared: Any) -> Any:
    """Convert floats such as 1.0 in `value` to integers where the declared type allows integers only."""
    plain = unwrap_type(declared)
    if type(value) is float:
        takes_integer = value.is_integer() and not _is_valid(value, declared) and _is_valid(int(value), declared)
        return int(value) if takes_integer else value
    if isinstance(value, Mapping):
        return _integers_of_object(value, _select_model(plain, value))
    if isinstance(value, list):
        return _integers_of_list(value, plain)
    return value


def _integers_of_object(value: Mapping[str, Any], model: Any) -> Mapping[str, Any]:
    fields = object_fields(model)
    if fields is not None:
        types = {field.key: field.type for field in fields}
        config = getattr(model, '__struct_config__', None)
        if config is not None and isinstance(config.tag, int):
            types[config.tag_field] = int
        return {key: floats_to_integers(item, types.get(key, Any)) for key, item in value.items()}
    args = typing.get_args(model)
    return {key: floats_to_integers(item, args[1]) for key, item in value.items()} if len(args) == 2 else value


def _integers_of_list(value: list[Any], declared: Any) -> list[Any]:
    choices = typing.get_args(declared) if typing.get_origin(declared) in UNIONS else (declared,)
    plain = unwrap_type(next((choice for choice in choices if is_list_type(choice) or _is_array_like(choice)), None))
    args = typing.get_args(plain)
    if _is_array_like(plain):
        types = [field.type for field in model_fields(plain) or ()]
        return [
            floats_to_integers(item, type_) for item, type_ in zip_longest(value, types[: len(value)], fillvalue=Any)
        ]
    if typing.get_origin(plain) is tuple and Ellipsis not in args:
        return [
            floats_to_integers(item, type_) for item, type_ in zip_longest(value, args[: len(value)], fillvalue=Any)
        ]
    return [floats_to_integers(item, args[0]) for item in value] if args else value


def _is_valid(value: Any, declared: Any) -> bool:
    try:
        msgspec.convert(value, declared)
    except msgspec.ValidationError:
        return False
    return True


def find_errors(value: Any, declared: Any, from_text: bool = False) -> Iterator[tuple[str, str]]:
    """Yield every error in a value that is validated against a type, as a pair of the path in the value and a
    message."""
    plain = unwrap_type(declared)
    fields = object_fields(_select_model(plain, value)) if isinstance(value, Mapping) else None
    if fields is not None:
        errors: Iterator[tuple[str, str]] = _field_errors(value, fields, from_text)
    elif is_list_type(plain) and isinstance(value, (list, tuple)):
        errors = _item_errors(value, plain, from_text)
    elif (typing.get_origin(plain) or plain) in (dict, Mapping) and isinstance(value, Mapping):
        errors = _value_errors(value, plain, from_text)
    else:
        errors = iter(())
    has_errors = False
    for error in errors:
        has_errors = True
        yield error
    if not has_errors:  # a mistake in the value itself: its type, its bounds, an unknown key, a tag
        yield from _msgspec_error(value, declared, from_text)


def _field_errors(value: Mapping[str, Any], fields: Sequence[ModelField], text: bool) -> Iterator[tuple[str, str]]:
    for field in fields:
        item = value.get(field.key, NOT_GIVEN)
        if item is NOT_GIVEN:
            if field.required:
                yield f'.{field.key}', 'missing'
        else:
            for path, message in find_errors(item, field.type, text):
                yield f'.{field.key}{path}', message


def _item_errors(value: Sequence[Any], declared: Any, text: bool) -> Iterator[tuple[str, str]]:
    args = typing.get_args(declared)
    if not args or (typing.get_origin(declared) is tuple and Ellipsis not in args):
        return
    for index, item in enumerate(value):
        for path, message in find_errors(item, args[0], text):
            yield f'[{index}]{path}', message


def _value_errors(value: Mapping[str, Any], declared: Any, text: bool) -> Iterator[tuple[str, str]]:
    args = typing.get_args(declared)
    for key, item in value.items() if len(args) == 2 else ():
        for path, message in find_errors(item, args[1], text):
            yield f'.{key}{path}', message


def _msgspec_error(value: Any, declared: Any, text: bool) -> Iterator[tuple[str, str]]:
    try:
        msgspec.convert(value, declared, strict=not text, str_keys=True)
    except msgspec.ValidationError as error:
        yield _parse_msgspec_error(str(error))


def _select_model(declared: Any, value: Mapping[str, Any]) -> Any:
    """Return the model of an object; in a union, the one with the object's tag, otherwise the one without tag."""
    for candidate in typing.get_args(declared) if typing.get_origin(declared) in UNIONS else (declared,):
        config = getattr(candidate, '__struct_config__', None)
        if config is None or config.tag is None:
            if candidate is declared or model_fields(candidate) is not None or typing.get_origin(candidate) is dict:
                return candidate
        elif value.get(config.tag_field) == config.tag:
            return candidate
    return None


def _parse_msgspec_error(message: str) -> tuple[str, str]:
    """Convert msgspec's message: 'Expected `int`, got `str` - at `$.n`' -> ('.n', 'expected int, got str')."""
    text, _, location = message.partition(' - at ')
    path = location.strip('`').removeprefix('$')
    missing = 'Object missing required field '
    if text.startswith(missing):
        return f'{path}.{text.removeprefix(missing).strip("`")}', 'missing'
    text = text.replace('`', '')
    return path, text[:1].lower() + text[1:]


def fill_defaults(value: Any) -> list[tuple[str, str]]:
    """Set the class defaults on every dataclass in a value, so that they are serialized. Returns the missing fields."""
    missing: list[tuple[str, str]] = []
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            missing += [(f'.{name}{path}', message) for path, message in fill_defaults(getattr(value, name))]
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        missing += _fill_dataclass(value)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            missing += [(f'[{index}]{path}', message) for path, message in fill_defaults(item)]
    elif isinstance(value, dict):
        for key, item in value.items():
            missing += [(f'.{key}{path}', message) for path, message in fill_defaults(item)]
    return missing


def _fill_dataclass(value: Any) -> list[tuple[str, str]]:
    missing: list[tuple[str, str]] = []
    attributes = getattr(value, '__dict__', None)
    for field in dataclasses.fields(value):
        if attributes is None or field.name in attributes:
            item = getattr(value, field.name)
        elif field.default_factory is not dataclasses.MISSING:
            item = field.default_factory()
            object.__setattr__(value, field.name, item)
        elif field.default is not dataclasses.MISSING:
            item = field.default
            object.__setattr__(value, field.name, item)
        else:
            missing.append((f'.{field.name}', 'missing'))
            continue
        missing += [(f'.{field.name}{path}', message) for path, message in fill_defaults(item)]
    return missing


def has_declared_type(value: Any, declared: Any) -> bool:
    """Return whether `value` already has the declared type: an instance of the model, or a list of instances."""
    plain = unwrap_type(declared)
    if isinstance(plain, type) and typing.get_origin(plain) is None:
        return isinstance(value, plain)
    args = typing.get_args(plain)
    if is_list_type(plain) and args and isinstance(value, list):
        return all(has_declared_type(item, args[0]) for item in value)
    return any(has_declared_type(value, arg) for arg in args) if typing.get_origin(plain) in UNIONS else False

