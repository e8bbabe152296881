"""The names of the text backends, as the settings and the commands take them."""

from typing import Literal

BackendName = Literal["auto", "onnx", "onnx-int8", "torch"]
"""`auto` chooses; the others are the keys of `registry.BACKENDS`."""
