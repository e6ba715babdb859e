"""Commands about the recognised list: its versions, hospitals' codes, the review queue, mapping again."""

from pathlib import Path
from typing import Annotated, Any, Final

import orjson
import typer

from catalog import (
    hospital_codes,
    item_lists,
    list_files,
    mapping_reviews,
    registry,
    remapping,
    results,
    reviews,
)
from catalog.coded_mapping import answered
from catalog.console import HERE, AsJson, DataDir, day, show
from catalog.context import Caller
from catalog.db import transaction
from catalog.errors import InvalidInput
from catalog.item_diff import ListDiff, difference
from catalog.item_lists import Import
from catalog.items import ITEM_LISTS, load_item_list
from catalog.local_codes import read_local_codes
from catalog.rules import local_day
from catalog.scoring import Score, half_of, read_labelled, score
from catalog.spreadsheet import read_sheet
from catalog.workplace import Workplace, open_workplace

OPERATOR: Final = Caller("command", "operator")

items = typer.Typer(no_args_is_help=True, help="互认项目清单及对应 / the recognised list, and mapping to it")
review = typer.Typer(no_args_is_help=True, help="待人工确认的检查 / what waits for a curator")
items.add_typer(review, name="review")

File = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV 或 XLSX / CSV or XLSX")]
RegionCode = Annotated[str, typer.Option(help="地区代码;不给为全网 / region code; none: the whole exchange")]


@items.command("list")
def items_list(
    data_dir: DataDir = HERE,
    json: AsJson = False,
    region: RegionCode = "",
    on: Annotated[str, typer.Option(help="某日生效的清单 / the list in force on a day")] = "",
    version: Annotated[str, typer.Option(help="某一版本,不论是否生效 / one version, in force or not")] = "",
) -> None:
    """列出某日在某地区生效的项目。 List the items in force, today or on a day, in a region; or of one version.

    随附的是建议清单,不是官方清单。 What comes with the release is a proposal, not an official list.

    例 / example:  huren items list --json
    """
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        asked = day(on, "on") if on else local_day(place.catalogue.clock())
        found = (
            item_lists.version(session, version, region or None)
            if version
            else item_lists.on_day(session, place.catalogue, region or None, asked)
        )
    rows = [
        {
            "code": item.code,
            "name": item.name_zh,
            "name_en": item.name_en,
            "category": item.category,
            "laterality": item.laterality,
            "window_days": item.window_days,
            "negative": item.negative,
            "covers": " ".join(item.covers),
        }
        for item in found
    ]
    show(rows, as_json=json, title=f"{found.title_zh} {found.version} ({found.status})")


@items.command("versions")
def items_versions(data_dir: DataDir = HERE, json: AsJson = False) -> None:
    """列出清单的全部版本。 List every version of every list, in the order in which they take effect.

    例 / example:  huren items versions
    """
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        show(item_lists.versions(session), as_json=json)


@items.command("diff")
def items_diff(
    version: Annotated[str, typer.Argument(help="版本名,见 versions / version, see versions")],
    against: Annotated[str, typer.Argument(help="较早的版本 / the earlier one")],
    region: RegionCode = "",
    data_dir: DataDir = HERE,
    json: AsJson = False,
) -> None:
    """比较两个清单版本。 Show what a version adds, drops and alters against another.

    例 / example:  huren items diff 2027-1 proposal-1
    """
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        scope = registry.find_region(session, region).code if region else None
        before = item_lists.version(session, against, scope)
        after = item_lists.version(session, version, scope)
    found = difference(before, after)
    if json:
        typer.echo(orjson.dumps(found.report(), option=orjson.OPT_INDENT_2).decode())
    else:
        show(_changes(found), as_json=False)


