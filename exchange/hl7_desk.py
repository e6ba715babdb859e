"""Where messages are taken: bytes in, acknowledgement out; positive only after the commit (HL7 v2.5.1 §2.9)."""

import logging
from dataclasses import replace
from typing import Final

from sqlalchemy.orm import Session

from catalog import documents, hl7_peers, people, reports
from catalog.context import Caller, Catalogue
from catalog.db import transaction
from catalog.errors import Conflict, DatabaseDown, InvalidInput, Unavailable
from catalog.objects import ObjectStore
from catalog.report_records import Attachment
from catalog.tables import Hospital
from exchange.hl7 import Malformed, Message, parse
from exchange.hl7_faults import Acknowledgement, Fault, acknowledge, fault_of, not_of_type
from exchange.oru import Received, read_oru

_LOG = logging.getLogger("huren.hl7")
_VERSIONS: Final = (
    "2.2",
    "2.3",
    "2.3.1",
    "2.4",
    "2.5",
    "2.5.1",
    "2.6",
    "2.7",
    "2.7.1",
    "2.8",
    "2.8.1",
    "2.8.2",
)
_TRIES: Final = 3
_MALFORMED: Final = {
    "not_hl7": ("不是 HL7 v2 消息", "This is no HL7 v2 message"),
    "charset": ("字符集无法识别,请在 MSH-18 声明", "The character set cannot be told; declare it in MSH-18"),
    "too_long": ("段数过多", "The message has too many segments"),
}


class Desk:
    """Takes one message after the other; shared by the threads of a listener."""

    def __init__(self, catalogue: Catalogue, store: ObjectStore | None) -> None:
        self._catalogue = catalogue
        self._store = store

    def take(self, raw: bytes, address: str) -> Acknowledgement:
        """Return the acknowledgement of one message; whatever is wrong with it is its own and ends here."""
        message, control = None, ""
        try:
            message = parse(raw)
            control = message.header.text(10)
            self._take(message, address)
        except Malformed as error:
            zh, en = _MALFORMED[error.code]
            fault = Fault("AR", "100" if error.code == "not_hl7" else "102", "MSH^1", zh, en)
        except Fault as found:
            fault = found
        except Exception as error:  # a poisoned message must not stop the next one
            _LOG.error("a message failed: %s", type(error).__name__)
            _LOG.debug("traceback", exc_info=error)
            fault = Fault(
                "AE", "207", "MSH^1", "消息处理失败,已记录", "The message failed; it has been logged"
            )
        else:
            return acknowledge(message, self._catalogue.clock(), control)
        _LOG.info("refused %s %s at %s", fault.ack, fault.number, fault.place)
        return acknowledge(message, self._catalogue.clock(), control, fault)

    def _take(self, message: Message, address: str) -> None:
        _check_header(message)
        try:
            hospital = self._sender(message, address)
            received = read_oru(message, hospital.code, people.today_of(self._catalogue))
            caller = Caller(f"hl7:{message.header.text(3)}", "hospital_system", hospital.code)
            for each in received:
                self._refuse_erased(caller, each)
            ready = [self._keep_documents(each) for each in received]
            self._commit(caller, hospital, ready)
        except Unavailable as error:
            raise fault_of(error, {}) from error

    def _sender(self, message: Message, address: str) -> Hospital:
        application, facility = message.header.text(3), message.header.text(4)
        with transaction(self._catalogue.engine) as session:
            found = hl7_peers.sender_of(session, application, facility, address)
        if found is None:
            raise Fault(
                "AR", "103", "MSH^1^3", "发送方未登记或来自未登记的地址", "The sender is not registered"
            )
        return found

    def _refuse_erased(self, caller: Caller, received: Received) -> None:
        try:
            reports.refuse_erased(self._catalogue, caller, received.report)
        except Conflict as error:
            raise fault_of(error, received.places) from error

    def _keep_documents(self, received: Received) -> Received:
        kept: list[Attachment] = []
        for document in received.documents:
            try:
                attachment = documents.describe(document.content, document.content_type, document.title)
            except InvalidInput as error:
                raise not_of_type(document.place, error.zh, error.en) from None
            documents.keep(self._store, document.content, attachment)
            kept.append(attachment)
        return replace(received, report=replace(received.report, attachments=tuple(kept)))

    def _commit(self, caller: Caller, hospital: Hospital, ready: list[Received]) -> None:
        """Take every report of the message or none; two messages that meet at one patient are tried again."""
        for tries_left in reversed(range(_TRIES)):
            try:
                with transaction(self._catalogue.engine) as session:
                    for each in ready:
                        self._take_one(session, caller, hospital, each)
                return
            except DatabaseDown:
                if not tries_left:
                    raise

    def _take_one(self, session: Session, caller: Caller, hospital: Hospital, each: Received) -> None:
        try:
            reports.take(session, self._catalogue, caller, hospital, each.report)
        except (InvalidInput, Conflict) as error:
            raise fault_of(error, each.places) from error


def _check_header(message: Message) -> None:
    header = message.header
    if not header.text(10):
        raise Fault("AR", "101", "MSH^1^10", "缺少消息控制号", "The message control id (MSH-10) is missing")
    if header.text(9) != "ORU":
        raise Fault("AR", "200", "MSH^1^9", "只接受 ORU^R01", "Only ORU^R01 is taken")
    if header.text(9, 2) != "R01":
        raise Fault("AR", "201", "MSH^1^9", "只接受 ORU^R01", "Only ORU^R01 is taken")
    if header.text(11) != "P":
        raise Fault("AR", "202", "MSH^1^11", "只接受生产消息(P)", "Only production messages (P) are taken")
    if header.text(12) not in _VERSIONS:
        raise Fault("AR", "203", "MSH^1^12", "不支持的 HL7 版本", "This version of HL7 is not supported")
