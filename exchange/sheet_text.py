"""The words of the explanation sheet and of the record's text block: Chinese first, English beside it.

Everything here is plain text, each line one line: what others wrote cannot break out of it (see `one_line`).
"""

import unicodedata
from collections.abc import Iterator
from typing import Any, Final

Line = tuple[str, str]  # Chinese, English

_SEXES: Final = {"male": ("男", "male"), "female": ("女", "female"), "other": ("其他", "other")}
_SIDES: Final = {"L": ("左", "left"), "R": ("右", "right"), "B": ("双", "both")}
_VERDICTS: Final = {
    "recognisable": ("可互认", "recognisable"),
    "reference": ("仅供参考", "for reference only"),
}
# Controls, surrogates, and what overrides the direction of a line; not the joiners that some scripts need.
_HOSTILE: Final = frozenset({"Cc", "Cs", "Zl", "Zp", "Co"})
_OVERRIDES: Final = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
)


def one_line(text: Any) -> str:
    """Return a text as one harmless line: no control character, no override of its direction."""
    cleaned = (
        " " if unicodedata.category(c) in _HOSTILE or c in _OVERRIDES else c
        for c in str(text if text is not None else "")
    )
    return " ".join("".join(cleaned).split())


def patient_lines(told: dict[str, Any]) -> Iterator[Line]:
    """Yield who the patient is, where anything was shown of him."""
    patient = told["patient"]
    if patient is None:
        return
    zh, en = _SEXES.get(patient["sex"], ("未知", "unknown"))
    name, born = one_line(patient["name"]), one_line(patient["birth_date"])
    yield f"患者:{name}  性别:{zh}  出生日期:{born}", f"Patient: {name}, {en}, born {born}"


def order_lines(told: dict[str, Any]) -> Iterator[Line]:
    """Yield what was to be examined, where and when it was asked."""
    place = one_line(" ".join((told["hospital"], told["department"])))
    asked = one_line(told["asked_at"])[:16].replace("T", " ")
    yield f"拟开单位:{place}  询问时间:{asked}", f"Ordering: {place}, asked {asked}"
    side_zh, side_en = _SIDES.get(told["laterality"] or "", ("", ""))
    item, part = told["item"], one_line(told["body_part"])
    if item is not None:
        yield (
            f"拟做项目:{one_line(item['code'])} {one_line(item['name'])} {side_zh}{part}".rstrip(),
            f"Item: {one_line(item['code'])} {one_line(item['name_en'])} {side_en} {part}".rstrip(),
        )
    if told["emergency"]:
        yield "急诊", "Emergency"
    if told["error"] is not None:
        yield (
            f"未能查询:{one_line(told['error']['text'])}",
            f"Not asked: {one_line(told['error']['text_en'])}",
        )


def found_lines(told: dict[str, Any]) -> Iterator[Line]:
    """Yield what was found, one line for each prior with everything that speaks against it."""
    if told["answer"] == "incomplete":
        yield "部分资料待人工核对,所列可能不全", "Some records wait for review; the list may be incomplete"
    if not told["candidates"] and told["error"] is None:
        yield "未见可供互认或参考的既往结果", "No prior result to recognise or refer to was found"
    for number, candidate in enumerate(told["candidates"], 1):
        yield _found(number, candidate)


def _found(number: int, candidate: dict[str, Any]) -> Line:
    hospital, day = one_line(candidate["hospital"]["name"]), one_line(candidate["exam_time"])[:10]
    code, marks = one_line(candidate["item_code"]), one_line(" ".join(candidate["hr_marks"]))
    verdict_zh, verdict_en = _VERDICTS.get(candidate["verdict"], ("", ""))
    against_zh = ";".join(one_line(reason["text"]) for reason in candidate["reasons"])
    against_en = "; ".join(one_line(reason["text_en"]) for reason in candidate["reasons"])
    return (
        f"{number}. {day} {hospital} {code} {marks} {verdict_zh}" + (f"({against_zh})" if against_zh else ""),
        f"{number}. {day} {hospital} {code} {marks} {verdict_en}"
        + (f" ({against_en})" if against_en else ""),
    )


def decision_lines(told: dict[str, Any]) -> Iterator[Line]:
    """Yield what was decided and why, and which priors the record cites."""
    decision = told["decision"]
    numbers = {candidate["result_id"]: n for n, candidate in enumerate(told["candidates"], 1)}
    if decision is None:
        yield "尚未决定", "Not decided yet"
    elif decision["action"] == "recognise":
        number = numbers.get(decision["result_id"], "—")
        yield (
            f"认可第 {number} 项结果,不再重复检查",
            f"Result {number} is recognised; it is not examined again",
        )
    else:
        yield from _repeated(decision)
    if decision is not None:
        by, at = one_line(decision["decided_by"]), decision["decided_at"][:16].replace("T", " ")
        yield f"决定人:{by}  时间:{at}", f"Decided by {by} at {at}"
    cited = [str(numbers[result]) for result in told["cited"] if result in numbers]
    if cited:
        yield f"病历引用第 {'、'.join(cited)} 项结果", f"The record cites result {', '.join(cited)}"


def _repeated(decision: dict[str, Any]) -> Iterator[Line]:
    reason, reason_en = one_line(decision["reason"]), one_line(decision["reason_en"])
    yield f"需重新检查,原因:{reason}", f"To be examined again, because: {reason_en}"
    national = one_line(decision["national_reason"])
    if national and national != reason:
        yield f"所属情形:{national}", "The circumstance of the Measures it falls under is given in Chinese"
    if decision["reason_text"]:
        text = one_line(decision["reason_text"])
        yield f"说明:{text}", f"In the doctor's words: {text}"
    if decision["explained_to_patient"]:
        yield (
            "已向患者或其家属说明复检的目的及必要性",
            "The purpose and need of repeating were explained to the patient or family",
        )


def record_text(told: dict[str, Any]) -> str:
    """Return the block for the medical record: Chinese whole, then English whole."""
    parts = (patient_lines, order_lines, found_lines, decision_lines)
    lines = [line for part in parts for line in part(told)]
    label = (one_line(told["label"]), one_line(told["label_en"]))
    blocks = (
        ["【检查检验结果互认记录】", *(zh for zh, _ in lines), f"注:{label[0]}"],
        ["[Record of mutual recognition]", *(en for _, en in lines), f"Note: {label[1]}"],
    )
    return "\n\n".join("\n".join(block) for block in blocks) + f"\n\n{told['check_id']}/{told['position']}\n"
