"""Settings of the HTTP service, read once by the composition root."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

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

    @property
    def address(self) -> str:
        """Return the address of the service as callers know it: what their assertions must be meant for."""
        return self.public_url or f"http://{self.http_host}:{self.http_port}"

    def identity_providers(self) -> list[IssuerRule]:
        """Return the configured providers, of the environment and of the file. Raises InvalidInput."""
        return [*self.issuers, *(read_issuers(self.issuers_file) if self.issuers_file else [])]
