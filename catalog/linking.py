"""Whose a study is: a pure function of the claims on it, of curators' rulings and of who was merged with whom.

Nothing here depends on the order in which claims arrived. A claim that is contradicted holds the link for a human;
an accepted claim settles it, a rejected one is as if it had not been made.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

Identity = Literal["linked", "doubtful", "unlinked"]
Ruling = Literal["accepted", "rejected"]

LINKED: Final = "linked"
DOUBTFUL: Final = "doubtful"
UNLINKED: Final = "unlinked"
SEVERAL: Final = "claimed_for_several_people"


@dataclass(frozen=True, slots=True)
class Claim:
    """That a number of a hospital, or one study, is of this person; `reasons` speak against it."""

    person_id: int
    reasons: tuple[str, ...] = ()
    ruling: Ruling | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """What follows: linked to `person_id`; or doubtful for `reasons`, and then `concerned` lists whose it may be."""

    identity: Identity
    person_id: int | None = None
    reasons: tuple[str, ...] = ()
    concerned: frozenset[int] = frozenset()


def standing(claims: Iterable[Claim], groups: Mapping[int, int]) -> tuple[Claim, ...]:
    """Return the claims that count: none that was rejected and, where one was accepted, none of anyone else.

    `groups` gives each person the group of those a curator merged with him.
    """
    kept = [claim for claim in claims if claim.ruling != "rejected"]
    chosen = {groups[claim.person_id] for claim in kept if claim.ruling == "accepted"}
    return tuple(claim for claim in kept if not chosen or groups[claim.person_id] in chosen)


def alias_states(claims: Collection[Claim], groups: Mapping[int, int]) -> dict[int, Identity]:
    """Return, by person, how a hospital's number stands towards each who claims it."""
    live = standing(claims, groups)
    several = len({groups[claim.person_id] for claim in live}) > 1
    states: dict[int, Identity] = {claim.person_id: UNLINKED for claim in claims}
    for claim in live:
        doubted = several or (claim.reasons and claim.ruling is None)
        states[claim.person_id] = DOUBTFUL if doubted else LINKED
    return states


def resolve(
    own: Collection[Claim],
    numbers: Iterable[Collection[Claim]],
    groups: Mapping[int, int],
    clashes: Mapping[int, tuple[str, ...]],
) -> Link:
    """Return whose a study is.

    `own` are the claims on the study itself, `numbers` those on each of its hospital's numbers that it carries,
    `clashes` what in its header contradicts what is known of each person.
    """
    mine = standing(own, groups)
    if accepted := [claim.person_id for claim in mine if claim.ruling == "accepted"]:
        return Link(LINKED, min(accepted))
    refused = {claim.person_id for claim in own if claim.ruling == "rejected"}
    others = [c for claims in numbers for c in standing(claims, groups) if c.person_id not in refused]
    live = [*mine, *others]
    if not live:
        return Link(UNLINKED)
    concerned = frozenset(claim.person_id for claim in live)
    reasons = _reasons(live, concerned, groups, clashes)
    if reasons:
        return Link(DOUBTFUL, None, reasons, concerned)
    return Link(LINKED, min(claim.person_id for claim in mine or others))


def groups_of(people: Iterable[int], merges: Iterable[tuple[int, int]]) -> dict[int, int]:
    """Return each person's group, named after its smallest member; `merges` are pairs that stand."""
    found = {person: person for person in people}

    def root(person: int) -> int:
        while found[person] != person:
            person = found[person]
        return person

    for one, other in merges:
        low, high = sorted((root(one), root(other)))
        found[high] = low
    return {person: root(person) for person in found}


def _reasons(
    live: Iterable[Claim],
    concerned: Iterable[int],
    groups: Mapping[int, int],
    clashes: Mapping[int, tuple[str, ...]],
) -> tuple[str, ...]:
    found = [SEVERAL] if len({groups[person] for person in concerned}) > 1 else []
    found += [reason for claim in live if claim.ruling is None for reason in claim.reasons]
    found += [reason for person in sorted(concerned) for reason in clashes.get(person, ())]
    return tuple(dict.fromkeys(found))
