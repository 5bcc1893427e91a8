"""The row norms by the short names of the bench."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import kilter_abi  # noqa: E402
from kilter_abi import CPU, CUDA, Library, tensor  # noqa: E402, F401

NAMES = {"ln": "layer_norm", "rms": "rms_norm"}
DIRECTIONS = {"fwd": "forward", "bwd": "backward"}


def Call(library, norm, direction, tensors, eps=1e-5):
    return kilter_abi.Call(library, NAMES[norm], DIRECTIONS[direction], **tensors, **{"eps": eps} if direction == "fwd" else {})
