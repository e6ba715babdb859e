"""Who asks for images, in which form, and with what he is answered: what all routes of images share."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import orjson
from fastapi import Depends, Path, Request
from fastapi.responses import Response, StreamingResponse

from catalog import whose
from catalog.context import Caller, Catalogue
from catalog.errors import NotFound
from catalog.image_index import ROOT, Json
from catalog.image_views import ViewedStudy
from catalog.whose import Whose
from exchange import dicom_json, image_links, multipart
from exchange.auth import CallerOf
from exchange.deps import CatalogueOf, HarvestOf, SettingsOf
from exchange.harvest import Harvest
from exchange.image_desk import ImageDesk, Looked
from exchange.image_links import ImageLinks
from exchange.image_stream import Step, stream
from exchange.multipart import Accepted, Part, accepted
from exchange.problems import NotAcceptable
from exchange.store_threads import StoreThreads

NO_STORE: Final = {"Cache-Control": "no-store", "Cross-Origin-Resource-Policy": "same-origin"}
_DICOM_JSON: Final = frozenset({dicom_json.MEDIA_TYPE, "application/json", "*/*", "application/*"})


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

    def json(self, rows: Sequence[Json]) -> DicomJson:
        """Return rows of DICOM JSON."""
        return self.written(orjson.dumps(rows))

    def written(self, content: bytes) -> DicomJson:
        """Return DICOM JSON with the addresses of its long values. Raises NotAcceptable."""
        if not any(each.media_type in _DICOM_JSON for each in self.accepted):
            raise NotAcceptable
        at = b'"BulkDataURI":"%s'
        return DicomJson(content.replace(at % ROOT.encode(), at % f"{self.root}/".encode()), headers=NO_STORE)

    def parts(self, study: str, parts: Sequence[Part]) -> Response:
        """Return the content of parts as a multipart, or alone where that is what was asked for. Raises NotAcceptable."""
        related = all(self._allows(part, multipart_wanted=True) for part in parts)
        if len(parts) == 1 and not related and self._allows(parts[0], multipart_wanted=False):
            return self._streamed(study, parts[0].content_type, parts[0].size_bytes, list(parts[0].ranges))
        if not related:
            raise NotAcceptable
        boundary = secrets.token_hex(16)
        steps: list[Step] = []
        heads = multipart.heads(parts, boundary)
        for head, part in zip(heads, parts, strict=False):
            steps += [head, *part.ranges]
        steps.append(heads[-1])
        size_bytes = sum(map(len, heads)) + sum(part.size_bytes for part in parts)
        return self._streamed(study, multipart.related(boundary, parts[0].content_type), size_bytes, steps)

    def _allows(self, part: Part, *, multipart_wanted: bool) -> bool:
        inside, _, syntax = part.content_type.partition(";transfer-syntax=")
        return any(each.allows(multipart_wanted, inside, syntax) for each in self.accepted)

    def _streamed(self, study: str, content_type: str, size_bytes: int, steps: list[Step]) -> Response:
        readers = self.desk.readers
        readers.refuse_more()
        body = stream(self.desk.store, self.threads, readers, steps, lambda: self.still(study))
        headers = {**NO_STORE, "Content-Length": str(size_bytes), "Content-Type": content_type}
        return StreamingResponse(body, headers=headers)


async def reader_of(
    request: Request, caller: CallerOf, catalogue: CatalogueOf, harvest: HarvestOf, settings: SettingsOf
) -> Reader:
    """Return who asks for images."""
    state = request.app.state
    root = image_links.root_of(
        request, f"{settings.public_url or str(request.base_url).rstrip('/')}/dicom-web"
    )
    wanted = accepted(",".join(request.headers.getlist("accept")))
    link = await _link_of(request)
    return Reader(caller, catalogue, harvest, state.images, state.store_threads, root, wanted, link)


async def _link_of(request: Request) -> Link | None:
    secret, links = image_links.secret_of(request), request.app.state.image_links
    return Link(links, secret, (await links.held(secret)).patient_id) if secret is not None else None


ReaderOf = Annotated[Reader, Depends(reader_of)]
