"""The rules measured on labelled headers: what they were tuned on, and what nobody looked at.

`headers/` holds invented headers in the writing of hospitals and of vendors' protocols, with the items they hold
(`expected`, empty where the list has none), none of them twice:

    known.csv     written with the rules, and wrong-prone cases since
    fresh_1.csv   written before the rules answered it, then split by a fixed seed: one half for tuning, one unseen.
                  The unseen half at first look: precision 99.21 %, coverage 98.82 %
    fresh_2.csv   written to see whether tuning was general: first look 97.74 % and 97.74 %; tuned on since
    fresh_3.csv   again: first look 98.45 % and 99.61 %; tuned on since
    fresh_4.csv   again: first look 99.54 % and 93.89 %; never tuned on
    fresh_5.csv   again: first look 98.90 % and 94.74 %, below the bar: one of its two wrong items was a wrong label
                  (a modality written "C T"), the other a negation ("no CE") that was not understood; mended since
    fresh_6.csv   again, with many remarks of the kind that mislead: first look 99.10 % and 91.90 %, below the bar: three
                  remarks (another hospital's film, a changed order, a suspected illness) were read as what was done
    fresh_7.csv   again, as a week of a dozen hospitals: first look 99.42 % (344 of 346) and 86.00 %: a consultation on
                  films and a diagnosis before surgery were read as what was done; mended since, the rest unread
    extension.csv what the extended list adds

Nobody has read the misses of the unseen half of fresh_1.csv and of fresh_4.csv, nor tuned anything on them.
"""

import csv
from pathlib import Path

import pytest
from typer.testing import CliRunner

from catalog.cli_items import items as items_command
from catalog.datafile import InvalidList
from catalog.items import ITEM_LISTS, load_item_list
from catalog.scoring import COLUMNS, Labelled, Score, half_of, read_labelled, score

HEADERS = Path(__file__).parent / "headers"
ITEMS = load_item_list()
EXTENDED = ITEM_LISTS / "extension" / "proposal-2.toml"


def sample(name: str) -> list[Labelled]:
    return read_labelled(HEADERS / f"{name}.csv", ITEMS)


def unseen() -> list[Labelled]:
    return [*half_of(sample("fresh_1"), "unseen"), *sample("fresh_4")]


def tuned() -> list[Labelled]:
    more = [row for name in ("fresh_2", "fresh_3", "fresh_5", "fresh_6", "fresh_7") for row in sample(name)]
    return [*sample("known"), *half_of(sample("fresh_1"), "tuning"), *more]


def figures(measured: Score) -> tuple[float, float]:
    print(f"precision {measured.precision:.2%}, coverage {measured.coverage:.2%}")
    return measured.precision or 0, measured.coverage or 0


@pytest.mark.parametrize("rows", [unseen, tuned])
def test_what_is_mapped_is_right_in_995_of_1000_and_nine_in_ten_are_mapped(rows) -> None:  # type: ignore[no-untyped-def]
    precision, coverage = figures(score(rows(), ITEMS))
    assert precision >= 0.995
    assert coverage >= 0.90


def test_each_unseen_part_by_itself_reaches_the_bar_as_well() -> None:
    for rows in (half_of(sample("fresh_1"), "unseen"), sample("fresh_4")):
        precision, coverage = figures(score(rows, ITEMS))
        assert precision >= 0.995
        assert coverage >= 0.90


def test_the_first_fresh_set_has_600_headers_of_every_imaging_item_and_is_halved_by_a_fixed_seed() -> None:
    rows = sample("fresh_1")
    assert len(rows) >= 600
    assert frozenset().union(*(row.expected for row in rows)) == {
        item.code for item in ITEMS if item.category == "imaging"
    }
    assert sum(not row.expected for row in rows) >= 100
    lines = [{row.line for row in half_of(rows, half)} for half in ("tuning", "unseen")]  # type: ignore[arg-type]
    assert not lines[0] & lines[1]
    assert lines[0] | lines[1] == {row.line for row in rows}
    assert sorted(lines[1])[:5] == [2, 3, 6, 7, 9], "the seed or the order of the rows has changed"


def test_no_unseen_header_stands_among_those_the_rules_were_tuned_on() -> None:
    assert not {row.facts for row in unseen()} & {row.facts for row in tuned()}


def test_the_extended_list_maps_ultrasound_ecg_bone_density_and_pet_ct_to_their_items() -> None:
    items = load_item_list(EXTENDED)
    measured = score(read_labelled(HEADERS / "extension.csv", items), items)
    assert measured.misses == []
    assert {code for row in measured.scored for code in row.row.expected} >= {
        item.code for item in items if ITEMS.get(item.code) is None
    }


def write_sample(folder: Path, *rows: dict[str, str], encoding: str = "utf-8") -> Path:
    path = folder / "sample.csv"
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(dict.fromkeys(COLUMNS, "") | row for row in rows)
    return path


CHEST = {"modality": "CT", "study_description": "胸部CT平扫", "expected": "CT07"}
WRONG = {"modality": "CT", "study_description": "头颅CT平扫", "expected": "CT02"}
MISSED = {"modality": "CT", "study_description": "髋臼CT", "expected": "CT17"}


def test_precision_counts_what_was_mapped_and_coverage_what_should_be(tmp_path: Path) -> None:
    measured = score(read_labelled(write_sample(tmp_path, CHEST, CHEST, WRONG, MISSED), ITEMS), ITEMS)
    assert (measured.right, measured.mapped, measured.listed) == (2, 3, 4)
    assert (measured.precision, measured.coverage) == (2 / 3, 2 / 4)
    assert [(m["line"], m["expected"], m["found"]) for m in measured.report()["misses"]] == [
        (4, ["CT02"], ["CT01"]),
        (5, ["CT17"], []),
    ]


def test_a_share_of_nothing_is_no_share(tmp_path: Path) -> None:
    measured = score(
        read_labelled(write_sample(tmp_path, {"modality": "US", "study_description": "产科彩超"}), ITEMS),
        ITEMS,
    )
    assert (measured.precision, measured.coverage) == (None, None)


def test_a_sample_saved_by_a_chinese_spreadsheet_is_read_too(tmp_path: Path) -> None:
    rows = read_labelled(write_sample(tmp_path, CHEST, encoding="gb18030"), ITEMS)
    assert rows[0].facts.study_description == "胸部CT平扫"


def test_a_sample_with_codes_on_no_list_is_refused_with_their_lines(tmp_path: Path) -> None:
    with pytest.raises(InvalidList) as caught:
        read_labelled(write_sample(tmp_path, CHEST, CHEST | {"expected": "CT07;ZZ99"}), ITEMS)
    assert [(each.line, each.field) for each in caught.value.problems] == [(3, "expected")]


def test_the_command_prints_both_figures_and_each_miss_with_its_explanation(tmp_path: Path) -> None:
    path = write_sample(tmp_path, CHEST, WRONG, MISSED)
    told = CliRunner().invoke(items_command, ["score", str(path)])
    assert told.exit_code == 0
    assert "precision: 50.00% (1/2)" in told.output
    assert "coverage: 33.33% (1/3)" in told.output
    assert "line 3: 头颅CT平扫" in told.output
    assert "互认清单内没有该项目" in told.output
    as_json = CliRunner().invoke(items_command, ["score", str(path), "--json"])
    assert '"precision": 0.5' in as_json.output
    half = CliRunner().invoke(
        items_command, ["score", str(HEADERS / "fresh_1.csv"), "--half", "unseen", "--json"]
    )
    assert '"headers": 311' in half.output
