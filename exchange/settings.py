"""Settings of the HTTP service, read once by the composition root."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class ExchangeSettings(BaseSettings):
    """Where the service listens and how long and how much it lets a caller ask."""

    model_config = SettingsConfigDict(env_prefix="HUREN_", frozen=True, extra="ignore")

    http_host: str = "127.0.0.1"
    http_port: int = Field(default=8080, ge=0, le=65535)
    check_seconds: float = Field(default=1.5, gt=0, le=30)
    check_threads: int = Field(default=32, ge=1, le=256)
    body_limit_bytes: int = Field(default=1 << 20, ge=1024)
    fhir_body_limit_bytes: int = Field(default=32 << 20, ge=1024)
    public_url: str = Field(default="http://127.0.0.1:8080", pattern=r"^https?://[^/?#]+[^?#]*[^/?#]$")
    cds_seconds: float = Field(default=0.3, gt=0, le=30)
    cds_body_limit_bytes: int = Field(default=4 << 20, ge=1024)
    cds_origins: tuple[str, ...] = ()
    cds_jku_hosts: tuple[str, ...] = ()
    cds_page_url: str = Field(default="", pattern=r"^$|^https?://[^?#]+[^/?#]$")
    cds_smart_url: str = Field(default="", pattern=r"^$|^https?://")
    cds_identifier_systems: dict[str, str] = {"urn:oid:2.16.156.10011.1.3": "01"}
