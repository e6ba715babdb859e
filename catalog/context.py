"""What every operation of the catalogue needs, put together once by the composition root."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import Engine

from catalog.clock import Clock
from catalog.items import ItemList
from catalog.reasons import OverrideReason
from catalog.records import Policy
from catalog.registry_kept import RegistryCache
from catalog.vault import Vault


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a check can be decided and a decision undone, and how many candidates are shown.

    `quiet` after the last arrival a study without a proper end counts as complete; `complete_within` after it, a
    study with fewer instances than it declares.
    """

    decide_within: timedelta = timedelta(hours=24)
    undo_within: timedelta = timedelta(days=30)
    candidates: int = 20
    orders_in_a_check: int = 50
    quiet: timedelta = timedelta(minutes=10)
    complete_within: timedelta = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The catalogue: its database, keys, lists, policy and clock."""

    engine: Engine
    vault: Vault
    items: ItemList
    override_reasons: Mapping[str, OverrideReason]
    clock: Clock
    policy: Policy = field(default_factory=Policy)
    limits: Limits = field(default_factory=Limits)
    registry: RegistryCache = field(default_factory=RegistryCache)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who acts: the token's subject, role and hospital code (empty for roles without one)."""

    subject: str
    role: str
    hospital_code: str = ""
