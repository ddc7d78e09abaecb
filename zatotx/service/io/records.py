"""Several elements together: what a Dict, Nested or ListOfDicts holds, and the input and output of a service."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any

from zatotx.service.compat.bunch import Bunch
from zatotx.service.io.elements import (
    UUID,
    Bool,
    Decimal,
    Element,
    Int,
    List,
    TimedElement,
    as_mapping,
    format_datetime,
)
from zatotx.service.io.validation_error import NOT_GIVEN, ValidationError

# Feature map 3.5: 1.1's and 2.0's conventions, then what 3.x's simple-io.conf adds.
INT_NAMES = frozenset(('id',))
INT_SUFFIXES = ('_id', '_size', '_timeout', '_count', '_size_min', '_size_max')
_NEVER_EMPTY = (TimedElement, Decimal, UUID)  # whose texts have a form
BOOL_PREFIXES = ('is_', 'needs_', 'should_', 'by_', 'has_', 'may_')


class NamedInt(Int):
    """An int by its name alone: on the way out what is no number stays as it is."""

    def give(self, value: Any) -> Any:
        try:
            return super().give(value)
        except ValidationError:
            return value


class NamedBool(Bool):
    """A bool by its name alone: on the way out what is no bool stays as it is."""

    def give(self, value: Any) -> Any:
        try:
            return super().give(value)
        except ValidationError:
            return value


class PlainElement(Element):
    """A plain name: the value as it came, of path, query and form one text; dates get their text on the way out."""

    def take_text(self, value: Any) -> Any:
        if isinstance(value, list):
            raise ValidationError([('', f'expected one value, got {len(value)}')])
        return value

    def give(self, value: Any) -> Any:
        return value.isoformat() if isinstance(value, dt.date) else value


def element(declared: str | Element) -> Element:
    """The element for what a declaration lists: an element itself, or a name, whose form may say its type."""
    if isinstance(declared, Element):
        return declared
    name = declared.removeprefix('-')
    if name in INT_NAMES or name.endswith(INT_SUFFIXES):
        return NamedInt(declared)
    if name.startswith(BOOL_PREFIXES):
        return NamedBool(declared)
    return PlainElement(declared)


class Field:
    """An element where it stands: whether it is required there, and what stands in for it."""

    __slots__ = ('default', 'element', 'name', 'required', 'strict_empty')

    def __init__(self, declared: str | Element, *, required: bool | None = None, default: Any = '') -> None:
        self.element = element(declared)
        self.name = self.element.name
        own = self.element.default
        self.default = default if own is NOT_GIVEN else own
        # An element with a default of its own is never missing.
        self.required = (self.element.required if required is None else required) and own is NOT_GIVEN
        self.strict_empty: bool | None = None  # None: as the element says

    def fill(self) -> Any:
        """What an absent value is. Mutable defaults are not shared between calls."""
        default = self.default
        return default.copy() if isinstance(default, (list, dict, set)) else default

    def absent(self) -> Any:
        """What goes out for a value that was not set. An empty text is no date, decimal or UUID: null stands for it,
        unless the service says what shall."""
        return None if self.default == '' and isinstance(self.element, _NEVER_EMPTY) else self.fill()

    def take(self, value: Any, *, text: bool = False) -> Any:
        """A value that was sent. Raises Wrong."""
        element = self.element
        if value is None and not element.takes_null:
            if self.required and self.strict_empty is not False:
                raise element.wrong(None)
            return None if self.required else self.fill()
        if value == '' and type(value) is str:
            if not self.required:
                return '' if element.takes_empty and self.default == '' else self.fill()
            if self.strict_empty is False:
                return ''
            if self.strict_empty:
                raise ValidationError([('', 'must not be empty')])
        return element.take_text(value) if text else element.take(value)


def fields(declared: Iterable[str | Element]) -> tuple[Field, ...]:
    return tuple(Field(one) for one in declared)


class Record(Element):
    """What Dict and Nested share: an object with declared keys, or with any where none are declared."""

    expected = 'object'
    takes_empty = False

    def __init__(self, name: str, *keys: str | Element, default: Any = NOT_GIVEN) -> None:
        super().__init__(name, default=default)
        self.fields = fields(keys)

    def take(self, value: Any) -> Any:
        source = as_mapping(value)
        if source is None:
            raise self.wrong(value)
        if not self.fields:
            return source
        return take_record(self.fields, source)

    def give(self, value: Any) -> Any:
        if not self.fields:
            source = as_mapping(value)
            if source is None:
                raise self.wrong(value)
            return source
        return give_record(self.fields, value)


class Dict(Record):
    """An object; with keys given, only those, each with its own type."""


class Nested(Record):
    """3.x's name for an object inside the message."""


