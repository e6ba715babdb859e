"""Words on cards: in Chinese or English, and text from outside made harmless. Pure."""

import re
import unicodedata
from typing import Final, Literal

Language = Literal["zh", "en"]
SUMMARY_LIMIT: Final = 139  # CDS Hooks 2.0, Card Attributes: fewer than 140 characters

TEXTS: Final[dict[str, tuple[str, str]]] = {
    "label": ("互认 Huren", "Huren 互认"),
    "topic": ("检查检验结果互认", "Mutual recognition of results"),
    "recognisable": (
        "{item}:有 {count} 项可互认的既往结果",
        "{item}: {count} recognisable earlier result(s)",
    ),
    "newest": (",最近一次 {date},{hospital}", ", the latest {date}, {hospital}"),
    "reference": (
        "{item}:有 {count} 项既往结果,仅供参考",
        "{item}: {count} earlier result(s), for reference",
    ),
    "needs": ("{item}:{error},注明后才能查询", "{item}: {error}; then it can be looked up"),
    "unknown": (
        "互认查询暂时不可用,是否有既往结果尚不清楚",
        "Recognition cannot be asked just now: whether an earlier result exists is unknown",
    ),
    "unknown_detail": (
        "请勿视为没有既往结果。可照常开单,稍后可再查询。",
        "Do not take this for “no earlier result”. Ordering goes on as usual; ask again later.",
    ),
    "nobody": (
        "患者没有可用于查询的证件号码,是否有既往结果尚不清楚",
        "The patient has no identity document to look up: whether an earlier result exists is unknown",
    ),
    "incomplete": (
        "该患者部分资料正在核对,查询结果可能不全",
        "Some of this patient's records are being reviewed: the answer may be incomplete",
    ),
    "more": ("另有 {count} 条医嘱未在此列出", "{count} more order(s) are not shown here"),
    "more_detail": ("请分次开单或经互认接口查询。", "Order in several steps, or ask through the interface."),
    "opinion": ("原诊断意见仅供参考。", "The original opinion is for reference."),
    "decides": ("是否互认由接诊医师判断。", "The treating doctor decides."),
    "emergency": ("急诊:可直接开单,不必等待。", "Emergency: order at once, nothing needs to wait."),
    "exam": ("检查时间 {time}", "examined {time}"),
    "valid": ("可互认至 {date}", "recognisable until {date}"),
    "saving": ("可节约 {yuan} 元", "saves {yuan} yuan"),
    "images": ("{series} 个序列、{instances} 幅图像", "{series} series, {instances} images"),
    "recognise": (
        "认可{hospital} {date} 的结果,取消本医嘱",
        "Recognise the result of {hospital}, {date}; remove this order",
    ),
    "delete": ("删除尚未签署的医嘱", "Delete the unsigned order"),
    "told": ("(已向患者或家属说明复检的目的及必要性)", " (the patient or family has been told why)"),
    "open": ("查看既往结果", "Open the earlier results"),
    "order": ("此医嘱", "This order"),
}

_CONTROLS: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_MARKDOWN: Final = re.compile(r"([!\"#$%'()*+,\-./:;=?@\[\\\]^_`{|}~])")
_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_WIDE: Final = str.maketrans({"<": "＜", ">": "＞", "&": "＆", "@": "＠"})


def say(key: str, language: Language, **values: object) -> str:
    """Return a text with its values, which are taken as they are."""
    return TEXTS[key][language == "en"].format(**values)


def language_of(accept_language: str) -> Language:
    """Return the language asked for: English where it is preferred to Chinese, else Chinese."""
    wanted = {"zh": 0.0, "en": 0.0}
    for part in accept_language[:200].split(","):
        tag, _, quality = part.strip().partition(";q=")
        name = tag.strip().lower().partition("-")[0]
        if name in wanted:
            wanted[name] = max(wanted[name], _quality(quality))
    return "en" if wanted["en"] > wanted["zh"] else "zh"


def plain(text: str, longest: int = 80) -> str:
    """Return outside text as one harmless line: no controls, no reversal of direction, no tags."""
    shown = "".join(" " if unicodedata.category(each) in _CONTROLS else each for each in text)
    shown = " ".join(shown.split()).translate(_WIDE)
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def markdown(text: str, longest: int = 80) -> str:
    """Return outside text as GitHub Flavored Markdown that shows it literally: no links, no HTML, no structure."""
    escaped = _MARKDOWN.sub(r"\\\1", plain(text, longest))
    return "".join(_ENTITIES.get(each, each) for each in escaped)


def summary(text: str) -> str:
    """Return a summary within the length a card allows."""
    return text if len(text) <= SUMMARY_LIMIT else f"{text[: SUMMARY_LIMIT - 1]}…"


def _quality(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 1.0) if text else 1.0
    except ValueError:
        return 0.0
