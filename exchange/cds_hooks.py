"""CDS Hooks 2.0.1: discovery, order-select and order-sign, feedback.

A call is answered within half a second whatever the stores do: then with a card that says "unknown".
Nothing is ever fetched from the caller: `fhirServer`, `fhirAuthorization` and `jku` are not followed.
"""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import Response

from catalog import cds_feedback, people, recognition, registry
from catalog.cds_feedback import Feedback, Sender
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import InvalidInput, Unavailable
from catalog.harvest import Harvest
from catalog.recognition import CheckRequest
from catalog.scope import Scope, acting_as
from catalog.tables import Hospital
from catalog.tables_cds import CdsClient
from exchange import cds_examples
from exchange.answers import Json
from exchange.cds_cards import Desk, deal, unknown_card
from exchange.cds_orders import Asked, LocalMeaning, order_requests, read_call
from exchange.cds_texts import Language, language_of
from exchange.cds_tokens import ReadToken, authenticate, read_token
from exchange.cds_types import (
    REASON_SYSTEM,
    SERVICES,
    TOLD_EXTENSION,
    TOLD_REASON_SYSTEM,
    Call,
    CdsRefused,
    FeedbackCall,
    FeedbackItem,
    parsed,
)
from exchange.deadline import Deadline, StillWanted
from exchange.deps import DeadlineOf, GateOf
from exchange.examples import answers
from exchange.fhir import RawBody
from exchange.pace import Pace
from exchange.problems import problem
from exchange.settings import ExchangeSettings

log = logging.getLogger("huren.exchange")
router = APIRouter(tags=["cds-hooks"])

PREFETCH: Final = {
    "patient": "Patient/{{context.patientId}}",
    "draftOrders": "ServiceRequest?patient={{context.patientId}}&status=draft",
    "encounter": "Encounter/{{context.encounterId}}",
}


@dataclass(frozen=True, slots=True)
class Setting:
    """What the application was made with, as far as these routes need it."""

    settings: ExchangeSettings
    deadline: Deadline
    pace: Pace
    harvest: Harvest


async def setting_of(request: Request) -> Setting:
    """Return the settings, the deadline of order-time calls and what one client may ask."""
    found: Setting = request.app.state.cds
    return found


SettingOf = Annotated[Setting, Depends(setting_of)]
AcceptLanguage = Annotated[str, Header()]
Authorization = Annotated[str, Header(include_in_schema=False)]


@router.get(
    "/cds-services",
    summary="CDS Hooks 服务清单 / discovery",
    responses=answers(cds_examples.DISCOVERY),
)
def discovery(accept_language: AcceptLanguage = "") -> Response:
    """List the services (CDS Hooks 2.0, Discovery)."""
    language = language_of(accept_language)
    return _told({"services": [_service(name, hook, language) for name, hook in SERVICES.items()]}, language)


@router.post(
    "/cds-services/{service_id}",
    summary="开单时给出卡片 / cards at order time",
    responses=answers(cds_examples.CARDS),
    openapi_extra=cds_examples.body(cds_examples.CALL),
)
async def call_service(
    service_id: str,
    catalogue: GateOf,
    setting: SettingOf,
    body: RawBody,
    authorization: Authorization = "",
    accept_language: AcceptLanguage = "",
) -> Response:
    """Answer with cards; 412 without the patient; "unknown" where the catalogue does not answer in time."""
    language = language_of(accept_language)
    try:
        hook = _hook(service_id)
        token = read_token(authorization)
        calling = _Calling(catalogue, setting, service_id, hook, language, token, body)
        cards = await setting.deadline.run(lambda wanted: _cards(calling, wanted))
    except CdsRefused as refused:
        return _refusal(refused)
    except (Unavailable, TimeoutError) as error:
        log.info("a CDS Hooks call is answered unknown: %s", type(error).__name__)
        cards = [unknown_card(_desk(catalogue, setting.settings, language))]
    return _told({"cards": cards}, language)


@router.post(
    "/cds-services/{service_id}/feedback",
    summary="卡片的结果 / what became of cards",
    responses=answers(cds_examples.FEEDBACK),
    openapi_extra=cds_examples.body(cds_examples.FEEDBACK_CALL),
)
async def feedback(
    service_id: str,
    catalogue: GateOf,
    setting: SettingOf,
    deadline: DeadlineOf,
    body: RawBody,
    authorization: Authorization = "",
) -> Response:
    """Record what the doctor did; the answer says, for each card, which decision it made or why none."""
    try:
        _hook(service_id)
        token = read_token(authorization)
        made = await deadline.run(lambda _: _take(catalogue, setting, service_id, token, body))
    except CdsRefused as refused:
        return _refusal(refused)
    except InvalidInput as error:
        return problem(400, error.code, error.zh, error.en, field=error.field)
    return Json({"feedback": made})


@dataclass(frozen=True, slots=True, repr=False)
class _Calling:
    catalogue: Catalogue
    setting: Setting
    service: str
    hook: str
    language: Language
    token: ReadToken
    body: bytes

    @property
    def endpoint(self) -> str:
        return f"{self.setting.settings.address}/cds-services/{self.service}"


