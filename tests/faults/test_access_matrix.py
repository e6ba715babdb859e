"""FAULTS A2: every route of the description × every identifier × every role with every scope, and no token.

Scopes only ever add: a token with all but the route's own stands for each of them, and `make soak` takes them singly
as well. What must be answered is computed: who may come in from the table of rules, what he then sees from `matrix_places`.
Each call's changes are taken back, so a cell never depends on the one before it.
"""

import asyncio
import json
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import pytest
from sqlalchemy import text

from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.embedded import Services
from catalog.objects import ObjectStore
from catalog.scope import Scope, acting_as
from dicom_node.deposit import Deposits
from dicom_node.settings import NodeSettings
from exchange.app import create_app, described
from exchange.auth import ACCESS, PUBLIC
from exchange.health import Health
from exchange.recount_desk import RecountDesk
from exchange.settings import ExchangeSettings
from exchange.tokens import HOSPITAL_ROLES, ROLES, TokenKey, open_token_key
from tests.city import City, open_catalogue, serving
from tests.exchange.witness import assert_documented
from tests.faults.in_process import Answer, Request, call
from tests.faults.matrix_places import PLACES, Route
from tests.faults.matrix_site import (
    COLLEAGUE,
    DOCTOR,
    FOREIGN,
    HIDDEN,
    MALFORMED,
    UNKNOWN,
    Kind,
    Site,
    build,
)
from tests.faults.run_record import RunRecord
from tests.faults.scale import SOAK
from tests.faults.taken_back import TakenBack, taken_back

