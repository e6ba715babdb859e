"""Who asks for images, in which form, and with what he is answered: what all routes of images share."""

import gzip
import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import orjson
from fastapi import Depends, Path, Request
from fastapi.responses import Response, StreamingResponse

from catalog import whose
from catalog.context import Caller, Catalogue
from catalog.errors import NotFound
from catalog.harvest import Harvest
from catalog.image_index import ROOT, IndexedInstance, Json
from catalog.image_views import ViewedStudy
from catalog.pack_windows import Step
from catalog.whose import Whose
from exchange import dicom_json, image_links, multipart
from exchange.auth import CallerOf
from exchange.connection import ABORT
from exchange.deps import CatalogueOf, HarvestOf, SettingsOf
from exchange.image_desk import ImageDesk, Looked
from exchange.image_links import ImageLinks
from exchange.image_stream import Abort, stream
from exchange.multipart import Accepted, Part, accepted
from exchange.problems import NotAcceptable
from exchange.settings import ExchangeSettings
from exchange.store_threads import StoreThreads

NO_STORE: Final = {"Cache-Control": "no-store", "Cross-Origin-Resource-Policy": "same-origin"}


UNCHANGED: Final[dict[int | str, dict[str, Any]]] = {
    304: {"description": "与所持版本相同 / the caller has it already (If-None-Match)"}
}
_WORTH_COMPRESSING_BYTES: Final = 1_024
_GZIP: Final = re.compile(r"gzip(\s*;\s*q=(1(\.0*)?|0\.\d*[1-9]\d*))?")
_UID: Final = r"^[0-9.]{1,64}$"
Study = Annotated[str, Path(pattern=_UID, description="Study Instance UID")]
Series = Annotated[str, Path(pattern=_UID, description="Series Instance UID")]
Instance = Annotated[str, Path(pattern=_UID, description="SOP Instance UID")]


class DicomJson(Response):
    """An answer in the DICOM JSON model."""

    media_type = dicom_json.MEDIA_TYPE


@dataclass(frozen=True, slots=True)
class Link:
    """The link by which somebody came: it is for one patient."""

    links: ImageLinks
    secret: str
    patient_id: int


