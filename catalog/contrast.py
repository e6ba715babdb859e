"""Plain or enhanced: what the texts say, what the scans and (0018,0010) ContrastBolusAgent show."""

from dataclasses import replace
from typing import Final

from catalog.descriptions import Claim
from catalog.evidence import Evidence
from catalog.study_facts import Refusal

_TRUNK: Final = frozenset({"CHEST", "ABDOMEN", "PELVIS", "LIVER", "UTERUS"})


def contrast_settled(evidence: Evidence) -> list[Claim]:
    """Return the claims with contrast said one way: enhanced, or plain where nothing speaks of contrast.

    Raises: Refusal: where text and evidence contradict, or it is uncertain which part was enhanced.
    """
    scanned = _scanned_contrast(evidence)
    given = evidence.agent or "enhanced" in scanned
    if evidence.device not in ("CT", "MR"):
        return list(evidence.claims)
    explained = any(_needs_contrast(claim, evidence.device) for claim in evidence.claims)
    silent = [claim for claim in evidence.claims if claim.leaves_contrast_open]
    if given and not explained:
        _check_unexplained(evidence, silent, scanned)
    settled = []
    for claim in evidence.claims:
        if claim.leaves_contrast_open:
            if given and explained:
                continue
            claim = replace(claim, contrast=frozenset({"enhanced" if given else "plain"}))
        settled.append(claim)
    return settled


def _needs_contrast(claim: Claim, device: str) -> bool:
    return "enhanced" in claim.contrast or (device == "CT" and claim.technique not in ("routine", "low_dose"))


def _scanned_contrast(evidence: Evidence) -> frozenset[str]:
    """Return what the scans say of contrast; arterial and venous are no phases in MR angiography."""
    if evidence.device == "MR" and any(claim.technique != "routine" for claim in evidence.claims):
        return frozenset()
    return evidence.scan.loose.contrast.union(*(claim.contrast for claim in evidence.scan.claims))


def _check_unexplained(evidence: Evidence, silent: list[Claim], scanned: frozenset[str]) -> None:
    words = [word for claim in evidence.claims for word in claim.words]
    if len(silent) < len(evidence.claims) or scanned == {"plain"}:
        raise Refusal("contrast_contradiction", words)
    if len(silent) > 1 and not {claim.part for claim in silent} <= _TRUNK:
        raise Refusal("contrast_uncertain", words)
