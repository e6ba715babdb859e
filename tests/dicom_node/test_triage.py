"""First digest wins, and what contradicts is kept apart."""

from hypothesis import given
from hypothesis import strategies as st

from catalog.studies import Contradiction, KnownStudy
from dicom_node.triage import Arrival, Triage, compare

A = Arrival("2.25.1", "a" * 64)
A_OTHER = Arrival("2.25.1", "b" * 64)
B = Arrival("2.25.2", "c" * 64)


def known(
    hospital: str = "H-A", patient: str = "P1", apart: frozenset[tuple[str, str]] = frozenset()
) -> KnownStudy:
    return KnownStudy(hospital, patient, 1, (), apart)


def test_every_instance_of_an_unknown_study_is_new() -> None:
    assert compare([A, B], "H-A", "P1", None, {}) == Triage((0, 1), (), ())


def test_the_same_bytes_again_are_a_duplicate_whoever_sends_them() -> None:
    kept = {A.SOPInstanceUID: A.sha256}
    assert compare([A], "H-A", "P1", known(), kept).duplicates == (0,)
    assert compare([A], "H-B", "P9", known(), kept).duplicates == (0,)


def test_other_bytes_under_a_kept_uid_contradict_with_both_digests() -> None:
    found = compare([A_OTHER], "H-A", "P1", known(), {A.SOPInstanceUID: A.sha256})
    assert found.contradictions == ((0, Contradiction("2.25.1", A_OTHER.sha256, A.sha256, "other_bytes")),)


def test_a_new_instance_for_another_hospitals_study_contradicts() -> None:
    found = compare([B], "H-B", "P1", known(), {A.SOPInstanceUID: A.sha256})
    assert found.contradictions == ((0, Contradiction("2.25.2", B.sha256, None, "other_owner")),)


def test_a_new_instance_for_another_patient_contradicts() -> None:
    found = compare([B], "H-A", "P2", known(), {A.SOPInstanceUID: A.sha256})
    assert [c.kind for _, c in found.contradictions] == ["other_owner"]


def test_the_same_contradiction_again_is_a_duplicate() -> None:
    apart = frozenset({(A_OTHER.SOPInstanceUID, A_OTHER.sha256)})
    found = compare([A_OTHER], "H-A", "P1", known(apart=apart), {A.SOPInstanceUID: A.sha256})
    assert found == Triage((), (0,), ())


def test_inside_one_pack_the_first_bytes_win() -> None:
    found = compare([A, A, A_OTHER, A_OTHER], "H-A", "P1", None, {})
    assert (found.new, found.duplicates) == ((0,), (1, 3))
    assert found.contradictions == ((2, Contradiction("2.25.1", A_OTHER.sha256, A.sha256, "other_bytes")),)


arrivals = st.lists(
    st.builds(Arrival, st.sampled_from(["2.25.1", "2.25.2", "2.25.3"]), st.sampled_from("xyz"))
)


@given(arrivals, st.sampled_from(["H-A", "H-B"]))
def test_each_arrival_gets_one_answer_and_all_of_them_sent_again_are_duplicates(
    came: list[Arrival], hospital: str
) -> None:
    before = known()
    found = compare(came, hospital, "P1", before, {"2.25.1": "x"})
    answered = [*found.new, *found.duplicates, *(position for position, _ in found.contradictions)]
    assert sorted(answered) == list(range(len(came)))

    kept = {"2.25.1": "x", **{came[position].SOPInstanceUID: came[position].sha256 for position in found.new}}
    apart = frozenset((c.SOPInstanceUID, c.sha256) for _, c in found.contradictions)
    again = compare(came, hospital, "P1", known(apart=apart), kept)
    assert again == Triage((), tuple(range(len(came))), ())
