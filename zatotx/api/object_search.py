"""Finds objects by the words in their texts. The search does not convert all objects to rows. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from zatotx.schema.meta import ObjectType, fields_of
from zatotx.schema.snapshot import StoredObject


def text_fields(object_type: ObjectType) -> tuple[str, ...]:
    """Return the fields that the search covers: the name, the references, and all other fields that are not secret."""
    return tuple(info.name for info in fields_of(object_type) if not info.secret)


def find_objects(
    types: Mapping[str, ObjectType], stored: Iterable[StoredObject], query: str
) -> Iterator[StoredObject]:
    """Yield the objects whose texts contain every word of a query. Case is ignored."""
    words = query.lower().split()
    fields = {key: text_fields(object_type) for key, object_type in types.items()}
    for one in stored:
        if _matches(one.value, fields[one.type], words):
            yield one


def _matches(value: Any, fields: Sequence[str], words: Sequence[str]) -> bool:
    texts = [text for text in (getattr(value, name) for name in fields) if isinstance(text, str)]
    text = '\n'.join(texts).lower()
    return all(word in text for word in words)
