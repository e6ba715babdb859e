"""What the access matrix asks for: objects of hospital B, whose doctor asks, of hospital A, and of nobody."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import select

from catalog import (
    accounts,
    break_glass,
    clients,
    conflicts,
    documents,
    hospital_codes,
    hospitals,
    identity_events,
    image_grants,
    investigations,
    mapping_reviews,
    notices,
    quality,
    registry,
    reviews,
    sharing,
    webhooks,
    withdrawals,
)
from catalog.clients import Registration
from catalog.context import Caller
from catalog.db import transaction
from catalog.identity import Demographics
from catalog.local_codes import LocalMeaning
from catalog.objects import ObjectStore
from catalog.outbound import Outbound
from catalog.tables import Alias, AuditEvent, LedgerEntry, Person, QcEvaluation, Result, Study
from catalog.tables_reports import ReportAttachment, ReportVersion
from exchange.web.pages import address_of
from tests.city import City, contradict, id_number
from tests.exchange.signers import Signer
from tests.images import keep_objects, named
from tests.reports import IMAGING, LABORATORY, document, of_person, take

# What an identifier can be to the caller.
NONE: Final = "none"  # the route names no object
OWN: Final = "own"
FOREIGN: Final = "foreign"  # another hospital's
HIDDEN: Final = "hidden"  # of a person who has opted out of sharing
COLLEAGUE: Final = "colleague's"  # of somebody else in the hospital
CROSSED: Final = "crossed"  # an own object together with a part of a foreign one
UNKNOWN: Final = "unknown"
MALFORMED: Final = "malformed"
Kind = str
Names = Mapping[str, Any]

DOCTOR: Final = Caller("dr.B", "doctor", "B")  # everybody of B in the matrix has this subject
_OTHER: Final = Caller("dr.A", "doctor", "A")
_OPERATOR: Final = Caller("op", "operator")
_NOBODY: Final = 10**17 - 1  # no such number in any table, and too short for an identity card
_PDF: Final = b"%PDF-1.7\n%%EOF\n"
CT07: Final = "CT07"


@dataclass(frozen=True)
class Site:
    """The objects by their name and kind, each with every identifier a route may need of it."""

    objects: dict[str, dict[Kind, Names]]


_SCRIPT: Final = dict(zip(("digest", "name"), address_of("look.js").split("/")[2:], strict=True))
_PAGE_FILES: Final = {
    OWN: _SCRIPT,
    UNKNOWN: {**_SCRIPT, "digest": "0" * 16},
    MALFORMED: {**_SCRIPT, "digest": "x"},
}
_FORMS: Final = {OWN: "institution", UNKNOWN: "provincial", MALFORMED: "INSTITUTION"}


def build(city: City, store: ObjectStore, outbound: Outbound) -> Site:
    """Put two hospitals' objects of every sort into an empty city."""
    for code in ("A", "B"):
        city.hospital(code)
    checks = _checks(city)
    reports = _reports(city, store)
    images = _images(city, store)
    return Site(
        {
            NONE: {NONE: {}},
            "check": checks,
            "decision": checks | {CROSSED: checks[OWN] | {"result_id": checks[FOREIGN]["result_id"]}},
            "report": reports,
            "attachment": reports
            | {CROSSED: reports[OWN] | {"attachment_id": reports[FOREIGN]["attachment_id"]}},
            **_charts(city),
            "images": images,
            "page file": _PAGE_FILES,
            "image grant": _image_grants(city, images),
            "record": _records(city),
            **_entries(city),
            "form": {kind: {"form_name": name} for kind, name in _FORMS.items()},
            "recount": {UNKNOWN: {"recount_id": str(uuid4())}, MALFORMED: {"recount_id": "x"}},
            "person": _people(city),
            "patient": {
                OWN: _patient(2),
                HIDDEN: _patient(4),
                UNKNOWN: _patient(98),
                MALFORMED: _patient_of("1"),
            },
            **_studies(city),
            **_notices(city),
            **_grants(city),
            **_rulings(city),
            **_tasks(city),
            **_registered(city, outbound),
        }
    )


