"""What a question about a figure says, in Chinese and English: asked, never alleged, with what may be behind it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

Kind = Literal["unviewed", "fast", "burst", "savings_above_peers", "savings_above_history"]


@dataclass(frozen=True, slots=True)
class Text:
    """A question, what may innocently be behind it, and how what is expected was come by; in both languages."""

    zh: str
    en: str
    innocent_zh: str
    innocent_en: str
    computed_zh: str
    computed_en: str

    def told(self, facts: Mapping[str, Any]) -> dict[str, str]:
        """Return the texts with the facts in their places."""
        return {
            "question": self.zh.format_map(facts),
            "question_en": self.en.format_map(facts),
            "may_be": self.innocent_zh,
            "may_be_en": self.innocent_en,
            "computed": self.computed_zh.format_map(facts),
            "computed_en": self.computed_en.format_map(facts),
        }


_COMPARED: Final[Mapping[str, tuple[str, str]]] = {
    "tier": ("同等级机构", "hospitals of its tier"),
    "city": ("全市机构", "hospitals of the city"),
    "history": ("本机构此前月份", "its own earlier months"),
    "setting": ("设定的阈值", "the threshold set"),
}
_OF_PEERS_ZH: Final = "{compared_zh}同项目同月 {compared} 个数值的中位数"
_OF_PEERS_EN: Final = "the median of {compared} figures of {compared_en}, same item and month,"
TEXTS: Final[Mapping[Kind, Text]] = {
    "unviewed": Text(
        "{hospital_name}{month} {item_name}的 {of} 次互认中,{count} 次({value:.0%})在决定之前本机构未调阅该患者的报告、"
        "影像或既往史,{compared_zh}为 {usual:.0%}。既往结果是怎样查看的?",
        "Of {of} recognitions of {item_name_en} at {hospital_name} in {month}, {count} ({value:.0%}) came without the"
        " hospital's having opened a report, images or the history of the patient; {compared_en} have {usual:.0%}."
        " How was the prior looked at?",
        "可能:询问的答复已含报告结论;患者带来胶片或纸质报告;在院内系统或原机构系统中查看。",
        "Perhaps the answer to the check, which carries the conclusion, was enough; the patient brought films or a printed"
        " report; it was looked at in the hospital's own system or the issuer's.",
        f"{_OF_PEERS_ZH},超过中位数加 {{deviations}} 个稳健标准差且高出 {{gap:.0%}} 者提出;本院结果不计",
        f"{_OF_PEERS_EN} and what lies more than {{deviations}} robust deviations and {{gap:.0%}} above it; priors of the"
        " own hospital are left out",
    ),
    "fast": Text(
        "{hospital_name}{month} {item_name}的 {of} 次互认中,{count} 次({value:.0%})在询问后 {fast_seconds} 秒内作出,"
        "{compared_zh}为 {usual:.0%}。这些决定是怎样作出的?",
        "Of {of} recognitions of {item_name_en} at {hospital_name} in {month}, {count} ({value:.0%}) came within"
        " {fast_seconds} seconds of the check; usual by {compared_en}: {usual:.0%}. How were they decided?",
        "可能:医生此前已看过既往结果,询问只是补办手续;系统在开单确认时才发送询问;急诊。",
        "Perhaps the doctor had seen the prior before and the check was a formality; the ordering system asks only when"
        " the order is signed; emergencies.",
        "{compared_zh}:同项目同月的中位数加 {deviations} 个稳健标准差且高出 {gap:.0%},至多 {fast_share:.0%}",
        "by {compared_en}: the median of the same item and month, {deviations} robust deviations and {gap:.0%} above it,"
        " never more than {fast_share:.0%}",
    ),
    "burst": Text(
        "{hospital_name}一名医生{month}在 {burst_minutes} 分钟内作出 {count} 次决定(当月共 {of} 次)。当时是怎样接诊的?",
        "One doctor of {hospital_name} made {count} decisions within {burst_minutes} minutes in {month} ({of} in the whole"
        " month). What happened then?",
        "可能:体检或住院批量开单;补录积压的决定;多人使用同一账户。医生姓名须立案调查后方可查看。",
        "Perhaps orders were placed in bulk for a check-up or a ward; a backlog was entered; several people use one account."
        " Who it was is shown to an investigation alone.",
        "设定:一名医生 {burst_minutes} 分钟内达到 {at_most} 次以上;以系统身份作出的决定不属于某一名医生,不在此列",
        "as set: more than {at_most} decisions of one doctor within {burst_minutes} minutes; what a system decides is no"
        " one doctor's and is left out",
    ),
    "savings_above_peers": Text(
        "{hospital_name}{month} {item_name}每次提醒净节约 {value_yuan} 元({of} 次,净额 {count_yuan} 元),"
        "{compared_zh}为 {usual_yuan} 元。差异从何而来?",
        "{item_name_en} at {hospital_name} saved {value_yuan} yuan net for each reminder in {month} ({of} of them,"
        " {count_yuan} yuan in all); {compared_en} save {usual_yuan}. Where does the difference come from?",
        "可能:该机构价格较高;互认率较高;复检尚未上传,冲回尚未入账;超出义务的互认较多。",
        "Perhaps its price is higher; it recognises more of what it is reminded of; repeats have not arrived and reversals"
        " are not posted yet; it recognises much beyond its duty.",
        f"{_OF_PEERS_ZH},超过中位数加 {{deviations}} 个稳健标准差、{{ratio}} 倍且高出 {{gap_yuan}} 元者提出",
        f"{_OF_PEERS_EN} and what lies more than {{deviations}} robust deviations, {{ratio}} times and {{gap_yuan}} yuan"
        " above it",
    ),
    "savings_above_history": Text(
        "{hospital_name}{month} {item_name}每次提醒净节约 {value_yuan} 元({of} 次,净额 {count_yuan} 元),"
        "{compared_zh}为 {usual_yuan} 元。发生了什么变化?",
        "{item_name_en} at {hospital_name} saved {value_yuan} yuan net for each reminder in {month} ({of} of them,"
        " {count_yuan} yuan in all); in {compared_en} it was {usual_yuan}. What has changed?",
        "可能:调整了价格;开始使用提醒或互认率提高;复检尚未上传,冲回尚未入账。",
        "Perhaps its price was changed; it began to heed reminders; repeats have not arrived and reversals are not posted"
        " yet.",
        "本机构同项目此前 {compared} 个月的中位数,超过中位数加 {deviations} 个稳健标准差、{ratio} 倍且高出 {gap_yuan} 元者提出",
        "the median of its {compared} months before for the item, and what lies more than {deviations} robust deviations,"
        " {ratio} times and {gap_yuan} yuan above it",
    ),
}


def compared_with(whom: str) -> dict[str, str]:
    """Return who a figure was compared with, as sentences name them."""
    zh, en = _COMPARED[whom]
    return {"compared_zh": zh, "compared_en": en}
