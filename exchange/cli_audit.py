"""Commands about the audit: seal it, verify it, hand it on."""

import getpass
import threading
from pathlib import Path
from typing import Annotated

import orjson
import typer
from cryptography.hazmat.primitives import serialization
from sqlalchemy import text

from catalog.audit import record
from catalog.audit_anchor import file_anchors, stored_anchors
from catalog.audit_seal import open_signer, read_public
from catalog.audit_sealer import Sealer
from catalog.audit_verify import Verdict, verify
from catalog.console import HERE, AsJson, DataDir, show
from catalog.context import Caller
from catalog.db import transaction
from catalog.errors import InvalidInput, Unavailable
from catalog.signals import stop_on_signals
from catalog.workplace import Workplace, keys_dir, open_workplace

audit = typer.Typer(
    no_args_is_help=True,
    help="审计:封存、核验、导出 / the audit: seal, verify, hand on\n\n例 / example:  huren audit verify --from-store",
)
AnchorFile = Annotated[
    Path | None, typer.Option(help="锚定文件,默认在数据目录 audit/heads.jsonl / the auditor's file")
]


def _key_file(place: Workplace) -> Path:
    return keys_dir(place.data_dir) / "audit.pem"


@audit.command("seal")
def audit_seal(
    follow: Annotated[bool, typer.Option("--follow", help="持续封存 / go on until stopped")] = False,
    every_seconds: Annotated[float, typer.Option(min=0.05, help="两次封存间隔秒数 / between seals")] = 1.0,
    anchor_seconds: Annotated[
        float, typer.Option(min=0.0, help="两次存入对象存储的间隔秒数 / between anchors in the store")
    ] = 60.0,
    anchor_file: AnchorFile = None,
    data_dir: DataDir = HERE,
) -> None:
    """把审计记录封入签名的哈希链,链头存到数据库之外。 Seal the audit into a signed chain; its head goes outside.

    例 / example:  huren audit seal --follow
    """
    stop = threading.Event()
    if follow:
        stop_on_signals(stop)
    with open_workplace(data_dir, s3=True) as place:
        file = anchor_file or place.data_dir / "audit" / "heads.jsonl"
        sealer = Sealer(place.catalogue, open_signer(_key_file(place)), file, place.open_audit_store())
        if follow:
            sealer.follow(stop, every_seconds, anchor_seconds)
            return
        sealer.open()
        records = sealer.seal()
        sealer.anchor()
    typer.echo(f"已封存记录 / records sealed: {records}")


@audit.command("key")
def audit_key(data_dir: DataDir = HERE) -> None:
    """打印封存公钥,交审计员保存。 Print the public key of the seals, for an auditor to keep.

    例 / example:  huren audit key > audit-public.pem
    """
    with open_workplace(data_dir) as place:
        public = open_signer(_key_file(place)).public
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    typer.echo(pem.decode().strip())


@audit.command("verify")
def audit_verify(
    anchor: Annotated[
        Path | None, typer.Option(help="与此锚定文件比对 / compare with this anchor file")
    ] = None,
    from_store: Annotated[
        bool, typer.Option("--from-store", help="与对象存储中的锚定比对 / compare with the object store")
    ] = False,
    key: Annotated[
        Path | None,
        typer.Option(help="封存公钥 PEM,默认用本机密钥 / the public key; this machine's by default"),
    ] = None,
    data_dir: DataDir = HERE,
    json: AsJson = False,
) -> None:
    """核验每条记录和每个封存,指出第一处不符。 Verify every record and seal; name the first bad one (exit code 1).

    不比对锚定时,链尾被截去或整链被重算无法发现。
    Without an anchor neither a cut end nor a chain made anew with the key can be found.

    例 / example:  huren audit verify --anchor heads.jsonl --json
    """
    with open_workplace(data_dir, s3=from_store) as place:
        anchors = list(file_anchors(anchor)) if anchor else []
        if from_store:
            store = place.open_audit_store()
            if store is None:
                raise InvalidInput(
                    "未设置 HUREN_AUDIT_S3_ACCESS_KEY", "HUREN_AUDIT_S3_ACCESS_KEY is not set", field="store"
                )
            with store:
                anchors += stored_anchors(store)
        public = read_public(key or _key_file(place))
        if json:
            verdict = verify(place.catalogue.engine, public, anchors)
        else:
            from rich.progress import Progress

            with Progress(transient=True) as progress:
                task = progress.add_task("verify", total=None)
                verdict = verify(
                    place.catalogue.engine,
                    public,
                    anchors,
                    lambda done, total: progress.update(task, completed=done, total=total),
                )
    _tell(verdict, as_json=json)
    if not verdict.agrees:
        raise typer.Exit(1)


