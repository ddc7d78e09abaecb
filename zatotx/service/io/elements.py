"""The element types of SimpleIO and of the short form: one class each, with what it takes in and what it gives out
(feature map 3.5).

An element has a name and a `required` mark (a leading `-` in the name means optional). `take` turns one value of a
request into what the service sees, `give` turns what the service set into what goes out. Both raise Wrong.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from zatotx.service.io.validation_error import NOT_GIVEN, ValidationError, json_kind

TRUE = frozenset(('true', 'yes', 't', 'y', '1', 'on'))
FALSE = frozenset(('false', 'no', 'f', 'n', '0', 'off'))


class Element:
    """A value that passes as it is. Also what plain names are, where no convention applies."""

    expected: ClassVar[str] = 'a value'
    takes_null: ClassVar[bool] = False
    takes_empty: ClassVar[bool] = True  # '' is a value, not an absent one

    def __init__(self, name: str, *, default: Any = NOT_GIVEN) -> None:
        self.required = not name.startswith('-')
        self.name = name.removeprefix('-')
        self.default = default

    def __repr__(self) -> str:
        return f'{type(self).__name__}({("" if self.required else "-") + self.name!r})'

    def wrong(self, value: Any) -> ValidationError:
        return ValidationError([('', f'expected {self.expected}, got {json_kind(value)}')])

    def take(self, value: Any) -> Any:
        return value

    def take_text(self, value: Any) -> Any:
        """As `take`, for a value of a query, form or path: text, or a list of texts where it was repeated."""
        return self.take(value)

    def give(self, value: Any) -> Any:
        return value


class AsIs(Element):
    """Unchanged both ways, a parameter that was repeated as a list; switches the name conventions off."""

    takes_null = True


class Opaque(AsIs):
    """AsIs under its 3.x name."""


class Text(Element):
    """Text. Numbers and booleans become text."""

    expected = 'str'

    def take(self, value: Any) -> str:
        if type(value) is str:
            return value
        if isinstance(value, bytes):
            try:
                return value.decode('utf-8')
            except UnicodeDecodeError:
                raise self.wrong(value) from None
        if isinstance(value, (str, int, float, decimal.Decimal)):
            return str(value)
        raise self.wrong(value)

    give = take


class Unicode(Text):
    """Text under its 1.1 name."""


class Secret(Text):
    """Text that is masked wherever input or output is logged."""


class UTC(Text):
    """A timestamp as text, without `+00:00`."""

    def take(self, value: Any) -> str:
        if isinstance(value, dt.datetime):
            value = value.isoformat()
        return super().take(value).removesuffix('+00:00')

    give = take


class Int(Element):
    """A whole number; its text counts too."""

    expected = 'int'
    takes_empty = False

    def take(self, value: Any) -> int:
        if type(value) is int:
            return value
        if isinstance(value, str):
            digits = value.strip()
            whole, dot, fraction = digits.partition('.')  # 1.0 is one as 1 is, in a text too
            try:
                if digits.isascii() and '_' not in digits and not fraction.strip('0'):
                    return int(whole if dot else digits)
            except ValueError:  # not digits, or more of them than Python converts
                raise self.wrong(value) from None
        elif not isinstance(value, bool) and isinstance(value, (int, float)) and value == value // 1:
            return int(value)
        raise self.wrong(value)

    give = take


class Integer(Int):
    """Int under its 1.1 name."""


class Float(Element):
    """A finite number; its text counts too."""

    expected = 'float'
    takes_empty = False

    def take(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float, str, decimal.Decimal)):
            raise self.wrong(value)
        try:
            number = float(value)
        except (ValueError, OverflowError):
            raise self.wrong(value) from None
        if not math.isfinite(number):
            raise self.wrong(value)
        return number

    give = take


class Bool(Element):
    """true/yes/t/y/1/on and false/no/f/n/0/off, in any case."""

    expected = 'bool'
    takes_empty = False

    def take(self, value: Any) -> bool:
        if isinstance(value, bool):
            return value
        if isinstance(value, (str, int)):
            word = str(value).strip().lower()
            if word in TRUE:
                return True
            if word in FALSE:
                return False
        elif isinstance(value, float) and value in (0, 1):
            return bool(value)
        raise self.wrong(value)

    give = take


class Boolean(Bool):
    """Bool under its 1.1 name."""


class Decimal(Element):
    """decimal.Decimal for the service, text on the wire, so that no digit is lost."""

    expected = 'decimal'
    takes_empty = False

    def take(self, value: Any) -> decimal.Decimal:
        if isinstance(value, bool) or not isinstance(value, (int, float, str, decimal.Decimal)):
            raise self.wrong(value)
        try:
            number = decimal.Decimal(str(value).strip())
        except decimal.InvalidOperation:
            raise self.wrong(value) from None
        if not number.is_finite():
            raise self.wrong(value)
        return number

    def give(self, value: Any) -> str:
        return str(self.take(value))


class UUID(Element):
    """uuid.UUID for the service, its text on the wire."""

    expected = 'uuid'
    takes_empty = False

    def take(self, value: Any) -> uuid.UUID:
        if isinstance(value, uuid.UUID):
            return value
        if isinstance(value, str):
            try:
                return uuid.UUID(value.strip())
            except ValueError:
                raise self.wrong(value) from None
        raise self.wrong(value)

    def give(self, value: Any) -> str:
        return str(self.take(value))


class TimedElement(Element):
    """What Date and DateTime share: a format of their own, else ISO 8601."""

    takes_empty = False

    def __init__(self, name: str, *, default: Any = NOT_GIVEN, date_time_format: str = '') -> None:
        super().__init__(name, default=default)
        self.date_time_format = date_time_format

    def moment(self, value: str) -> dt.datetime:
        if not self.date_time_format:
            return dt.datetime.fromisoformat(value.strip())
        if '%' in self.date_time_format:
            return dt.datetime.strptime(value.strip(), self.date_time_format)
        from arrow.parser import DateTimeParser  # an import of tens of milliseconds, for the few that need it

        return DateTimeParser().parse(value.strip(), self.date_time_format)

    def text(self, value: dt.date) -> str:
        return format_datetime(value, self.date_time_format)


class DateTime(TimedElement):
    """datetime.datetime for the service, ISO 8601 (or `date_time_format`) on the wire."""

    expected = 'datetime'

    def take(self, value: Any) -> dt.datetime:
        if isinstance(value, dt.datetime):
            return value
        if isinstance(value, str):
            try:
                return self.moment(value)
            except ValueError:
                raise self.wrong(value) from None
        raise self.wrong(value)

    def give(self, value: Any) -> str:
        return self.text(self.take(value))


class Date(TimedElement):
    """datetime.date for the service, YYYY-MM-DD (or `date_time_format`) on the wire."""

    expected = 'date'

    def take(self, value: Any) -> dt.date:
        if isinstance(value, dt.datetime):
            return value.date()
        if isinstance(value, dt.date):
            return value
        if isinstance(value, str):
            try:
                return self.moment(value).date()
            except ValueError:
                raise self.wrong(value) from None
        raise self.wrong(value)

    def give(self, value: Any) -> str:
        return self.text(self.take(value))


class CSV(Element):
    """A list for the service, `a,b` on the wire."""

    expected = 'str'

    def take(self, value: Any) -> list[Any]:
        if isinstance(value, str):
            return value.split(',') if value else []
        if isinstance(value, (list, tuple)):
            return list(value)
        raise self.wrong(value)

    def give(self, value: Any) -> str:
        if isinstance(value, str):
            return value
        if isinstance(value, (list, tuple, set, frozenset)):
            return ','.join(str(item) for item in value)
        raise self.wrong(value)


class List(Element):
    """A list of anything. A query or form value becomes a list of one."""

    expected = 'array'
    takes_empty = False

    def take(self, value: Any) -> list[Any]:
        if type(value) is list:
            return value
        if isinstance(value, (Sequence, set, frozenset)) and not isinstance(value, (str, bytes)):
            return list(value)
        raise self.wrong(value)

    def take_text(self, value: Any) -> list[Any]:
        return value if isinstance(value, list) else [value]

    give = take


def format_datetime(value: dt.date, fmt: str) -> str:
    """A date or datetime as text: ISO 8601, or by a format of strftime's or of Arrow's tokens."""
    if not fmt:
        return value.isoformat()
    if '%' in fmt:
        return value.strftime(fmt)
    import arrow

    return arrow.get(value).format(fmt)


def as_mapping(value: Any) -> Mapping[str, Any] | None:
    """`value` as a mapping where it is one, or a msgspec Struct or dataclass; None where it has no such form."""
    if type(value) is dict or isinstance(value, Mapping):
        return value
    if isinstance(value, (str, bytes, list, tuple)) or value is None:
        return None
    kind = type(value)  # what a value itself calls so may be anything: an element of that name
    names = getattr(kind, '__struct_fields__', None) or getattr(kind, '__dataclass_fields__', None)
    if names is None:
        return None
    return {name: getattr(value, name) for name in names if hasattr(value, name)}