@dataclass(frozen=True, slots=True)
class Reader:
    """Who asks for images, in which form, and with what he is answered."""

    caller: Caller
    catalogue: Catalogue
    harvest: Harvest
    desk: ImageDesk
    threads: StoreThreads
    root: str
    accepted: Sequence[Accepted]
    link: "Link | None" = None
    none_match: str = ""
    abort: Abort | None = None
    takes_gzip: bool = False

    def counted(self, id_type: str, number: str) -> None:
        """Count a patient who is about to be disclosed. Raises TooMany."""
        self.harvest.take(self.catalogue, self.caller, id_type, number)

    async def look(self, study: str) -> Looked:
        """Return a study with the index of its images. Raises NotFound where it is not for him to see."""
        looked = await self.desk.look(self.catalogue, self.caller, study, self.counted)
        self._refuse_others(looked.study)
        return looked

    async def still(self, study: str) -> None:
        """Raise NotFound where he may not look at it any more, Unauthenticated where his link has ended."""
        if self.link:
            await self.link.links.held(self.link.secret)
        self._refuse_others(await self.desk.allowed(self.catalogue, self.caller, study, self.counted))

    def patient(self) -> tuple[Whose, ...]:
        """Return of whom alone he may ask here: nothing where he came by no link."""
        return (whose.person(self.link.patient_id),) if self.link else ()

    def _refuse_others(self, study: ViewedStudy) -> None:
        if self.link and study.shown.patient_id != self.link.patient_id:
            raise NotFound("没有该检查", "No such study", code="unknown_study")

    async def json(self, rows: Sequence[Json]) -> Response:
        """Return rows of DICOM JSON. Raises NotAcceptable."""
        self._refuse_other_than_json()
        return await self._compressed(orjson.dumps(rows), {})

    async def described(self, looked: Looked, found: Sequence[IndexedInstance]) -> Response:
        """Return DICOM JSON of instances with the addresses of their long values. Raises NotAcceptable."""
        self._refuse_other_than_json()
        shown = looked.study.shown.patient
        told = shown.id, shown.name, shown.accession_number
        tag = etag(looked.study.packs, told, self.root, [each.SOPInstanceUID for each in found])
        if self.has(tag):
            return unchanged(tag)
        at = b'"BulkDataURI":"%s'
        content = b"[" + b",".join(each.described for each in found) + b"]"
        content = content.replace(at % ROOT.encode(), at % f"{self.root}/".encode())
        return await self._compressed(content, {"ETag": tag})

    def has(self, tag: str) -> bool:
        """Say whether the caller has what a tag stands for (RFC 9110 §13.1.2)."""
        known = {each.strip().removeprefix("W/") for each in self.none_match.split(",")}
        return "*" in known or tag.removeprefix("W/") in known

    def _refuse_other_than_json(self) -> None:
        if not any(each.media_type in dicom_json.WRITTEN_AS for each in self.accepted):
            raise NotAcceptable

    async def _compressed(self, content: bytes, headers: dict[str, str]) -> Response:
        headers = {**NO_STORE, "Vary": "Accept, Accept-Encoding", **headers}
        if self.takes_gzip and len(content) >= _WORTH_COMPRESSING_BYTES:
            content = await self.threads.run(lambda: gzip.compress(content, 1))
            headers["Content-Encoding"] = "gzip"
        return DicomJson(content, headers=headers)

    def parts(self, study: str, parts: Sequence[Part]) -> Response:
        """Return the content of parts as a multipart, or alone where that is what was asked for. Raises NotAcceptable."""
        tag = f"W/{etag(self.root, [(part.location, part.ranges) for part in parts])}"  # the boundary is another each time
        related = all(self._allows(part, multipart_wanted=True) for part in parts)
        if len(parts) == 1 and not related and self._allows(parts[0], multipart_wanted=False):
            one = parts[0]
            return self._streamed(study, one.content_type, one.size_bytes, list(one.ranges), tag)
        if not related:
            raise NotAcceptable
        boundary = secrets.token_hex(16)
        steps: list[Step] = []
        heads = multipart.heads(parts, boundary)
        for head, part in zip(heads, parts, strict=False):
            steps += [head, *part.ranges]
        steps.append(heads[-1])
        size_bytes = sum(map(len, heads)) + sum(part.size_bytes for part in parts)
        content_type = multipart.related(boundary, parts[0].content_type)
        return self._streamed(study, content_type, size_bytes, steps, tag)

    def file(self, study: str, part: Part, name: str) -> Response:
        """Return the content of a part by itself; with a name, as a file to keep that no page shows."""
        content_type = part.content_type.partition(";")[0]
        tag = etag(content_type, part.ranges)
        answer = self._streamed(study, content_type, part.size_bytes, list(part.ranges), tag)
        if name:
            answer.headers["Content-Disposition"] = f'attachment; filename="{name}"'
        return answer

    def _allows(self, part: Part, *, multipart_wanted: bool) -> bool:
        inside, _, syntax = part.content_type.partition(";transfer-syntax=")
        return any(each.allows(multipart_wanted, inside, syntax) for each in self.accepted)

    def _streamed(
        self, study: str, content_type: str, size_bytes: int, steps: list[Step], tag: str
    ) -> Response:
        if self.has(tag):
            return unchanged(tag)
        readers = self.desk.readers
        readers.refuse_more()
        body = stream(self.desk.packs, self.threads, readers, steps, lambda: self.still(study), self.abort)
        headers = {**NO_STORE, "Content-Length": str(size_bytes), "Content-Type": content_type, "ETag": tag}
        return StreamingResponse(body, headers=headers)


def root_of(request: Request, settings: ExchangeSettings) -> str:
    """Return the address below which everything of DICOMweb is, as callers reach it."""
    return f"{settings.public_url or str(request.base_url).rstrip('/')}/dicom-web"


async def reader_of(
    request: Request, caller: CallerOf, catalogue: CatalogueOf, harvest: HarvestOf, settings: SettingsOf
) -> Reader:
    """Return who asks for images."""
    state = request.app.state
    root = image_links.through_link(request, root_of(request, settings))
    wanted = accepted(",".join(request.headers.getlist("accept")))
    link = await _link_of(request)
    return Reader(
        caller,
        catalogue,
        harvest,
        state.images,
        state.store_threads,
        root,
        wanted,
        link,
        none_match=",".join(request.headers.getlist("if-none-match")),
        abort=request.scope.get(ABORT),
        takes_gzip=_takes_gzip(request.headers.get("accept-encoding", "")),
    )


def etag(*of: object) -> str:
    """Return a strong entity tag of what an answer is made of (RFC 9110 §8.8.3)."""
    return f'"{hashlib.blake2b(repr(of).encode(), digest_size=16).hexdigest()}"'


def unchanged(tag: str) -> Response:
    """Return the answer to who has what he asks for already."""
    return Response(status_code=304, headers={**NO_STORE, "ETag": tag})


def _takes_gzip(header: str) -> bool:
    return any(_GZIP.fullmatch(each.strip()) for each in header.split(","))


async def _link_of(request: Request) -> Link | None:
    secret, links = image_links.secret_of(request), request.app.state.image_links
    return Link(links, secret, (await links.held(secret)).patient_id) if secret is not None else None


ReaderOf = Annotated[Reader, Depends(reader_of)]
