"""The application, made from arguments."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI

from catalog.context import Catalogue
from catalog.harvest import Harvest
from catalog.objects import ObjectStore
from catalog.public_list import PublicList
from catalog.revocations import Revocations
from catalog.scope import GATE, acting_as, scoped
from catalog.swift import Swift
from exchange import (
    accounts,
    admin,
    break_glass,
    cds_hooks,
    checks,
    clients,
    dicomweb,
    erasures,
    fhir,
    fhir_audit_search,
    fhir_capability,
    fhir_match,
    fhir_search,
    forms,
    health,
    history,
    hospitals,
    image_grants,
    interface,
    investigations,
    items,
    launches,
    notices,
    oauth,
    patients,
    people,
    prices,
    problems,
    public_list,
    qc,
    quality,
    questions,
    recounts,
    rendered,
    repeats,
    report_curation,
    reports,
    reviews,
    running,
    savings,
    session,
    sheets,
    stow,
    supply,
    wado_uri,
    webhooks,
)
from exchange.auth import PUBLIC, unlisted_routes
from exchange.body_limit import BodyLimit, BodyLimits
from exchange.cds_origins import CdsOrigins
from exchange.darkroom import Darkroom
from exchange.deadline import Deadline
from exchange.deposit import Deposits
from exchange.description import describe
from exchange.downloads import Downloads
from exchange.gate import Gate
from exchange.image_desk import ImageDesk
from exchange.image_links import ImageLinks, LinkPaths
from exchange.issuers import Issuers
from exchange.overload import Overload
from exchange.pace import Pace
from exchange.password_work import PasswordWork
from exchange.pulse import Outlook, Pulse
from exchange.recount_desk import RecountDesk
from exchange.security_headers import SecurityHeaders
from exchange.settings import ExchangeSettings
from exchange.store_audit import StoreAudit
from exchange.store_threads import StoreThreads
from exchange.tokens import TokenKey
from exchange.upload import Uploads
from exchange.viewer import Viewer
from exchange.web import launch, rooms, visitor
from exchange.web.every_page import PAGES

TITLE: Final = "Huren 互认"
_FROM_ANYBODY_BYTES: Final = 16 << 10
_PARTS: Final = (
    checks,
    dicomweb,
    rendered,
    wado_uri,
    image_grants,
    stow,
    sheets,
    history,
    patients,
    notices,
    webhooks,
    reports,
    report_curation,
    fhir,
    fhir_audit_search,
    fhir_capability,
    fhir_match,
    fhir_search,
    cds_hooks,
    savings,
    recounts,
    questions,
    investigations,
    repeats,
    supply,
    forms,
    items,
    reviews,
    admin,
    qc,
    quality,
    hospitals,
    prices,
    people,
    erasures,
    break_glass,
    oauth,
    accounts,
    clients,
    running,
    session,
    launches,
    health,
    interface,
    public_list,
    *PAGES,
)


def described() -> dict[str, Any]:
    """Return the OpenAPI document of the service, as it serves it at `/openapi.json`."""
    app = FastAPI(title=TITLE)
    for part in _PARTS:
        app.include_router(part.router)
    describe(app)
    return app.openapi()


def create_app(
    catalogue: Catalogue,
    token_key: TokenKey,
    settings: ExchangeSettings,
    health_probes: health.Health,
    counters: Callable[[], Mapping[str, int | float]] = dict,
    store: ObjectStore | None = None,
    deposits: Deposits | None = None,
    anchor_file: Path | None = None,
) -> FastAPI:
    """Return the service. Raises LookupError where a route is missing from the table of who may call it."""
    gate = Gate(
        token_key, Issuers(settings.identity_providers()), Revocations(scoped(catalogue.engine, GATE))
    )
    deadline = Deadline(settings.check_seconds, settings.check_threads)
    at_order = Deadline(settings.cds_seconds, settings.check_threads)
    swift = Swift(catalogue.engine, settings.check_connections, at_once=settings.checks_at_once)
    store_threads = StoreThreads()
    image_desk = ImageDesk(store, store_threads, settings.image_cache_bytes, settings.image_cache_dir)
    darkroom = Darkroom(settings.pictures_at_once)
    password_work = PasswordWork()
    recount_desk = RecountDesk(token_key)
    uploads = Uploads(settings.stow_at_once, settings.stow_at_once_per_hospital)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        health_probes.start()
        gate.start()
        yield
        gate.stop()
        health_probes.stop()
        recount_desk.close()
        swift.close()
        deadline.close()
        at_order.close()
        store_threads.close()
        password_work.close()
        darkroom.close()
        image_desk.close()
        uploads.close()

    app = FastAPI(title=TITLE, docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.state.catalogue = catalogue
    app.state.token_key = token_key
    app.state.gate = gate
    app.state.settings = settings
    app.state.store = store
    app.state.store_threads = store_threads
    app.state.password_work = password_work
    app.state.downloads = Downloads(store_threads, settings.http_documents_bytes)
    app.state.outbound = settings.outbound()
    app.state.deadline = deadline
    app.state.health = health_probes
    app.state.counters = counters
    app.state.pulse = Pulse()
    app.state.outlook = Outlook()
    app.state.anchor_file = anchor_file
    app.state.pace = Pace(settings)
    app.state.public_list = PublicList(acting_as(catalogue, GATE))
    app.state.harvest = Harvest(settings)
    app.state.swift = swift
    app.state.darkroom = darkroom
    app.state.images = image_desk
    app.state.image_links = ImageLinks(acting_as(catalogue, GATE), gate)
    app.state.deposits = deposits
    app.state.uploads = uploads
    app.state.recount_desk = recount_desk
    app.state.store_audit = StoreAudit()
    app.state.cds = cds_hooks.Setting(settings, at_order, app.state.pace, app.state.harvest)
    for part in _PARTS:
        app.include_router(part.router)
    app.mount("/viewer", Viewer(settings.viewer_dir))
    problems.install(app)
    visitor.install(app)
    describe(app)
    app.state.inside = (
        app.build_middleware_stack()
    )  # before there is any: pages are no second request to these
    app.add_middleware(
        Overload, requests_at_once=settings.http_requests_at_once, seconds=settings.http_request_seconds
    )
    app.add_middleware(BodyLimit, limits=_body_limits(settings))
    app.add_middleware(SecurityHeaders)
    app.add_middleware(CdsOrigins, origins=settings.cds_origins)
    app.add_middleware(LinkPaths)
    app.add_middleware(launch.LaunchPaths)
    if missing := unlisted_routes(app):
        raise LookupError(f"routes without an access rule: {sorted(missing)}")
    return app


def _body_limits(settings: ExchangeSettings) -> BodyLimits:
    """Return what bodies may take; who may stay unknown sends a password or an assertion, and nothing large."""
    anybody = {path for _, path in PUBLIC if not path.startswith("/cds-services")} | rooms.OPEN_FORMS
    return BodyLimits(
        settings.body_limit_bytes,
        below={
            "/fhir": settings.fhir_body_limit_bytes,
            "/cds-services": settings.cds_body_limit_bytes,
            **dict.fromkeys(anybody, _FROM_ANYBODY_BYTES),
        },
        anybody=anybody,
        seconds=settings.http_body_seconds,
        together_bytes=settings.http_bodies_bytes,
        is_streamed=stow.is_upload,
        streamed_bytes=settings.stow_body_limit_bytes,
    )
