"""Instances handed in over HTTP (PS3.18 §10.5): the same spool, the same judgement and the same promise as C-STORE.

The spool may have several owners: each open pack is locked by who writes it, so neither the node's recovery nor
this one touches what the other is writing.
"""

import contextlib
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from catalog.errors import InvalidInput, Unavailable
from catalog.records import DepositedInstance, Depositor
from catalog.uids import is_uid
from dicom_node.acceptor import open_spool
from dicom_node.command import (
    C_STORE_RQ,
    CANNOT_UNDERSTAND,
    DATA_SET_DOES_NOT_MATCH,
    SUCCESS,
    Command,
)
from dicom_node.counters import Counters, keep_writing
from dicom_node.hasher import Hasher
from dicom_node.intake import Intake
from dicom_node.pack import PackIndex
from dicom_node.part10 import FILE_META_LIMIT_BYTES, FileMeta, read_file_meta
from dicom_node.passing_uids import INSTANCE, SERIES, STUDY, PassingUids
from dicom_node.settings import NodeSettings
from dicom_node.sop_classes import TRANSFER_SYNTAXES
from dicom_node.spool import Spool
from dicom_node.storage import Storing

CALLED: Final = "STOW"
TRANSFER_SYNTAX_NOT_SUPPORTED: Final = 0xC122  # PS3.18 Table I.2-2
_LOG: Final = logging.getLogger("huren.dicom_node")
_RECOVERY_SECONDS: Final = 60.0
_FIRST_LOOK_BYTES: Final = 1024
_NEXT_ELEMENT_BYTES: Final = 12  # so many tell that the file meta information has ended
_CLIENT_LENGTH: Final = 64


@contextlib.contextmanager
def open_deposits(spool_root: Path, run_root: Path) -> Iterator["Deposits"]:
    """Yield what takes instances into the spool, with the limits of a node of this environment.

    What a killed process has left is recovered beside it, now and then.
    """
    settings = replace(
        NodeSettings.read(), blank_packs=0
    )  # blanks are the node's: it alone knows who is idle
    deposits, stop = Deposits(settings, spool_root), threading.Event()
    keep_writing(deposits.counters, run_root / "metrics", "stow-", stop)
    keeper = threading.Thread(target=deposits.keep_recovering, args=(stop,), daemon=True)
    keeper.start()
    try:
        yield deposits
    finally:
        stop.set()
        keeper.join(_RECOVERY_SECONDS)
        with contextlib.suppress(OSError):
            deposits.counters.write(run_root / "metrics", "stow-")


class Deposits:
    """The spool as whoever hands in over HTTP sees it; safe for threads."""

    def __init__(self, settings: NodeSettings, spool_root: Path) -> None:
        self.counters = Counters()
        self._settings = settings
        self._root = spool_root
        self._hasher = Hasher()
        self._lock = threading.Lock()
        self._opened: Spool | None = None

    def open(self, depositor: Depositor, StudyInstanceUID: str = "") -> "Deposit":
        """Begin what one request brings, all of it of one study where that is named.

        Raises:
            Unavailable: the spool cannot be had, or has no room.
        """
        spool = self._spool()
        spool.check_room()
        origin = PackIndex(
            path=spool.root,
            pack_id="",
            hospital=depositor.hospital_code,
            calling_ae=_printable(depositor.client) or CALLED,
            called_ae=CALLED,
            peer_address=depositor.address,
            received="",
        )
        return Deposit(spool.intake(origin, self._hasher), self.counters, StudyInstanceUID)

    def keep_recovering(self, stop: threading.Event) -> None:
        """Seal what a killed process has left, at once and then now and then, until `stop` is set."""
        while True:
            try:
                self._spool().recover()
            except (OSError, Unavailable) as error:
                _LOG.error("the spool cannot be recovered: %s", type(error).__name__)
            if stop.wait(_RECOVERY_SECONDS):
                return

    def _spool(self) -> Spool:
        with self._lock:
            if self._opened is None:
                try:
                    self._opened = open_spool(self._settings, self._root)
                except OSError:
                    raise Unavailable(
                        "暂存区无法使用", "the spool cannot be had", code="spool_failed"
                    ) from None
            return self._opened


class Deposit:
    """What one request brings, as an association would: part by part, in one thread at a time."""

    def __init__(self, intake: Intake, counters: Counters, StudyInstanceUID: str) -> None:
        self._intake = intake
        self._counters = counters
        self._study = StudyInstanceUID
        self._instance: _Arriving | None = None

    def begin(self) -> None:
        """Start an instance: a Part 10 file follows."""
        self._instance = _Arriving(self._intake, self._study)

    def write(self, piece: memoryview) -> None:
        """Take bytes of the file; they must stay as they are."""
        self._begun().write(piece)

    def finish(self) -> DepositedInstance:
        """Make the instance durable; only where its `failure` is 0 may anybody be told that it is stored."""
        instance, self._instance = self._begun(), None
        stored_bytes = instance.finish()
        return self._counted(instance, stored_bytes)

    def abandon(self) -> DepositedInstance:
        """Take back what came of an instance that will not end."""
        instance, self._instance = self._begun(), None
        instance.refuse(CANNOT_UNDERSTAND)
        return self._counted(instance, 0)

    def close(self, *, whole: bool) -> None:
        """End it; `whole` says that the caller has sent what he wanted to send. What was finished stays."""
        if self._instance is not None:
            self.abandon()
        try:
            self._intake.close(released=whole)
        except OSError as error:
            _LOG.error("a pack stays open until the next recovery: %s", error.strerror)

    def _begun(self) -> "_Arriving":
        if self._instance is None:
            raise InvalidInput("尚未开始", "no instance was begun", code="no_instance")
        return self._instance

    def _counted(self, instance: "_Arriving", stored_bytes: int) -> DepositedInstance:
        self._counters.add("instances", f"{instance.failure:04x}")
        self._counters.add("bytes", "stored", stored_bytes)
        return instance.told()


