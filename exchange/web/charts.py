"""What a chart is drawn from: labels, values and how each is read, for the script that draws it; its table says the same."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from exchange.web.readings import Readings
from exchange.web.texts import Language, msgid, say

Form = Literal["time", "ranked", "stacked", "piled"]  # upright over time, or lying, one below the other
NET: Final = msgid("净节约")
RATE: Final = msgid("互认率")
KINDS: Final[Mapping[str, str]] = {
    "no_check": msgid("未询问"),
    "no_answer": msgid("未答复"),
    "recognised_and_done": msgid("认可后仍做"),
    "refused": msgid("不予互认"),
    "lawfully_repeated": msgid("依规复检"),
    "not_visible": msgid("未及可见"),
}
AVOIDABLE: Final = ("no_check", "no_answer", "recognised_and_done", "refused")


def savings(language: Language, form: Form, labels: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Any:
    """Return the chart of net savings, and of the rate beside them where it runs over time."""
    read = Readings(language)
    money = {
        "name": say(NET, language),
        "values": [row["net_fen"] for row in rows],
        "shown": [read.yuan(row["net_fen"]) for row in rows],
    }
    rate = {
        "name": say(RATE, language),
        "values": [row["rate"] for row in rows],
        "shown": [read.percent(row["rate"]) for row in rows],
    }
    return {"form": form, "unit": "fen", "labels": list(labels), "series": [money, rate], "lang": language}


def repeats(language: Language, form: Form, labels: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Any:
    """Return the chart of avoidable repeats, one upon the other by how they came."""
    read = Readings(language)
    series = [
        {
            "name": say(KINDS[kind], language),
            "values": [row[kind] for row in rows],
            "shown": [f"{read.number(row[kind])} · {read.yuan(row[f'{kind}_fen'])}" for row in rows],
        }
        for kind in AVOIDABLE
    ]
    return {"form": form, "unit": "count", "labels": list(labels), "series": series, "lang": language}
