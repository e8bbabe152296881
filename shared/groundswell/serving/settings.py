"""Settings that every process reads from the environment, once, at its start."""

import ipaddress
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from groundswell.contract.addresses import address_problem
from groundswell.serving.door_settings import PREFIX as PREFIX
from groundswell.serving.door_settings import CallerSettings, DoorSettings
from groundswell.serving.redaction import masked

EXIT_WRONG_SETTINGS = 2
MIN_SECRET_LENGTH = 16


def _checked_address(address: str) -> str:
    problem = address_problem(address)
    if problem is not None:
        raise ValueError(f"{masked(address)} is not an address: {problem}")
    return address


Address = Annotated[str, AfterValidator(_checked_address)]
"""Where another service listens: `HOST:PORT`, or a name that gRPC resolves."""


class SecretSettings(BaseSettings):
    """The secrets that users' keys are made with.

    A field `x` is the variable `GROUNDSWELL_X`.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    secret: Annotated[SecretStr, Field(min_length=MIN_SECRET_LENGTH)]
    """The deployment's newest secret, of at least 16 characters."""
    previous_secrets: SecretStr = SecretStr("")
    """The secrets that `secret` replaced, oldest first, separated by commas, or by line breaks
    where one holds a comma; each of at least 16 characters. They stay part of every user's key, so
    none may ever be left out. Empty by default: the secret was never changed. `docs/secrets.md`
    tells how to change it."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """All secrets of the deployment, oldest first."""
        previous = self.previous_secrets.get_secret_value()
        parts = previous.split("\n" if "\n" in previous else ",")
        replaced = [secret.strip() for secret in parts if secret.strip()]
        return (*replaced, self.secret.get_secret_value())

    @model_validator(mode="after")
    def _secrets_are_long_and_differ(self) -> Self:
        secrets = self.secrets
        if any(len(secret) < MIN_SECRET_LENGTH for secret in secrets):
            raise ValueError(
                f"{PREFIX}PREVIOUS_SECRETS: each secret must have at least {MIN_SECRET_LENGTH} "
                "characters; they are separated by commas or line breaks"
            )
        if len(set(secrets)) < len(secrets):
            raise ValueError(
                f"{PREFIX}PREVIOUS_SECRETS: a secret is named twice; it lists the secrets that "
                f"were replaced, oldest first, without {PREFIX}SECRET itself"
            )
        return self


class ServingSettings(DoorSettings, SecretSettings):
    """What every server needs; each service adds its own and gives `port` a default."""

    host: str = "127.0.0.1"
    """The address that the server listens on. The default is reached from this machine only."""
    port: Annotated[int, Field(ge=0, le=65535)]
    """The port that the server listens on; 0 takes any free port, which the log names."""
    bundles: Path
    """The folder of bundles, with its pointer `current`."""
    bundle_poll_s: Annotated[float, Field(gt=0)] = 2.0
    """The seconds between two reads of the pointer."""
    bundle_keep_s: Annotated[float, Field(gt=0)] = 300.0
    """How long an earlier bundle stays loaded after the last call that asked for it. The default is
    longer than a ranker needs to load a bundle."""
    max_bundles: Annotated[int, Field(ge=2)] = 4
    """Bundles that are held at most; one that is being loaded is not counted. Each takes memory for
    its models. The ranker always holds two."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """The lowest level that is logged. DEBUG has a line for each call, and texts of errors that may
    hold data of users."""
    log_format: Literal["json", "console"] = "json"
    """`json`: one object a line. `console`: for people."""
    reflection: bool | None = None
    """Whether the server lists its methods to gRPC tools, which need a token of an operator where
    tokens are checked. Unset: only where `host` is this machine."""
    allow_insecure: bool = False
    """Whether `host` may be reached from other machines, although calls are not encrypted, or no
    tokens are checked."""
    drain_wait_s: Annotated[float, Field(ge=0)] = 0.5
    """At the end: the seconds between NOT_SERVING and the refusal of new calls, so that load
    balancers see it."""
    drain_s: Annotated[float, Field(ge=0)] = 5.0
    """At the end: the seconds that calls in flight get to finish."""
    max_concurrent_rpcs: Annotated[int, Field(ge=1)] = 256
    """Calls in flight at most; more are refused."""
    max_streams: Annotated[int, Field(ge=1)] = 1024
    """Streams that are open at once; more are refused. They do not count as concurrent calls, since
    most of them wait. Health and reflection streams are counted apart, with the same bound."""
    max_streams_per_peer: Annotated[int, Field(ge=1)] = 256
    """The same for one connection, so that one client cannot use up the bound of all clients. A
    client that opens many connections is bound by `max_streams` alone."""
    max_pending_rpcs: Annotated[int, Field(ge=1)] = 256
    """Calls of one method that gRPC holds until the process accepts them. Above this number gRPC
    ends some at once with CANCELLED, and above twice this number all."""
    max_connection_age_s: Annotated[float, Field(gt=0)] = 600.0
    """How long a connection lasts. Clients then connect again, and so find new replicas."""
    metrics_port: Annotated[int, Field(ge=0, le=65535)] | None = None
    """The port of the metrics over HTTP, on `host`; unset: no metrics are served. With a
    certificate it is HTTPS. Where tokens are checked, a scrape needs one with the role `monitor` or
    `operator`."""
    traces: Annotated[float, Field(ge=0, le=1)] | None = None
    """The share of calls that are traced; where a caller says whether its call is, that decides.
    Unset: nothing is traced. It needs the extra `traces`, and the variables OTEL_* say where traces
    go (docs/operations.md)."""
    threads: Annotated[int, Field(ge=1)] = 1
    """Threads of one run of a model."""

    @property
    def address(self) -> str:
        """`host:port`, as gRPC writes it."""
        return self.address_of(self.port)

    def address_of(self, port: int) -> str:
        """The host with another port, with brackets around an IPv6 host."""
        return f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @model_validator(mode="after")
    def _insecure_only_on_loopback(self) -> Self:
        if not self.is_loopback and not self.allow_insecure and self.missing_of_door:
            raise ValueError(
                f"{PREFIX}HOST: {masked(self.host)} can be reached from outside, so calls need "
                f"{' and '.join(self.missing_of_door)}; set these, bind to 127.0.0.1, or set "
                f"{PREFIX}ALLOW_INSECURE=1 on a network that you trust"
            )
        return self


class CallingSettings(CallerSettings, ServingSettings):
    """What a service needs that calls the profile service."""

    profile_address: Address = "127.0.0.1:50051"
    """Where the profile service listens, as a gRPC target."""
    http_proxy: bool = False
    """Whether calls to other services use the proxy of the environment variable `http_proxy`. The
    default is no, since these calls mostly stay in one network."""


S = TypeVar("S", bound=BaseSettings)


def load_settings(cls: type[S]) -> S:
    """Read `cls` from the environment, or name every wrong variable and exit with status 2."""
    try:
        return cls()
    except ValidationError as error:
        lines = [_problem(dict(detail)) for detail in error.errors(include_input=False)]
    except SettingsError as error:
        lines = [f"{PREFIX}*: {error}"]
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    raise SystemExit(EXIT_WRONG_SETTINGS)


def _problem(detail: dict[str, Any]) -> str:
    message = str(detail["msg"]).removeprefix("Value error, ")
    if not detail["loc"]:
        return message
    variable = PREFIX + str(detail["loc"][0]).upper()
    return f"{variable}: {'is not set' if detail['type'] == 'missing' else message}"
