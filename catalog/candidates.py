"""What a person had done before, judged for one order: which result stands how, and in which order they are shown."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from catalog import db, lookup, result_reports
from catalog.completeness import stands
from catalog.lookup import Done, Images, Known
from catalog.orders import Asking, side
from catalog.records import Evaluation, Institution, Order, Prior, Shown, Verdict
from catalog.registry_view import Registry
from catalog.result_reports import ResultReport
from catalog.rules import decide
from catalog.steps import Rows, Steps


@dataclass(frozen=True, slots=True)
class Candidate:
    """A prior that may be shown for an order, and how it stands towards it."""

    verdict: Verdict
    done: Done
    hospital: Institution
    exact: bool
    report: ResultReport | None


@dataclass(frozen=True, slots=True)
class KnownPrior:
    """One result of the person with everything that belongs to it."""

    prior: Prior
    done: Done
    report: ResultReport | None


def priors_of(
    asking: Asking, registry: Registry, person: Known, wanted: frozenset[str], rows: Rows | None = None
) -> Steps[list[KnownPrior]]:
    """Return every result of the person for one of the items; `rows` of the look-up, where they are there already."""
    if rows is None:
        rows = yield lookup.done_before(person.everybody, wanted)
    found = lookup.done(person.everybody, rows)
    if not found:
        return []
    places = registry.places(done.hospital_id for done, _ in found)
    marks = registry.marks(places)
    reports = yield from result_reports.reports_of(found)
    return [
        _prior(asking, done, places[done.hospital_id], marks[done.hospital_id], reports.get(done.id))
        for done, _ in found
    ]


def _prior(
    asking: Asking,
    done: Done,
    hospital: Institution,
    evaluations: tuple[Evaluation, ...],
    report: ResultReport | None,
) -> KnownPrior:
    item = asking.items.get(done.item_code)
    if item is None:
        raise LookupError(f"result {done.id} names an item that is not on the list")
    images = done.images
    complete, flagged = _images_stand(images, asking.now)
    prior = Prior(
        result_id=str(done.id),
        item_code=item.code,
        category=item.category,
        negative=item.negative,
        hospital=hospital,
        exam_time=done.exam_time,
        evaluations=evaluations,
        item_groups=item.groups,
        reports=(report.version,) if report else (),
        laterality=side(done.laterality),
        body_part=done.body_part,
        withdrawn=done.status == "withdrawn" or (images is not None and images.withdrawn),
        images_complete=complete,
        quality_flagged=flagged,
        uid_conflict=images is not None and images.uid_conflict,
    )
    return KnownPrior(prior, done, report)


def _images_stand(images: Images | None, now: datetime) -> tuple[bool, bool]:
    if images is None:
        return True, False
    return stands(
        now,
        images_complete=images.images_complete,
        settles_at=images.settles_at,
        flagged=images.quality_flagged,
        count_short=images.count_short,
    )


def judged(asking: Asking, order: Order, priors: Iterable[KnownPrior]) -> Iterable[Candidate]:
    """Return how each prior stands towards an order; what is hidden is left out."""
    for known in priors:
        verdict = decide(order, known.prior, asking.catalogue.policy, asking.now)
        if verdict.shown is not Shown.HIDDEN:
            exact = known.prior.item_code == order.item_code
            yield Candidate(verdict, known.done, known.prior.hospital, exact, known.report)


def verdicts(
    asking: Asking, registry: Registry, person: Known, order: Order, rows: Rows
) -> dict[int, Verdict]:
    """Return, by result, how each that `rows` of the look-up tell of stands towards an order; hidden: absent."""
    priors = db.run(asking.session, priors_of(asking, registry, person, order.answered_by, rows))
    return {candidate.done.id: candidate.verdict for candidate in judged(asking, order, priors)}


def in_order(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Recognisable first, exact item before covering, newest exam, newest report, then result id."""
    return sorted(
        candidates,
        key=lambda c: (
            c.verdict.shown is not Shown.RECOGNISABLE,
            not c.exact,
            -c.done.exam_time.timestamp(),
            -c.report.version.reported_at.timestamp() if c.report else 0.0,
            c.done.id,
        ),
    )