def _numbered(name: str, **kinds: Any) -> dict[Kind, Names]:
    """An object with one number, beside one that nobody has and one that is none."""
    given = {kind: {name: value} for kind, value in kinds.items()}
    return given | {UNKNOWN: {name: _NOBODY}, MALFORMED: {name: "x"}}


def _patient_of(number: str) -> Names:
    return {"patient": {"id_number": number}}


def _patient(person: int) -> Names:
    return _patient_of(id_number(person))


def _order(name: str) -> list[dict[str, Any]]:
    return [{"order_number": name, "item_code": CT07}]


def _opt_out(city: City, person: int) -> None:
    sharing.set_sharing(city.catalogue, DOCTOR, document(person), Demographics(), shared=False)


def _asked(city: City, doctor: Caller, person: int, name: str) -> Names:
    given = city.check(doctor, _order(name), person)
    found = given["orders"][0]["candidates"][0]
    return {"check_id": given["check_id"], "position": 1, "order_id": name, "result_id": found["result_id"]}


def _checks(city: City) -> dict[Kind, Names]:
    for person in (2, 4, 6):
        city.study("A", person)
    own, foreign = _asked(city, DOCTOR, 2, "o-own"), _asked(city, _OTHER, 6, "o-foreign")
    hidden = _asked(city, DOCTOR, 4, "o-hidden")
    _opt_out(city, 4)
    unknown = own | {"check_id": str(uuid4())}
    return {OWN: own, FOREIGN: foreign, HIDDEN: hidden, UNKNOWN: unknown, MALFORMED: own | {"check_id": "x"}}


def _reports(city: City, store: ObjectStore) -> dict[Kind, Names]:
    """Reports of A: one that a check has shown to B, one that none has, one whose person has opted out since."""
    attachment = documents.describe(_PDF, "application/pdf", "报告")
    documents.keep(store, _PDF, attachment)
    found: dict[Kind, Names] = {}
    for kind, person in ((OWN, 12), (FOREIGN, 14), (HIDDEN, 16)):
        uid = city.study("A", person)
        more = {"StudyInstanceUID": uid, "number": f"R-{person}", "attachments": (attachment,)}
        found[kind] = _report_names(city, take(city, "A", IMAGING, **more).report_id)
    for kind, person in ((OWN, 12), (HIDDEN, 16)):
        _asked(city, DOCTOR, person, f"o-report-{kind}")
    _opt_out(city, 16)
    return {
        **found,
        UNKNOWN: {"report_id": _NOBODY, "attachment_id": _NOBODY},
        MALFORMED: {"report_id": "x", "attachment_id": "x"},
    }


def _report_names(city: City, report_id: int) -> Names:
    query = (
        select(ReportAttachment.id)
        .join(ReportVersion, ReportVersion.id == ReportAttachment.report_version_id)
        .where(ReportVersion.report_id == report_id)
    )
    with transaction(city.catalogue.engine) as session:
        return {"report_id": report_id, "attachment_id": session.scalars(query).one()}


def _charts(city: City) -> dict[str, dict[Kind, Names]]:
    """What FHIR shows of people: of one whom a check of B has shown, of one whom none has, of one who opted out."""
    people = {OWN: 2, FOREIGN: 6, HIDDEN: 4}
    for person in people.values():
        take(city, "A", LABORATORY, number=f"L-{person}", **of_person(person))
    ids = _person_ids(city)
    found: dict[str, dict[Kind, Names]] = {}
    with transaction(city.catalogue.engine) as session:
        for thing, is_study in (("image", Study.id.is_not(None)), ("value", Result.study_id.is_(None))):
            wanted = Study.id if thing == "image" else Result.id
            kinds = {}
            for kind, person in people.items():
                of = Study.person_id if thing == "image" else Result.person_id
                kinds[kind] = session.scalars(
                    select(wanted).where(of == ids[person], is_study).limit(1)
                ).one()
            found[thing] = _numbered("resource_id", **kinds)
    patients = _numbered("resource_id", **{kind: ids[person] for kind, person in people.items()})
    return {**found, "chart": patients}


