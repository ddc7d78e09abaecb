"""Typed models as input and output: msgspec Structs, dataclasses (Zato 3.x Models too), lists of them.

msgspec converts in one call and stops at the first mistake; only when there is one, `mistakes_of` walks the type to
name them all.
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
    """One field of a model, whatever made it."""

    name: str  # in Python
    key: str  # on the wire
    type: Any
    required: bool


def is_model(declared: Any) -> bool:
    """Whether a declaration is a typed model: a Struct, a dataclass, or a list or union of such."""
    if isinstance(declared, type) and not hasattr(declared, '__args__'):
        return issubclass(declared, msgspec.Struct) or dataclasses.is_dataclass(declared)
    args = typing.get_args(declared)
    return any(is_model(arg) for arg in args)


def model_fields(model: Any) -> tuple[ModelField, ...] | None:
    """The fields of a Struct or dataclass, None for any other type. Raises NameError for an annotation that names
    nothing."""
    if not isinstance(model, type) or typing.get_origin(model) is not None:
        return None
    if issubclass(model, msgspec.Struct):
        return tuple(
            ModelField(f.name, f.encode_name, f.type, f.required) for f in msgspec.structs.fields(model)
        )
    if not dataclasses.is_dataclass(model):
        return None
    hints = typing.get_type_hints(model, include_extras=True)
    return tuple(
        ModelField(
            f.name,
            f.name,
            hints[f.name],
            f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING,
        )
        for f in dataclasses.fields(model)
    )


def object_fields(model: Any) -> tuple[ModelField, ...] | None:
    """The fields of a model that is written as an object; None for one that is written as a list, and any other
    type."""
    return None if _is_row(model) else model_fields(model)


def _is_row(model: Any) -> bool:
    config = getattr(model, '__struct_config__', None)
    return config is not None and bool(config.array_like)


def bare_type(declared: Any) -> Any:
    """A type without its Annotated and, where only None is the alternative, without that."""
    if typing.get_origin(declared) is typing.Annotated:
        return bare_type(typing.get_args(declared)[0])
    if typing.get_origin(declared) in UNIONS:
        others = [arg for arg in typing.get_args(declared) if arg is not type(None)]
        return bare_type(others[0]) if len(others) == 1 else declared
    return declared


def is_list_type(declared: Any) -> bool:
    plain = bare_type(declared)
    return plain in _LISTS or typing.get_origin(plain) in (*_LISTS, tuple) or plain is tuple


def has_dataclasses(declared: Any, seen: frozenset[Any] = frozenset()) -> bool:
    """Whether a type holds a dataclass at any depth."""
    if dataclasses.is_dataclass(declared):
        return True
    if declared in seen:
        return False
    fields = model_fields(declared)
    if fields is not None:
        return any(has_dataclasses(one.type, seen | {declared}) for one in fields)
    return any(has_dataclasses(one, seen) for one in typing.get_args(declared) if _is_type(one))


def _is_type(value: Any) -> bool:
    return isinstance(value, type) or typing.get_origin(value) is not None


def convert(value: Any, declared: Any, *, text: bool = False) -> Any:
    """`value` as the declared type. Raises Wrong with every mistake in it.

    A number without a fraction is an integer however it is written, as JSON Schema says (2020-12 validation, §6.1.1):
    1.0 is looked for only where something is wrong, and in texts msgspec takes it by itself.
    """
    try:
        return _converted(value, declared, text)
    except msgspec.ValidationError as error:
        if not text:
            value = with_integers(value, declared)
        try:
            return _converted(value, declared, text)
        except msgspec.ValidationError:
            found = list(mistakes_of(value, declared, text)) or [_worded(str(error))]
        raise ValidationError(found) from None


def _converted(value: Any, declared: Any, text: bool) -> Any:
    return msgspec.convert(value, declared, strict=not text, from_attributes=False, str_keys=True)


def with_integers(value: Any, declared: Any) -> Any:
    """`value` with an integer in place of each 1.0 where a type takes the integer alone."""
    plain = bare_type(declared)
    if type(value) is float:
        takes_integer = value.is_integer() and not _takes(value, declared) and _takes(int(value), declared)
        return int(value) if takes_integer else value
    if isinstance(value, Mapping):
        return _integers_of_object(value, _meant(plain, value))
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
        return {key: with_integers(item, types.get(key, Any)) for key, item in value.items()}
    args = typing.get_args(model)
    return {key: with_integers(item, args[1]) for key, item in value.items()} if len(args) == 2 else value


def _integers_of_list(value: list[Any], declared: Any) -> list[Any]:
    choices = typing.get_args(declared) if typing.get_origin(declared) in UNIONS else (declared,)
    plain = bare_type(next((one for one in choices if is_list_type(one) or _is_row(one)), None))
    args = typing.get_args(plain)
    if _is_row(plain):
        types = [field.type for field in model_fields(plain) or ()]
        return [with_integers(item, type_) for item, type_ in zip_longest(value, types[: len(value)], fillvalue=Any)]
    if typing.get_origin(plain) is tuple and Ellipsis not in args:
        return [with_integers(item, type_) for item, type_ in zip_longest(value, args[: len(value)], fillvalue=Any)]
    return [with_integers(item, args[0]) for item in value] if args else value


def _takes(value: Any, declared: Any) -> bool:
    try:
        msgspec.convert(value, declared)
    except msgspec.ValidationError:
        return False
    return True


def mistakes_of(value: Any, declared: Any, text: bool = False) -> Iterator[tuple[str, str]]:
    """Every mistake of `value` against a type, as (path below it, what is wrong)."""
    plain = bare_type(declared)
    fields = object_fields(_meant(plain, value)) if isinstance(value, Mapping) else None
    if fields is not None:
        below: Iterator[tuple[str, str]] = _of_fields(value, fields, text)
    elif is_list_type(plain) and isinstance(value, (list, tuple)):
        below = _of_items(value, plain, text)
    elif (typing.get_origin(plain) or plain) in (dict, Mapping) and isinstance(value, Mapping):
        below = _of_values(value, plain, text)
    else:
        below = iter(())
    found = False
    for mistake in below:
        found = True
        yield mistake
    if not found:  # the whole: its kind, its bounds, an unknown key, a tag
        yield from _of_whole(value, declared, text)


def _of_fields(value: Mapping[str, Any], fields: Sequence[ModelField], text: bool) -> Iterator[tuple[str, str]]:
    for field in fields:
        item = value.get(field.key, NOT_GIVEN)
        if item is NOT_GIVEN:
            if field.required:
                yield f'.{field.key}', 'missing'
        else:
            for path, what in mistakes_of(item, field.type, text):
                yield f'.{field.key}{path}', what


def _of_items(value: Sequence[Any], declared: Any, text: bool) -> Iterator[tuple[str, str]]:
    args = typing.get_args(declared)
    if not args or (typing.get_origin(declared) is tuple and Ellipsis not in args):
        return
    for position, item in enumerate(value):
        for path, what in mistakes_of(item, args[0], text):
            yield f'[{position}]{path}', what


def _of_values(value: Mapping[str, Any], declared: Any, text: bool) -> Iterator[tuple[str, str]]:
    args = typing.get_args(declared)
    for key, item in value.items() if len(args) == 2 else ():
        for path, what in mistakes_of(item, args[1], text):
            yield f'.{key}{path}', what


def _of_whole(value: Any, declared: Any, text: bool) -> Iterator[tuple[str, str]]:
    try:
        msgspec.convert(value, declared, strict=not text, str_keys=True)
    except msgspec.ValidationError as error:
        yield _worded(str(error))


def _meant(declared: Any, value: Mapping[str, Any]) -> Any:
    """The model an object is meant to be: of a union, the one whose tag it carries, else the one that has none."""
    for one in typing.get_args(declared) if typing.get_origin(declared) in UNIONS else (declared,):
        config = getattr(one, '__struct_config__', None)
        if config is None or config.tag is None:
            if one is declared or model_fields(one) is not None or typing.get_origin(one) is dict:
                return one
        elif value.get(config.tag_field) == config.tag:
            return one
    return None


def _worded(message: str) -> tuple[str, str]:
    """msgspec's sentence in our form: 'Expected `int`, got `str` - at `$.n`' -> ('.n', 'expected int, got str')."""
    what, _, where = message.partition(' - at ')
    path = where.strip('`').removeprefix('$')
    missing = 'Object missing required field '
    if what.startswith(missing):
        return f'{path}.{what.removeprefix(missing).strip("`")}', 'missing'
    what = what.replace('`', '')
    return path, what[:1].lower() + what[1:]


