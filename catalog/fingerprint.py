"""One short text for headers that say the same: what a curator answered once holds for all of them."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from typing import Final

import orjson

from catalog.study_facts import StudyFacts, agent_given

_FORM: Final = "1"


def fingerprint(facts: StudyFacts) -> str:
    """Return the digest of what a header says, however it is spelt, spaced and ordered.

    Numbers in the names of series and in the contrast agent (slices, doses) do not matter; the maker neither.
    """
    said = {
        "modality": _set(facts.modality),
        "body_part": _plain(facts.body_part_examined),
        "regions": _set(facts.anatomic_regions),
        "laterality": _plain(facts.laterality),
        "agent": agent_given(facts.contrast_agent),
        "study": _plain(facts.study_description),
        "procedure": _plain(facts.requested_procedure),
        "codes": _set(facts.procedure_codes),
        "protocols": _set(facts.protocol_names),
        "series": _set(re.sub(r"[0-9.,]+", "", each) for each in facts.series_descriptions),
        "views": _set(facts.view_positions),
    }
    content = orjson.dumps(said, option=orjson.OPT_SORT_KEYS)
    return f"{_FORM}:{hashlib.sha256(content).hexdigest()[:40]}"


def _set(texts: Iterable[str]) -> list[str]:
    return sorted({_plain(text) for text in texts} - {""})


def _plain(text: str) -> str:
    return re.sub(r"\s+", "", unicodedata.normalize("NFKC", text)).upper()
