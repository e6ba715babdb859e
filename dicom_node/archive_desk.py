"""What answers C-FIND, C-MOVE and C-GET: the catalogue, the sidecars and the packs (PS3.4 Annex C).

A hospital sees by it what it sees by DICOMweb: what a check or a stated purpose has opened. What is not its to see
is not there: no match, no sub-operation, Success.
"""

import logging
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from catalog.context import Caller, Catalogue
from catalog.db import open_engine, transaction
from catalog.destinations import find_destination
from catalog.errors import IntegrityFault, InvalidInput, NotFound, TooMany, Unavailable
from catalog.harvest import Harvest
from catalog.image_index import Json
from catalog.image_views import ShownStudy, ViewedStudy
from catalog.objects import ObjectStore
from catalog.scope import Scope, acting_as
from catalog.settings import Settings
from catalog.workplace import open_catalogue
from dicom_node.archive_index import ArchiveIndex, Located, named_studies
from dicom_node.carriers import CarrierLost, HereCarrier, batches, opened
from dicom_node.command import (
    C_FIND_RQ,
    C_GET_RQ,
    CANCELLED,
    CANNOT_PERFORM,
    CANNOT_PROCESS,
    DATA_SET_DOES_NOT_MATCH,
    DESTINATION_UNKNOWN,
    NOT_AUTHORIZED,
    PENDING,
    PENDING_WITHOUT_SOME_KEYS,
    SUCCESS,
    Command,
)
from dicom_node.counters import Counters
from dicom_node.dialogue import Dialogue
from dicom_node.identifier import Identifier, encode_identifier, read_identifier
from dicom_node.negotiation import is_patient_root
from dicom_node.pdu import MalformedPDU
from dicom_node.query_asked import Asker, Refusal, busy_status
from dicom_node.query_rows import (
    IMAGE,
    INSTANCE_UID,
    ISSUER,
    LEVEL,
    LEVELS,
    OURS,
    PATIENT,
    PATIENT_ID,
    SERIES,
    SERIES_UID,
    STUDY,
    STUDY_UID,
    answer,
    is_match,
    of_instance,
    of_patient,
    of_series,
    of_study,
)
from dicom_node.retrieval import BrokenOff, Permit, Retrieval
from dicom_node.settings import NodeSettings
from dicom_node.tls import OutboundTls, open_outbound
from dicom_node.wire import ConnectionLost, DeadlinePassed

_RETRIEVALS: Final = 8  # at once in one worker: each holds two windows of 4 MiB
_CONNECTIONS: Final = 4
_NAMES: Final = {PATIENT: PATIENT_ID, STUDY: STUDY_UID, SERIES: SERIES_UID, IMAGE: INSTANCE_UID}
_LOG: Final = logging.getLogger("huren.dicom_node")


