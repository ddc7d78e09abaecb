"""From the configuration as it is back to the one of an earlier revision, as operations. Pure.

What configuration is not is left alone: the code that is deployed (`service rollback` is for that), with the rows of
its services, and the objects that the broker made itself, whose passwords stand in credentials.toml too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from zatotx.rules.enmasse.config_diff import changed_fields, diff
from zatotx.schema.meta import ObjectType
from zatotx.schema.service import SERVICE
from zatotx.schema.snapshot import Operation, Snapshot, Stored
from zatotx.schema.type_registry import ObjectTypes

_OF_CODE = frozenset({'file', 'impl_name', 'is_internal'})  # what deployments and nodes write of a service


class Step(msgspec.Struct, frozen=True):
    """One object on its way back: as it is and as it was, None = not there."""

    now: Stored | None
    then: Stored | None

    @property
    def type(self) -> str:
        stored = self.now or self.then
        assert stored is not None
        return stored.type


def plan_restore(now: Snapshot, then: Snapshot, types: ObjectTypes) -> list[Step]:
    """What differs, by type and name. An object is the same one by its id; one that was deleted, and made again, by its
    type and name."""
    steps = [step for step in _pairs(now, then) if step.type in types and _differs(step, types[step.type])]
    return sorted(steps, key=_order)


def operations(steps: list[Step]) -> list[Operation]:
    """The change that does them. It refuses itself where somebody else changes one of the objects meanwhile."""
    return [_operation(step) for step in steps]


def shown(step: Step, types: ObjectTypes) -> list[str]:
    """The step in lines for people, secrets masked."""
    object_type, now, then = types[step.type], step.now, step.then
    wanted = None if then is None else then.value
    if now is not None and then is not None:
        wanted = msgspec.structs.replace(now.value, **_changes(now, then))
    return diff(object_type, None if now is None else now.value, wanted)


def _pairs(now: Snapshot, then: Snapshot) -> Iterator[Step]:
    again = {(o.type, o.name): o for o in now if then.get(o.id) is None}
    for was in then:
        found = now.get(was.id) or again.pop((was.type, was.name), None)
        yield Step(found, was)
    for stored in again.values():
        yield Step(stored, None)


def _differs(step: Step, object_type: ObjectType) -> bool:
    now, then = step.now, step.then
    if any(stored is not None and stored.name in object_type.own for stored in (now, then)):
        return False
    if now is not None and then is not None:
        return bool(_changes(now, then))
    if object_type.key != SERVICE.key:
        return True
    return then is not None and not then.value.is_internal


def _changes(now: Stored, then: Stored) -> dict[str, Any]:
    names = changed_fields(now.value, then.value)
    kept = _OF_CODE if now.type == SERVICE.key else frozenset()
    return {name: getattr(then.value, name) for name in names if name not in kept}


def _operation(step: Step) -> Operation:
    now, then = step.now, step.then
    if now is None:
        assert then is not None
        fields = msgspec.structs.asdict(then.value)
        if then.type == SERVICE.key:
            fields['file'] = ''
        return Operation(action='create', type=then.type, name=then.name, fields=fields)
    if then is None:
        return Operation(action='delete', type=now.type, name=now.name, id=now.id, revision=now.revision)
    return Operation(
        action='edit', type=now.type, name=then.name, id=now.id, fields=_changes(now, then), revision=now.revision
    )


def _order(step: Step) -> tuple[str, str]:
    stored = step.then or step.now
    assert stored is not None
    return stored.type, stored.name