EVERY = ("*",)
SCOPES = sorted({rule.scope for rule in ACCESS.values()})
REVIEWER = "reviewer"  # an auditor who belongs to a hospital
CALLERS = (*ROLES, REVIEWER)
MOST_APART = 0.1
PAIRS = (25, 50, 75)  # more only where the fewer seem to differ
CONCEALED = {FOREIGN, COLLEAGUE, HIDDEN}  # must look as if there were none
DOCUMENT = described()
ROUTES = sorted((method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods)


class Cell(NamedTuple):
    """One call of a route: for which object, and who calls."""

    kind: Kind
    caller: str
    scopes: tuple[str, ...]


IDENTIFIER = re.compile(r"(_id|_number|UID)$|^(hospital|members|patient)$")


@dataclass
class Matrix:
    """The service, called within this process, and the objects it is asked for."""

    app: Any
    site: Site
    key: TokenKey
    runner: asyncio.Runner
    kept: TakenBack
    catalogue: Catalogue  # whose changes stay
    last_record: int  # of the audit, before anybody asked
    tokens: dict[tuple[str, tuple[str, ...]], str] = field(default_factory=dict)

    def ask(self, route: Route, cells: Iterable[Cell]) -> dict[Cell, Answer]:
        """Answer these cells one after another, and undo what each did."""
        return self.runner.run(self._ask(route, cells))

    async def _ask(self, route: Route, cells: Iterable[Cell]) -> dict[Cell, Answer]:
        found = {}
        for cell in cells:
            found[cell] = await call(self.app, *self.request(route, cell))
            assert_documented(DOCUMENT, *route, found[cell].status)
            if found[cell].status < 300:
                self._assert_told(route, cell)
            if route in PUBLIC or found[cell].status not in (401, 403):
                self.kept.take_back()
                self.app.state.images.forget()  # or it knew of a viewing that was taken back
        return found

    def _assert_told(self, route: Route, cell: Cell) -> None:
        """Fail where a good answer has not left the record that the rule of its route names."""
        wanted = {**ACCESS, **PUBLIC}[route].audit
        query = "select action from audit_event where id > %s"
        self.kept.execute("select act_for('auditor', '')")
        told = [action for (action,) in self.kept.execute(query, (self.last_record,))]
        assert not wanted or any(action.startswith(wanted) for action in told), (route, cell, told)

    def seen(self, route: Route, cell: Cell, answer: Answer) -> tuple[int, dict[str, str], str]:
        """Return what may not differ between another's object and none; a search repeats what was asked."""
        status, headers, body = answer.alike()
        query = self.request(route, cell)[2]
        return status, headers, body.replace(query, "") if query else body

    def request(self, route: Route, cell: Cell) -> Request:
        """Return what is sent for a cell."""
        method, template = route
        place = PLACES[route]
        names = self.site.objects[place.thing][cell.kind]
        token = self.token(cell.caller, cell.scopes) if cell.caller else ""
        headers = dict(place.headers) | ({"authorization": f"Bearer {token}"} if token else {})
        body = place.form.format(**names).encode()
        if place.body is not None:
            given = place.body(names)
            body = given if isinstance(given, bytes) else json.dumps(given).encode()
        if body:
            usual = "application/x-www-form-urlencoded" if place.form else "application/json"
            headers = {"content-type": usual} | headers | {"content-length": str(len(body))}
        return method, template.format(**names), place.query.format(**names), headers, body

    def token(self, caller: str, scopes: tuple[str, ...]) -> str:
        """Return the token of somebody in hospital B, always the same."""
        found = self.tokens.get((caller, scopes))
        if found is None:
            found = self.tokens[caller, scopes] = self.key.issue(
                subject=DOCTOR.subject,
                role=role_of(caller),
                hospital="B" if caller in (*HOSPITAL_ROLES, REVIEWER) else "",
                lifetime=timedelta(hours=1),
                scopes=None if scopes == EVERY else scopes,
            )
        return found


def role_of(caller: str) -> str:
    """Return the role of a caller's token."""
    return "auditor" if caller == REVIEWER else caller


class _StillDesk(RecountDesk):
    """Begins recounts and makes none: what worked beside a request could not be taken back with it."""

    def _start(self, begun: Any, _catalogue: Catalogue) -> None:
        begun.state = "failed"


@pytest.fixture(scope="module")
def matrix(
    database_url: str, services: Services, s3_store: ObjectStore, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Matrix]:
    folder: Path = tmp_path_factory.mktemp("matrix")
    made: list[City] = []
    catalogue = open_catalogue(database_url, folder, lambda: made[0].now)
    made.append(City(catalogue))
    settings = ExchangeSettings(
        check_seconds=20,
        cds_seconds=20,
        pace_per_second=0,
        pace_system_per_second=0,
        harvest_alarm_people=10**6,
        harvest_limit_people=10**6,
        webhook_hosts="hooks.b.example",
    )
    site = build(made[0], s3_store, settings.outbound())
    key = open_token_key(folder / "token.pem")
    served = serving(catalogue, services)
    deposits = Deposits(NodeSettings(low_water_bytes=0), folder / "spool")
    app = create_app(served, key, settings, Health({}, {}), store=s3_store, deposits=deposits)
    with taken_back(served.engine) as (engine, kept), asyncio.Runner() as runner:
        app.state.catalogue = replace(served, engine=engine)
        lifespan = app.router.lifespan_context(app)
        runner.run(lifespan.__aenter__())
        desk = app.state.recount_desk = _StillDesk(key)
        others = desk.begin(Caller("chen", "regulator"), acting_as(served, Scope("regulator")))
        site.objects["recount"][COLLEAGUE] = {"recount_id": others["recount_id"]}
        with transaction(catalogue.engine) as session:
            last = session.scalar(text("select max(id) from audit_event")) or 0
        yield Matrix(app, site, key, runner, kept, served, last)
        runner.run(lifespan.__aexit__(None, None, None))
    served.engine.dispose()
    catalogue.engine.dispose()


def expected(route: Route, cell: Cell) -> int:
    """The status of a cell: by the table of rules, then by the place of the route."""
    place = PLACES[route]
    if route in PUBLIC:
        return place.status(cell.caller, cell.kind)
    if not cell.caller:
        return 401
    rule = ACCESS[route]
    if role_of(cell.caller) not in rule.roles or not {rule.scope, *EVERY} & set(cell.scopes):
        return 403
    return place.status(cell.caller, cell.kind)


def scopes_for(own: str) -> list[tuple[str, ...]]:
    """The scopes of the tokens that try a route with this one: all, none, its own alone, all others."""
    single = [(scope,) for scope in SCOPES] if SOAK else [(own,)]
    return [EVERY, (), *single, tuple(scope for scope in SCOPES if scope != own)]


def cells_of(route: Route, kinds: Iterable[Kind]) -> Iterator[Cell]:
    """Nobody, and every role with every scope; where no token counts, one token is enough."""
    for kind in kinds:
        yield Cell(kind, "", ())
        if route in PUBLIC:
            yield Cell(kind, "operator", EVERY)
            continue
        for caller in CALLERS:
            for scopes in scopes_for(ACCESS[route].scope):
                yield Cell(kind, caller, scopes)


def test_every_route_of_the_description_has_its_place_in_the_matrix() -> None:
    assert set(PLACES) == set(ROUTES) == {*ACCESS, *PUBLIC}


def test_a_route_that_names_an_object_is_asked_for_every_kind_of_it(matrix: Matrix) -> None:
    for method, path in ROUTES:
        place = PLACES[method, path]
        kinds = set(matrix.site.objects[place.thing])
        named = names_in(DOCUMENT["paths"][path][method.lower()])
        assert not named or {UNKNOWN, MALFORMED} < kinds, (method, path, named)
        assert set(place.statuses).union(*place.of_roles.values()) <= kinds, (method, path)


def names_in(operation: Any) -> set[str]:
    """The identifiers of objects in the address and at the top of the body of a route."""
    in_path = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"}
    named: set[str] = set()
    for shown in operation.get("requestBody", {}).get("content", {}).values():
        found = shown["schema"].get("$ref", "").rpartition("/")[2]
        named |= set(DOCUMENT["components"]["schemas"].get(found, {}).get("properties", ()))
    return in_path | {name for name in named if IDENTIFIER.search(name)}


@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
def test_every_cell_is_answered_as_the_rules_say(matrix: Matrix, route: Route) -> None:
    answers = matrix.ask(route, cells_of(route, matrix.site.objects[PLACES[route].thing]))
    wrong = {
        cell: (answer.status, answer.body[:300])
        for cell, answer in answers.items()
        if answer.status != expected(route, cell)
    }
    assert wrong == {}
    for cell, answer in answers.items():
        unknown = cell._replace(kind=UNKNOWN)
        if cell.kind in CONCEALED and unknown in answers and answer.status == answers[unknown].status:
            assert matrix.seen(route, cell, answer) == matrix.seen(route, unknown, answers[unknown]), cell


@pytest.mark.alone
def test_what_is_hidden_takes_as_long_as_what_is_not_there(matrix: Matrix, record: RunRecord) -> None:
    matrix.app.state.catalogue = matrix.catalogue
    differ, compared = {}, 0
    for route in (each for each in ROUTES if each in ACCESS):
        for pair in concealed_pairs(matrix, route):
            ratio = matrix.runner.run(ratio_of(matrix, route, *pair))
            compared += 1
            if abs(ratio - 1) > MOST_APART:
                differ[route, pair[0].kind] = round(ratio, 2)
    record.note(compared=compared)
    assert differ == {}
    assert compared >= 17


def concealed_pairs(matrix: Matrix, route: Route) -> Iterator[tuple[Cell, Cell]]:
    """Yield what must look like none beside what is none, as one role sees them that may use the route."""
    kinds = matrix.site.objects[PLACES[route].thing]
    caller = min(REVIEWER if role == "auditor" else role for role in ACCESS[route].roles)
    none = Cell(UNKNOWN, caller, EVERY)
    for kind in kinds.keys() & CONCEALED:
        cell = Cell(kind, caller, EVERY)
        if expected(route, cell) == 404:
            yield cell, none


async def ratio_of(matrix: Matrix, route: Route, one: Cell, other: Cell) -> float:
    """Return the median of how long one cell takes against the other, asked in turn; more often where they differ.

    Each call is measured against its neighbour: what else the machine does meets both alike.
    """
    requests = [matrix.request(route, cell) for cell in (one, other)]
    ratios: list[float] = []
    for pairs in PAIRS:
        for turn in range(pairs):
            took = [0.0, 0.0]
            for number in (0, 1) if turn % 2 else (1, 0):
                started = time.perf_counter()
                await call(matrix.app, *requests[number])
                took[number] = time.perf_counter() - started
            ratios.append(took[0] / took[1])
        if abs(median(ratios) - 1) <= MOST_APART:
            break
    return median(ratios)
