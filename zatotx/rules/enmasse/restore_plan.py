"""Plans how to restore an earlier revision of the configuration. The plan is a list of operations. Pure functions.

It does not touch deployed code and the rows of its services (see `service rollback`), nor the objects that the broker
creates, whose passwords are also in credentials.toml.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from zatotx.rules.enmasse.object_diff import changed_fields, describe_changes
from zatotx.schema.meta import ObjectType
from zatotx.schema.service_config import SERVICE
from zatotx.schema.snapshot import Operation, Snapshot, StoredObject
from zatotx.schema.type_registry import ObjectTypeRegistry

_CODE_FIELDS = frozenset({'file', 'impl_name', 'is_internal'})  # service fields that deployments and nodes maintain


class RestoreStep(msgspec.Struct, frozen=True):
    """One object to restore: its current and its earlier version. A version is None if the object does not exist in
    that revision."""

    current: StoredObject | None
    earlier: StoredObject | None

    @property
    def type(self) -> str:
        stored = self.current or self.earlier
        assert stored is not None
        return stored.type


def plan_restore(current: Snapshot, earlier: Snapshot, types: ObjectTypeRegistry) -> list[RestoreStep]:
    """Return the steps that change the current configuration to the earlier one, sorted by type and name. Objects are
    matched by ID; an object that was deleted and recreated is matched by type and name."""
    steps = [step for step in _pairs(current, earlier) if step.type in types and _differs(step, types[step.type])]
    return sorted(steps, key=_order)


def restore_steps_to_operations(steps: list[RestoreStep]) -> list[Operation]:
    """Convert the steps to operations. Each operation fails when it is applied if its object was changed in the
    meantime."""
    return [_operation(step) for step in steps]


def describe_restore_step(step: RestoreStep, types: ObjectTypeRegistry) -> list[str]:
    """Describe a step in readable lines, with secrets masked."""
    object_type, current, earlier = types[step.type], step.current, step.earlier
    restored = None if earlier is None else earlier.value
    if current is not None and earlier is not None:
        restored = msgspec.structs.replace(current.value, **_changes(current, earlier))
    return describe_changes(object_type, None if current is None else current.value, restored)


def _pairs(now: Snapshot, then: Snapshot) -> Iterator[RestoreStep]:
    unmatched = {(o.type, o.name): o for o in now if then.get(o.id) is None}
    for earlier in then:
        current = now.get(earlier.id) or unmatched.pop((earlier.type, earlier.name), None)
        yield RestoreStep(current, earlier)
    for stored in unmatched.values():
        yield RestoreStep(stored, None)


def _differs(step: RestoreStep, object_type: ObjectType) -> bool:
    current, earlier = step.current, step.earlier
    if any(stored is not None and stored.name in object_type.builtin_names for stored in (current, earlier)):
        return False
    if current is not None and earlier is not None:
        return bool(_changes(current, earlier))
    if object_type.key != SERVICE.key:
        return True
    return earlier is not None and not earlier.value.is_internal


def _changes(current: StoredObject, earlier: StoredObject) -> dict[str, Any]:
    names = changed_fields(current.value, earlier.value)
    kept = _CODE_FIELDS if current.type == SERVICE.key else frozenset()
    return {name: getattr(earlier.value, name) for name in names if name not in kept}


def _operation(step: RestoreStep) -> Operation:
    current, earlier = step.current, step.earlier
    if current is None:
        assert earlier is not None
        fields = msgspec.structs.asdict(earlier.value)
        if earlier.type == SERVICE.key:
            fields['file'] = ''
        return Operation(action='create', type=earlier.type, name=earlier.name, fields=fields)
    if earlier is None:
        return Operation(
            action='delete', type=current.type, name=current.name, id=current.id, revision=current.revision
        )
    return Operation(
        action='edit',
        type=current.type,
        name=earlier.name,
        id=current.id,
        fields=_changes(current, earlier),
        revision=current.revision,
    )


def _order(step: RestoreStep) -> tuple[str, str]:
    stored = step.earlier or step.current
    assert stored is not None
    return stored.type, stored.name
