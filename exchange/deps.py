"""What routes need from the application, as typed dependencies; `async`, so that none of them costs a thread."""

from typing import Annotated

from fastapi import Depends, Request

from catalog.context import Catalogue
from catalog.objects import ObjectStore
from exchange.deadline import Deadline


async def catalogue_of(request: Request) -> Catalogue:
    """Return the catalogue the application was made with."""
    catalogue: Catalogue = request.app.state.catalogue
    return catalogue


async def deadline_of(request: Request) -> Deadline:
    """Return the pool that answers within the time allowed at order time."""
    deadline: Deadline = request.app.state.deadline
    return deadline


async def store_of(request: Request) -> ObjectStore | None:
    """Return the object store of documents, where the application was made with one."""
    store: ObjectStore | None = request.app.state.store
    return store


CatalogueOf = Annotated[Catalogue, Depends(catalogue_of)]
StoreOf = Annotated[ObjectStore | None, Depends(store_of)]
DeadlineOf = Annotated[Deadline, Depends(deadline_of)]
