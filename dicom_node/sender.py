"""C-STORE as SCU behind `huren send`: Part 10 files, their data sets sent byte for byte (PS3.4 Annex B)."""

import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from catalog.errors import InvalidInput, NotAllowed, Unavailable
from dicom_node.command import (
    SUCCESS,
    Command,
    MalformedCommand,
    decode_command,
    encode_echo_rq,
    encode_event_report_rq,
    encode_store_rq,
)
from dicom_node.negotiation import ACCEPTED, VERIFICATION
from dicom_node.part10 import FILE_META_LIMIT_BYTES, FileMeta, read_file_meta
from dicom_node.pdu import (
    ABORT,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    COMMAND_FRAGMENT,
    HEADER,
    LAST_FRAGMENT,
    P_DATA_TF,
    PDV_HEADER,
    PDV_HEADER_BYTES,
    RELEASE_REQUEST,
    AssociateRequest,
    MalformedPDU,
    ProposedContext,
    ae_bytes,
    decode_associate_ac,
    encode_abort,
    encode_associate_rq,
    encode_command,
    encode_dataset,
    encode_fragments,
)
from dicom_node.wire import ConnectionLost, DeadlinePassed, Wire

MAX_CONTEXTS = 128  # odd identifiers 1 to 255 (PS3.8 Table 9-13)
_PDU_BYTES = 262_144
_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 120.0
_RELEASE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that did not arrive; `status` is that of the C-STORE-RSP, where there was one."""

    path: Path
    reason: str
    status: int | None = None


@dataclass(slots=True)
class SendSummary:
    """What became of a sending; `bytes` counts data sets answered with Success."""

    sent: int = 0
    failed: int = 0
    skipped: int = 0
    refused: dict[int, int] = field(default_factory=dict)
    bytes: int = 0
    seconds: float = 0.0
    failures: list[Failure] = field(default_factory=list)

    def fail(self, failure: Failure) -> None:
        """Note a file that did not arrive."""
        self.failures.append(failure)
        self.failed += 1
        if failure.status is not None:
            self.refused[failure.status] = self.refused.get(failure.status, 0) + 1


@dataclass(frozen=True, slots=True)
class _Instance:
    path: Path
    meta: FileMeta

    @property
    def context(self) -> tuple[str, str]:
        return self.meta.SOPClassUID, self.meta.TransferSyntaxUID


class Requestor:
    """An association as requestor, for C-ECHO, C-STORE and reports; a context manager that releases at the end.

    `contexts` are pairs of abstract syntax and transfer syntax, at most 128; `roles` what is proposed for an
    abstract syntax as (SCU, SCP), where it is not the ordinary (True, False). `secure` shakes hands for TLS. Who takes
    what is sent more slowly than `min_bytes_per_second`, beyond the `answer_seconds`, is cut off.

    Raises:
        NotAllowed: the peer rejects it for good (`association_rejected`).
        Unavailable: nobody answers (`peer_unreachable`), or the peer rejects it for now.
    """

    def __init__(
        self,
        host: str,
        port: int,
        called: str,
        calling: str,
        contexts: list[tuple[str, str]],
        *,
        roles: dict[str, tuple[bool, bool]] | None = None,
        answer_seconds: float = _ANSWER_SECONDS,
        min_bytes_per_second: float = 1.0,
        secure: Callable[[socket.socket], socket.socket] | None = None,
    ) -> None:
        request = AssociateRequest(ae_bytes(called), ae_bytes(calling), max_length=_PDU_BYTES)
        request.roles = roles or {}
        self._answer_seconds = answer_seconds
        self._ids = {2 * number + 1: pair for number, pair in enumerate(contexts)}
        request.contexts = [
            ProposedContext(number, pair[0], (pair[1],)) for number, pair in self._ids.items()
        ]
        self._message_id = 0
        try:
            sock = socket.create_connection((host, port), timeout=_CONNECT_SECONDS)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if secure is not None:
                sock = secure(sock)
        except OSError as error:
            raise _unreachable(error.strerror or "no connection") from None
        self._wire = Wire(sock, grace_seconds=answer_seconds, min_bytes_per_second=min_bytes_per_second)
        try:
            self._wire.send(encode_associate_rq(request))
            self._take_answer()
        except (ConnectionLost, DeadlinePassed, MalformedPDU) as error:
            self._wire.close()
            raise _unreachable(type(error).__name__) from None
        except (NotAllowed, Unavailable):
            self._wire.close()
            raise

    def __enter__(self) -> "Requestor":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is not None:
                self._wire.send(encode_abort(0, 0))  # perhaps inside a message: it cannot be released
                raise ConnectionLost("aborted by us")
            self._wire.send(RELEASE_REQUEST)
            self._wire.expect("A-RELEASE-RP", _RELEASE_SECONDS, leased=False)
            self._wire.read_header(_PDU_BYTES)
        except (ConnectionLost, DeadlinePassed, MalformedPDU):
            pass  # everything has been answered already
        self._wire.close()

    def accepts(self, context: tuple[str, str]) -> bool:
        """Has the peer accepted this pair?"""
        return context in self._accepted

    def echo(self) -> int:
        """Verify; gives the status."""
        context_id = next(number for pair, number in self._accepted.items() if pair[0] == VERIFICATION)
        self._send_command(context_id, encode_echo_rq(self._next_message_id()))
        return self._take_response().status

    def store(self, path: Path, meta: FileMeta) -> Command:
        """Send one file's data set; gives the response.

        Raises:
            ConnectionLost, DeadlinePassed, MalformedPDU: the association is over.
            OSError: the file cannot be read.
        """
        context_id = self._accepted[(meta.SOPClassUID, meta.TransferSyntaxUID)]
        with path.open("rb") as file:
            command = encode_store_rq(self._next_message_id(), meta.SOPClassUID, meta.SOPInstanceUID)
            self._send_command(context_id, command)
            left = os.fstat(file.fileno()).st_size - file.seek(meta.dataset_offset)
            while left:
                left -= self._send_fragment(context_id, file.read(min(left, self._fragment_bytes)), left)
        return self._take_response()

    def store_pieces(
        self,
        context: tuple[str, str],
        SOPInstanceUID: str,
        pieces: Iterable[bytes],
        originator: tuple[str, int],
    ) -> Command:
        """Send a data set that comes in pieces, for whom asked for it by C-MOVE; gives the response.

        Raises:
            ConnectionLost, DeadlinePassed, MalformedPDU: the association is over.
        """
        context_id = self._accepted[context]
        command = encode_store_rq(self._next_message_id(), context[0], SOPInstanceUID, originator)
        self._send_command(context_id, command)
        for pdu in encode_fragments(context_id, pieces, self._fragment_bytes + PDV_HEADER_BYTES):
            self._wire.send(pdu)
        return self._take_response()

    def report_event(
        self, context: tuple[str, str], SOPInstanceUID: str, event_type_id: int, dataset: bytes
    ) -> int:
        """Send an N-EVENT-REPORT with its data set; gives the status.

        Raises:
            ConnectionLost, DeadlinePassed, MalformedPDU: the association is over.
        """
        context_id, limit = self._accepted[context], self._fragment_bytes + PDV_HEADER_BYTES
        self._send_command(
            context_id,
            encode_event_report_rq(self._next_message_id(), context[0], SOPInstanceUID, event_type_id),
        )
        self._wire.send(encode_dataset(context_id, dataset, limit))
        return self._take_response().status

    def _send_fragment(self, context_id: int, fragment: bytes, left: int) -> int:
        if not fragment:
            raise ConnectionLost("the file became shorter")
        flags = LAST_FRAGMENT if len(fragment) == left else 0
        # Fragments are even (PS3.8 Annex E.2); a deflated stream or a cut-off file can be odd: NULL pads it (PS3.5 A.5).
        even = fragment + b"\0" * (len(fragment) % 2)
        header = HEADER.pack(P_DATA_TF, len(even) + PDV_HEADER_BYTES)
        self._wire.send(header + PDV_HEADER.pack(len(even) + 2, context_id, flags) + even)
        return len(fragment)

    def _send_command(self, context_id: int, command: bytes) -> None:
        self._wire.send(encode_command(context_id, command, self._fragment_bytes + PDV_HEADER_BYTES))

    def _take_answer(self) -> None:
        self._wire.expect("A-ASSOCIATE-AC", self._answer_seconds, leased=False)
        pdu_type, length = self._wire.read_header(1 << 20)
        body = self._wire.read(length)
        if pdu_type == ASSOCIATE_RJ and length == 4:
            raise _rejected(body[1], body[2], body[3])
        if pdu_type != ASSOCIATE_AC:
            raise MalformedPDU("no answer to the request", reason=2)
        answer = decode_associate_ac(body)
        self._accepted = {
            self._ids[context.context_id]: context.context_id
            for context in answer.contexts
            if context.result == ACCEPTED and context.context_id in self._ids
        }
        peer_bytes = answer.max_length or _PDU_BYTES
        self._fragment_bytes = max(min(peer_bytes, _PDU_BYTES) - PDV_HEADER_BYTES, 2) & ~1

    def _take_response(self) -> Command:
        command, is_last = b"", False
        self._wire.expect("a response", self._answer_seconds, leased=False)
        while not is_last:
            pdu_type, left = self._wire.read_header(1 << 20)
            if pdu_type == ABORT:
                raise ConnectionLost("aborted by the peer")
            if pdu_type != P_DATA_TF:
                raise MalformedPDU("no response", reason=2)
            body = self._wire.read(left)
            while body:
                length, _, flags = PDV_HEADER.unpack_from(body.ljust(PDV_HEADER_BYTES, b"\0"))
                if length < 2 or not flags & COMMAND_FRAGMENT:
                    raise MalformedPDU("no command set", reason=6)
                command += body[PDV_HEADER_BYTES : 4 + length]
                is_last = bool(flags & LAST_FRAGMENT)
                body = body[4 + length :]
        try:
            return decode_command(command)
        except MalformedCommand as error:
            raise MalformedPDU(str(error), reason=6) from None

    def _next_message_id(self) -> int:
        self._message_id = self._message_id % 65_535 + 1
        return self._message_id


def send_folder(
    paths: Iterable[Path],
    host: str,
    port: int,
    called: str,
    calling: str,
    on_progress: Callable[[SendSummary, int], None] | None = None,
) -> SendSummary:
    """Send every Part 10 file among `paths` and below the folders among them; nothing is retried.

    `on_progress` gets the summary so far and the number of files after each of them. What is no DICOM file is
    counted as skipped and listed among the failures.

    Raises:
        NotAllowed, Unavailable: no association at all could be had (see Requestor).
        InvalidInput: an AE title does not fit.
    """
    began = time.monotonic()
    summary = SendSummary()
    files = [file for path in paths for file in _files_below(path)]
    instances = list(_instances(files, summary))
    progress = on_progress or (lambda *_: None)
    _check_titles(called, calling)
    for batch, contexts in _batches(instances):
        try:
            with Requestor(host, port, called, calling, contexts) as requestor:
                _send_batch(requestor, batch, summary, lambda: progress(summary, len(files)))
        except (NotAllowed, Unavailable) as error:
            if batch[0] is instances[0]:
                raise
            for instance in batch:
                summary.fail(Failure(instance.path, error.code))
    summary.seconds = time.monotonic() - began
    return summary


def _send_batch(
    requestor: Requestor, batch: list[_Instance], summary: SendSummary, progress: Callable[[], None]
) -> None:
    lost = ""
    for instance in batch:
        if lost:
            summary.fail(Failure(instance.path, lost))
        elif not requestor.accepts(instance.context):
            summary.fail(Failure(instance.path, "context_refused"))
        else:
            lost = _send_one(requestor, instance, summary)
        progress()


def _send_one(requestor: Requestor, instance: _Instance, summary: SendSummary) -> str:
    """Send; gives why the association is over, if it is."""
    try:
        response = requestor.store(instance.path, instance.meta)
    except OSError as error:
        # A data set cut off inside a message cannot be taken back, so the association is over too.
        summary.fail(Failure(instance.path, error.strerror or "unreadable"))
        return "association_lost"
    except (ConnectionLost, DeadlinePassed, MalformedPDU):
        summary.fail(Failure(instance.path, "association_lost"))
        return "association_lost"
    # Bxxx are warnings: the instance is stored (PS3.4 Table B.2-1).
    if response.status == SUCCESS or response.status >> 12 == 0xB:
        summary.sent += 1
        summary.bytes += instance.path.stat().st_size - instance.meta.dataset_offset
    else:
        summary.fail(Failure(instance.path, response.comment or "refused", response.status))
    return ""


def _files_below(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file())


def _instances(files: list[Path], summary: SendSummary) -> Iterator[_Instance]:
    for path in files:
        try:
            with path.open("rb") as file:
                meta = read_file_meta(file.read(FILE_META_LIMIT_BYTES))
                has_dataset = os.fstat(file.fileno()).st_size > meta.dataset_offset
            if has_dataset:
                yield _Instance(path, meta)
            else:
                summary.fail(Failure(path, "empty_dataset"))
        except InvalidInput as error:
            summary.skipped += 1
            summary.failures.append(Failure(path, error.code))
        except OSError as error:
            summary.fail(Failure(path, error.strerror or "unreadable"))


def _batches(instances: list[_Instance]) -> Iterator[tuple[list[_Instance], list[tuple[str, str]]]]:
    """Cut into associations of at most 128 contexts, in the order given."""
    batch: list[_Instance] = []
    contexts: dict[tuple[str, str], None] = {}
    for instance in instances:
        if instance.context not in contexts and len(contexts) == MAX_CONTEXTS:
            yield batch, list(contexts)
            batch, contexts = [], {}
        batch.append(instance)
        contexts[instance.context] = None
    if batch:
        yield batch, list(contexts)


def _check_titles(*titles: str) -> None:
    for title in titles:
        try:
            ae_bytes(title)
        except (ValueError, UnicodeEncodeError):
            raise InvalidInput(
                "AE 名须为 1 至 16 个字节", "an AE title has 1 to 16 bytes", field="ae"
            ) from None


def _rejected(result: int, source: int, reason: int) -> NotAllowed | Unavailable:
    why = f"{result}/{source}/{reason}"
    if result == 1:
        return NotAllowed(
            f"对方永久拒绝连接({why})", f"the peer rejects us for good ({why})", code="association_rejected"
        )
    return Unavailable(f"对方暂时拒绝连接({why})", f"the peer rejects us for now ({why})", code="peer_busy")


def _unreachable(why: str) -> Unavailable:
    return Unavailable(f"对方没有应答({why})", f"the peer does not answer ({why})", code="peer_unreachable")
