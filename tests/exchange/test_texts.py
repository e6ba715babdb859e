"""What pages say: every text has its English, no English is left over, and no Chinese stands outside the texts."""

import io
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from babel.messages.extract import extract
from babel.messages.pofile import read_po
from jinja2.ext import babel_extract

from exchange.web.texts import english, say, say_many

WEB = Path(str(files("exchange.web")))
TEMPLATES = sorted((WEB / "templates").rglob("*.html"))
# in both languages at once, or with texts of their own
BILINGUAL = {"look.html", "trouble.html"}
ROOMS = [each for each in TEMPLATES if each.name not in BILINGUAL]
CHINESE = re.compile("[\u3400-\u9fff\u3000-\u303f\uff00-\uffef]")
NAMES = ("Huren 互认", "中文")


def texts_of(file: Path) -> Iterator[str]:
    """Yield each text a template or a module says."""
    content = io.BytesIO(file.read_bytes())
    if file.suffix == ".html":
        options = {"trimmed": "false", "newstyle_gettext": "true"}
        found = babel_extract(content, ("_", "gettext", "ngettext"), (), options)
        said = (message for _, _, message, _ in found)
    else:
        said = (message for _, message, _, _ in extract("python", content, {"msgid": None, "say": None}))
    for message in said:
        yield message if isinstance(message, str) else "\0".join(each for each in message if each)


def all_texts() -> set[str]:
    """Return every text of the pages."""
    return {text for file in [*TEMPLATES, *WEB.rglob("*.py")] for text in texts_of(file)}


def test_every_text_has_its_english() -> None:
    assert sorted(all_texts() - set(english())) == []


def test_no_english_is_left_over_and_none_is_missing_a_value() -> None:
    said = all_texts() | {each.split("\0")[0] for each in all_texts()}
    assert sorted(set(english()) - said) == []
    assert [text for text, translated in english().items() if not translated.strip()] == []


@pytest.mark.parametrize("text", sorted(all_texts()))
def test_a_text_and_its_english_name_the_same_values(text: str) -> None:
    named = re.compile(r"%\((\w+)\)s")
    assert set(named.findall(text)) == set(named.findall(english()[text])) or "\0" in text
    assert not CHINESE.search(english()[text])


def test_the_catalogues_give_no_text_two_meanings() -> None:
    found: dict[str, str] = {}
    for each in sorted((WEB / "locale" / "en").iterdir()):
        with each.open("rb") as file:
            for message in read_po(file, locale="en"):
                if message.id:
                    known = found.setdefault(str(message.id), str(message.string))
                    assert known == str(message.string), (each.name, message.id)
                    assert not message.fuzzy, message.id


@pytest.mark.parametrize("template", ROOMS, ids=lambda file: file.name)
def test_no_chinese_stands_outside_the_texts(template: Path) -> None:
    text = template.read_text()
    text = re.sub(r"\{%-? *trans.*?endtrans *-?%\}", "", text, flags=re.S)
    text = re.sub(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", "", text, flags=re.S)
    for name in NAMES:
        text = text.replace(name, "")
    assert CHINESE.findall(text) == []


def test_a_text_is_said_in_the_language_somebody_reads() -> None:
    assert say("登录", "zh") == "登录"
    assert say("登录", "en") == "Sign in"
    assert say("没有翻译过的话", "en") == "没有翻译过的话"
    assert say_many("%(n)s 项", "%(n)s 项", 2, "zh") == "%(n)s 项"