def _images(city: City, store: ObjectStore) -> dict[Kind, Names]:
    """Images of the same people as their charts."""
    ids = _person_ids(city)
    found: dict[Kind, Names] = {UNKNOWN: named("2.25.404"), MALFORMED: {**named("2.25.404"), "study": "x"}}
    with transaction(city.catalogue.engine) as session:
        for kind, person in {OWN: 2, FOREIGN: 6, HIDDEN: 4}.items():
            query = select(Study.uid).where(Study.person_id == ids[person]).order_by(Study.id)
            found[kind] = {"study": session.scalars(query).first()}
    return found | {kind: keep_objects(city, store, found[kind]["study"]) for kind in (OWN, FOREIGN, HIDDEN)}


def _records(city: City) -> dict[Kind, Names]:
    found: dict[Kind, Names] = {}
    with transaction(city.catalogue.engine) as session:
        for kind, subject in ((OWN, DOCTOR.subject), (FOREIGN, _OTHER.subject)):
            query = select(AuditEvent.id).where(AuditEvent.caller == subject, AuditEvent.action == "check")
            found[kind] = {"record_id": session.scalars(query.limit(1)).one()}
    return {**found, UNKNOWN: {"record_id": _NOBODY}, MALFORMED: {"record_id": "x"}}


def _entries(city: City) -> dict[str, dict[Kind, Names]]:
    """A saving of B and one of A: offices above hospitals are shown either; and two regulators' investigations."""
    found = {}
    for kind, doctor, person in ((OWN, DOCTOR, 60), (FOREIGN, _OTHER, 62)):
        city.study("A", person)
        check = city.check(doctor, _order(f"saved-{kind}"), person)
        made = city.decide(doctor, check, f"saved-{kind}", "recognise")
        with transaction(city.catalogue.engine) as session:
            query = select(LedgerEntry.id).where(LedgerEntry.decision_id == int(made["decision_id"]))
            found[kind] = session.scalars(query).one()
    opened = {OWN: _opened(city, DOCTOR.subject, found[OWN]), COLLEAGUE: _opened(city, "chen", found[OWN])}
    names = _numbered("investigation_id", **opened)
    whole = {kind: {**each, "entry_id": found[OWN]} for kind, each in names.items()}
    return {
        "entry": _numbered("entry_id", **found),
        "investigation": names,
        "investigated": whole | {CROSSED: whole[OWN] | {"entry_id": found[FOREIGN]}},
        "investigation to review": {OWN: names[COLLEAGUE], **{k: names[k] for k in (UNKNOWN, MALFORMED)}},
    }


def _opened(city: City, subject: str, entry: int) -> str:
    wanted = investigations.Wanted(entry_id=entry)
    regulator = Caller(subject, "regulator")
    made = investigations.open_investigation(
        city.catalogue, regulator, wanted, "核实账目", timedelta(days=14)
    )
    return str(made["investigation_id"])


def _people(city: City) -> dict[Kind, Names]:
    found = _person_ids(city)
    return _numbered("person_id", **{OWN: found[2], HIDDEN: found[4]})


def _person_ids(city: City) -> dict[int, int]:
    vault = city.catalogue.vault
    with transaction(city.catalogue.engine) as session:
        numbers = {vault.open("01", row.number_cipher): row.id for row in session.scalars(select(Person))}
    return {person: numbers[id_number(person)] for person in range(2, 60, 2) if id_number(person) in numbers}


def _studies(city: City) -> dict[str, dict[Kind, Names]]:
    """Studies to withdraw, and withdrawn ones; a curator names a hospital beside the study."""
    found: dict[str, dict[Kind, Names]] = {}
    for name, first in (("study", 20), ("withdrawn study", 24)):
        uids = {OWN: city.study("B", first), FOREIGN: city.study("A", first + 2)}
        if name != "study":
            for code, uid in (("B", uids[OWN]), ("A", uids[FOREIGN])):
                caller = Caller(f"dr.{code}", "hospital_system", code)
                withdrawals.withdraw_study(city.catalogue, caller, uid, "录入错误")
        uids |= {UNKNOWN: "2.25.4711", MALFORMED: "../2.25"}
        found[name] = {kind: {"uid": uid} for kind, uid in uids.items()}
        own, foreign = found[name][OWN], found[name][FOREIGN]
        found[f"{name} of a hospital"] = {
            OWN: {"code": "B", **own},
            CROSSED: {"code": "B", **foreign},
            UNKNOWN: {"code": "Z", **own},
            MALFORMED: {"code": "B", **found[name][MALFORMED]},
        }
    return found


