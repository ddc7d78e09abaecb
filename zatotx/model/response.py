"""The response of another system to an outgoing HTTP call. The attributes have the names that `requests` uses, because
Zato's services expect them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from zatotx.model.errors import BadRequest, BadStatus

_PHRASES = {int(status): status.phrase for status in HTTPStatus}


class Headers(Mapping[str, str]):
    """The header fields of a response. Lookup is case-insensitive, and iteration yields the names as they were sent."""

    __slots__ = ('_fields',)

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        """Join repeated fields by ', ' in the order of their appearance."""
        merged: dict[str, tuple[str, str]] = {}
        for name, value in fields:
            existing = merged.get(name.lower())
            merged[name.lower()] = (name, value) if existing is None else (existing[0], f'{existing[1]}, {value}')
        self._fields = merged

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()][1]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._fields

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._fields.values())

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        return f'Headers({dict(self)!r})'


class PeerResponse:
    """The base class of real and scripted responses. Subclasses set `status_code` and `cid`, and implement `headers`,
    `text`, `content` and `data`."""

    __slots__ = ()

    status_code: int
    cid: str  # correlation id of the call
    connection_title: str  # of the connection: 'Outgoing connection CRM (rest)'

    @property
    def headers(self) -> Mapping[str, str]:
        """The header fields, by case-insensitive name."""
        raise NotImplementedError

    @property
    def text(self) -> str:
        """The body as text."""
        raise NotImplementedError

    @property
    def content(self) -> bytes:
        """The body."""
        raise NotImplementedError

    @property
    def data(self) -> Any:
        """The body decoded to a Python value."""
        raise NotImplementedError

    @property
    def ok(self) -> bool:
        """Whether the status is below 400."""
        return self.status_code < 400

    @property
    def reason(self) -> str:
        """The standard reason phrase of the status."""
        return _PHRASES.get(self.status_code, '')

    def json(self) -> Any:
        """Decode the body as JSON. Raises ValueError if it is not valid JSON."""
        return msgspec.json.decode(self.content)

    def raise_for_status(self) -> None:
        """Raises BadStatus, naming the connection, if the status is 400 or above."""
        if not self.ok:
            status = f'{self.status_code} {self.reason}'.rstrip()
            raise BadStatus(self.cid, f'{self.connection_title} answered {status}', self)


def to_model(value: Any, model: Any) -> Any:
    """Convert a decoded response to a model: a Struct, a dataclass, a Zato Model, or any type that msgspec supports,
    such as `list[Customer]`. If `value` is a list and `model` is not a collection type, each element is converted, as
    in Zato.

    Raises ValueError if the value does not match; its text continues a sentence about the response.
    """
    if isinstance(value, list) and isinstance(model, type) and not issubclass(model, list | tuple | set):
        return [to_model(item, model) for item in value]
    try:
        if getattr(model, 'zato_model', False) and isinstance(value, Mapping):
            return model.from_dict(value)
        return msgspec.convert(value, model)
    except BadRequest as error:
        raise ValueError(f'it does not fit {_model_name(model)}: {error.msg}') from None
    except msgspec.ValidationError as error:
        text, _, path = str(error).replace('`', '').partition(' - at ')
        raise ValueError(f'it does not fit {_model_name(model)}: {path or "$"}: {text[:1].lower()}{text[1:]}') from None


def _model_name(model: Any) -> str:
    return model.__name__ if isinstance(model, type) else str(model)
