"""Refused associations become audit records, each once, and wait while the catalogue is down."""

from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from catalog.context import Catalogue
from catalog.db import open_engine, transaction
from catalog.errors import DatabaseDown
from catalog.tables import AuditEvent
from dicom_node.refusal_audit import audit_refusals
from dicom_node.refusals import Refusals

pytestmark = pytest.mark.flow


def recorded(engine: Engine, calling: str) -> list[dict[str, object]]:
    with transaction(engine) as session:
        rows = session.scalars(select(AuditEvent).where(AuditEvent.action == "association_refused"))
        return [row.detail for row in rows if row.detail["calling_ae"] == calling]


def test_each_kind_of_refusal_is_one_record_with_its_count(catalogue: Catalogue, tmp_path: Path) -> None:
    refusals = Refusals(tmp_path)
    for _ in range(3):
        refusals.note("10.0.0.1", "GUESSER", "rejected:calling_ae_unknown")
    refusals.note("10.0.0.1", "GUESSER", "refused:tls_certificate")
    refusals.write()
    assert audit_refusals(catalogue.engine, tmp_path) == 2
    assert audit_refusals(catalogue.engine, tmp_path) == 0
    found = recorded(catalogue.engine, "GUESSER")
    assert {(one["address"], one["reason"], one["count"]) for one in found} == {
        ("10.0.0.1", "calling_ae_unknown", 3),
        ("10.0.0.1", "tls_certificate", 1),
    }
    assert all(str(one["first_at"]).endswith("+00:00") for one in found)


def test_while_the_catalogue_is_down_refusals_wait(catalogue: Catalogue, tmp_path: Path) -> None:
    refusals = Refusals(tmp_path)
    refusals.note("10.0.0.2", "WAITING", "rejected:calling_ae_unknown")
    refusals.write()
    with pytest.raises(DatabaseDown):
        audit_refusals(open_engine("postgresql://nobody@127.0.0.1:1/none"), tmp_path)
    assert audit_refusals(catalogue.engine, tmp_path) == 1
    assert len(recorded(catalogue.engine, "WAITING")) == 1


def test_a_file_that_is_none_is_put_away_and_stops_nothing(catalogue: Catalogue, tmp_path: Path) -> None:
    (tmp_path / "1-1.json").write_text("[{")
    refusals = Refusals(tmp_path)
    refusals.note("10.0.0.3", "BEHIND", "rejected:locked_out")
    refusals.write()
    assert audit_refusals(catalogue.engine, tmp_path) == 1
    assert list(tmp_path.iterdir()) == []
