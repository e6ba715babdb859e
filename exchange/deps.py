"""What routes need from the application, as typed dependencies."""

from typing import Annotated

from fastapi import Depends, Request

from catalog.context import Catalogue
from catalog.objects import ObjectStore
from catalog.outbound import Outbound
from exchange.deadline import Deadline


def catalogue_of(request: Request) -> Catalogue:
    """Return the catalogue the application was made with."""
    catalogue: Catalogue = request.app.state.catalogue
    return catalogue


def deadline_of(request: Request) -> Deadline:
    """Return the pool that answers within the time allowed at order time."""
    deadline: Deadline = request.app.state.deadline
    return deadline


def store_of(request: Request) -> ObjectStore | None:
    """Return the object store of documents, where the application was made with one."""
    store: ObjectStore | None = request.app.state.store
    return store


def outbound_of(request: Request) -> Outbound:
    """Return where the service may connect of itself."""
    outbound: Outbound = request.app.state.outbound
    return outbound


CatalogueOf = Annotated[Catalogue, Depends(catalogue_of)]
StoreOf = Annotated[ObjectStore | None, Depends(store_of)]
DeadlineOf = Annotated[Deadline, Depends(deadline_of)]
OutboundOf = Annotated[Outbound, Depends(outbound_of)]
