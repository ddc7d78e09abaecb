"""The element types of SimpleIO and of the short form of declarations. They convert the values of requests and
responses.

An element has a name and is required unless the name has a leading `-`. `take` converts a value of a request to what
the service sees; `give` converts a value that the service set to what is serialized. Both raise ValidationError.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from zatotx.service.io.validation_error import NOT_GIVEN, ValidationError, json_type_name

TRUE = frozenset(('true', 'yes', 't', 'y', '1', 'on'))
FALSE = frozenset(('false', 'no', 'f', 'n', '0', 'off'))


class Element:
    """Base class of all elements, which passes a value unchanged."""

    expected: ClassVar[str] = 'a value'
    takes_null: ClassVar[bool] = False
    takes_empty: ClassVar[bool] = True  # whether '' is a value rather than an absent one

    def __init__(self, name: str, *, default: Any = NOT_GIVEN) -> None:
        self.required = not name.startswith('-')
        self.name = name.removeprefix('-')
        self.default = default

    def __repr__(self) -> str:
        return f'{type(self).__name__}({("" if self.required else "-") + self.name!r})'

    def make_error(self, value: Any) -> ValidationError:
        """Return the error for a value of the wrong type."""
        return ValidationError([('', f'expected {self.expected}, got {json_type_name(value)}')])

    def take(self, value: Any) -> Any:
        """Convert a value of a request."""
        return value

    def take_text(self, value: Any) -> Any:
        """Convert a value of a query, form or path: text, or a list of texts if the parameter is repeated."""
        return self.take(value)

    def give(self, value: Any) -> Any:
        """Convert a value for the response."""
        return value


class AsIs(Element):
    """Passes a value unchanged in both directions, and a repeated parameter as a list. The type that the element's name
    implies is ignored."""

    takes_null = True


class Opaque(AsIs):
    """Another name for AsIs, as in Zato 3."""


class Text(Element):
    """A text element. Numbers and booleans are converted to text."""

    expected = 'str'

    def take(self, value: Any) -> str:
        if type(value) is str:
            return value
        if isinstance(value, bytes):
            try:
                return value.decode('utf-8')
            except UnicodeDecodeError:
                raise self.make_error(value) from None
        if isinstance(value, (str, int, float, decimal.Decimal)):
            return str(value)
        raise self.make_error(value)

    give = take


class Unicode(Text):
    """Another name for Text, as in Zato 1.1."""


class Secret(Text):
    """A text element that is masked when input or output is logged."""


class UTC(Text):
    """A timestamp as text. The suffix `+00:00` is removed."""

    def take(self, value: Any) -> str:
        if isinstance(value, dt.datetime):
            value = value.isoformat()
        return super().take(value).removesuffix('+00:00')

    give = take


class Int(Element):
    """An integer element. It accepts an integer, or an integer as text."""

    expected = 'int'
    takes_empty = False

    def take(self, value: Any) -> int:
        if type(value) is int:
            return value
        if isinstance(value, str):
            digits = value.strip()
            whole, dot, fraction = digits.partition('.')  # 1.0 is an integer like 1, as text too
            try:
                if digits.isascii() and '_' not in digits and not fraction.strip('0'):
                    return int(whole if dot else digits)
            except ValueError:  # not digits, or more digits than Python converts
                raise self.make_error(value) from None
        elif not isinstance(value, bool) and isinstance(value, (int, float)) and value == value // 1:
            return int(value)
        raise self.make_error(value)

    give = take


class Integer(Int):
    """Another name for Int, as in Zato 1.1."""


class Float(Element):
    """A finite number element. It accepts a number, or a number as text."""

    expected = 'float'
    takes_empty = False

    def take(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float, str, decimal.Decimal)):
            raise self.make_error(value)
        try:
            number = float(value)
        except (ValueError, OverflowError):
            raise self.make_error(value) from None
        if not math.isfinite(number):
            raise self.make_error(value)
        return number

    give = take


class Bool(Element):
    """A boolean element. It accepts a bool, or one of the texts true/yes/t/y/1/on and false/no/f/n/0/off in any
    case."""

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
        raise self.make_error(value)

    give = take


class Boolean(Bool):
    """Another name for Bool, as in Zato 1.1."""


class Decimal(Element):
    """A decimal number, which is a decimal.Decimal in the service and text in messages, so that no digit is lost."""

    expected = 'decimal'
    takes_empty = False

    def take(self, value: Any) -> decimal.Decimal:
        if isinstance(value, bool) or not isinstance(value, (int, float, str, decimal.Decimal)):
            raise self.make_error(value)
        try:
            number = decimal.Decimal(str(value).strip())
        except decimal.InvalidOperation:
            raise self.make_error(value) from None
        if not number.is_finite():
            raise self.make_error(value)
        return number

    def give(self, value: Any) -> str:
        return str(self.take(value))


class UUID(Element):
    """A UUID, which is a uuid.UUID in the service and text in messages."""

    expected = 'uuid'
    takes_empty = False

    def take(self, value: Any) -> uuid.UUID:
        if isinstance(value, uuid.UUID):
            return value
        if isinstance(value, str):
            try:
                return uuid.UUID(value.strip())
            except ValueError:
                raise self.make_error(value) from None
        raise self.make_error(value)

    def give(self, value: Any) -> str:
        return str(self.take(value))


class BaseDateElement(Element):
    """Base class of Date and DateTime, which use ISO 8601 or a configured format in messages."""

    takes_empty = False

    def __init__(self, name: str, *, default: Any = NOT_GIVEN, date_time_format: str = '') -> None:
        super().__init__(name, default=default)
        self.date_time_format = date_time_format

    def parse(self, value: str) -> dt.datetime:
        """Parse a date and time. Raises ValueError."""
        if not self.date_time_format:
            return dt.datetime.fromisoformat(value.strip())
        if '%' in self.date_time_format:
            return dt.datetime.strptime(value.strip(), self.date_time_format)
        from arrow.parser import DateTimeParser  # imported on demand, as it takes tens of milliseconds

        return DateTimeParser().parse(value.strip(), self.date_time_format)

    def format(self, value: dt.date) -> str:
        """Format a date and time."""
        return format_datetime(value, self.date_time_format)


class DateTime(BaseDateElement):
    """A date and time, which is a datetime.datetime in the service, and text in ISO 8601 or in the `date_time_format`
    in messages."""

    expected = 'datetime'

    def take(self, value: Any) -> dt.datetime:
        if isinstance(value, dt.datetime):
            return value
        if isinstance(value, str):
            try:
                return self.parse(value)
            except ValueError:
                raise self.make_error(value) from None
        raise self.make_error(value)

    def give(self, value: Any) -> str:
        return self.format(self.take(value))


class Date(BaseDateElement):
    """A date, which is a datetime.date in the service, and text in the form YYYY-MM-DD or in the `date_time_format` in
    messages."""

    expected = 'date'

    def take(self, value: Any) -> dt.date:
        if isinstance(value, dt.datetime):
            return value.date()
        if isinstance(value, dt.date):
            return value
        if isinstance(value, str):
            try:
                return self.parse(value).date()
            except ValueError:
                raise self.make_error(value) from None
        raise self.make_error(value)

    def give(self, value: Any) -> str:
        return self.format(self.take(value))


class CSV(Element):
    """A list that is a Python list in the service, and comma-separated text (`a,b`) in messages."""

    expected = 'str'

    def take(self, value: Any) -> list[Any]:
        if isinstance(value, str):
            return value.split(',') if value else []
        if isinstance(value, (list, tuple)):
            return list(value)
        raise self.make_error(value)

    def give(self, value: Any) -> str:
        if isinstance(value, str):
            return value
        if isinstance(value, (list, tuple, set, frozenset)):
            return ','.join(str(item) for item in value)
        raise self.make_error(value)


class List(Element):
    """A list of any values. A single value of a query or form becomes a list of one item."""

    expected = 'array'
    takes_empty = False

    def take(self, value: Any) -> list[Any]:
        if type(value) is list:
            return value
        if isinstance(value, (Sequence, set, frozenset)) and not isinstance(value, (str, bytes)):
            return list(value)
        raise self.make_error(value)

    def take_text(self, value: Any) -> list[Any]:
        return value if isinstance(value, list) else [value]

    give = take


def format_datetime(value: dt.date, format_: str) -> str:
    """Format a date or datetime in ISO 8601, or in a format that consists of the tokens of strftime or Arrow."""
    if not format_:
        return value.isoformat()
    if '%' in format_:
        return value.strftime(format_)
    import arrow

    return arrow.get(value).format(format_)


def to_mapping(value: Any) -> Mapping[str, Any] | None:
    """Convert a mapping, msgspec Struct or dataclass to a mapping. Returns None for other values."""
    if type(value) is dict or isinstance(value, Mapping):
        return value
    if isinstance(value, (str, bytes, list, tuple)) or value is None:
        return None
    kind = type(value)  # looked up on the type, as attributes of the value may be elements of that name
    names = getattr(kind, '__struct_fields__', None) or getattr(kind, '__dataclass_fields__', None)
    if names is None:
        return None
    return {name: getattr(value, name) for name in names if hasattr(value, name)}
