"""Says over gRPC which bundles a process holds; every service has it."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from google.protobuf.timestamp_pb2 import Timestamp

from groundswell.common.v1.model_service_pb2 import (
    GetModelRequest,
    GetModelResponse,
    ModelInfo,
    RefusedBundle,
)
from groundswell.common.v1.model_service_pb2_grpc import ModelServiceServicer
from groundswell.serving.around import Context
from groundswell.serving.validation import check_number

DEFAULT_CATEGORIES = 20
MAX_CATEGORIES = 10_000


class _Text(Protocol):
    @property
    def fingerprint(self) -> str: ...


class ServedManifest(Protocol):
    """What is told of a bundle's manifest."""

    @property
    def dimension(self) -> int: ...
    @property
    def categories(self) -> Sequence[str]: ...
    @property
    def text(self) -> _Text: ...
    @property
    def created_at(self) -> datetime: ...
    @property
    def window_length(self) -> int: ...
    @property
    def chunk_length(self) -> int: ...
    @property
    def metrics(self) -> Mapping[str, float]: ...


class ModelServicer(ModelServiceServicer):
    """Serves ModelService.

    `served` returns the id and the manifest of the served bundle, or raises Unavailable
    (NO_BUNDLE); `loaded_ids` names all loaded bundles, and `refused` gives the problems of those
    that the process does not serve though it should.
    """

    def __init__(
        self,
        served: Callable[[], tuple[str, ServedManifest]],
        loaded_ids: Callable[[], Sequence[str]],
        refused: Callable[[], Mapping[str, str]],
    ) -> None:
        self._served = served
        self._loaded_ids = loaded_ids
        self._refused = refused

    async def GetModel(self, request: GetModelRequest, context: Context) -> GetModelResponse:
        """Describe the served bundle and name the loaded ones."""
        num_categories = DEFAULT_CATEGORIES
        if request.HasField("num_categories"):
            reason = "NUM_CATEGORIES_INVALID"
            num_categories = check_number(
                request.num_categories, "num_categories", reason, 0, MAX_CATEGORIES
            )
        bundle_id, manifest = self._served()
        return GetModelResponse(
            model=_model_info(bundle_id, manifest, num_categories),
            loaded_bundle_ids=self._loaded_ids(),
            refused_bundles=[
                RefusedBundle(bundle_id=one, problem=problem)
                for one, problem in self._refused().items()
            ],
        )


def _model_info(bundle_id: str, manifest: ServedManifest, num_categories: int) -> ModelInfo:
    created_at = Timestamp()
    created_at.FromDatetime(manifest.created_at)
    return ModelInfo(
        bundle_id=bundle_id,
        dimension=manifest.dimension,
        categories=manifest.categories[:num_categories],
        num_categories=len(manifest.categories),
        encoder_fingerprint=manifest.text.fingerprint,
        created_at=created_at,
        window_length=manifest.window_length,
        chunk_length=manifest.chunk_length,
        metrics=manifest.metrics,
    )