def _notices(city: City) -> dict[str, dict[Kind, Names]]:
    """Each hospital relies on a study of the other, which is then withdrawn."""
    found: dict[Kind, int] = {}
    for kind, doctor, issuer, person in ((OWN, DOCTOR, "A", 30), (FOREIGN, _OTHER, "B", 32)):
        uid = city.study(issuer, person)
        check = city.check(doctor, _order(f"o-notice-{kind}"), person)
        city.decide(doctor, check, f"o-notice-{kind}", "recognise")
        system = Caller(f"dr.{issuer}", "hospital_system", issuer)
        withdrawals.withdraw_study(city.catalogue, system, uid, "录入错误")
        found[kind] = notices.notices(city.catalogue, doctor)[-1]["notice_id"]
    return {"notice": _numbered("notice_id", **found)}


def _grants(city: City) -> dict[str, dict[Kind, Names]]:
    found = {}
    callers = {OWN: DOCTOR, FOREIGN: _OTHER, COLLEAGUE: Caller("dr.B2", "doctor", "B")}
    for kind, caller in callers.items():
        opened = break_glass.open_glass(
            city.catalogue, caller, document(2), "抢救,患者昏迷", timedelta(hours=1)
        )
        found[kind] = opened["grant_id"]
    own = _numbered("grant_id", **found)
    reviewed = {OWN: own[COLLEAGUE], FOREIGN: own[FOREIGN], UNKNOWN: own[UNKNOWN], MALFORMED: own[MALFORMED]}
    return {"grant": own, "grant to review": reviewed}


def _image_grants(city: City, images: dict[Kind, Names]) -> dict[Kind, Names]:
    found = {}
    for kind, caller, of in (
        (OWN, DOCTOR, OWN),
        (FOREIGN, _OTHER, FOREIGN),
        (COLLEAGUE, Caller("dr.B2", "doctor", "B"), OWN),
    ):
        study = images[of]["study"]
        link = image_grants.open_link(city.catalogue, caller, [study], timedelta(hours=1), lambda *_: None)
        found[kind] = link.id
    return _numbered("grant_id", **found)


def _rulings(city: City) -> dict[str, dict[Kind, Names]]:
    """A number that two people claim, two people to merge, and a merge to undo."""
    city.study("A", None, PatientID="X1")
    for person in (40, 42):
        city.link(_OTHER, "X1", person)
    for person in (44, 46, 48, 50):
        city.study("A", person)
    ids = _person_ids(city)
    query = select(Alias.id).where(Alias.person_id == ids[42], Alias.kind == "PatientID")
    with transaction(city.catalogue.engine) as session:
        alias_id = session.scalars(query).one()
    curator = Caller("curator", "curator")
    done = identity_events.merge(city.catalogue, curator, ids[48], ids[50], "已核对")
    claim = {"person_id": ids[42], "alias_id": alias_id}
    pair = {"person_id": ids[44], "into_person_id": ids[46]}
    return {
        "claim": _varied(claim, "alias_id"),
        "pair": _varied(pair, "into_person_id"),
        "event": _numbered("event_id", **{OWN: done["event_id"]}),
    }


def _varied(names: dict[str, Any], name: str) -> dict[Kind, Names]:
    return {OWN: names, UNKNOWN: names | {name: _NOBODY}, MALFORMED: names | {name: "x"}}


def _tasks(city: City) -> dict[str, dict[Kind, Names]]:
    uid = city.study("A", 52)
    city.study("A", 54, StudyDescription="胸特", BodyPartExamined="CHEST")
    found = {}
    for name, person in (("quality task", 52), ("decided quality task", 56)):
        if person != 52:
            city.study("A", person)
        check = city.check(DOCTOR, _order(f"o-{person}"), person)
        reason = {"reason_code": "61", "explained_to_patient": True}
        city.decide(DOCTOR, check, f"o-{person}", "override", **reason)
        task = quality.tasks(city.catalogue, _OPERATOR)[-1]["task_id"]
        found[name] = _numbered("task_id", **{OWN: task})
    quality.confirm(city.catalogue, Caller("curator", "curator"), int(task), "呼吸伪影")
    with transaction(city.catalogue.engine) as session:
        waiting = reviews.tasks(session, kind="mapping")[-1]["id"]
        assert session.scalars(select(Study.id).where(Study.uid == uid)).one()
    found |= {"mapping task": _numbered("task_id", **{OWN: waiting}), **_answered(city)}
    return {**found, **_contradictions(city)}


