"""What a study's header says together: texts, scans, body part, contrast agent, views and sides, weighed.

Contradictions are refused here, each with a reason a curator can act on.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from catalog.anatomy import lies_within, may_be_same
from catalog.descriptions import Claim, Reading, read, union
from catalog.standard_codes import region_name
from catalog.study_facts import Refusal, StudyFacts, agent_given

_DEVICES: Final[dict[str, str]] = {
    **dict.fromkeys(("CT", "CTA", "MDCT", "MSCT"), "CT"),
    **dict.fromkeys(("MR", "MRI", "NMR", "MRT", "MRA", "MRI-SCAN"), "MR"),
    **dict.fromkeys(("DX", "CR", "DR", "XR", "X-RAY", "XRAY", "RX", "DXR"), "XR"),
    **dict.fromkeys(("MG", "MAMMO", "MMG"), "MG"),
    **dict.fromkeys(("US", "ULTRASOUND"), "US"),
    **dict.fromkeys(("ECG", "EKG"), "ECG"),
    **dict.fromkeys(("BMD", "DXA", "DEXA"), "BMD"),
    **dict.fromkeys(("PT", "PET"), "PT"),
}
_COMPANIONS: Final = frozenset({"SR", "PR", "KO", "SEG", "DOC", "REG", "RWV", "AU", "RTSTRUCT", "OT", "SC"})
_WEAK_SERIES_WORDS: Final = frozenset({"LUNG", "LUNGS", "BRAIN"})
_SPECIFIC: Final = frozenset({"CSPINE", "TSPINE", "LSPINE"})


@dataclass(frozen=True, slots=True)
class Evidence:
    """The claims about a study, where they come from, and what else bears on them.

    `rule` is study_text, scan_text or body_part; `agent`: a contrast agent is recorded.
    """

    device: str
    claims: tuple[Claim, ...]
    rule: str
    scan: Reading
    agent: bool
    positions: tuple[str, ...]
    sides: frozenset[str]
    screening: bool


def gather(facts: StudyFacts) -> Evidence:
    """Return what the header says as one body of evidence.

    Raises: Refusal: where it says nothing usable or contradicts itself.
    """
    device = device_of(facts.modality)
    texts = [read(text) for text in (facts.study_description, facts.requested_procedure) if text.strip()]
    protocols = [read(text) for text in facts.protocol_names]
    series = [read(text) for text in facts.series_descriptions]
    images = [reading for reading in series if "localizer" not in reading.marks]
    if series and not images:
        raise Refusal("no_image_series")
    _check_kind(device, texts, [*protocols, *images])
    scan = _pooled([*protocols, *series])
    part = _body_part(facts)
    claims, rule = _claims(device, texts, _named_scan(protocols, images), scan, part)
    return Evidence(
        device=device,
        claims=claims,
        rule=rule,
        scan=scan,
        agent=agent_given(facts.contrast_agent),
        positions=facts.view_positions,
        sides=_sides(facts.laterality),
        screening=any("screening" in reading.marks for reading in [*texts, *protocols]),
    )


def _body_part(facts: StudyFacts) -> Reading:
    """Return what BodyPartExamined says, or the codes of AnatomicRegionSequence where it says nothing."""
    part = read(facts.body_part_examined.replace("/", " "))
    regions = [region_name(code) for code in facts.anatomic_regions]
    return part if part.parts or not any(regions) else read(" ".join(regions))


def device_of(modalities: Iterable[str]) -> str:
    """Return the kind of device: XR, MG, CT, MR, US, ECG, BMD or PT. Raises: Refusal: for another, or several."""
    spelled = (unicodedata.normalize("NFKC", each).upper() for each in modalities)
    named = {part.replace(" ", "") for each in spelled for part in re.split(r"[\\|;,/+]", each)} - {""}
    imaging = named - _COMPANIONS
    devices = {_DEVICES.get(each, "") for each in imaging}
    if not imaging or "" in devices:
        raise Refusal("modality_not_listed")
    if devices == {"PT", "CT"}:  # a PET-CT, whose CT is no examination of its own
        return "PT"
    if len(devices) > 1:
        raise Refusal("several_modalities")
    return devices.pop()


def _check_kind(device: str, texts: Iterable[Reading], scans: Iterable[Reading]) -> None:
    texts = list(texts)
    if any("exclude" in reading.marks for reading in [*texts, *scans]):
        raise Refusal("excluded_procedure")
    allowed = {device, "XR"} if device == "MG" else {device}
    named = frozenset(name for reading in texts for name in reading.devices)
    if not named <= allowed:
        raise Refusal("modality_contradiction", sorted(named))


def _pooled(readings: Iterable[Reading]) -> Reading:
    """Return several readings as one, claims of one part and technique united."""
    readings = list(readings)
    united: dict[tuple[str, str], Claim] = {}
    for claim in (claim for reading in readings for claim in reading.claims):
        known = united.get((claim.part, claim.technique))
        united[claim.part, claim.technique] = union(known, claim) if known else claim
    loose = Claim()
    for reading in readings:
        loose = union(loose, reading.loose)
    techniques = sorted({reading.loose.technique for reading in readings} - {"routine", "unlisted"})
    unlisted = any(reading.loose.technique == "unlisted" for reading in readings)
    technique = techniques[0] if techniques else "unlisted" if unlisted else "routine"
    return Reading(
        claims=tuple(united.values()),
        loose=replace(loose, technique=technique),
        marks=frozenset(mark for reading in readings for mark in reading.marks),
        words=tuple(word for reading in readings for word in reading.words),
    )


def _stronger(one: str, other: str) -> str:
    return one if other in ("routine", "unlisted") else other


def _named_scan(protocols: list[Reading], images: list[Reading]) -> Reading:
    """Return the protocols' reading, or the series' where the protocols name no part."""
    by_protocol, by_series = _pooled(protocols), _without_kernels(_pooled(images))
    if _agrees(by_protocol.parts, by_series.parts) is False and by_protocol.parts:
        return Reading()
    return by_protocol if by_protocol.claims else by_series


def _without_kernels(scan: Reading) -> Reading:
    """Return a reading of series without parts that may only name a reconstruction ("Lung", "Brain")."""
    weak = [claim for claim in scan.claims if set(claim.words) <= _WEAK_SERIES_WORDS]
    strong = tuple(claim for claim in scan.claims if claim not in weak)
    return replace(scan, claims=strong) if strong else scan


def _claims(
    device: str, texts: list[Reading], named_scan: Reading, scan: Reading, part: Reading
) -> tuple[tuple[Claim, ...], str]:
    speaking = [reading for reading in texts if reading.claims]
    loose = _pooled([reading for reading in texts if not reading.claims]).loose
    if any("clipped" in reading.marks for reading in speaking):
        raise Refusal("unknown_words", [word for reading in speaking for word in reading.words])
    if any("amended" in reading.marks and _tells_of_contrast(reading) for reading in speaking):
        raise Refusal("order_amended", [word for reading in speaking for word in reading.words])
    if speaking and all("strange" in reading.marks for reading in speaking):
        raise Refusal("unknown_words", [word for reading in speaking for word in reading.words])
    if speaking:
        claims = _agreed([list(reading.claims) for reading in speaking], scan.claims + part.claims)
        _check_votes(claims, scan, part)
        return tuple(_refined(device, [_filled(claim, loose) for claim in claims], scan)), "study_text"
    if any("unread" in reading.marks for reading in texts):
        # An unknown word of the study's own text may be the part: the scan's or the code's is then a guess.
        raise Refusal("unknown_words", [word for reading in texts for word in reading.words])
    if named_scan.claims:
        _check_votes(named_scan.claims, Reading(), part)
        claims = [_filled(claim, loose) for claim in named_scan.claims]
        return tuple(_refined(device, claims, scan)), "scan_text"
    return _by_body_part(device, loose, scan, part), "body_part"


def _tells_of_contrast(reading: Reading) -> bool:
    return any("enhanced" in claim.contrast for claim in reading.claims)


def _by_body_part(device: str, loose: Claim, scan: Reading, part: Reading) -> tuple[Claim, ...]:
    """Return claims on BodyPartExamined alone: only where something else says what was done to it."""
    loose = union(replace(loose, technique=_stronger(loose.technique, scan.loose.technique)), scan.loose)
    parts = part.parts or (frozenset({"BREAST"}) if device == "MG" else frozenset())
    if not parts:
        raise Refusal("body_part_unknown", loose.words)
    said = loose.contrast or loose.technique != "routine" or device in ("XR", "MG")
    narrow = all(code in _SPECIFIC or lies_within(code, "EXTREMITY") for code in parts)
    if not said and not (narrow and "sequence" in scan.marks):
        raise Refusal("body_part_only", part.words)
    return tuple(_filled(claim, loose) for claim in part.claims) or tuple(
        replace(loose, part=code) for code in sorted(parts)
    )


def _filled(claim: Claim, loose: Claim) -> Claim:
    """Return a claim with what was said of no part in particular, where it says nothing itself."""
    return replace(
        claim,
        technique=loose.technique
        if claim.leaves_contrast_open and loose.technique != "routine"
        else claim.technique,
        contrast=claim.contrast or loose.contrast,
        views=claim.views or loose.views,
        sides=claim.sides or loose.sides,
        words=tuple(dict.fromkeys(claim.words + loose.words)),
    )


def _agreed(texts: list[list[Claim]], support: tuple[Claim, ...]) -> list[Claim]:
    """Return the claims of one text, or what two texts say together."""
    if len(texts) == 1:
        return texts[0]
    one, other = _narrowed(texts[0], texts[1]), _narrowed(texts[1], texts[0])
    keys_one, keys_other = ({(c.part, c.technique) for c in each} for each in (one, other))
    if not keys_one & keys_other:
        raise Refusal(
            "technique_contradiction"
            if {c.part for c in one} & {c.part for c in other}
            else "body_part_contradiction",
            [word for claim in one + other for word in claim.words],
        )
    both = {(c.part, c.technique): c for c in other}
    joined = [_joined(c, both[c.part, c.technique]) for c in one if (c.part, c.technique) in both]
    extra = [c for c in one + other if (c.part, c.technique) in keys_one ^ keys_other]
    return joined + [c for c in extra if _supported(c, support)]


def _narrowed(claims: list[Claim], others: list[Claim]) -> list[Claim]:
    """Return claims where a wider or vaguer one has given way to the other text's closer one."""
    narrowed: dict[tuple[str, str], Claim] = {}
    for claim in claims:
        closer = [each for each in others if _is_closer(each, claim)]
        for each in closer or [claim]:
            taken = replace(claim, part=each.part, technique=each.technique)
            known = narrowed.get((each.part, each.technique))
            narrowed[each.part, each.technique] = union(known, taken) if known else taken
    return list(narrowed.values())


