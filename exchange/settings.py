"""Settings of the HTTP service, read once by the composition root."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from exchange.connection import ConnectionLimits
from exchange.issuers import IssuerRule, read_issuers


class ExchangeSettings(BaseSettings):
    """Where the service listens and how long and how much it lets a caller ask."""

    model_config = SettingsConfigDict(env_prefix="HUREN_", frozen=True, extra="ignore")

    http_host: str = "127.0.0.1"
    http_port: int = Field(default=8080, ge=0, le=65535)
    public_url: str = Field(default="", pattern=r"^(https?://[^/?#]+)?$")  # as callers reach it
    totp_required: bool = True  # a local account without a second factor can do nothing but get one
    issuers: tuple[IssuerRule, ...] = ()
    issuers_file: Path | None = None
    check_seconds: float = Field(default=1.5, gt=0, le=30)
    check_threads: int = Field(default=32, ge=1, le=256)
    body_limit_bytes: int = Field(default=1 << 20, ge=1024)
    fhir_body_limit_bytes: int = Field(default=32 << 20, ge=1024)

    # connections, and requests at once; addresses do not count where everybody comes through one proxy
    http_connections: int = Field(default=4096, ge=1)
    http_connections_per_address: int = Field(default=256, ge=0)
    http_head_seconds: float = Field(default=10.0, gt=0)
    http_grace_seconds: float = Field(default=10.0, gt=0)
    http_least_bytes_per_second: int = Field(default=1024, ge=1)
    http_requests_at_once: int = Field(default=512, ge=1)
    http_request_seconds: float = Field(default=20.0, gt=0)

    # requests of one caller: so many at once, then so many a second; 0 a second means no limit
    pace_per_second: float = Field(default=20.0, ge=0)
    pace_burst: int = Field(default=200, ge=1)
    pace_system_per_second: float = Field(default=500.0, ge=0)
    pace_system_burst: int = Field(default=2000, ge=1)

    # different patients one caller asked for within an hour: from here on it is an alarm, from there on refused
    harvest_alarm_people: int = Field(default=120, ge=1)
    harvest_limit_people: int = Field(default=600, ge=1)
    harvest_system_alarm_people: int = Field(default=5_000, ge=1)
    harvest_system_limit_people: int = Field(default=50_000, ge=1)

    @property
    def address(self) -> str:
        """Return the address of the service as callers know it: what their assertions must be meant for."""
        return self.public_url or f"http://{self.http_host}:{self.http_port}"

    def identity_providers(self) -> list[IssuerRule]:
        """Return the configured providers, of the environment and of the file. Raises InvalidInput."""
        return [*self.issuers, *(read_issuers(self.issuers_file) if self.issuers_file else [])]

    def connection_limits(self) -> ConnectionLimits:
        """Return what one HTTP connection may take."""
        return ConnectionLimits(
            head_seconds=self.http_head_seconds,
            grace_seconds=self.http_grace_seconds,
            least_bytes_per_second=self.http_least_bytes_per_second,
            per_address=self.http_connections_per_address,
            total=self.http_connections,
        )
