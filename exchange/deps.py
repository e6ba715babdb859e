"""What routes need from the application, as typed dependencies; `async`, so that none of them costs a thread."""

from typing import Annotated

from fastapi import Depends, Path, Request

from catalog.context import Catalogue
from catalog.harvest import Harvest
from catalog.objects import ObjectStore
from catalog.outbound import Outbound
from catalog.scope import GATE, Scope, acting_as
from exchange.at_order import AtOrder
from exchange.auth import CallerOf
from exchange.deadline import Deadline
from exchange.downloads import Downloads
from exchange.password_work import PasswordWork
from exchange.settings import ExchangeSettings
from exchange.store_threads import StoreThreads
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


async def at_order_of(request: Request, caller: CallerOf) -> AtOrder:
    """Return who asks at order time and what answers him."""
    state = request.app.state
    catalogue = acting_as(state.catalogue, Scope.of(caller))
    return AtOrder(caller, catalogue, state.deadline, state.swift, state.harvest)


async def store_of(request: Request) -> ObjectStore | None:
    """Return the object store of documents, where the application was made with one."""
    store: ObjectStore | None = request.app.state.store
    return store


async def store_threads_of(request: Request) -> StoreThreads:
    """Return the threads in which what waits for the object store waits."""
    threads: StoreThreads = request.app.state.store_threads
    return threads


async def downloads_of(request: Request) -> Downloads:
    """Return what holds documents on their way out."""
    downloads: Downloads = request.app.state.downloads
    return downloads


async def settings_of(request: Request) -> ExchangeSettings:
    """Return the settings the application was made with."""
    settings: ExchangeSettings = request.app.state.settings
    return settings


async def token_key_of(request: Request) -> TokenKey:
    """Return the key that signs our tokens."""
    key: TokenKey = request.app.state.token_key
    return key


async def harvest_of(request: Request) -> Harvest:
    """Return the count of whom each caller asks about."""
    harvest: Harvest = request.app.state.harvest
    return harvest


async def password_work_of(request: Request) -> PasswordWork:
    """Return the threads in which passwords are hashed."""
    work: PasswordWork = request.app.state.password_work
    return work


async def outbound_of(request: Request) -> Outbound:
    """Return where the service may connect of itself."""
    outbound: Outbound = request.app.state.outbound
    return outbound


OutboundOf = Annotated[Outbound, Depends(outbound_of)]
HarvestOf = Annotated[Harvest, Depends(harvest_of)]
PasswordWorkOf = Annotated[PasswordWork, Depends(password_work_of)]
CatalogueOf = Annotated[Catalogue, Depends(catalogue_of)]
GateOf = Annotated[Catalogue, Depends(gate_of)]
StoreOf = Annotated[ObjectStore | None, Depends(store_of)]
StoreThreadsOf = Annotated[StoreThreads, Depends(store_threads_of)]
DownloadsOf = Annotated[Downloads, Depends(downloads_of)]
AtOrderOf = Annotated[AtOrder, Depends(at_order_of)]
DeadlineOf = Annotated[Deadline, Depends(deadline_of)]
SettingsOf = Annotated[ExchangeSettings, Depends(settings_of)]
TokenKeyOf = Annotated[TokenKey, Depends(token_key_of)]
HospitalCode = Annotated[str, Path(max_length=32, description="机构代码 / a hospital's code", examples=["A"])]
