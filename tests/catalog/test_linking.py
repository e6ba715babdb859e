"""Whose a study is: what follows from claims, whatever their order."""

from hypothesis import given
from hypothesis import strategies as st

from catalog.linking import SEVERAL, Claim, Link, alias_states, groups_of, resolve

PEOPLE = (1, 2, 3)
ALONE = {person: person for person in PEOPLE}
CLAIMS = st.builds(
    Claim,
    st.sampled_from(PEOPLE),
    st.sampled_from([(), ("name_conflict",)]),
    st.sampled_from([None, None, "accepted", "rejected"]),
)
ONE_EACH = st.lists(CLAIMS, max_size=3, unique_by=lambda claim: claim.person_id)
GROUPS = st.lists(st.sampled_from([(1, 2), (2, 3)]), max_size=2).map(lambda pairs: groups_of(PEOPLE, pairs))


def test_one_claim_that_nothing_contradicts_links() -> None:
    assert resolve([], [[Claim(1)]], ALONE, {}) == Link("linked", 1)
    assert resolve([], [], ALONE, {}) == Link("unlinked")


def test_claims_for_two_people_are_held_for_both() -> None:
    held = Link("doubtful", None, (SEVERAL,), frozenset({1, 2}))
    assert resolve([Claim(1)], [[Claim(2)]], ALONE, {}) == held
    assert resolve([], [[Claim(1), Claim(2)]], ALONE, {}) == held
    assert alias_states([Claim(1), Claim(2)], ALONE) == {1: "doubtful", 2: "doubtful"}


def test_two_people_who_were_merged_are_one() -> None:
    merged = groups_of(PEOPLE, [(2, 1)])
    assert resolve([], [[Claim(1), Claim(2)]], merged, {}) == Link("linked", 1)
    assert resolve([Claim(2)], [[Claim(1)]], merged, {}) == Link("linked", 2)


def test_a_header_that_contradicts_the_person_is_held_even_under_an_accepted_number() -> None:
    found = resolve([], [[Claim(1, (), "accepted")]], ALONE, {1: ("sex_conflict",)})
    assert found == Link("doubtful", None, ("sex_conflict",), frozenset({1}))


def test_a_ruling_on_the_study_itself_settles_it() -> None:
    assert resolve([Claim(2, (), "accepted")], [[Claim(1)]], ALONE, {2: ("name_conflict",)}).person_id == 2
    assert resolve([Claim(1, (), "rejected")], [[Claim(1)]], ALONE, {}) == Link("unlinked")


def test_an_accepted_number_is_nobody_elses() -> None:
    claims = [Claim(1), Claim(2, ("name_conflict",), "accepted")]
    assert alias_states(claims, ALONE) == {1: "unlinked", 2: "linked"}
    assert resolve([], [claims], ALONE, {}) == Link("linked", 2)


@given(ONE_EACH, ONE_EACH, GROUPS, st.randoms())
def test_the_order_of_claims_changes_nothing(
    own: list[Claim], number: list[Claim], groups: dict[int, int], chance: object
) -> None:
    link, states = resolve(own, [number], groups, {}), alias_states(number, groups)
    chance.shuffle(own)  # type: ignore[attr-defined]
    chance.shuffle(number)  # type: ignore[attr-defined]
    assert (resolve(own, [number], groups, {}), alias_states(number, groups)) == (link, states)


@given(ONE_EACH, ONE_EACH, GROUPS)
def test_nobody_is_linked_without_a_claim_or_against_a_rejection(
    own: list[Claim], number: list[Claim], groups: dict[int, int]
) -> None:
    link = resolve(own, [number], groups, {})
    claimed = {claim.person_id for claim in [*own, *number] if claim.ruling != "rejected"}
    refused = {claim.person_id for claim in own if claim.ruling == "rejected"}
    assert link.person_id is None or link.person_id in claimed - refused
    assert (link.identity == "linked") == (link.person_id is not None)
    assert (link.identity == "doubtful") == bool(link.reasons) == bool(link.concerned)


@given(ONE_EACH, ONE_EACH, GROUPS)
def test_without_rulings_a_link_never_chooses_between_two_people(
    own: list[Claim], number: list[Claim], groups: dict[int, int]
) -> None:
    bare = [[Claim(claim.person_id) for claim in claims] for claims in (own, number)]
    concerned = {groups[claim.person_id] for claims in bare for claim in claims}
    assert (resolve(bare[0], [bare[1]], groups, {}).identity == "linked") == (len(concerned) == 1)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12))
def test_groups_are_what_merges_connect(merges: list[tuple[int, int]]) -> None:
    groups = groups_of(range(10), merges)
    assert all(groups[one] == groups[other] for one, other in merges)
    assert all(groups[name] == name <= person for person, name in groups.items())
    assert groups_of(range(10), []) == {person: person for person in range(10)}
