"""What calling another system by HTTP gives: names as in `requests`, which services written for Zato expect."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from zatotx.model.errors import BadRequest, BadStatus

_PHRASES = {int(status): status.phrase for status in HTTPStatus}


class Headers(Mapping[str, str]):
    """Fields of an answer by name, in whatever case; iterated, their names are as they were sent."""

    __slots__ = ('_fields',)

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        """Values of one name are joined by ', ', in order."""
        found: dict[str, tuple[str, str]] = {}
        for name, value in fields:
            known = found.get(name.lower())
            found[name.lower()] = (name, value) if known is None else (known[0], f'{known[1]}, {value}')
        self._fields = found

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
    """What real connections and those that tests script have in common. Those who have it set `status_code` and `cid`,
    and give `headers`, `text`, `content` and `data`."""

    __slots__ = ()

    status_code: int
    cid: str  # of the call that it answers
    title: str  # of its connection: 'Outgoing connection CRM (rest)'

    @property
    def headers(self) -> Mapping[str, str]:
        """Its fields, by name in whatever case."""
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
        """The body as the value that it stands for."""
        raise NotImplementedError

    @property
    def ok(self) -> bool:
        """Whether the status says so: below 400."""
        return self.status_code < 400

    @property
    def reason(self) -> str:
        """The status in words."""
        return _PHRASES.get(self.status_code, '')

    def json(self) -> Any:
        """The body, read as JSON. Raises ValueError where it is none."""
        return msgspec.json.decode(self.content)

    def raise_for_status(self) -> None:
        """Raises BadStatus, naming the connection, unless it is ok."""
        if not self.ok:
            said = f'{self.status_code} {self.reason}'.rstrip()
            raise BadStatus(self.cid, f'{self.title} answered {said}', self)


def to_model(value: Any, model: Any) -> Any:
    """What a peer answered as a model: a Struct, a dataclass, a Model of Zato, or any type that msgspec reads, such as
    `list[Customer]`. A list of what is one thing's model is a list of them, as in Zato.

    Raises ValueError, with the rest of a sentence about the answer, where it does not fit.
    """
    if isinstance(value, list) and isinstance(model, type) and not issubclass(model, list | tuple | set):
        return [to_model(one, model) for one in value]
    try:
        if getattr(model, 'zato_model', False) and isinstance(value, Mapping):
            return model.from_dict(value)
        return msgspec.convert(value, model)
    except BadRequest as wrong:
        raise ValueError(f'it does not fit {_called(model)}: {wrong.msg}') from None
    except msgspec.ValidationError as wrong:
        text, _, place = str(wrong).replace('`', '').partition(' - at ')
        raise ValueError(f'it does not fit {_called(model)}: {place or "$"}: {text[:1].lower()}{text[1:]}') from None


def _called(model: Any) -> str:
    return model.__name__ if isinstance(model, type) else str(model)
