"""The client needs grpcio and protobuf alone, and retries what the contracts call safe."""

import subprocess
import sys
import textwrap

from google.protobuf import descriptor_pool

from groundswell.client import channels
from groundswell.serving.errors import InvalidArgument, to_status

# A fresh interpreter that refuses every module but the standard library's, grpc's with what grpcio
# itself requires, protobuf's, and the client with the stubs.
ALONE = textwrap.dedent(
    """
    import importlib.abc
    import sys

    ALLOWED = ("grpc", "typing_extensions", "google", "groundswell")
    REFUSED = ("google.rpc", "google.api", "grpc_status", "groundswell.serving")

    class Refuse(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            top = name.partition(".")[0]
            allowed = top in sys.stdlib_module_names or top in ALLOWED
            if not allowed or name.startswith(REFUSED):
                raise ImportError(f"refused: {name}")
            return None

    sys.meta_path.insert(0, Refuse())
    for name in ("numpy", "google.rpc.status_pb2", "groundswell.serving.errors"):
        try:
            __import__(name)
        except ImportError as error:
            assert "refused" in str(error), error
        else:
            raise SystemExit(f"{name} was not refused")

    import grpc
    from groundswell.client import AsyncGroundswellClient, GroundswellClient, event
    from groundswell.client.errors import from_call

    # INVALID_ARGUMENT with ErrorInfo, BadRequest and RetryInfo, as a server of the suite packs it.
    packed = bytes.fromhex(sys.argv[1])
    error = from_call(
        grpc.StatusCode.INVALID_ARGUMENT, "m", (("grpc-status-details-bin", packed),)
    )
    print(error.reason, error.violations[0].field, error.retry_after_s)
    client = GroundswellClient()
    client.close()
    event("anna", "i1")
    """
)


def test_the_client_works_with_everything_else_refused() -> None:
    error = InvalidArgument("PAGE_SIZE_INVALID", "m", field="page_size", retry_after_s=1.5)
    packed = to_status(error).SerializeToString().hex()
    done = subprocess.run(
        [sys.executable, "-c", ALONE, packed], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["PAGE_SIZE_INVALID", "page_size", "1.5"]


def test_every_call_of_the_contracts_is_retried_but_those_that_the_client_resumes() -> None:
    config = channels.service_config()
    often, once = (
        {f"{n['service']}/{n['method']}" for n in c["name"]} for c in config["methodConfig"]
    )
    assert not often & once
    assert {name.partition("/")[2] for name in once} == {
        "BatchEncodeSessions",
        "BatchGetProfiles",
        "BatchRecommend",
        "EncodeTexts",
        "ExplainItem",
        "ExplainProfile",
        "RecommendCategories",
        "ReplayRecommend",
        "EstimatePolicy",
        "GetOutcomes",
        "EraseUser",
        "ExportUser",
    }
    retried = often | once
    pool = descriptor_pool.Default()
    services = {name.partition("/")[0] for name in retried}
    assert len(services) == 9
    declared = {
        f"{service}/{method}"
        for service in services
        for method in pool.FindServiceByName(service).methods_by_name
    }
    assert declared - retried == {
        "groundswell.profile.v1.CatalogueService/CommitStage",
        "groundswell.profile.v1.CatalogueService/WatchItems",
        "groundswell.profile.v1.EventService/ImportEvents",
        "groundswell.ranker.v1.RankerService/StreamRecommend",
        "groundswell.profile.v1.OutcomeService/WatchPopularity",
        "groundswell.profile.v1.UserDataService/WatchErasures",
    }
    assert retried <= declared
    for method_config in config["methodConfig"]:
        statuses = method_config["retryPolicy"]["retryableStatusCodes"]
        assert statuses == ["UNAVAILABLE", "RESOURCE_EXHAUSTED"]
