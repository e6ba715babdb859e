"""Settings of the stores, read once from the environment (prefix HUREN_) by the composition root."""

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from catalog.errors import InvalidInput
from catalog.plausibility import Thresholds

Environment = Literal["production", "test", "demo"]


@dataclass(frozen=True, slots=True)
class S3Access:
    """Where an object store is and how to sign for it; `endpoint` always carries its scheme."""

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    bucket: str = "huren"
    region: str = "us-east-1"

    @property
    def secure(self) -> bool:
        """Return whether the store is spoken to in TLS."""
        return self.endpoint.startswith("https://")

    @property
    def address(self) -> str:
        """Return host and port without the scheme."""
        return urlsplit(self.endpoint).netloc


class Settings(BaseSettings):
    """Which database and object store are used; what is not named is embedded."""

    model_config = SettingsConfigDict(env_prefix="HUREN_", frozen=True, extra="ignore", env_ignore_empty=True)

    env: Environment = "production"
    test_clock_file: Path | None = None
    database_url: str | None = None  # as huren_worker; the two below default to it
    api_database_url: str | None = None  # as huren_api, for what serves HTTP
    owner_database_url: str | None = None  # whose the tables are, for `huren migrate`
    s3_endpoint: str | None = None
    s3_access_key: str | None = None
    s3_secret_key: SecretStr | None = None
    s3_bucket: str = "huren"
    s3_region: str = "us-east-1"
    # a second key to another bucket, for the head of the audit's chain (catalog.audit_anchor)
    audit_s3_endpoint: str | None = None
    audit_s3_access_key: str | None = None
    audit_s3_secret_key: SecretStr | None = None
    audit_s3_bucket: str = "huren-audit"
    folder_wait_seconds: float = Field(default=30.0, ge=0)  # for another process to leave the data folder
    # how long a study waits for more of its images (catalog.completeness)
    quiet_minutes: float = Field(default=10.0, ge=0)
    complete_within_hours: float = Field(default=24.0, ge=0)
    question_thresholds: Thresholds = Thresholds()  # as JSON; what it does not name has its default
    supply_minutes: float = Field(default=15.0, gt=0)  # between two counts of what hospitals bring
    publication_least_count: int = Field(default=5, ge=3, le=100)  # smaller ones are withheld from outsiders

    def s3_access(self) -> S3Access | None:
        """Return the named object store, or None where the embedded one is to be used.

        Raises InvalidInput where an endpoint is named without both of its keys, or is no HTTP address.
        """
        if self.s3_endpoint is None:
            return None
        if not self.s3_access_key or self.s3_secret_key is None:
            raise InvalidInput(
                "设置了 HUREN_S3_ENDPOINT,还需设置 HUREN_S3_ACCESS_KEY 和 HUREN_S3_SECRET_KEY",
                "HUREN_S3_ENDPOINT is set; set HUREN_S3_ACCESS_KEY and HUREN_S3_SECRET_KEY as well",
                field="s3_access_key",
            )
        return S3Access(
            with_scheme(self.s3_endpoint),
            self.s3_access_key,
            self.s3_secret_key.get_secret_value(),
            self.s3_bucket,
            self.s3_region,
        )

    def audit_s3_access(self) -> S3Access | None:
        """Return where the audit's head is anchored, or None where no key for it is named.

        Raises InvalidInput where only one half of the key is named, or the endpoint is no HTTP address.
        """
        endpoint = self.audit_s3_endpoint or self.s3_endpoint
        if not (self.audit_s3_access_key or self.audit_s3_secret_key):
            return None
        if not self.audit_s3_access_key or self.audit_s3_secret_key is None or endpoint is None:
            raise InvalidInput(
                "HUREN_AUDIT_S3_ACCESS_KEY、HUREN_AUDIT_S3_SECRET_KEY 和存储地址须同时设置",
                "HUREN_AUDIT_S3_ACCESS_KEY, HUREN_AUDIT_S3_SECRET_KEY and an endpoint go together",
                field="audit_s3_access_key",
            )
        return S3Access(
            with_scheme(endpoint),
            self.audit_s3_access_key,
            self.audit_s3_secret_key.get_secret_value(),
            self.audit_s3_bucket,
            self.s3_region,
        )


def with_scheme(endpoint: str) -> str:
    """Return `endpoint` as scheme://host[:port]; a bare host is TLS unless it is this machine.

    Raises InvalidInput where it is no address of an HTTP server.
    """
    try:
        parts = urlsplit(endpoint if "://" in endpoint else f"//{endpoint}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or parts.scheme not in ("", "http", "https") or parts.path.strip("/") or parts.username:
        raise InvalidInput(
            "HUREN_S3_ENDPOINT 应形如 https://主机:端口",
            "HUREN_S3_ENDPOINT should look like https://host:port",
            field="s3_endpoint",
        )
    scheme = parts.scheme or ("http" if is_loopback(host) else "https")
    name = f"[{host}]" if ":" in host else host
    return f"{scheme}://{name}" + (f":{port}" if port else "")


def is_loopback(host: str) -> bool:
    """Return whether `host` is a name or address of this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
