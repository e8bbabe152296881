"""The bundle's weights in torch: bf16 where the device computes with it, else fp32.

Torch is imported where it is used, so that a worker without it runs the other backends.
"""

from groundswell.artifacts.bundle import TEXT_ENCODER, Bundle
from groundswell.artifacts.text_cache import Encoder
from groundswell.profile_service.worker.text_backends.backend import Machine, TextBackend


def load_fp32(bundle: Bundle, machine: Machine) -> Encoder:
    """Load the encoder in fp32."""
    return _load(bundle, machine, reduced=False)


def device_problem(device: str) -> str | None:
    """Return why a device cannot be used here; None where it can."""
    if device == "cpu":
        return None
    from groundswell.models import devices

    return devices.device_problem(device)


def gpu_name(device: str) -> str:
    """Return the name that its maker gave to the GPU `cuda` or `cuda:N`."""
    from groundswell.models import devices

    return devices.gpu_name(device)


def _load(bundle: Bundle, machine: Machine, *, reduced: bool = True) -> Encoder:
    from groundswell.models.devices import has_bf16, use_threads
    from groundswell.models.text_encoder import load_torch_encoder

    use_threads(machine.threads)
    return load_torch_encoder(
        bundle.path / TEXT_ENCODER,
        bundle.manifest.text.max_tokens,
        machine.device,
        bf16=reduced and has_bf16(machine.device),
    )


BACKEND = TextBackend(_load, packages=("torch", "transformers"), runs_on_gpu=True)
