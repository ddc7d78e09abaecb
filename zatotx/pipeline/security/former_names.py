"""Former names of renamed configuration objects."""

from __future__ import annotations

from collections.abc import Iterable

from zatotx.schema.snapshot import StoredObject

MAX_FORMER_NAMES = 1_000  # number of former names kept


class FormerNames:
    """Maps former names of configuration objects to present ones. Callers look a name up among the present ones first,
    so a name that another object has taken over is not treated as a former one."""

    __slots__ = ('_former', '_present')

    def __init__(self) -> None:
        self._present: dict[tuple[str, int], str] = {}  # (type, id) -> name
        self._former: dict[str, tuple[str, int]] = {}  # oldest first

    def update(self, objects: Iterable[StoredObject]) -> None:
        """Update the present names; names that changed become former ones."""
        present = {(stored.type, stored.id): stored.name for stored in objects}
        for key, name in self._present.items():
            if present.get(key, name) != name:
                self._former.pop(name, None)
                self._former[name] = key
        for name in list(self._former)[: max(0, len(self._former) - MAX_FORMER_NAMES)]:
            del self._former[name]
        self._present = present

    def present_name(self, name: str) -> str:
        """Return the present name of the object that was called `name`; `name` itself if there is none."""
        key = self._former.get(name)
        return name if key is None else self._present.get(key, name)
