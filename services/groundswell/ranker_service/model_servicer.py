"""Says over gRPC which bundles the ranker service holds."""

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from groundswell.common.v1.model_service_pb2 import GetModelRequest, GetModelResponse, ModelInfo
from groundswell.common.v1.model_service_pb2_grpc import ModelServiceServicer
from groundswell.ranker_service.bundles import LoadedBundles
from groundswell.ranker_service.engine import Engine


class ModelServicer(ModelServiceServicer):
    """Serves ModelService."""

    def __init__(self, bundles: LoadedBundles) -> None:
        self._bundles = bundles

    async def GetModel(
        self,
        request: GetModelRequest,  # noqa: ARG002 - gRPC's signature
        context: grpc.aio.ServicerContext[GetModelRequest, GetModelResponse],  # noqa: ARG002
    ) -> GetModelResponse:
        """Describe the bundle that ranks and name the loaded ones."""
        return GetModelResponse(
            model=_model_info(self._bundles.current()),
            loaded_bundle_ids=self._bundles.loaded_ids(),
        )


def _model_info(engine: Engine) -> ModelInfo:
    manifest = engine.manifest
    created_at = Timestamp()
    created_at.FromDatetime(manifest.created_at)
    return ModelInfo(
        bundle_id=engine.space.bundle_id,
        dimension=manifest.dimension,
        categories=manifest.categories,
        encoder_fingerprint=manifest.text.fingerprint,
        created_at=created_at,
        window_length=manifest.window_length,
        chunk_length=manifest.chunk_length,
        metrics=manifest.metrics,
    )
