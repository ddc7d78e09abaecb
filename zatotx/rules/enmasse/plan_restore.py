"""Plans the restore of an earlier revision of the configuration, as operations. Pure.

It does not touch deployed code and the rows of its services (see `service rollback`), nor the objects that the broker
creates, whose passwords are also in credentials.toml.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from zatotx.rules.enmasse.config_diff import changed_fields, describe_changes
from zatotx.schema.meta import ObjectType
from zatotx.schema.service import SERVICE
from zatotx.schema.snapshot import Operation, Snapshot, StoredObject
from zatotx.schema.type_registry import ObjectTypeRegistry

_CODE_FIELDS = frozenset({'file', 'impl_name', 'is_internal'})  # service fields that deployments and nodes maintain


class RestoreStep(msgspec.Struct, frozen=True):
    """One object to restore: its current and its earlier version, None = it does not exist."""

    now: StoredObject | None
    then: StoredObject | None

    @property
    def type(self) -> str:
        stored = self.now or self.then
        assert stored is not None
        return stored.type


def plan_restore(now: Snapshot, then: Snapshot, types: ObjectTypeRegistry) -> list[RestoreStep]:
    """Returns the differences, by type and name. Objects are matched by id; a deleted and recreated one by type and
    name."""
    steps = [step for step in _pairs(now, then) if step.type in types and _differs(step, types[step.type])]
    return sorted(steps, key=_order)


def to_operations(steps: list[RestoreStep]) -> list[Operation]:
    """Returns the operations. They fail if one of the objects is changed meanwhile."""
    return [_operation(step) for step in steps]


def describe_step(step: RestoreStep, types: ObjectTypeRegistry) -> list[str]:
    """Returns the step as readable lines, secrets masked."""
    object_type, now, then = types[step.type], step.now, step.then
    restored = None if then is None else then.value
    if now is not None and then is not None:
        restored = msgspec.structs.replace(now.value, **_changes(now, then))
    return describe_changes(object_type, None if now is None else now.value, restored)


def _pairs(now: Snapshot, then: Snapshot) -> Iterator[RestoreStep]:
    unmatched = {(o.type, o.name): o for o in now if then.get(o.id) is None}
    for earlier in then:
        current = now.get(earlier.id) or unmatched.pop((earlier.type, earlier.name), None)
        yield RestoreStep(current, earlier)
    for stored in unmatched.values():
        yield RestoreStep(stored, None)


def _differs(step: RestoreStep, object_type: ObjectType) -> bool:
    now, then = step.now, step.then
    if any(stored is not None and stored.name in object_type.own for stored in (now, then)):
        return False
    if now is not None and then is not None:
        return bool(_changes(now, then))
    if object_type.key != SERVICE.key:
        return True
    return then is not None and not then.value.is_internal


def _changes(now: StoredObject, then: StoredObject) -> dict[str, Any]:
    names = changed_fields(now.value, then.value)
    kept = _CODE_FIELDS if now.type == SERVICE.key else frozenset()
    return {name: getattr(then.value, name) for name in names if name not in kept}


def _operation(step: RestoreStep) -> Operation:
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


def _order(step: RestoreStep) -> tuple[str, str]:
    stored = step.then or step.now
    assert stored is not None
    return stored.type, stored.name