class ListOfDicts(List):
    """A list of objects; with keys given, only those of each."""

    def __init__(self, name: str, *keys: str | Element, default: Any = NOT_GIVEN) -> None:
        super().__init__(name, default=default)
        self.item = Record('item', *keys)

    def take(self, value: Any) -> list[Any]:
        return each(super().take(value), self.item.take)

    def take_text(self, value: Any) -> list[Any]:
        return self.take(value)

    def give(self, value: Any) -> list[Any]:
        return each(super().take(value), self.item.give)


class DictList(ListOfDicts):
    """ListOfDicts under its 3.x name."""


def each(values: Iterable[Any], convert: Any) -> list[Any]:
    """`convert` of every item, all mistakes at once, each with its index."""
    out: list[Any] = []
    mistakes: list[tuple[str, str]] = []
    for position, value in enumerate(values):
        try:
            out.append(convert(value))
        except ValidationError as wrong:
            mistakes += [(f'[{position}]{path}', what) for path, what in wrong.mistakes]
    if mistakes:
        raise ValidationError(mistakes)
    return out


def take_record(declared: Iterable[Field], source: Mapping[str, Any]) -> Bunch:
    """The declared keys of an object below the top, converted. Raises Wrong with every mistake."""
    out = Bunch()
    mistakes: list[tuple[str, str]] = []
    for field in declared:
        value = source.get(field.name, NOT_GIVEN)
        if value is NOT_GIVEN:
            if field.required:
                mistakes.append((f'.{field.name}', 'missing'))
            else:
                out[field.name] = field.fill()
            continue
        try:
            out[field.name] = field.take(value)
        except ValidationError as wrong:
            mistakes += [(f'.{field.name}{path}', what) for path, what in wrong.mistakes]
    if mistakes:
        raise ValidationError(mistakes)
    return out


def give_record(declared: Iterable[Field], source: Any, date_time_format: str = '') -> dict[str, Any]:
    """The declared names of what a service set: a mapping, or any object with attributes (a Struct, a dataclass, a
    row). Raises Wrong with every mistake."""
    out: dict[str, Any] = {}
    mistakes: list[tuple[str, str]] = []
    keyed = isinstance(source, Mapping)
    for field in declared:
        name = field.name
        value = source.get(name, NOT_GIVEN) if keyed else getattr(source, name, NOT_GIVEN)
        if value is NOT_GIVEN:
            if field.required:
                mistakes.append((f'.{name}', 'missing'))
            else:
                out[name] = field.absent()
        elif value is None:
            out[name] = None
        elif value == '' and type(value) is str and not field.required:
            out[name] = field.absent()
        else:
            try:
                out[name] = _give(field.element, value, date_time_format)
            except ValidationError as wrong:
                mistakes += [(f'.{name}{path}', what) for path, what in wrong.mistakes]
    if mistakes:
        raise ValidationError(mistakes)
    return out


def _give(element: Element, value: Any, date_time_format: str) -> Any:
    """The same where the value may be a leaf of an XML payload, which lxml.objectify shows as an object of its own."""
    try:
        return give_one(element, value, date_time_format)
    except ValidationError:
        plain = getattr(value, 'pyval', value)
        if plain is value:
            raise
        return give_one(element, plain, date_time_format)


def give_one(element: Element, value: Any, date_time_format: str) -> Any:
    """One value on its way out; the declaration's own format counts where the element has none."""
    if date_time_format and isinstance(value, dt.date) and not getattr(element, 'date_time_format', ''):
        return format_datetime(value, date_time_format)
    return element.give(value)