def _answered(city: City) -> dict[str, dict[Kind, Names]]:
    """A hospital's unknown code, and a mapping question that is answered."""
    with transaction(city.catalogue.engine) as session:
        hospital = registry.hospital_by_code(session, "A")
        known = LocalMeaning("K-1", "", "CT07")
        hospital_codes.import_codes(session, city.catalogue, _OPERATOR, hospital, [known])
    city.study("A", 64, StudyDescription="特检", procedure_codes=("99HIS|K-1", "99HIS|K-2"))
    city.study("A", 66, StudyDescription="腹特", BodyPartExamined="ABDOMEN")
    with transaction(city.catalogue.engine) as session:
        code = reviews.tasks(session, kind="local_code")[-1]["id"]
        mapped = reviews.tasks(session, kind="mapping")[-1]["id"]
    mapping_reviews.answer(city.catalogue, _OPERATOR, mapped, [])
    return {
        "code task": _numbered("task_id", **{OWN: code}),
        "answered task": _numbered("task_id", **{OWN: mapped}),
    }


def _contradictions(city: City) -> dict[str, dict[Kind, Names]]:
    """Two instances that contradict one kept already, the second settled."""
    found = {}
    for name in ("conflict", "settled conflict"):
        contradict(city, city.study("A", 68))
        with transaction(city.catalogue.engine) as session:
            newest = conflicts.conflicts(session)[0]["id"]
        found[name] = _numbered("conflict_id", **{OWN: newest})
    conflicts.settle(city.catalogue, _OPERATOR, newest, "")
    return found


def _coded(code: str) -> dict[Kind, Names]:
    return {OWN: {"code": code}, UNKNOWN: {"code": "Z"}, MALFORMED: {"code": "x" * 33}}


def _registered(city: City, outbound: Outbound) -> dict[str, dict[Kind, Names]]:
    """What operators and curators keep: it belongs to no hospital."""
    given = Registration("his-b", "hospital_system", "B", ("checks.read",), Signer("EdDSA").jwks["keys"])
    clients.add(city.catalogue, _OPERATOR, given)
    accounts.add(city.catalogue, _OPERATOR, "li", "doctor", "B")
    hook = webhooks.add(city.catalogue, outbound, _OPERATOR, "B", "https://hooks.b.example/huren")
    for code in ("C", "D"):
        city.hospital(code)
    hospitals.set_active(city.catalogue, _OPERATOR, "D", active=False)
    with transaction(city.catalogue.engine) as session:
        evaluation = session.scalars(select(QcEvaluation.id).limit(1)).one()
    return {
        "account": {OWN: {"name": "li"}, UNKNOWN: {"name": "nobody"}, MALFORMED: {"name": "L"}},
        "client": {
            OWN: {"client_id": "his-b"},
            UNKNOWN: {"client_id": "his-z"},
            MALFORMED: {"client_id": "x" * 65},
        },
        "webhook": _numbered("webhook_id", **{OWN: hook["webhook_id"]}),
        "evaluation": _numbered("evaluation_id", **{OWN: evaluation}),
        "hospital to close": _coded("C"),
        "closed hospital": _coded("D"),
        "hospital": {OWN: {"code": "A"}, UNKNOWN: {"code": "Z"}, MALFORMED: {"code": "x" * 33}},
        "version": {
            OWN: {"version": "proposal-1"},
            UNKNOWN: {"version": "none"},
            MALFORMED: {"version": "x" * 65},
        },
        "service": {
            OWN: {"service_id": "huren-order-sign"},
            UNKNOWN: {"service_id": "none"},
            MALFORMED: {"service_id": "*"},
        },
    }
