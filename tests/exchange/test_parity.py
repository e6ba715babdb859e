"""Every step of a curator can be done by `huren` and by HTTP."""

from collections.abc import Iterator
from inspect import signature
from typing import Any

from typer.main import get_command

from catalog.cli import hospital
from catalog.cli_items import items
from catalog.cli_money import prices
from catalog.cli_people import people_app
from catalog.cli_qc import qc
from catalog.cli_quality import quality
from catalog.cli_reports import reports
from catalog.cli_withdrawal import withdraw
from dicom_node.cli_erase import erase
from exchange.auth import ACCESS

GROUPS: dict[str, Any] = {
    "people": people_app,
    "items": items,
    "qc": qc,
    "quality": quality,
    "reports": reports,
    "hospital": hospital,
    "prices": prices,
}
CODES = "/v1/admin/hospitals/{code}"
STEPS = {
    "people queue": ("GET", "/v1/admin/people/queue"),
    "people show": ("POST", "/v1/admin/people/show"),
    "people register": ("POST", "/v1/admin/people/register"),
    "people merge": ("POST", "/v1/admin/people/merge"),
    "people unmerge": ("POST", "/v1/admin/people/undo"),
    "people undo": ("POST", "/v1/admin/people/undo"),
    "people accept": ("POST", "/v1/admin/people/accept"),
    "people reject": ("POST", "/v1/admin/people/reject"),
    "people sharing": ("POST", "/v1/patients/sharing"),
    "items list": ("GET", "/v1/items"),
    "items versions": ("GET", "/v1/admin/item-lists"),
    "items diff": ("GET", "/v1/admin/item-lists/{version}/diff"),
    "items import": ("POST", "/v1/admin/item-lists"),
    "items codes": ("GET", f"{CODES}/local-codes"),
    "items map": ("POST", f"{CODES}/local-codes"),
    "items remap": ("POST", "/v1/admin/remap"),
    "items unmapped": ("GET", "/v1/admin/unmapped"),
    "items score": ("POST", "/v1/admin/score"),
    "items review list": ("GET", "/v1/admin/reviews"),
    "items review answer": ("POST", "/v1/admin/reviews/{task_id}/mapping"),
    "qc list": ("GET", "/v1/admin/qc"),
    "qc add": ("POST", "/v1/admin/qc"),
    "qc import": ("POST", "/v1/admin/qc/import"),
    "qc expiring": ("GET", "/v1/admin/qc/expiring"),
    "qc end": ("POST", "/v1/admin/qc/{evaluation_id}/end"),
    "qc consortium": ("POST", "/v1/admin/qc/consortia"),
    "quality list": ("GET", "/v1/admin/quality"),
    "quality conflicts": ("GET", "/v1/admin/conflicts"),
    "quality confirm": ("POST", "/v1/admin/quality/{task_id}/confirm"),
    "quality dismiss": ("POST", "/v1/admin/quality/{task_id}/dismiss"),
    "quality reopen": ("POST", "/v1/admin/quality/{task_id}/reopen"),
    "hospital list": ("GET", "/v1/admin/hospitals"),
    "hospital add": ("POST", "/v1/admin/hospitals"),
    "hospital ae": ("POST", f"{CODES}/peers"),
    "hospital cert": ("POST", f"{CODES}/peers/certificates"),
    "prices list": ("GET", "/v1/admin/prices"),
    "prices import": ("POST", "/v1/admin/prices/import"),
    "prices set": ("POST", "/v1/admin/prices/import"),  # a file of one line
    "reports waiting": ("GET", "/v1/admin/reports"),
    "reports unmapped": ("GET", f"{CODES}/laboratory-codes"),
    "reports remap": ("POST", f"{CODES}/laboratory-codes/remap"),
}
SINGLE = {
    (withdraw, ""): ("POST", f"{CODES}/studies/withdraw"),
    (withdraw, "restore"): ("POST", f"{CODES}/studies/restore"),
    (erase, ""): ("POST", "/v1/admin/erasures/plan"),
    (erase, "confirm"): ("POST", "/v1/admin/erasures"),
    (erase, "listing"): ("GET", "/v1/admin/erasures"),
}
# Studies are read page by page, by programs; one version is `items list --version`. What else a curator's pages need:
# counts, one of a queue, what was done and taking it back, many at once, what is withdrawn or unpriced, closing a
# hospital or a device and opening it again.
BY_HTTP_ALONE = {
    ("GET", "/v1/admin/studies"),
    ("GET", "/v1/admin/item-lists/{version}"),
    ("GET", "/v1/admin/queues"),
    ("GET", "/v1/admin/withdrawn"),
    ("GET", "/v1/admin/regions"),
    ("GET", "/v1/admin/remap"),
    ("GET", "/v1/admin/people/history"),
    ("GET", "/v1/admin/prices/gaps"),
    ("GET", "/v1/admin/reviews/history"),
    ("GET", "/v1/admin/reviews/{task_id}"),
    ("POST", "/v1/admin/reviews/mapping"),
    ("POST", "/v1/admin/reviews/{task_id}/local-code"),
    ("POST", "/v1/admin/reviews/{task_id}/reopen"),
    ("POST", "/v1/admin/conflicts/{conflict_id}/settle"),
    ("POST", "/v1/admin/conflicts/{conflict_id}/reopen"),
    ("GET", CODES),
    ("POST", CODES),
    ("POST", f"{CODES}/activate"),
    ("POST", f"{CODES}/deactivate"),
    ("POST", f"{CODES}/peers/remove"),
    ("POST", f"{CODES}/peers/restore"),
}


def commands(name: str, group: Any) -> Iterator[str]:
    for each, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(f"{name} {each}", command)
        else:
            yield f"{name} {each}"


def test_every_command_of_a_curator_has_its_route_and_every_route_its_command() -> None:
    there = {each for name, group in GROUPS.items() for each in commands(name, get_command(group))}
    assert set(STEPS) == there
    routes = {route for route, rule in ACCESS.items() if "curator" in rule.roles and "/admin/" in route[1]}
    steps = [*STEPS.values(), *SINGLE.values()]
    assert routes - BY_HTTP_ALONE == {route for route in steps if "/admin/" in route[1]}
    assert all("curator" in ACCESS[route].roles for route in steps)
    assert all(option in signature(command).parameters for command, option in SINGLE if option)