@dataclass(frozen=True, slots=True)
class _Bounds:
    """A worker's share of what one peer may ask about (catalog.harvest): its associations are dealt out to all."""

    harvest_system_alarm_people: int
    harvest_system_limit_people: int
    harvest_alarm_people: int = 1  # no person asks by DICOM
    harvest_limit_people: int = 1

    @classmethod
    def of(cls, settings: NodeSettings) -> "_Bounds":
        """Return the share."""
        alarm, limit = settings.harvest_alarm_people, settings.harvest_limit_people
        return cls(-(-alarm // settings.workers), -(-limit // settings.workers))


class ArchiveDesk:
    """The archive of one worker. `counters` counts `queries`: find, move or get, and the last status."""

    def __init__(
        self,
        catalogue: Catalogue,
        store: ObjectStore | None,
        harvest: Harvest,
        counters: Counters,
        tls: OutboundTls | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._store = store
        self._harvest = harvest
        self._counters = counters
        self._tls = tls
        self._room = threading.BoundedSemaphore(_RETRIEVALS)
        self._threads = ThreadPoolExecutor(_RETRIEVALS, thread_name_prefix="packs")

    def close(self) -> None:
        """Close the connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._catalogue.engine.dispose()
        if self._store is not None:
            self._store.close()

    def answer(self, asker: Asker, dialogue: Dialogue, dataset: bytes, TransferSyntaxUID: str) -> None:
        """Answer a request to its last response. Raises as Dialogue does, when the association is over."""
        try:
            asked = read_identifier(dataset, TransferSyntaxUID)
            level = _level(asked, dialogue.request)
            if dialogue.request.field == C_FIND_RQ:
                self._find(asker, dialogue, asked, level, TransferSyntaxUID)
            else:
                self._retrieve(asker, dialogue, asked, level, TransferSyntaxUID)
        except (ConnectionLost, DeadlinePassed, MalformedPDU):
            raise
        except Exception as error:
            dialogue.respond(*_refusal(error, dialogue.request))
        self._counters.add("queries", f"{_name(dialogue.request)}:{dialogue.last_status:04x}")

    def _index(self, asker: Asker) -> ArchiveIndex:
        caller = Caller(f"ae:{asker.ae_title}", "hospital_system", asker.hospital_code)
        catalogue = acting_as(self._catalogue, Scope.of(caller))

        def counted(id_type: str, number: str) -> None:
            self._harvest.take(self._catalogue, caller, id_type, number)

        return ArchiveIndex(catalogue, self._store, caller, counted)

    def _find(self, asker: Asker, dialogue: Dialogue, asked: Identifier, level: str, syntax: str) -> None:
        for row in _rows(self._index(asker), asked, level):
            if dialogue.is_cancelled():
                dialogue.respond(CANCELLED)
                return
            told, is_whole = answer(row, asked, level, asker.called)
            dialogue.respond(
                PENDING if is_whole else PENDING_WITHOUT_SOME_KEYS,
                dataset=encode_identifier(told, syntax, asked.character_set),
            )
        dialogue.respond(SUCCESS)

    def _retrieve(self, asker: Asker, dialogue: Dialogue, asked: Identifier, level: str, syntax: str) -> None:
        if not self._room.acquire(blocking=False):
            raise Refusal(CANNOT_PERFORM, "too many retrievals at once; try again soon")
        try:
            self._carry(asker, dialogue, self._index(asker), _only_uids(asked, level), syntax)
        finally:
            self._room.release()

    def _carry(
        self, asker: Asker, dialogue: Dialogue, index: ArchiveIndex, asked: Identifier, syntax: str
    ) -> None:
        destination = None
        if dialogue.request.field != C_GET_RQ:
            try:
                with transaction(index.catalogue.engine) as session:
                    wanted = dialogue.request.destination
                    destination = find_destination(session, asker.hospital_code, wanted)
            except NotFound:
                raise Refusal(DESTINATION_UNKNOWN, "no such destination of your hospital") from None
        found = _located(index, asked)
        if not found or self._store is None:
            dialogue.respond(SUCCESS)
            return
        permit = Permit(index.view)
        retrieval = Retrieval(dialogue, permit, self._store, self._threads, syntax, dict.fromkeys(found))
        try:
            if destination is None:
                retrieval.send(found, HereCarrier(dialogue))
            for batch in batches(found):
                if destination is None or retrieval.is_over:
                    break
                with opened(destination, asker, dialogue.request.message_id, batch, self._tls) as carrier:
                    retrieval.send(batch, carrier)
        except (CarrierLost, BrokenOff, Refusal) as error:
            if destination is None:  # the asking association itself was broken off inside a message
                raise MalformedPDU("a data set was broken off", reason=0, source=0) from None
            retrieval.why = str(error)
        retrieval.finish()


def open_archive(settings: NodeSettings, database_url: str, keys: Path, counters: Counters) -> ArchiveDesk:
    """Open the archive of a worker: the database, the object store of the environment, the keys of a folder.

    Raises Unavailable where there are no keys: with fresh ones no number would be found.
    """
    if not (keys / "identity.json").exists():
        _LOG.error("queries cannot be answered: there are no keys (HUREN_KEYS_DIR)")
        raise Unavailable("缺少密钥", "there are no keys", code="no_keys")
    stores = Settings()
    access = stores.s3_access()
    engine = open_engine(database_url, pool_size=_CONNECTIONS)
    return ArchiveDesk(
        open_catalogue(stores, engine, keys),
        ObjectStore(access, workers=_RETRIEVALS) if access else None,
        Harvest(_Bounds.of(settings)),
        counters,
        open_outbound(settings),
    )


def _rows(index: ArchiveIndex, asked: Identifier, level: str) -> Iterator[dict[str, Json]]:
    """Yield the rows of a level that match; what is disclosed is audited before the first of them."""
    told: set[int] = set()
    for study, others in index.studies(asked):
        row = of_study(study.shown, _patient(asked, study.shown, others))
        if level == PATIENT:
            if study.shown.patient_id in told:
                continue
            if is_match(row, asked, level):
                told.add(study.shown.patient_id)
                yield row
        elif is_match(row, asked, STUDY):
            yield from [row] if level == STUDY else _rows_within(index, study, row, asked, level)


def _rows_within(
    index: ArchiveIndex, study: ViewedStudy, row: dict[str, Json], asked: Identifier, level: str
) -> Iterator[dict[str, Json]]:
    for members in index.series(study).values():
        series = of_series(row, members)
        if not is_match(series, asked, SERIES):
            continue
        rows = (of_instance(series, each) for each in members) if level == IMAGE else iter((series,))
        yield from (each for each in rows if is_match(each, asked, level))


def _patient(asked: Identifier, shown: ShownStudy, others: Sequence[ShownStudy]) -> dict[str, Json]:
    """Return the patient under the number he was asked for by, else under the regional one."""
    number = asked.get(PATIENT_ID)
    return of_patient(number or str(shown.patient_id), asked.get(ISSUER) if number else OURS, others)


def _located(index: ArchiveIndex, asked: Identifier) -> list[Located]:
    """Return the instances to be retrieved; each study is audited as one that is looked at."""
    found: list[Located] = []
    for uid in named_studies(asked) or [each.shown.StudyInstanceUID for each, _ in index.studies(asked)]:
        try:
            study = index.view(uid)
        except NotFound as error:
            if error.code != "unknown_study":
                raise
            continue
        if index.is_of_patient(asked, study.shown):
            found += index.instances(study, asked)
    return found


def _level(asked: Identifier, request: Command) -> str:
    """Return the level of a request. Raises Refusal (0xA900) where it names none, or nobody in particular."""
    level = asked.get(LEVEL)
    least = PATIENT if is_patient_root(request.SOPClassUID) else STUDY
    if level not in LEVELS[LEVELS.index(least) :]:
        raise Refusal(DATA_SET_DOES_NOT_MATCH, "QueryRetrieveLevel is missing or not of this model")
    patient, study = asked.get(PATIENT_ID), asked.get(STUDY_UID)
    if any(each in patient for each in "*?\\") or any(each in study for each in "*?"):
        raise Refusal(DATA_SET_DOES_NOT_MATCH, "PatientID and StudyInstanceUID take no wildcards")
    if not study and (not patient or level in (SERIES, IMAGE)):
        what = "StudyInstanceUID" if level in (SERIES, IMAGE) else "PatientID or StudyInstanceUID"
        raise Refusal(DATA_SET_DOES_NOT_MATCH, f"name the patient or the study: {what}")
    if request.field != C_FIND_RQ and not asked.get(_NAMES[level]):
        raise Refusal(DATA_SET_DOES_NOT_MATCH, "the unique key of the level is missing")
    return level


def _only_uids(asked: Identifier, level: str) -> Identifier:
    """Return the unique keys down to the level: a retrieval has no others (PS3.4 §C.4.2.2.1)."""
    kept = [LEVEL, ISSUER, *(_NAMES[each] for each in LEVELS[: LEVELS.index(level) + 1])]
    return Identifier({tag: asked.wanted[tag] for tag in kept if tag in asked.wanted}, asked.character_set)


def _refusal(error: Exception, request: Command) -> tuple[int, str]:
    """Return the status and comment of a request that failed; nothing of what was asked is in them."""
    if isinstance(error, Refusal):
        return error.status, error.comment
    if isinstance(error, TooMany):
        return busy_status(request), "too many patients asked for; try again later"
    if isinstance(error, Unavailable):
        _LOG.warning("a %s cannot be answered: %s", _name(request), error.code)
        return busy_status(request), "the catalogue or the archive does not answer now"
    if isinstance(error, NotFound):
        return NOT_AUTHORIZED, "the hospital is not registered"
    if isinstance(error, InvalidInput):
        return DATA_SET_DOES_NOT_MATCH, "a value cannot be looked for"
    what = error.code if isinstance(error, IntegrityFault) else type(error).__name__
    _LOG.error("a %s failed: %s", _name(request), what)  # its words may quote what was asked
    return CANNOT_PROCESS, "it failed here"


def _name(request: Command) -> str:
    return "find" if request.field == C_FIND_RQ else "get" if request.field == C_GET_RQ else "move"