class _Arriving:
    """An instance while its file comes. Once it has failed, the rest is dropped."""

    def __init__(self, intake: Intake, StudyInstanceUID: str) -> None:
        self.failure = SUCCESS
        self._intake = intake
        self._study = StudyInstanceUID
        self._head = bytearray()
        self._look_at = (
            _FIRST_LOOK_BYTES  # doubled each time, or a file that drips would be read again and again
        )
        self._meta: FileMeta | None = None
        self._storing: Storing | None = None
        self._uids = PassingUids("")

    def write(self, piece: memoryview) -> None:
        if self.failure:
            return
        if self._storing is not None:
            self._store(piece)
            return
        self._head += piece
        if len(self._head) >= self._look_at:
            self._look_at = 2 * len(self._head)
            self._read_head(is_all=False)

    def finish(self) -> int:
        if not self.failure and self._storing is None:
            self._read_head(is_all=True)
        if not self.failure:
            self._judge_uids()
        if self.failure or self._storing is None:
            return 0
        stored_bytes = self._storing.finish()
        self.failure = self._storing.status
        return stored_bytes

    def refuse(self, failure: int) -> None:
        """Fail it, and take back what was written; one that has failed already keeps its own reason."""
        if self.failure:
            return
        if self._storing is not None:
            self._storing.abandon()
        self.failure = failure

    def told(self) -> DepositedInstance:
        """Say what it is and how it fared; what is no UID is not repeated."""
        if self._meta is None:
            return DepositedInstance(failure=self.failure)
        return DepositedInstance(
            SOPClassUID=_uid_or_nothing(self._meta.SOPClassUID),
            SOPInstanceUID=_uid_or_nothing(self._meta.SOPInstanceUID),
            StudyInstanceUID=_uid_or_nothing(self._uids.get(STUDY)),
            SeriesInstanceUID=_uid_or_nothing(self._uids.get(SERIES)),
            failure=self.failure,
        )

    def _read_head(self, *, is_all: bool) -> None:
        """Begin as soon as the file meta information is whole: the first element behind it is there, or the end."""
        head = bytes(self._head)
        try:
            meta = read_file_meta(head)
        except InvalidInput as error:
            if is_all or error.code == "not_dicom" or len(head) >= FILE_META_LIMIT_BYTES:
                self.refuse(CANNOT_UNDERSTAND)
            return
        if is_all or meta.dataset_offset + _NEXT_ELEMENT_BYTES <= len(head):
            self._head = bytearray()
            self._begin(meta)
            self.write(memoryview(head)[meta.dataset_offset :])

    def _begin(self, meta: FileMeta) -> None:
        self._meta = meta
        if meta.TransferSyntaxUID not in TRANSFER_SYNTAXES:
            self.refuse(TRANSFER_SYNTAX_NOT_SUPPORTED)
            return
        self._uids = PassingUids(meta.TransferSyntaxUID)
        request = Command(C_STORE_RQ, 0, True, meta.SOPClassUID, meta.SOPInstanceUID)
        self._storing = Storing(request, 0, meta.SOPClassUID, meta.TransferSyntaxUID, self._intake)
        self.failure = self._storing.status

    def _store(self, piece: memoryview) -> None:
        was_looking = not self._uids.is_done
        self._uids.pass_on(piece)
        if was_looking and self._uids.is_done:
            self._judge_uids()
        if not self.failure and self._storing is not None:
            self._storing.write(piece)
            self.failure = self._storing.status

    def _judge_uids(self) -> None:
        """Refuse what shipping could not catalogue under the UIDs it came with, or belongs to another study."""
        study, instance = _uid_or_nothing(self._uids.get(STUDY)), _uid_or_nothing(self._uids.get(INSTANCE))
        if not (study and instance and _uid_or_nothing(self._uids.get(SERIES))):
            self.refuse(CANNOT_UNDERSTAND)
        elif self._meta is None or instance != self._meta.SOPInstanceUID or self._study not in ("", study):
            self.refuse(DATA_SET_DOES_NOT_MATCH)


def _uid_or_nothing(text: str) -> str:
    uid = text.rstrip("\0 ")
    return uid if is_uid(uid) else ""


def _printable(client: str) -> str:
    return "".join(each for each in client if each.isprintable())[:_CLIENT_LENGTH]
