"""What routes need from the application, as typed dependencies; `async`, so that none of them costs a thread."""

from typing import Annotated

from fastapi import Depends, Request

from catalog.context import Catalogue
from catalog.objects import ObjectStore
from catalog.outbound import Outbound
from catalog.scope import GATE, Scope, acting_as
from exchange.auth import CallerOf
from exchange.deadline import Deadline
from exchange.harvest import Harvest
from exchange.settings import ExchangeSettings
from exchange.tokens import TokenKey


async def catalogue_of(request: Request, caller: CallerOf) -> Catalogue:
    """Return the catalogue as the database shows it to who calls."""
    return acting_as(request.app.state.catalogue, Scope.of(caller))


async def gate_of(request: Request) -> Catalogue:
    """Return the catalogue for letting somebody in: accounts, clients, sessions."""
    return acting_as(request.app.state.catalogue, GATE)


async def deadline_of(request: Request) -> Deadline:
    """Return the pool that answers within the time allowed at order time."""
    deadline: Deadline = request.app.state.deadline
    return deadline


async def store_of(request: Request) -> ObjectStore | None:
    """Return the object store of documents, where the application was made with one."""
    store: ObjectStore | None = request.app.state.store
    return store


def settings_of(request: Request) -> ExchangeSettings:
    """Return the settings the application was made with."""
    settings: ExchangeSettings = request.app.state.settings
    return settings


def token_key_of(request: Request) -> TokenKey:
    """Return the key that signs our tokens."""
    key: TokenKey = request.app.state.token_key
    return key


def harvest_of(request: Request) -> Harvest:
    """Return the count of whom each caller asks about."""
    harvest: Harvest = request.app.state.harvest
    return harvest


def outbound_of(request: Request) -> Outbound:
    """Return where the service may connect of itself."""
    outbound: Outbound = request.app.state.outbound
    return outbound


OutboundOf = Annotated[Outbound, Depends(outbound_of)]
HarvestOf = Annotated[Harvest, Depends(harvest_of)]
CatalogueOf = Annotated[Catalogue, Depends(catalogue_of)]
GateOf = Annotated[Catalogue, Depends(gate_of)]
StoreOf = Annotated[ObjectStore | None, Depends(store_of)]
DeadlineOf = Annotated[Deadline, Depends(deadline_of)]
SettingsOf = Annotated[ExchangeSettings, Depends(settings_of)]
TokenKeyOf = Annotated[TokenKey, Depends(token_key_of)]
