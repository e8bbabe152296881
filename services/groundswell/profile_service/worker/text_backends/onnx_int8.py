"""The bundle's ONNX file with weights and activations in 8 bits, by onnxruntime."""

from pathlib import Path
from tempfile import TemporaryDirectory

from groundswell.artifacts.bundle import TEXT_ENCODER, Bundle
from groundswell.artifacts.text_cache import Encoder
from groundswell.artifacts.text_onnx import OnnxTextEncoder
from groundswell.profile_service.worker.text_backends.backend import Machine, TextBackend


def _load(bundle: Bundle, machine: Machine) -> Encoder:
    # It is needed in memory alone, and made within seconds.
    with TemporaryDirectory() as folder:
        model = Path(folder) / "model.onnx"
        _quantise(bundle.path / TEXT_ENCODER / "model.onnx", model)
        text = bundle.path / TEXT_ENCODER, bundle.manifest.text.max_tokens
        return OnnxTextEncoder(*text, machine.threads, model=model)


def _quantise(source: Path, target: Path) -> None:
    """Write a model whose matrix products are of 8-bit integers, with a scale for each channel."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(source, target, per_channel=True, weight_type=QuantType.QInt8)


BACKEND = TextBackend(_load, packages=("onnx",))
