"""The regions' data: Chongqing's districts, the alliance with Sichuan, and the text before HR."""

import csv
from pathlib import Path

import catalog.items

PATH = Path(catalog.items.__file__).parent / "regions" / "regions-1.csv"
REGIONS = {row["code"]: row for row in csv.DictReader(PATH.read_text(encoding="utf-8").splitlines())}


def test_chongqing_has_its_38_districts_and_counties() -> None:
    districts = [code for code, region in REGIONS.items() if region["parent"] == "50"]
    assert len(districts) == 38
    assert all(code.startswith("500") and len(code) == 6 for code in districts)
    assert REGIONS["500243"]["name_zh"] == "彭水苗族土家族自治县"


def test_every_parent_and_member_is_a_region() -> None:
    named = {region["parent"] for region in REGIONS.values()} - {""}
    named |= {code for region in REGIONS.values() for code in region["members"].split(";") if code}
    assert named <= set(REGIONS)


def test_the_tree_has_one_root() -> None:
    assert [code for code, region in REGIONS.items() if not region["parent"]] == ["CN"]


def test_the_mark_is_the_scope_name_before_hr() -> None:
    marks = {code: region["mark_name"] + "HR" for code, region in REGIONS.items()}
    assert (marks["CN"], marks["CY"], marks["50"]) == ("全国HR", "川渝HR", "重庆HR")
    assert marks["500107"] == "重庆市九龙坡区HR"