def fill_defaults(value: Any) -> list[tuple[str, str]]:
    """Give every dataclass in `value` the defaults that only its class has, so that they go out too; what has
    neither value nor default is named."""
    missing: list[tuple[str, str]] = []
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            missing += [(f'.{name}{path}', what) for path, what in fill_defaults(getattr(value, name))]
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        missing += _fill_dataclass(value)
    elif isinstance(value, (list, tuple)):
        for position, item in enumerate(value):
            missing += [(f'[{position}]{path}', what) for path, what in fill_defaults(item)]
    elif isinstance(value, dict):
        for key, item in value.items():
            missing += [(f'.{key}{path}', what) for path, what in fill_defaults(item)]
    return missing


def _fill_dataclass(value: Any) -> list[tuple[str, str]]:
    missing: list[tuple[str, str]] = []
    own = getattr(value, '__dict__', None)
    for field in dataclasses.fields(value):
        if own is None or field.name in own:
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
        missing += [(f'.{field.name}{path}', what) for path, what in fill_defaults(item)]
    return missing


def matches(value: Any, declared: Any) -> bool:
    """Whether `value` already is what is declared: an instance of the model, or a list of instances."""
    plain = bare_type(declared)
    if isinstance(plain, type) and typing.get_origin(plain) is None:
        return isinstance(value, plain)
    args = typing.get_args(plain)
    if is_list_type(plain) and args and isinstance(value, list):
        return all(matches(item, args[0]) for item in value)
    return any(matches(value, arg) for arg in args) if typing.get_origin(plain) in UNIONS else False

