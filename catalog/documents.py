"""Documents of reports (PDF, CDA) as objects: kept by digest, read back whole, never interpreted."""

import hashlib
from collections.abc import Mapping
from typing import Final

from catalog.errors import IntegrityFault, InvalidInput, ObjectStoreDown
from catalog.objects import ObjectStore
from catalog.report_records import Attachment

LIMIT_BYTES: Final = 20 << 20
_HEAD_BYTES: Final = 4096
# content type → what must stand near the start, and the ending of a file's name
TYPES: Final[Mapping[str, tuple[bytes, str]]] = {
    "application/pdf": (b"%PDF-", "pdf"),
    "application/xml": (b"<ClinicalDocument", "xml"),
}


def describe(content: bytes, content_type: str, title: str = "") -> Attachment:
    """Return the attachment that a document will be.

    Raises InvalidInput for another type, one whose bytes are not of it, an empty or a too large one.
    """
    if content_type not in TYPES:
        raise InvalidInput(
            f"附件只接受 {'、'.join(TYPES)}",
            f"An attachment is one of {', '.join(TYPES)}",
            field="attachments",
            code="attachment_type",
        )
    if not 0 < len(content) <= LIMIT_BYTES:
        raise InvalidInput(
            f"附件为空或超过 {LIMIT_BYTES >> 20} MiB",
            f"An attachment is empty or larger than {LIMIT_BYTES >> 20} MiB",
            field="attachments",
            code="attachment_size",
        )
    if TYPES[content_type][0] not in content[:_HEAD_BYTES]:
        raise InvalidInput(
            "附件内容与其类型不符",
            "An attachment's bytes are not of its type",
            field="attachments",
            code="attachment_content",
        )
    sha256 = hashlib.sha256(content).hexdigest()
    return Attachment(f"reports/{sha256[:2]}/{sha256}", sha256, len(content), content_type, title[:128])


def keep(store: ObjectStore | None, content: bytes, attachment: Attachment) -> None:
    """Store a document under its digest and read it back. Raises ObjectStoreDown."""
    if store is None:
        raise ObjectStoreDown("没有可用的对象存储", "There is no object store to keep documents in")
    promise = (attachment.sha256, attachment.size_bytes)
    if store.exists(attachment.key) and store.digest(attachment.key) == promise:
        return
    store.put_bytes(attachment.key, content, attachment.content_type)
    if store.digest(attachment.key) != promise:
        raise ObjectStoreDown(
            "对象存储没有保存刚写入的内容",
            "The object store did not keep what it was given",
            code="read_back_failed",
        )


def read(store: ObjectStore | None, key: str, sha256: str, size_bytes: int) -> bytes:
    """Return a whole document. Raises ObjectStoreDown, IntegrityFault where its bytes are others."""
    if store is None:
        raise ObjectStoreDown("没有可用的对象存储", "There is no object store to read documents from")
    content = store.read_range(key, 0, size_bytes)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise IntegrityFault("报告附件的内容已改变", "An attachment is not the one that was received")
    return content


def file_ending(content_type: str) -> str:
    """Return the ending of a file's name for a document of this type."""
    return TYPES[content_type][1]
