"""Settings of the receiving node, read once from the environment (prefix `HUREN_DICOM_`)."""

import os
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class NodeSettings(BaseSettings):
    """How the node listens and what it allows; frozen. Times in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(env_prefix="HUREN_DICOM_", frozen=True)

    # where it listens, and under which titles
    host: str = "127.0.0.1"
    port: int = Field(default=11112, ge=0, le=65535)  # 0 picks a free one
    called_ae_titles: tuple[str, ...] = ("HUREN",)
    workers: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)

    # TLS (PS3.15 Annex B.12, BCP 195): on where a certificate is named; peers prove themselves with theirs
    tls_port: int = Field(default=2762, ge=0, le=65535)
    tls_certificate: Path | None = None  # PEM, with its chain
    tls_key: Path | None = None
    tls_authorities: Path | None = None  # PEM, who may sign the peers' certificates
    tls_revocations: Path | None = None  # PEM, lists of certificates that count no more

    # how many associations at once, over all workers
    max_associations: int = Field(default=200, ge=1)
    max_associations_per_address: int = Field(default=50, ge=1)
    max_associations_per_hospital: int = Field(default=50, ge=1)

    # how long a peer may take; after its first byte a message lives on a lease that bytes renew
    association_seconds: float = Field(default=8.0, gt=0)  # connect → whole A-ASSOCIATE-RQ
    idle_seconds: float = Field(default=300.0, gt=0)  # between messages
    grace_seconds: float = Field(default=30.0, gt=0)  # the lease at its fullest
    min_bytes_per_second: float = Field(default=4096.0, gt=0)
    artim_seconds: float = Field(default=5.0, gt=0)  # PS3.8 §9.1.5
    drain_seconds: float = Field(default=8.0, gt=0)  # SIGTERM → the last association is cut

    # PDU lengths: what is offered, and where the line is cut (some senders overrun what was negotiated)
    max_pdu_bytes: int = Field(default=262_144, ge=4096)
    pdu_limit_before_acceptance_bytes: int = Field(default=1 << 20, ge=4096)
    pdu_limit_bytes: int = Field(default=8 << 20, ge=4096)

    # the spool
    pack_limit_bytes: int = Field(default=64 << 20, ge=1)
    low_water_bytes: int = Field(default=256 << 20, ge=0)
    low_water_inodes: int = Field(default=1000, ge=0)
