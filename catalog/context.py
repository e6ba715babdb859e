"""What every operation of the catalogue needs, put together once by the composition root."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from sqlalchemy import Engine

from catalog.clock import Clock
from catalog.items import ItemList
from catalog.plausibility import Thresholds
from catalog.reasons import OverrideReason
from catalog.records import Policy
from catalog.registry_kept import RegistryCache
from catalog.vault import Vault

EVERY_SCOPE: Final = "*"


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a check can be decided and a decision undone, and how many candidates are shown.

    `quiet` after the last arrival a study without a proper end counts as complete; `complete_within` after it, a
    study with fewer instances than it declares. `publication_least` is the least count that outsiders are shown.
    """

    decide_within: timedelta = timedelta(hours=24)
    undo_within: timedelta = timedelta(days=30)
    candidates: int = 20
    orders_in_a_check: int = 50
    quiet: timedelta = timedelta(minutes=10)
    complete_within: timedelta = timedelta(hours=24)
    publication_least: int = 5


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
    thresholds: Thresholds = field(default_factory=Thresholds)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who acts: subject, role and hospital code (empty for roles without one), and how he came.

    `scopes` are what his token may be used for, EVERY_SCOPE for all that the role may do; `token_id` is that token's
    own number, `client_id` names a hospital's system, `account_id` a local account. `name` is what people call him.
    """

    subject: str
    role: str
    hospital_code: str = ""
    scopes: frozenset[str] = frozenset()
    client_id: str = ""
    account_id: int | None = None
    token_id: str = ""
    name: str = ""
