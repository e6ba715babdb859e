"""What a version of the list changes: items added, dropped and altered, field by field."""

from dataclasses import dataclass, fields
from typing import Any

from catalog.items import Item, ItemList


@dataclass(frozen=True, slots=True)
class Change:
    """One field of one item, as it was and as it becomes."""

    code: str
    field: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class ListDiff:
    """The differences between two lists, in the order of the newer one."""

    added: tuple[Item, ...]
    dropped: tuple[Item, ...]
    changed: tuple[Change, ...]

    @property
    def is_empty(self) -> bool:
        return not (self.added or self.dropped or self.changed)

    def report(self) -> dict[str, Any]:
        """Return the differences as JSON would have them."""
        return {
            "added": [
                {"code": item.code, "name": item.name_zh, "name_en": item.name_en} for item in self.added
            ],
            "dropped": [
                {"code": item.code, "name": item.name_zh, "name_en": item.name_en} for item in self.dropped
            ],
            "changed": [
                {"code": each.code, "field": each.field, "before": each.before, "after": each.after}
                for each in self.changed
            ],
        }


def difference(before: ItemList, after: ItemList) -> ListDiff:
    """Return what `after` changes; items in another order are no change."""
    return ListDiff(
        added=tuple(item for item in after if before.get(item.code) is None),
        dropped=tuple(item for item in before if after.get(item.code) is None),
        changed=tuple(
            change
            for item in after
            if (known := before.get(item.code)) is not None
            for change in _changes(known, item)
        ),
    )


def _changes(before: Item, after: Item) -> list[Change]:
    pairs = [(field.name, getattr(before, field.name), getattr(after, field.name)) for field in fields(Item)]
    return [Change(after.code, name, _text(old), _text(new)) for name, old, new in pairs if old != new]


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | frozenset):
        return ";".join(sorted(value) if isinstance(value, frozenset) else value)
    return str(value)
