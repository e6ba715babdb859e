"""Who is asked about by query/retrieve, which of his studies the asker may see, and where their instances lie."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from catalog import groups, image_index, image_views, registry, sealed_numbers, whose
from catalog.attribute_matching import listed
from catalog.chart import Chart, Entry
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import NotFound, ObjectStoreDown
from catalog.image_index import IndexedInstance
from catalog.image_views import Counted, ShownStudy, ViewedStudy
from catalog.objects import ObjectStore
from catalog.tables import Alias
from catalog.uids import is_uid
from catalog.whose import Whose
from dicom_node.command import DATA_SET_DOES_NOT_MATCH
from dicom_node.identifier import Identifier
from dicom_node.query_asked import Refusal
from dicom_node.query_rows import INSTANCE_UID, ISSUER, OURS, PATIENT_ID, SERIES_UID, STUDY_UID
from dicom_node.sidecar import read_sidecar

MOST_STUDIES: Final = 100  # named in one request: each of them is a look-up of its own
_REGIONAL_DIGITS: Final = 18


@dataclass(frozen=True, slots=True)
class Located:
    """One instance that is to be sent: its data set is `size_bytes` at `at` of the pack `key`."""

    StudyInstanceUID: str
    SOPInstanceUID: str
    context: tuple[str, str]  # SOP class, transfer syntax
    key: str
    at: int
    size_bytes: int


Found = Callable[[ViewedStudy, Sequence[ShownStudy]], bool]


@dataclass(frozen=True, slots=True)
class ArchiveIndex:
    """What one caller may see of the archive; `counted` hears of whom something is about to be disclosed."""

    catalogue: Catalogue
    store: ObjectStore | None
    caller: Caller
    counted: Counted

    def studies(self, asked: Identifier) -> Iterable[tuple[ViewedStudy, Sequence[ShownStudy]]]:
        """Yield the studies that an identifier names, with all that may be seen of the patient; audited.

        Raises what the catalogue and `counted` raise.
        """
        patient, uids = self.patient(asked), named_studies(asked)
        if not uids:
            yield from self._search(patient, frozenset())
            return
        left = dict.fromkeys(uids)
        while left:
            uid = next(iter(left))
            del left[uid]
            for study, others in self._search((whose.of_study_uid(uid), *patient), frozenset(uids)):
                left.pop(study.shown.StudyInstanceUID, None)
                yield study, others

    def patient(self, asked: Identifier) -> tuple[Whose, ...]:
        """Return whom the PatientID of an identifier names, if it has one: the asker's own number before ours."""
        number, issuer = asked.get(PATIENT_ID), asked.get(ISSUER)
        if not number:
            return ()
        own, regional = whose.patient(number), _regional(number)
        if issuer:
            return (regional if issuer == OURS else own,)
        return (self._own_or(number, own, regional),)

    def is_of_patient(self, asked: Identifier, shown: ShownStudy) -> bool:
        """Say whether a study is of the patient that an identifier names, if it names one."""
        named = self.patient(asked)
        if not named:
            return True
        with transaction(self.catalogue.engine) as session:
            hospital = registry.hospital_by_code(session, self.caller.hospital_code)
            person_id = named[0](session, self.catalogue, hospital.id)
            return person_id is not None and shown.patient_id in groups.members(session, {person_id})

    def view(self, StudyInstanceUID: str) -> ViewedStudy:
        """Return a study to be retrieved; audited once. Raises NotFound where it is not for this caller to see."""
        return image_views.view(self.catalogue, self.caller, StudyInstanceUID, self.counted)

    def series(self, study: ViewedStudy) -> dict[str, list[IndexedInstance]]:
        """Return what is told of a study's instances, by series. Raises what the object store does."""
        shown, found = study.shown, list[IndexedInstance]()
        for key, sidecar_key in study.packs:
            sidecar = self._read(sidecar_key)
            found += image_index.read_instances(key, sidecar, shown.StudyInstanceUID, shown.patient)
        return image_index.by_series(found)

    def instances(self, study: ViewedStudy, asked: Identifier) -> list[Located]:
        """Return the instances of a study that an identifier names, each once, as they lie in their packs."""
        series, wanted = set(listed(asked.get(SERIES_UID))), set(listed(asked.get(INSTANCE_UID)))
        found: dict[str, Located] = {}
        for key, sidecar_key in study.packs:
            for each in read_sidecar(self._read(sidecar_key)).pack.instances:
                if (series and each.SeriesInstanceUID not in series) or (
                    wanted and each.SOPInstanceUID not in wanted
                ):
                    continue
                located = Located(
                    study.shown.StudyInstanceUID,
                    each.SOPInstanceUID,
                    (each.SOPClassUID, each.TransferSyntaxUID),
                    key,
                    each.dataset_offset,
                    each.dataset_size_bytes,
                )
                found.setdefault(each.SOPInstanceUID, located)
        return list(found.values())

    def _search(
        self, named: tuple[Whose, ...], wanted: frozenset[str]
    ) -> list[tuple[ViewedStudy, Sequence[ShownStudy]]]:
        others: list[ShownStudy] = []

        def tell(chart: Chart, entry: Entry) -> ViewedStudy | None:
            shown: ShownStudy = entry.told["study"]
            others.append(shown)
            if wanted and shown.StudyInstanceUID not in wanted:
                return None
            return ViewedStudy(shown, image_views.packs_of(chart.asking.session, shown.id))

        page = image_views.search(self.catalogue, self.caller, named, tell, self.counted)
        return [(study, others) for study in page.given]

    def _own_or(self, number: str, own: Whose, regional: Whose) -> Whose:
        """Return who looks the hospital's own number up, and ours only where the hospital has none like it.

        A number that is somebody's there, though it is not known whose, must not become somebody else's here.
        """

        def find(session: Session, catalogue: Catalogue, hospital_id: int) -> int | None:
            if "\x00" in number:
                return None
            kept = sealed_numbers.as_kept(session, catalogue, hospital_id, number)
            known = select(Alias.id).where(
                Alias.hospital_id == hospital_id, Alias.kind == "PatientID", Alias.number == kept
            )
            is_own = session.scalars(known.limit(1)).one_or_none() is not None
            return (own if is_own else regional)(session, catalogue, hospital_id)

        return find

    def _read(self, sidecar_key: str) -> bytes:
        if self.store is None:
            raise ObjectStoreDown("未配置影像存储", "There is no object store here", code="no_store")
        try:
            return self.store.read_range(sidecar_key, 0, self.store.stat(sidecar_key).size_bytes)
        except NotFound as error:  # the catalogue has it: that is not "no such study"
            raise ObjectStoreDown(
                "影像索引缺失", "The index of the images is missing", code="sidecar_missing"
            ) from error


def named_studies(asked: Identifier) -> list[str]:
    """Return the studies that an identifier names. Raises Refusal where these are very many."""
    uids = listed(asked.get(STUDY_UID))
    if len(uids) > MOST_STUDIES:
        raise Refusal(DATA_SET_DOES_NOT_MATCH, "too many studies in one request")
    return [uid for uid in uids if is_uid(uid)] or ["0"] * bool(uids)


def _regional(number: str) -> Whose:
    is_number = number.isascii() and number.isdecimal() and len(number) <= _REGIONAL_DIGITS
    return whose.person(int(number)) if is_number else whose.nobody