def _cards(calling: _Calling, still_wanted: StillWanted) -> list[dict[str, Any]]:
    catalogue = calling.catalogue
    with transaction(catalogue.engine) as session:
        client, hospital = authenticate(session, calling.token, [calling.endpoint])
        sender = Sender(client.id, calling.service, hospital.code)
    system = _system(client, hospital)
    calling.setting.pace.take(system)
    call: Call = parsed(Call, calling.body)
    systems = calling.setting.settings.cds_identifier_systems
    asked = read_call(call, calling.hook, hospital.code, people.today_of(catalogue), systems)
    desk = _desk(catalogue, calling.setting.settings, calling.language, asked, calling.hook)
    if not asked.drafts:
        return []
    caller = Caller(f"{call.context.userId} {client.iss}"[:255], "doctor", hospital.code)
    acting = acting_as(catalogue, Scope.of(caller))
    document = people.choose(acting, asked.documents, whole=asked.whole)
    if document is None:
        return [unknown_card(desk, "nobody")]
    calling.setting.harvest.take(catalogue, system, document.id_type, document.number)

    def known(codes: Collection[str]) -> Mapping[str, LocalMeaning]:
        with transaction(acting.engine) as session:
            return registry.known_local_codes(session, hospital.id, codes)

    orders = order_requests(asked.drafts, catalogue.items, known, client.code_systems)
    most = catalogue.limits.orders_in_a_check
    request = CheckRequest(document, asked.demographics, tuple(orders[:most]), urgency=asked.urgency)
    answer = recognition.check(acting, caller, request, still_wanted=still_wanted)
    dealt = deal(desk, answer, unasked=len(orders[most:]))
    if dealt.given:
        with transaction(acting.engine) as session:
            cds_feedback.keep_cards(session, sender, answer["check_id"], caller, dealt.given)
    return dealt.cards


def _take(
    catalogue: Catalogue, setting: Setting, service: str, token: ReadToken, body: bytes
) -> list[dict[str, Any]]:
    endpoint = f"{setting.settings.address}/cds-services/{service}"
    with transaction(catalogue.engine) as session:
        client, hospital = authenticate(session, token, [f"{endpoint}/feedback", endpoint])
        sender = Sender(client.id, service, hospital.code)
    setting.pace.take(_system(client, hospital))
    call: FeedbackCall = parsed(FeedbackCall, body)
    acting = acting_as(catalogue, Scope("doctor", hospital.code))
    return cds_feedback.take(acting, sender, [_report(item) for item in call.feedback])


def _system(client: CdsClient, hospital: Hospital) -> Caller:
    """Return whose requests and patients are counted: the client, whatever user it names."""
    return Caller(f"{client.iss} {client.tenant}".strip(), "hospital_system", hospital.code)


def _report(item: FeedbackItem) -> Feedback:
    """Return what an item reports; that the patient was told only where the reason or the extension says it."""
    reason = item.overrideReason.reason if item.overrideReason else None
    ours = reason is not None and reason.system in (None, REASON_SYSTEM, TOLD_REASON_SYSTEM)
    told = reason is not None and reason.system == TOLD_REASON_SYSTEM
    return Feedback(
        card=item.card,
        outcome=item.outcome,
        outcome_at=item.outcomeTimestamp,
        suggestions=tuple(each.id for each in item.acceptedSuggestions or ()),
        reason_code=reason.code if reason is not None and ours else None,
        comment=item.overrideReason.userComment if item.overrideReason else None,
        explained=told or item.extension.get(TOLD_EXTENSION) is True,
    )


def _hook(service_id: str) -> str:
    if service_id not in SERVICES:
        raise CdsRefused(404, "unknown_service", "没有此 CDS 服务", "There is no such CDS service")
    return SERVICES[service_id]


def _desk(
    catalogue: Catalogue,
    settings: ExchangeSettings,
    language: Language,
    asked: Asked | None = None,
    hook: str = "",
) -> Desk:
    drafts = asked.drafts if asked else ()
    return Desk(
        language=language,
        reasons=catalogue.override_reasons,
        public_url=settings.address,
        page_url=settings.cds_page_url,
        smart_url=settings.cds_smart_url,
        resources={draft.number: draft.resource.id for draft in drafts if draft.resource.id},
        asks_for_details=hook == "order-sign",
    )


def _service(name: str, hook: str, language: Language) -> dict[str, Any]:
    title, description, usage = cds_examples.SERVICE_TEXTS[language]
    return {
        "hook": hook,
        "title": title,
        "description": description,
        "id": name,
        "prefetch": PREFETCH,
        "usageRequirements": usage,
    }


def _told(content: dict[str, Any], language: Language) -> Response:
    answer = Json(content)
    answer.headers["Content-Language"] = language
    answer.headers["Vary"] = "Accept-Language"
    return answer


def _refusal(refused: CdsRefused) -> Response:
    extra = {"errors": refused.faults} if refused.faults else {}
    return problem(refused.status, refused.code, refused.zh, refused.en, **extra)
