"""What objects were called before they were renamed."""

from __future__ import annotations

from collections.abc import Iterable

from zatotx.schema.snapshot import Stored

MOST = 1_000  # former names remembered


class FormerNames:
    """The former names of the objects of a configuration. A name that another object has now is no former one for
    whoever looks among the present ones first."""

    __slots__ = ('_former', '_present')

    def __init__(self) -> None:
        self._present: dict[tuple[str, int], str] = {}  # by type and id
        self._former: dict[str, tuple[str, int]] = {}  # the oldest first

    def follow(self, objects: Iterable[Stored]) -> None:
        """These are the objects from now on."""
        present = {(stored.type, stored.id): stored.name for stored in objects}
        for key, name in self._present.items():
            if present.get(key, name) != name:
                self._former.pop(name, None)
                self._former[name] = key
        for name in list(self._former)[: max(0, len(self._former) - MOST)]:
            del self._former[name]
        self._present = present

    def now(self, name: str) -> str:
        """The present name of what was called that; the same name where nothing was, or where it is gone."""
        key = self._former.get(name)
        return name if key is None else self._present.get(key, name)
