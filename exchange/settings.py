"""Settings of the HTTP service, read once by the composition root."""

import ipaddress
import ssl
import sys
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from catalog.errors import InvalidInput
from catalog.outbound import Outbound
from catalog.settings import Environment
from exchange.connection import ConnectionLimits
from exchange.issuers import IssuerRule, read_issuers, refuse_doubles
from exchange.upload import UploadLimits


class ExchangeSettings(BaseSettings):
    """Where the service listens, how long and how much it lets a caller ask, and where it may connect of itself."""

    model_config = SettingsConfigDict(env_prefix="HUREN_", frozen=True, extra="ignore")

    env: Environment = "production"
    demo: bool = False  # every page says that all it shows is invented
    viewer_dir: Path = Path(sys.prefix) / "share/huren/viewer"  # with a folder for each version of it
    http_host: str = "127.0.0.1"
    http_port: int = Field(default=8080, ge=0, le=65535)
    public_url: str = Field(default="", pattern=r"^(https?://[^/?#]+)?$")  # as callers reach it
    totp_required: bool = True  # a local account without a second factor can do nothing but get one
    issuers: tuple[IssuerRule, ...] = ()
    issuers_file: Path | None = None
    check_seconds: float = Field(default=1.2, gt=0, le=30)
    check_connections: int = Field(default=16, ge=1, le=256)
    checks_at_once: int = Field(default=4, ge=1, le=256)  # more only where these hang
    check_threads: int = Field(default=8, ge=1, le=256)
    body_limit_bytes: int = Field(default=1 << 20, ge=1024)
    fhir_body_limit_bytes: int = Field(default=32 << 20, ge=1024)

    # connections, and requests at once; addresses do not count where everybody comes through one proxy
    http_connections: int = Field(default=4096, ge=1)
    http_connections_per_address: int = Field(default=256, ge=0)
    http_head_seconds: float = Field(default=10.0, gt=0)
    http_grace_seconds: float = Field(default=10.0, gt=0)
    http_least_bytes_per_second: int = Field(default=1024, ge=1)
    http_body_seconds: float = Field(default=120.0, gt=0)  # from its first byte to its last
    http_bodies_bytes: int = Field(default=256 << 20, ge=32 << 20)  # all that are held, together
    http_requests_at_once: int = Field(default=512, ge=1)
    http_request_seconds: float = Field(default=20.0, gt=0)
    http_documents_bytes: int = Field(default=256 << 20, ge=20 << 20)  # all that are being read, together

    # images handed in by STOW-RS: None means only where `huren up` starts the node and the shipper beside it
    stow: bool | None = None
    stow_body_limit_bytes: int = Field(default=16 << 30, ge=1024)
    stow_parts: int = Field(default=10_000, ge=1, le=100_000)
    stow_seconds: float = Field(default=3600.0, gt=0)  # from the first byte to the last
    stow_grace_seconds: float = Field(default=10.0, gt=0)  # without a byte; http_grace_seconds holds as well
    stow_least_bytes_per_second: int = Field(default=16 << 10, ge=1)
    stow_at_once: int = Field(default=16, ge=1, le=256)
    stow_at_once_per_hospital: int = Field(default=8, ge=1, le=256)

    # requests of one caller: so many at once, then so many a second; 0 a second means no limit
    pace_per_second: float = Field(default=20.0, ge=0)
    pace_burst: int = Field(default=200, ge=1)
    pace_system_per_second: float = Field(default=500.0, ge=0)
    pace_system_burst: int = Field(default=2000, ge=1)
    pace_images_per_second: float = Field(default=500.0, ge=0)
    pace_images_burst: int = Field(default=5000, ge=1)

    image_cache_bytes: int = Field(default=1 << 30, ge=0)  # of a file without a name
    image_cache_dir: Path | None = None  # else where the system keeps temporary files
    pictures_at_once: int = Field(default=2, ge=1, le=64)  # a process each
    image_grant_minutes: int = Field(default=30, ge=1, le=480)  # how long a link to images holds

    # different patients one caller asked for within an hour: from here on it is an alarm, from there on refused
    harvest_alarm_people: int = Field(default=120, ge=1)
    harvest_limit_people: int = Field(default=600, ge=1)
    harvest_system_alarm_people: int = Field(default=5_000, ge=1)
    harvest_system_limit_people: int = Field(default=50_000, ge=1)

    webhook_hosts: str = ""  # "hooks.a.example, hooks.b.example:8443"
    webhook_networks: str = ""  # besides public addresses: "10.20.0.0/16"
    webhook_authorities: Path | None = None  # PEM, besides the system's own
    webhook_seconds: float = Field(default=10.0, gt=0, le=60)
    cds_seconds: float = Field(default=0.3, gt=0, le=30)
    cds_body_limit_bytes: int = Field(default=4 << 20, ge=1024)
    cds_origins: tuple[str, ...] = ()
    cds_jku_hosts: tuple[str, ...] = ()
    cds_page_url: str = Field(default="", pattern=r"^$|^https?://[^?#]+[^/?#]$")
    cds_smart_url: str = Field(default="", pattern=r"^$|^https?://")
    cds_identifier_systems: dict[str, str] = {"urn:oid:2.16.156.10011.1.3": "01"}

    @property
    def address(self) -> str:
        """Return the address of the service as callers know it: what their assertions must be meant for."""
        return self.public_url or f"http://{self.http_host}:{self.http_port}"

    def identity_providers(self) -> list[IssuerRule]:
        """Return the configured providers, of the environment and of the file. Raises InvalidInput."""
        rules = [*self.issuers, *(read_issuers(self.issuers_file) if self.issuers_file else [])]
        refuse_doubles(rules)
        return rules

    def connection_limits(self) -> ConnectionLimits:
        """Return what one HTTP connection may take."""
        return ConnectionLimits(
            head_seconds=self.http_head_seconds,
            grace_seconds=self.http_grace_seconds,
            least_bytes_per_second=self.http_least_bytes_per_second,
            per_address=self.http_connections_per_address,
            total=self.http_connections,
        )

    def upload_limits(self) -> UploadLimits:
        """Return what one upload of images may take."""
        return UploadLimits(
            body_bytes=self.stow_body_limit_bytes,
            parts=self.stow_parts,
            seconds=self.stow_seconds,
            grace_seconds=self.stow_grace_seconds,
            least_bytes_per_second=self.stow_least_bytes_per_second,
        )

    def outbound(self) -> Outbound:
        """Return where webhooks may go. Raises InvalidInput for a network or file of authorities that is none."""
        try:
            networks = tuple(ipaddress.ip_network(text) for text in _parts(self.webhook_networks))
        except ValueError as error:
            raise InvalidInput(
                "HUREN_WEBHOOK_NETWORKS 应为网段,以逗号分隔",
                "HUREN_WEBHOOK_NETWORKS takes networks, with commas between",
                field="webhook_networks",
            ) from error
        return Outbound(
            hosts=frozenset(text.lower() for text in _parts(self.webhook_hosts)),
            networks=networks,
            https_only=self.env == "production",
            seconds=self.webhook_seconds,
            trust=self._trust(),
        )

    def _trust(self) -> ssl.SSLContext | None:
        if self.webhook_authorities is None:
            return None
        trust = ssl.create_default_context()
        try:
            trust.load_verify_locations(self.webhook_authorities)
        except (OSError, ssl.SSLError) as error:
            raise InvalidInput(
                "HUREN_WEBHOOK_AUTHORITIES 应为 PEM 文件",
                "HUREN_WEBHOOK_AUTHORITIES should be a PEM file",
                field="webhook_authorities",
            ) from error
        return trust


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
