"""The first schema, with its append-only tables guarded by triggers."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

APPEND_ONLY = ("order_check", "decision", "ledger", "audit_event")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "person",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("id_type", sa.Text(), nullable=False),
        sa.Column("number_hash", sa.LargeBinary(), nullable=False),
        sa.Column("number_cipher", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("birth_date", sa.Date(), nullable=True),
        sa.Column("sex", sa.Text(), nullable=False),
        sa.Column("opted_out", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_person")),
        sa.UniqueConstraint("id_type", "number_hash", name=op.f("uq_person_id_type")),
    )
    op.create_table(
        "price",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("item_code", sa.Text(), nullable=False),
        sa.Column("scope_kind", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("price_fen", sa.BigInteger(), nullable=False),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("valid_to", sa.Date(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("scope_kind in ('hospital', 'region', 'tier')", name=op.f("ck_price_scope_kind")),
        sa.CheckConstraint("price_fen >= 0", name=op.f("ck_price_price_fen")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_price")),
        sa.UniqueConstraint(
            "item_code", "scope_kind", "scope", "valid_from", name=op.f("uq_price_item_code")
        ),
    )
    op.create_table(
        "region",
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_en", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("mark_name", sa.Text(), nullable=False),
        sa.Column("parent_code", sa.Text(), nullable=True),
        sa.Column("members", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.ForeignKeyConstraint(["parent_code"], ["region.code"], name=op.f("fk_region_parent_code_region")),
        sa.PrimaryKeyConstraint("code", name=op.f("pk_region")),
    )
    op.create_table(
        "hospital",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("tier", sa.SmallInteger(), nullable=False),
        sa.Column("region_code", sa.Text(), nullable=False),
        sa.Column("consortia", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("active", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("tier between 1 and 3", name=op.f("ck_hospital_tier")),
        sa.ForeignKeyConstraint(
            ["region_code"], ["region.code"], name=op.f("fk_hospital_region_code_region")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hospital")),
        sa.UniqueConstraint("code", name=op.f("uq_hospital_code")),
    )
    op.create_table(
        "alias",
        sa.Column("hospital_id", sa.BigInteger(), nullable=False),
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("person_id", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["hospital_id"], ["hospital.id"], name=op.f("fk_alias_hospital_id_hospital")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_alias_person_id_person")),
        sa.PrimaryKeyConstraint("hospital_id", "patient_id", name=op.f("pk_alias")),
    )
    op.create_index("ix_alias_person_id", "alias", ["person_id"], unique=False)
    op.create_table(
        "audit_event",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("hospital_id", sa.BigInteger(), nullable=True),
        sa.Column("person_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "detail",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["hospital_id"], ["hospital.id"], name=op.f("fk_audit_event_hospital_id_hospital")
        ),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_audit_event_person_id_person")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_event")),
    )
    op.create_index("ix_audit_event_person_id", "audit_event", ["person_id"], unique=False)
    op.create_table(
        "idempotency",
        sa.Column("hospital_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("body_sha256", sa.Text(), nullable=False),
        sa.Column("answer", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["hospital_id"], ["hospital.id"], name=op.f("fk_idempotency_hospital_id_hospital")
        ),
        sa.PrimaryKeyConstraint("hospital_id", "key", name=op.f("pk_idempotency")),
    )
    op.create_table(
        "local_code",
        sa.Column("hospital_id", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("item_code", sa.Text(), nullable=False),
        sa.Column("laterality", sa.Text(), nullable=True),
        sa.Column("body_part", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["hospital_id"], ["hospital.id"], name=op.f("fk_local_code_hospital_id_hospital")
        ),
        sa.PrimaryKeyConstraint("hospital_id", "code", name=op.f("pk_local_code")),
    )
    op.create_table(
        "monthly",
        sa.Column("hospital_id", sa.BigInteger(), nullable=False),
        sa.Column("item_code", sa.Text(), nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("own_hospital", sa.Boolean(), nullable=False),
        sa.Column("emergency", sa.Boolean(), nullable=False),
        sa.Column("reminders", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("recognised", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("beyond_duty", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("refused", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("excused", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("undone", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("unpriced", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("saved_fen", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("reversed_fen", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["hospital_id"], ["hospital.id"], name=op.f("fk_monthly_hospital_id_hospital")
        ),
        sa.PrimaryKeyConstraint(
            "hospital_id", "item_code", "month", "own_hospital", "emergency", name=op.f("pk_monthly")
        ),
    )
    op.create_table(
        "order_check",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("hospital_id", sa.BigInteger(), nullable=False),
        sa.Column("person_id", sa.BigInteger(), nullable=True),
        sa.Column("department", sa.Text(), nullable=False),
        sa.Column("urgency", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("given", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("answer in ('complete', 'incomplete')", name=op.f("ck_order_check_answer")),
        sa.ForeignKeyConstraint(
            ["hospital_id"], ["hospital.id"], name=op.f("fk_order_check_hospital_id_hospital")
        ),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_order_check_person_id_person")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_order_check")),
        sa.UniqueConstraint("number", name=op.f("uq_order_check_number")),
    )
    op.create_table(
        "peer",
        sa.Column("ae_title", sa.Text(), nullable=False),
        sa.Column("hospital_id", sa.BigInteger(), nullable=False),
        sa.Column("addresses", sa.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("active", sa.Boolean(), server_default="true", nullable=False),
        sa.ForeignKeyConstraint(["hospital_id"], ["hospital.id"], name=op.f("fk_peer_hospital_id_hospital")),
        sa.PrimaryKeyConstraint("ae_title", name=op.f("pk_peer")),
    )
    op.create_table(
        "qc_evaluation",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("hospital_id", sa.BigInteger(), nullable=False),
        sa.Column("item_code", sa.Text(), nullable=True),
        sa.Column("item_group", sa.Text(), nullable=True),
        sa.Column("scope_code", sa.Text(), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("valid_to", sa.Date(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "(item_code is null) <> (item_group is null)", name=op.f("ck_qc_evaluation_item_or_group")
        ),
        sa.CheckConstraint("valid_from <= valid_to", name=op.f("ck_qc_evaluation_days")),
        sa.ForeignKeyConstraint(
            ["hospital_id"], ["hospital.id"], name=op.f("fk_qc_evaluation_hospital_id_hospital")
        ),
        sa.ForeignKeyConstraint(
            ["scope_code"], ["region.code"], name=op.f("fk_qc_evaluation_scope_code_region")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_qc_evaluation")),
    )
    op.create_index("ix_qc_evaluation_hospital_id", "qc_evaluation", ["hospital_id"], unique=False)
    op.create_table(
        "study",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("hospital_id", sa.BigInteger(), nullable=False),
        sa.Column("person_id", sa.BigInteger(), nullable=True),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("patient_name", sa.Text(), nullable=False),
        sa.Column("name_rule", sa.Text(), nullable=False),
        sa.Column("birth_date", sa.Date(), nullable=True),
        sa.Column("sex", sa.Text(), nullable=False),
        sa.Column("accession_number", sa.Text(), nullable=False),
        sa.Column("exam_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("exam_time_source", sa.Text(), nullable=False),
        sa.Column("modalities", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("facts", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("unmapped_reason", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("series_count", sa.Integer(), nullable=False),
        sa.Column("instance_count", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("images_complete", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("quality_flagged", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("uid_conflict", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("withdrawn", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("first_received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_received_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("identity in ('linked', 'doubtful', 'unlinked')", name=op.f("ck_study_identity")),
        sa.ForeignKeyConstraint(["hospital_id"], ["hospital.id"], name=op.f("fk_study_hospital_id_hospital")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_study_person_id_person")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_study")),
        sa.UniqueConstraint("uid", name=op.f("uq_study_uid")),
    )
    op.create_index("ix_study_hospital_patient", "study", ["hospital_id", "patient_id"], unique=False)
    op.create_index("ix_study_person_id", "study", ["person_id"], unique=False)
    op.create_table(
        "identity_hold",
        sa.Column("person_id", sa.BigInteger(), nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("reasons", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("state", sa.Text(), server_default="open", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_identity_hold_person_id_person")),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_identity_hold_study_id_study")),
        sa.PrimaryKeyConstraint("person_id", "study_id", name=op.f("pk_identity_hold")),
    )
    op.create_table(
        "pack",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("sidecar_key", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("instance_count", sa.Integer(), nullable=False),
        sa.Column("series", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "registered_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.CheckConstraint("role in ('archive', 'conflict')", name=op.f("ck_pack_role")),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_pack_study_id_study")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pack")),
        sa.UniqueConstraint("key", name=op.f("uq_pack_key")),
    )
    op.create_index("ix_pack_study_id", "pack", ["study_id"], unique=False)
    op.create_table(
        "result",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("person_id", sa.BigInteger(), nullable=True),
        sa.Column("study_id", sa.BigInteger(), nullable=True),
        sa.Column("hospital_id", sa.BigInteger(), nullable=False),
        sa.Column("item_code", sa.Text(), nullable=False),
        sa.Column("laterality", sa.Text(), nullable=True),
        sa.Column("body_part", sa.Text(), nullable=True),
        sa.Column("exam_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.Text(), server_default="active", nullable=False),
        sa.Column("confidence", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("explanation", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("status in ('active', 'superseded', 'withdrawn')", name=op.f("ck_result_status")),
        sa.ForeignKeyConstraint(
            ["hospital_id"], ["hospital.id"], name=op.f("fk_result_hospital_id_hospital")
        ),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_result_person_id_person")),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_result_study_id_study")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_result")),
    )
    op.create_index(
        "ix_result_person_item_time",
        "result",
        ["person_id", "item_code", sa.literal_column("exam_time desc")],
        unique=False,
    )
    op.create_index("ix_result_study_id", "result", ["study_id"], unique=False)
    op.create_table(
        "conflict",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("pack_id", sa.BigInteger(), nullable=False),
        sa.Column("hospital_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("SOPInstanceUID", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("first_sha256", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), server_default="open", nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["hospital_id"], ["hospital.id"], name=op.f("fk_conflict_hospital_id_hospital")
        ),
        sa.ForeignKeyConstraint(["pack_id"], ["pack.id"], name=op.f("fk_conflict_pack_id_pack")),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_conflict_study_id_study")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_conflict")),
        sa.UniqueConstraint("study_id", "SOPInstanceUID", "sha256", name=op.f("uq_conflict_study_id")),
    )
    op.create_table(
        "decision",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("check_id", sa.Uuid(), nullable=False),
        sa.Column("hospital_id", sa.BigInteger(), nullable=False),
        sa.Column("order_number", sa.Text(), nullable=False),
        sa.Column("person_id", sa.BigInteger(), nullable=False),
        sa.Column("item_code", sa.Text(), nullable=False),
        sa.Column("laterality", sa.Text(), nullable=True),
        sa.Column("body_part", sa.Text(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("result_id", sa.BigInteger(), nullable=True),
        sa.Column("issuing_hospital_id", sa.BigInteger(), nullable=True),
        sa.Column("reason_code", sa.Text(), nullable=True),
        sa.Column("reason_text", sa.Text(), nullable=True),
        sa.Column("explained_to_patient", sa.Boolean(), nullable=True),
        sa.Column("counts_as_refusal", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("beyond_duty", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("own_hospital", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("emergency", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("price_fen", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("price_id", sa.BigInteger(), nullable=True),
        sa.Column("undoes_id", sa.BigInteger(), nullable=True),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("business_date", sa.Date(), nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.CheckConstraint("action in ('recognise', 'override', 'undo')", name=op.f("ck_decision_action")),
        sa.ForeignKeyConstraint(
            ["check_id"], ["order_check.id"], name=op.f("fk_decision_check_id_order_check")
        ),
        sa.ForeignKeyConstraint(
            ["hospital_id"], ["hospital.id"], name=op.f("fk_decision_hospital_id_hospital")
        ),
        sa.ForeignKeyConstraint(
            ["issuing_hospital_id"], ["hospital.id"], name=op.f("fk_decision_issuing_hospital_id_hospital")
        ),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_decision_person_id_person")),
        sa.ForeignKeyConstraint(["price_id"], ["price.id"], name=op.f("fk_decision_price_id_price")),
        sa.ForeignKeyConstraint(["result_id"], ["result.id"], name=op.f("fk_decision_result_id_result")),
        sa.ForeignKeyConstraint(["undoes_id"], ["decision.id"], name=op.f("fk_decision_undoes_id_decision")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decision")),
        sa.UniqueConstraint("undoes_id", name=op.f("uq_decision_undoes_id")),
    )
    op.create_index("ix_decision_hospital_order", "decision", ["hospital_id", "order_number"], unique=False)
    op.create_index("ix_decision_person_id", "decision", ["person_id"], unique=False)
    op.create_table(
        "ledger",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("decision_id", sa.BigInteger(), nullable=False),
        sa.Column("person_id", sa.BigInteger(), nullable=False),
        sa.Column("hospital_id", sa.BigInteger(), nullable=False),
        sa.Column("item_code", sa.Text(), nullable=False),
        sa.Column("amount_fen", sa.BigInteger(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("cause_id", sa.BigInteger(), nullable=True),
        sa.Column("business_date", sa.Date(), nullable=False),
        sa.Column("posted_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "case kind when 'reversal' then amount_fen <= 0 else amount_fen >= 0 end",
            name=op.f("ck_ledger_sign"),
        ),
        sa.CheckConstraint("kind in ('saving', 'reversal', 'reinstatement')", name=op.f("ck_ledger_kind")),
        sa.ForeignKeyConstraint(
            ["decision_id"], ["decision.id"], name=op.f("fk_ledger_decision_id_decision")
        ),
        sa.ForeignKeyConstraint(
            ["hospital_id"], ["hospital.id"], name=op.f("fk_ledger_hospital_id_hospital")
        ),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_ledger_person_id_person")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger")),
    )
    op.create_index("ix_ledger_business_date", "ledger", ["business_date"], unique=False)
    op.create_index("ix_ledger_decision_id", "ledger", ["decision_id"], unique=False)
    op.create_table(
        "ordered_item",
        sa.Column("hospital_id", sa.BigInteger(), nullable=False),
        sa.Column("order_number", sa.Text(), nullable=False),
        sa.Column("person_id", sa.BigInteger(), nullable=False),
        sa.Column("item_code", sa.Text(), nullable=False),
        sa.Column("first_check_id", sa.Uuid(), nullable=False),
        sa.Column("business_date", sa.Date(), nullable=False),
        sa.Column("emergency", sa.Boolean(), nullable=False),
        sa.Column("own_hospital", sa.Boolean(), nullable=False),
        sa.Column("reminder", sa.Boolean(), nullable=False),
        sa.Column("standing_decision_id", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["first_check_id"], ["order_check.id"], name=op.f("fk_ordered_item_first_check_id_order_check")
        ),
        sa.ForeignKeyConstraint(
            ["hospital_id"], ["hospital.id"], name=op.f("fk_ordered_item_hospital_id_hospital")
        ),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_ordered_item_person_id_person")),
        sa.ForeignKeyConstraint(
            ["standing_decision_id"],
            ["decision.id"],
            name=op.f("fk_ordered_item_standing_decision_id_decision"),
        ),
        sa.PrimaryKeyConstraint("hospital_id", "order_number", name=op.f("pk_ordered_item")),
    )
    op.execute(
        """
        create function refuse_change() returns trigger language plpgsql as $$
        begin
          raise exception '% is append-only', tg_table_name using errcode = 'integrity_constraint_violation';
        end $$
        """
    )
    for table in APPEND_ONLY:
        op.execute(
            f"create trigger append_only before update or delete or truncate on {table} "
            "for each statement execute function refuse_change()"
        )


def downgrade() -> None:
    """Take back."""
    for table in APPEND_ONLY:
        op.execute(f"drop trigger append_only on {table}")
    op.execute("drop function refuse_change()")
    op.drop_table("ordered_item")
    op.drop_index("ix_ledger_decision_id", table_name="ledger")
    op.drop_index("ix_ledger_business_date", table_name="ledger")
    op.drop_table("ledger")
    op.drop_index("ix_decision_person_id", table_name="decision")
    op.drop_index("ix_decision_hospital_order", table_name="decision")
    op.drop_table("decision")
    op.drop_table("conflict")
    op.drop_index("ix_result_study_id", table_name="result")
    op.drop_index("ix_result_person_item_time", table_name="result")
    op.drop_table("result")
    op.drop_index("ix_pack_study_id", table_name="pack")
    op.drop_table("pack")
    op.drop_table("identity_hold")
    op.drop_index("ix_study_person_id", table_name="study")
    op.drop_index("ix_study_hospital_patient", table_name="study")
    op.drop_table("study")
    op.drop_index("ix_qc_evaluation_hospital_id", table_name="qc_evaluation")
    op.drop_table("qc_evaluation")
    op.drop_table("peer")
    op.drop_table("order_check")
    op.drop_table("monthly")
    op.drop_table("local_code")
    op.drop_table("idempotency")
    op.drop_index("ix_audit_event_person_id", table_name="audit_event")
    op.drop_table("audit_event")
    op.drop_index("ix_alias_person_id", table_name="alias")
    op.drop_table("alias")
    op.drop_table("hospital")
    op.drop_table("region")
    op.drop_table("price")
    op.drop_table("person")