@items.command("import")
def items_import(
    file: File,
    version: Annotated[str, typer.Option(help="版本名 / name of the version")] = "",
    first: Annotated[str, typer.Option("--from", help="生效日 YYYY-MM-DD / first day in force")] = "",
    region: RegionCode = "",
    title: Annotated[str, typer.Option(help="标题 / title")] = "",
    source: Annotated[str, typer.Option(help="来源 / where it comes from")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="只检查并比较 / only check and compare")] = False,
    data_dir: DataDir = HERE,
    json: AsJson = False,
) -> None:
    """导入清单新版本;有任何错误则整体拒绝,以往答复不变。 Import a version of the list, whole or not at all.

    版本、标题、生效日、来源取自选项,或同名 .toml,或 XLSX 的 header 表。 What the list says of itself comes
    from the options, from the .toml beside it, or from a sheet `header`.

    例 / example:  huren items import list-2027.xlsx --version 2027-1 --from 2027-01-01 --dry-run
    """
    told = {
        "version": version,
        "effective_from": first,
        "title_zh": title,
        "title_en": title,
        "source": source,
    }
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        scope = registry.find_region(session, region).code if region else None
        given = list_files.read_list_file(file, told)
        wider = item_lists.wider_list(session, place.catalogue, scope, given.header.effective_from)
        done = item_lists.import_list(
            session,
            place.catalogue,
            OPERATOR,
            given.items(wider),
            region=scope,
            dry_run=dry_run,
        )
    _show_import(done, as_json=json)


@items.command("codes")
def items_codes(
    code: Annotated[str, typer.Argument(metavar="HOSPITAL", help="机构代码 / hospital code")],
    data_dir: DataDir = HERE,
    json: AsJson = False,
) -> None:
    """列出机构自有项目代码;item_code 为空表示清单中没有。 List a hospital's own codes, as read by `map`.

    例 / example:  huren items codes B
    """
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        hospital = registry.hospital_by_code(session, code)
        show(hospital_codes.codes_of(session, hospital), as_json=json)


@items.command("map")
def items_map(
    code: Annotated[str, typer.Argument(metavar="HOSPITAL", help="机构代码 / hospital code")],
    file: File,
    data_dir: DataDir = HERE,
) -> None:
    """导入机构自有项目代码表。 Read a hospital's own codes: local_code,name,item_code[,laterality,body_part].

    item_code 写 NONE 表示清单中没有。已入库的检查用 huren items remap 重新对应。 NONE: on no list. What came
    before is mapped again by `huren items remap`.

    例 / example:  huren items map B codes.xlsx
    """
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        hospital = registry.hospital_by_code(session, code)
        listed = results.list_for(session, place.catalogue, hospital.id)
        rows = read_local_codes(file.name, read_sheet(file.name, file.read_bytes()), listed)
        count = hospital_codes.import_codes(session, place.catalogue, OPERATOR, hospital, rows)
    typer.echo(f"已导入 / read: {count}")


@items.command("remap")
def items_remap(data_dir: DataDir = HERE, json: AsJson = False) -> None:
    """按现行规则和清单重新对应全部检查;中断后可续。 Map every study again; an interrupted run goes on.

    例 / example:  huren items remap
    """
    with open_workplace(data_dir) as place:
        done = _with_progress(place)
    show([done.report()], as_json=json)


@items.command("unmapped")
def items_unmapped(data_dir: DataDir = HERE, json: AsJson = False) -> None:
    """列出未能对应清单的检查。 List studies that are on no list.

    例 / example:  huren items unmapped
    """
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        rows = results.unmapped(session, limit=1000)
    if not json:
        shown = ("StudyInstanceUID", "hospital", "exam_time", "reason")
        rows = [{key: row[key] for key in shown} for row in rows]
    show(rows, as_json=json)


@items.command("score")
def items_score(
    file: File,
    half: Annotated[
        str, typer.Option(help="只用一半:tuning 或 unseen / one half only, split by a fixed seed")
    ] = "",
    item_list: Annotated[
        Path | None, typer.Option("--list", exists=True, dir_okay=False, help="清单 .toml / another list")
    ] = None,
    json: AsJson = False,
) -> None:
    """用已标注样本衡量对应规则,接入前即可试用。 Measure the rules on a labelled sample, before connecting.

    列 / columns: modality, body_part, laterality, contrast_agent, study_description, requested_procedure,
    series_descriptions, protocol_names (` | ` 分隔), view_positions, manufacturer, expected (; 分隔)

    例 / example:  huren items score sample.csv --json
    """
    listed = load_item_list(item_list or ITEM_LISTS)
    rows = read_labelled(file, listed)
    if half not in ("", "tuning", "unseen"):
        raise InvalidInput("half 为 tuning 或 unseen", "half is tuning or unseen", field="half")
    _show_score(score(half_of(rows, half) if half else rows, listed), as_json=json)  # type: ignore[arg-type]


