"""Views of an X-ray: what the texts say and (0018,5101) ViewPosition shows."""

from collections.abc import Iterable
from typing import Final

from catalog.descriptions import Claim, read
from catalog.evidence import Evidence
from catalog.study_facts import Refusal

BASIC_VIEWS: Final = frozenset({"frontal", "lateral", "oblique", "obliques"})


def views_settled(claim: Claim, evidence: Evidence) -> frozenset[str]:
    """Return the views of an X-ray: from its text, else the series, else ViewPosition (0018,5101).

    Raises: Refusal: where nothing says them, or ViewPosition shows more than the text.
    """
    alone = len(evidence.claims) == 1
    positions = _position_views(evidence.positions) if alone else frozenset()
    scanned = evidence.scan.loose.views.union(*(each.views for each in evidence.scan.claims))
    views = _bare_views(claim.part, claim.views or (scanned if alone else frozenset()) or positions)
    if not views or "unknown" in views:
        raise Refusal("views_unknown", claim.words)
    basic = _basic(views)
    if basic and _basic(positions) - basic:
        raise Refusal("views_contradiction", claim.words)
    return views


def _position_views(positions: Iterable[str]) -> frozenset[str]:
    readings = [read(position).loose.views for position in positions]
    views = frozenset().union(*readings)
    twice = sum("oblique" in each for each in readings) > 1
    return (views - {"oblique"}) | {"obliques"} if twice else _bare_obliques(views)


def _bare_obliques(views: frozenset[str]) -> frozenset[str]:
    return views - {"oblique"} if "obliques" in views else views


def _basic(views: frozenset[str]) -> frozenset[str]:
    return frozenset("oblique" if view == "obliques" else view for view in views & BASIC_VIEWS)


def _bare_views(part: str, views: frozenset[str]) -> frozenset[str]:
    """Return the views without what goes without saying: an erect abdomen is frontal, posture elsewhere."""
    posture = views & {"erect", "supine"}
    if "full_length" in views:
        return frozenset({"full_length"})
    if part == "ABDOMEN" and posture:
        return views - {"frontal"}
    if "waters" in views:
        return views - {"frontal"}
    return views - posture
