"""Reports and their versions, laboratory values, attachments; senders of HL7 v2."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "hl7_peer",
        sa.Column("application", sa.Text(), nullable=False),
        sa.Column("facility", sa.Text(), nullable=False),
        sa.Column("hospital_id", sa.BigInteger(), nullable=False),
        sa.Column("addresses", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("active", sa.Boolean(), server_default="true", nullable=False),
        sa.ForeignKeyConstraint(
            ["hospital_id"], ["hospital.id"], name=op.f("fk_hl7_peer_hospital_id_hospital")
        ),
        sa.PrimaryKeyConstraint("application", "facility", name=op.f("pk_hl7_peer")),
    )
    op.create_table(
        "report",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("hospital_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("study_id", sa.BigInteger()),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("accession_number", sa.Text(), nullable=False),
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("patient_name", sa.Text(), nullable=False),
        sa.Column("birth_date", sa.Date()),
        sa.Column("sex", sa.Text(), nullable=False),
        sa.Column("person_id", sa.BigInteger()),
        sa.Column("claimed_person_id", sa.BigInteger()),
        sa.Column("claim_reasons", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("identity", sa.Text(), server_default="unlinked", nullable=False),
        sa.Column("reasons", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("standing_version_id", sa.BigInteger()),
        sa.Column("standing_number", sa.Integer(), server_default="0", nullable=False),
        sa.Column("version_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("category in ('imaging', 'laboratory')", name=op.f("ck_report_category")),
        sa.CheckConstraint("identity in ('linked', 'doubtful', 'unlinked')", name=op.f("ck_report_identity")),
        sa.ForeignKeyConstraint(
            ["claimed_person_id"], ["person.id"], name=op.f("fk_report_claimed_person_id_person")
        ),
        sa.ForeignKeyConstraint(
            ["hospital_id"], ["hospital.id"], name=op.f("fk_report_hospital_id_hospital")
        ),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_report_person_id_person")),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_report_study_id_study")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_report")),
        sa.UniqueConstraint("hospital_id", "number", name=op.f("uq_report_hospital_id")),
    )
    op.create_index("ix_report_claimed_person_id", "report", ["claimed_person_id"])
    op.create_index("ix_report_hospital_accession", "report", ["hospital_id", "accession_number"])
    op.create_index("ix_report_hospital_patient", "report", ["hospital_id", "patient_id"])
    op.create_index("ix_report_person_id", "report", ["person_id"])
    op.create_index("ix_report_study_id", "report", ["study_id"])
    op.create_index("ix_report_study_uid", "report", ["study_uid"])
    op.create_table(
        "report_shown",
        sa.Column("hospital_id", sa.BigInteger(), nullable=False),
        sa.Column("person_id", sa.BigInteger(), nullable=False),
        sa.Column("report_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "first_shown_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["hospital_id"], ["hospital.id"], name=op.f("fk_report_shown_hospital_id_hospital")
        ),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_report_shown_person_id_person")),
        sa.ForeignKeyConstraint(["report_id"], ["report.id"], name=op.f("fk_report_shown_report_id_report")),
        sa.PrimaryKeyConstraint("hospital_id", "person_id", "report_id", name=op.f("pk_report_shown")),
    )
    op.create_table(
        "report_version",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("report_id", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reported_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("findings", sa.Text(), nullable=False),
        sa.Column("conclusion", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("document_uid", sa.Text()),
        sa.Column("attachment_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "source in ('sr', 'pdf', 'cda', 'fhir', 'hl7')", name=op.f("ck_report_version_source")
        ),
        sa.ForeignKeyConstraint(
            ["report_id"], ["report.id"], name=op.f("fk_report_version_report_id_report")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_report_version")),
        sa.UniqueConstraint("report_id", "digest", name=op.f("uq_report_version_report_id")),
    )
    op.create_foreign_key(
        "fk_report_standing_version_id_report_version",
        "report",
        "report_version",
        ["standing_version_id"],
        ["id"],
    )
    op.create_index("ix_report_version_document_uid", "report_version", ["document_uid"])
    op.create_table(
        "report_hold",
        sa.Column("person_id", sa.BigInteger(), nullable=False),
        sa.Column("report_id", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_report_hold_person_id_person")),
        sa.ForeignKeyConstraint(["report_id"], ["report.id"], name=op.f("fk_report_hold_report_id_report")),
        sa.PrimaryKeyConstraint("person_id", "report_id", name=op.f("pk_report_hold")),
    )
    op.create_index("ix_report_hold_report_id", "report_hold", ["report_id"])
    op.create_table(
        "observation",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("report_id", sa.BigInteger(), nullable=False),
        sa.Column("report_version_id", sa.BigInteger(), nullable=False),
        sa.Column("result_id", sa.BigInteger()),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("local_codes", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("loinc_codes", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("reference_range", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("flag", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("observed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("unmapped_reason", sa.Text()),
        sa.ForeignKeyConstraint(["report_id"], ["report.id"], name=op.f("fk_observation_report_id_report")),
        sa.ForeignKeyConstraint(
            ["report_version_id"],
            ["report_version.id"],
            name=op.f("fk_observation_report_version_id_report_version"),
        ),
        sa.ForeignKeyConstraint(["result_id"], ["result.id"], name=op.f("fk_observation_result_id_result")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_observation")),
        sa.UniqueConstraint("report_version_id", "key", name=op.f("uq_observation_report_version_id")),
    )
    op.create_index("ix_observation_report_id", "observation", ["report_id"])
    op.create_index("ix_observation_result_id", "observation", ["result_id"])
    op.create_table(
        "report_attachment",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("report_version_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["report_version_id"],
            ["report_version.id"],
            name=op.f("fk_report_attachment_report_version_id_report_version"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_report_attachment")),
    )
    op.create_index("ix_report_attachment_key", "report_attachment", ["key"])
    op.create_index("ix_report_attachment_report_version_id", "report_attachment", ["report_version_id"])


def downgrade() -> None:
    """Take back."""
    op.drop_constraint("fk_report_standing_version_id_report_version", "report")
    op.drop_table("report_attachment")
    op.drop_table("observation")
    op.drop_table("report_hold")
    op.drop_table("report_version")
    op.drop_table("report_shown")
    op.drop_table("report")
    op.drop_table("hl7_peer")
