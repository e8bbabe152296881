"""The addresses of the services, the deadlines of calls, and the options of channels."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Every cheap call of the contract that is safe to retry. gRPC retries it by itself when no server
# answers, or when a busy server says when to try again.
# Left out: WatchItems, WatchPopularity and WatchErasures, whose callers resume from their revision,
# and ImportEvents, whose caller goes on after the last batch that was answered; and CommitStage,
# which is refused where it was done before.
_RETRIED = {
    "groundswell.common.v1.ModelService": ("GetModel",),
    "groundswell.profile.v1.CatalogueService": (
        "UpsertItems",
        "StageItems",
        "DropStage",
        "DeleteItems",
        "GetItem",
        "ListItems",
    ),
    "groundswell.profile.v1.EventService": ("AppendEvents", "ListEvents", "LinkSession"),
    "groundswell.profile.v1.OutcomeService": (
        "RecordLists",
        "RecordImpressions",
        "GetImpressions",
    ),
    "groundswell.profile.v1.ProfileService": ("GetProfile", "RefreshProfiles"),
    "groundswell.profile.v1.TextService": ("PredictInterests",),
    "groundswell.ranker.v1.RankerService": ("Recommend", "SimilarItems", "GetInterests"),
    "groundswell.session.v1.SessionService": ("RecordEvents", "EncodeSession", "LinkSession"),
}
# Each of these calls costs as much as hundreds of others: one more try, after a longer wait.
_RETRIED_ONCE = {
    "groundswell.profile.v1.OutcomeService": ("GetOutcomes", "EstimatePolicy"),
    "groundswell.profile.v1.ProfileService": ("BatchGetProfiles", "ExplainProfile"),
    "groundswell.profile.v1.TextService": ("EncodeTexts",),
    "groundswell.profile.v1.UserDataService": ("EraseUser", "ExportUser"),
    "groundswell.ranker.v1.RankerService": (
        "BatchRecommend",
        "RecommendCategories",
        "ExplainItem",
        "ReplayRecommend",
    ),
    "groundswell.session.v1.SessionService": ("BatchEncodeSessions",),
}
# RESOURCE_EXHAUSTED: servers of the suite add when to try again, or not to.
_RETRIED_STATUSES = ["UNAVAILABLE", "RESOURCE_EXHAUSTED"]
# A failure takes one token, a success gives a tenth back; with less than half of the tokens no call
# is tried again. So in an outage the number of calls grows little.
_RETRY_THROTTLING = {"maxTokens": 10, "tokenRatio": 0.1}

# Servers of the suite send less; a proxy or an earlier release may not.
MAX_RECEIVED_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Targets:
    """The addresses of the three services, as gRPC writes them ("host:port", "dns:///name:port").

    The defaults are those of `groundswell up`.
    """

    ranker: str = "127.0.0.1:50053"
    session: str = "127.0.0.1:50052"
    profile: str = "127.0.0.1:50051"


@dataclass(frozen=True)
class Deadlines:
    """How many seconds a call may take, retries included, when it does not say so itself."""

    read_s: float = 2.0
    write_s: float = 5.0
    # Batches of requests, events or items, texts to encode.
    bulk_s: float = 30.0
    # A whole import, or waiting for the encoder.
    stream_s: float = 3600.0


def channel_options(*, http_proxy: bool = False) -> list[tuple[str, int | str]]:
    """The options of every channel of the client."""
    return [
        # gRPC itself would ask the proxy of the environment even for the loopback address.
        ("grpc.enable_http_proxy", int(http_proxy)),
        ("grpc.service_config", json.dumps(service_config())),
        ("grpc.primary_user_agent", "groundswell-python"),
        # Not faster than the servers permit, which is every 10 s.
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # Without it gRPC waits a minute for the answer to a ping of keepalive.
        ("grpc.http2.ping_timeout_ms", 10_000),
        ("grpc.max_receive_message_length", MAX_RECEIVED_BYTES),
        # A server that comes back is found within seconds, not after gRPC's two minutes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 500),
        ("grpc.max_reconnect_backoff_ms", 2_000),
    ]


def service_config() -> dict[str, Any]:
    """The service config of every channel: which calls gRPC tries again, and when."""
    often = {
        "maxAttempts": 4,
        "initialBackoff": "0.1s",
        "maxBackoff": "1s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": _RETRIED_STATUSES,
    }
    once = {**often, "maxAttempts": 2, "initialBackoff": "1s"}
    return {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [
            {"name": _names(_RETRIED), "retryPolicy": often},
            {"name": _names(_RETRIED_ONCE), "retryPolicy": once},
        ],
        "retryThrottling": _RETRY_THROTTLING,
    }


def _names(methods: Mapping[str, tuple[str, ...]]) -> list[dict[str, str]]:
    return [
        {"service": service, "method": name} for service, names in methods.items() for name in names
    ]