@audit.command("export")
def audit_export(
    output: Annotated[Path, typer.Argument(help="输出文件,NDJSON / file to write, one resource a line")],
    fhir: Annotated[bool, typer.Option("--fhir", help="FHIR AuditEvent (IHE BALP)")] = False,
    after: Annotated[int, typer.Option(min=0, help="从此记录号之后 / records after this one")] = 0,
    data_dir: DataDir = HERE,
) -> None:
    """导出已封存的记录,每行一个 FHIR AuditEvent。 Export what is sealed, one FHIR AuditEvent a line.

    例 / example:  huren audit export --fhir audit.ndjson
    """
    from rich.progress import Progress

    from catalog.audit_reading import every_sealed
    from exchange.fhir_audit import audit_event

    if not fhir:
        raise InvalidInput("请指明格式:--fhir", "Say in which form: --fhir", field="fhir")
    done = 0
    with (
        open_workplace(data_dir) as place,
        output.open("wb") as file,
        Progress(transient=True) as progress,
    ):
        task = progress.add_task("export", total=None)
        with transaction(place.catalogue.engine) as session:
            record(session, Caller(f"{getpass.getuser()}@console", "operator"), "audit.export", after=after)
        with transaction(place.catalogue.engine) as session:  # one that had written would hold up the sealing
            session.execute(text("set transaction read only"))
            for told in every_sealed(session, after):
                file.write(orjson.dumps(audit_event(told), option=orjson.OPT_APPEND_NEWLINE))
                done += 1
                progress.update(task, completed=done)
    typer.echo(f"已导出 / exported: {done}")


@audit.command("forward")
def audit_forward(
    receiver: Annotated[str, typer.Argument(help="syslog 接收方 主机:端口 / the receiver, HOST:PORT")],
    ca: Annotated[
        Path, typer.Option(exists=True, help="签发机构 PEM / authorities that sign its certificate")
    ],
    cert: Annotated[Path | None, typer.Option(exists=True, help="本机证书 / our certificate")] = None,
    key: Annotated[Path | None, typer.Option(exists=True, help="本机私钥 / our private key")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="持续转发 / go on until stopped")] = False,
    every_seconds: Annotated[float, typer.Option(min=0.05, help="间隔秒数 / between rounds")] = 5.0,
    data_dir: DataDir = HERE,
) -> None:
    """以 DICOM 审计报文经 TLS syslog 转发已封存的记录,从上次之处继续。 Send what is sealed, from where it stopped.

    例 / example:  huren audit forward siem.example.org:6514 --ca authority.pem
    """
    from exchange.audit_syslog import forward, open_receiver, source_name

    opened, source, stop = open_receiver(receiver, ca, cert, key), source_name(), threading.Event()
    if follow:
        stop_on_signals(stop)
    with open_workplace(data_dir) as place:
        engine, sent = place.catalogue.engine, 0
        if not follow:
            sent = forward(engine, opened, source, lambda count: typer.echo(f"{count} …", err=True))
        while follow and not stop.wait(every_seconds):
            try:
                sent += forward(engine, opened, source)
            except Unavailable as error:
                typer.echo(str(error), err=True)
    typer.echo(f"已转发 / sent: {sent}")


def _tell(verdict: Verdict, *, as_json: bool) -> None:
    figures = {
        "agrees": verdict.agrees,
        "records": verdict.records,
        "seals": verdict.seals,
        "anchors": verdict.anchors,
        "unsealed": verdict.unsealed,
    }
    findings = [finding.described() for finding in verdict.findings]
    if as_json:
        typer.echo(orjson.dumps({**figures, "findings": findings}, option=orjson.OPT_INDENT_2).decode())
        return
    show([figures], as_json=False)
    if findings:
        show(findings, as_json=False, title="第一处在最上 / the first bad one on top")
    elif not verdict.anchors:
        typer.echo("未比对锚定 / no anchor was compared: --anchor FILE, --from-store")