@review.command("list")
def review_list(
    kind: Annotated[str, typer.Option(help="种类 / kind: mapping, local_code, …")] = "",
    hospital: Annotated[str, typer.Option(help="机构代码 / hospital code")] = "",
    state: Annotated[str, typer.Option(help="open、decided 或 dropped")] = "open",
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    data_dir: DataDir = HERE,
    json: AsJson = False,
) -> None:
    """列出待人工确认的问题。 List the questions that wait for a curator.

    例 / example:  huren items review list
    """
    with open_workplace(data_dir) as place, transaction(place.catalogue.engine) as session:
        rows = reviews.tasks(session, kind=kind, hospital=hospital, state=state, limit=limit)
    show(rows if json else [_task_line(row) for row in rows], as_json=json)


@review.command("answer")
def review_answer(
    task: Annotated[int, typer.Argument(help="任务编号 / number of the task")],
    item: Annotated[
        list[str] | None,
        typer.Argument(help="项目[:L|R|B][:部位],如 CT07 MR10:L CT17:R:KNEE / items, with side and part"),
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="清单中没有 / nothing on the list")] = False,
    data_dir: DataDir = HERE,
    json: AsJson = False,
) -> None:
    """回答一个对应问题:本机构今后照此,以往相同的检查随即更正。 Say what such studies of the hospital hold.

    例 / example:  huren items review answer 12 CT07 CT10     huren items review answer 13 --none
    """
    if bool(item) is none:
        raise InvalidInput("请给出项目或 --none", "Give items or --none", field="item")
    with open_workplace(data_dir) as place:
        done = mapping_reviews.answer(
            place.catalogue, OPERATOR, task, [answered(text) for text in item or ()]
        )
    show([done], as_json=json)


def _with_progress(place: Workplace) -> remapping.Remapped:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        shown = bar.add_task("重新对应 / mapping again", total=None)
        return remapping.remap(
            place.catalogue, on_progress=lambda done, total: bar.update(shown, completed=done, total=total)
        )


def _task_line(row: dict[str, Any]) -> dict[str, Any]:
    details = row["details"]
    facts = details.get("facts", {})
    return {
        "id": row["id"],
        "kind": row["kind"],
        "hospital": row["hospital"],
        "modality": " ".join(facts.get("modality", [])),
        "body_part": facts.get("body_part_examined", ""),
        "description": facts.get("study_description") or facts.get("requested_procedure", ""),
        "reason": details.get("reason", {}).get("text", details.get("code", "")),
    }


def _show_import(done: Import, *, as_json: bool) -> None:
    if as_json:
        typer.echo(orjson.dumps(done.report(), option=orjson.OPT_INDENT_2).decode())
        return
    show(_changes(done.diff), as_json=False, title=f"{done.version}: {done.items}")
    state = "仅检查,未导入 / checked only" if done.dry_run else "已导入 / imported"
    typer.echo(f"{state}: {done.version}, 生效 / in force from {done.effective_from}")


def _changes(diff: ListDiff) -> list[dict[str, Any]]:
    added = [
        {"项目 item": i.code, "变化 change": "新增 added", "前 before": "", "后 after": i.name_zh}
        for i in diff.added
    ]
    dropped = [
        {"项目 item": i.code, "变化 change": "删除 dropped", "前 before": i.name_zh, "后 after": ""}
        for i in diff.dropped
    ]
    changed = [
        {"项目 item": c.code, "变化 change": c.field, "前 before": c.before, "后 after": c.after}
        for c in diff.changed
    ]
    return [*added, *dropped, *changed]


def _show_score(measured: Score, *, as_json: bool) -> None:
    report = measured.report()
    if as_json:
        typer.echo(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode())
        return
    for miss in report["misses"]:
        found, wanted = " ".join(miss["found"]) or "—", " ".join(miss["expected"]) or "—"
        typer.echo(f"第{miss['line']}行 line {miss['line']}: {miss['study_description'] or '—'}")
        typer.echo(f"    应为 expected {wanted}, 得到 found {found}")
        typer.echo(f"    {miss['explanation']} / {miss['explanation_en']}")
    typer.echo(f"样本 / headers: {report['headers']}, 项目 / items: {report['items_expected']}")
    typer.echo(
        f"准确率 / precision: {_percent(report['precision'])} ({report['items_right']}/{report['items_mapped']})"
    )
    typer.echo(
        f"覆盖率 / coverage: {_percent(report['coverage'])} ({report['items_right']}/{report['items_expected']})"
    )


def _percent(share: float | None) -> str:
    return "—" if share is None else f"{share:.2%}"
