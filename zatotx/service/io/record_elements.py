"""Records of elements, which consist of named fields. They are used by Dict, Nested and ListOfDicts, and for a
service's input and output."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any

from zatotx.service.compat.bunch import Bunch
from zatotx.service.io.elements import (
    UUID,
    BaseDateElement,
    Bool,
    Decimal,
    Element,
    Int,
    List,
    format_datetime,
    to_mapping,
)
from zatotx.service.io.validation_error import NOT_GIVEN, ValidationError

# Feature map 3.5: 1.1's and 2.0's conventions, then what 3.x's simple-io.conf adds.
INT_NAMES = frozenset(('id',))
INT_SUFFIXES = ('_id', '_size', '_timeout', '_count', '_size_min', '_size_max')
_NEVER_EMPTY = (BaseDateElement, Decimal, UUID)  # elements for which an empty text is never valid
BOOL_PREFIXES = ('is_', 'needs_', 'should_', 'by_', 'has_', 'may_')


class ImplicitInt(Int):
    """An integer element whose type is inferred from its name, such as `user_id`. Output that is not a number is passed
    unchanged."""

    def give(self, value: Any) -> Any:
        try:
            return super().give(value)
        except ValidationError:
            return value


class ImplicitBool(Bool):
    """A boolean element whose type is inferred from its name, such as `is_active`. Output that is not a bool is passed
    unchanged."""

    def give(self, value: Any) -> Any:
        try:
            return super().give(value)
        except ValidationError:
            return value


class UntypedElement(Element):
    """An element that is declared by its name only, without a type.

    Input is passed as received, one text from path, query or form; dates are output as text.
    """

    def take_text(self, value: Any) -> Any:
        if isinstance(value, list):
            raise ValidationError([('', f'expected one value, got {len(value)}')])
        return value

    def give(self, value: Any) -> Any:
        return value.isoformat() if isinstance(value, dt.date) else value


def to_element(declared: str | Element) -> Element:
    """Convert an item of a declaration to an element. The item is an element or a name, and a name may imply a type."""
    if isinstance(declared, Element):
        return declared
    name = declared.removeprefix('-')
    if name in INT_NAMES or name.endswith(INT_SUFFIXES):
        return ImplicitInt(declared)
    if name.startswith(BOOL_PREFIXES):
        return ImplicitBool(declared)
    return UntypedElement(declared)


class DeclaredField:
    """An element of a declaration, with its default and whether it is required."""

    __slots__ = ('default', 'element', 'name', 'required', 'strict_empty')

    def __init__(self, declared: str | Element, *, required: bool | None = None, default: Any = '') -> None:
        self.element = to_element(declared)
        self.name = self.element.name
        own_default = self.element.default
        self.default = default if own_default is NOT_GIVEN else own_default
        # An element with its own default is never missing.
        self.required = (self.element.required if required is None else required) and own_default is NOT_GIVEN
        self.strict_empty: bool | None = None  # whether '' is rejected; None: decided by the element

    def default_value(self) -> Any:
        """Return the value of an absent element. Mutable defaults are copied, so that calls do not share them."""
        default = self.default
        return default.copy() if isinstance(default, (list, dict, set)) else default

    def output_default(self) -> Any:
        """Return the output for a value that was not set.

        It is the default, or None in place of '' for dates, decimals and UUIDs.
        """
        return None if self.default == '' and isinstance(self.element, _NEVER_EMPTY) else self.default_value()

    def take(self, value: Any, *, text: bool = False) -> Any:
        """Convert a value of the request. Raises ValidationError."""
        element = self.element
        if value is None and not element.takes_null:
            if self.required and self.strict_empty is not False:
                raise element.make_error(None)
            return None if self.required else self.default_value()
        if value == '' and type(value) is str:
            if not self.required:
                return '' if element.takes_empty and self.default == '' else self.default_value()
            if self.strict_empty is False:
                return ''
            if self.strict_empty:
                raise ValidationError([('', 'must not be empty')])
        return element.take_text(value) if text else element.take(value)


def to_fields(declared: Iterable[str | Element]) -> tuple[DeclaredField, ...]:
    """Convert the items of a declaration to fields."""
    return tuple(DeclaredField(item) for item in declared)


class Record(Element):
    """An object with declared keys, or with any keys if none are declared."""

    expected = 'object'
    takes_empty = False

    def __init__(self, name: str, *keys: str | Element, default: Any = NOT_GIVEN) -> None:
        super().__init__(name, default=default)
        self.fields = to_fields(keys)

    def take(self, value: Any) -> Any:
        source = to_mapping(value)
        if source is None:
            raise self.make_error(value)
        if not self.fields:
            return source
        return convert_request_record(self.fields, source)

    def give(self, value: Any) -> Any:
        if not self.fields:
            source = to_mapping(value)
            if source is None:
                raise self.make_error(value)
            return source
        return convert_response_record(self.fields, value)


class Dict(Record):
    """An object. If keys are declared, other keys are ignored, and each declared key has its own type."""


class Nested(Record):
    """An object inside a message, the same as Dict. The name is used in Zato 3."""


class ListOfDicts(List):
    """A list of objects. If keys are declared, other keys are ignored."""

    def __init__(self, name: str, *keys: str | Element, default: Any = NOT_GIVEN) -> None:
        super().__init__(name, default=default)
        self.item = Record('item', *keys)

    def take(self, value: Any) -> list[Any]:
        return convert_items(super().take(value), self.item.take)

    def take_text(self, value: Any) -> list[Any]:
        return self.take(value)

    def give(self, value: Any) -> list[Any]:
        return convert_items(super().take(value), self.item.give)


class DictList(ListOfDicts):
    """Another name for ListOfDicts, as in Zato 3."""


def convert_items(values: Iterable[Any], convert: Any) -> list[Any]:
    """Convert every item of a list. Raises ValidationError, which lists all errors, each with the index of its
    item."""
    converted: list[Any] = []
    errors: list[tuple[str, str]] = []
    for index, value in enumerate(values):
        try:
            converted.append(convert(value))
        except ValidationError as error:
            errors += [(f'[{index}]{path}', text) for path, text in error.errors]
    if errors:
        raise ValidationError(errors)
    return converted


def convert_request_record(declared: Iterable[DeclaredField], source: Mapping[str, Any]) -> Bunch:
    """Convert the declared keys of a nested object of a request. Raises ValidationError, which lists all errors."""
    record = Bunch()
    errors: list[tuple[str, str]] = []
    for field in declared:
        value = source.get(field.name, NOT_GIVEN)
        if value is NOT_GIVEN:
            if field.required:
                errors.append((f'.{field.name}', 'missing'))
            else:
                record[field.name] = field.default_value()
            continue
        try:
            record[field.name] = field.take(value)
        except ValidationError as error:
            errors += [(f'.{field.name}{path}', text) for path, text in error.errors]
    if errors:
        raise ValidationError(errors)
    return record


def convert_response_record(
    declared: Iterable[DeclaredField], source: Any, date_time_format: str = ''
) -> dict[str, Any]:
    """Convert the declared names of a response value. `source` is the value that the service set, which is a mapping or
    an object with attributes.

    Structs, dataclasses and rows are such objects. Raises ValidationError listing every mistake.
    """
    record: dict[str, Any] = {}
    errors: list[tuple[str, str]] = []
    is_mapping = isinstance(source, Mapping)
    for field in declared:
        name = field.name
        value = source.get(name, NOT_GIVEN) if is_mapping else getattr(source, name, NOT_GIVEN)
        if value is NOT_GIVEN:
            if field.required:
                errors.append((f'.{name}', 'missing'))
            else:
                record[name] = field.output_default()
        elif value is None:
            record[name] = None
        elif value == '' and type(value) is str and not field.required:
            record[name] = field.output_default()
        else:
            try:
                record[name] = _give_xml_leaf(field.element, value, date_time_format)
            except ValidationError as error:
                errors += [(f'.{name}{path}', text) for path, text in error.errors]
    if errors:
        raise ValidationError(errors)
    return record


def _give_xml_leaf(element: Element, value: Any, date_time_format: str) -> Any:
    """Convert a value for output, also a leaf of an XML payload, which lxml.objectify wraps in an object of its own."""
    try:
        return convert_response_value(element, value, date_time_format)
    except ValidationError:
        plain = getattr(value, 'pyval', value)
        if plain is value:
            raise
        return convert_response_value(element, plain, date_time_format)


def convert_response_value(element: Element, value: Any, date_time_format: str) -> Any:
    """Convert one response value. If the element has no date format of its own, `date_time_format` applies."""
    if date_time_format and isinstance(value, dt.date) and not getattr(element, 'date_time_format', ''):
        return format_datetime(value, date_time_format)
    return element.give(value)