def _is_closer(other: Claim, claim: Claim) -> bool:
    vague = claim.technique == "routine" and not claim.contrast
    if lies_within(other.part, claim.part):
        return other.technique == claim.technique or vague
    return other.part == claim.part and other.technique != "routine" and vague and not claim.views


def _joined(one: Claim, other: Claim) -> Claim:
    words = one.words + other.words
    if one.contrast and other.contrast and ("enhanced" in one.contrast) != ("enhanced" in other.contrast):
        raise Refusal("contrast_contradiction", words)
    if one.views and other.views and one.views != other.views:
        raise Refusal("views_contradiction", words)
    if one.sides and other.sides and one.sides != other.sides:
        raise Refusal("side_contradiction", words)
    return union(one, other)


def _supported(claim: Claim, support: tuple[Claim, ...]) -> bool:
    return any(
        each.part == claim.part and (claim.technique in ("routine", each.technique)) for each in support
    )


def _check_votes(claims: Iterable[Claim], scan: Reading, part: Reading) -> None:
    """Raise where the scan or BodyPartExamined names another part and the third does not settle it."""
    parts = {claim.part for claim in claims}
    scan_agrees, part_agrees = (_agrees(parts, voice.parts) for voice in (scan, part))
    if (scan_agrees is False and part_agrees is not True) or (
        part_agrees is False and scan_agrees is not True
    ):
        raise Refusal("body_part_contradiction", [*parts, *part.words])


def _agrees(parts: Iterable[str], others: frozenset[str]) -> bool | None:
    return any(may_be_same(one, other) for one in parts for other in others) if others else None


def _refined(device: str, claims: list[Claim], scan: Reading) -> list[Claim]:
    """Return claims made closer by the scan where the study's own text says only the part."""
    techniques = {c.technique for c in scan.claims} | {scan.loose.technique}
    if "low_dose" in techniques and any(c.contrast == {"plain"} and c.technique == "routine" for c in claims):
        raise Refusal("technique_contradiction", [*claims[0].words, *scan.words])
    if device not in ("CT", "MR") or (device == "MR" and "sequence" in scan.marks):
        return claims
    if len(claims) != 1 or claims[0].contrast or claims[0].technique != "routine":
        return claims
    closer = [c for c in scan.claims if c.technique not in ("routine", "unlisted")]
    if closer:
        return closer
    return [replace(claims[0], technique=_stronger("routine", scan.loose.technique))]


def _sides(laterality: str) -> frozenset[str]:
    return read(laterality).loose.sides if laterality.strip() != "B" else frozenset({"B"})
