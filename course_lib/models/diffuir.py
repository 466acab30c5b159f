"""DiffUIR's network: one U-Net that predicts the residual of every degradation. Zheng et al., CVPR 2024.

The same U-Net as RDDM's (`rddm.py`), one instead of two, much narrower, and it takes images of any size: the input is reflected to a
multiple of 2^levels and the result cut back. What makes it universal is not in the network but in the process (`diffusion/diffuir.py`).

    size  dim  dim_mults      parameters
    T     32   1, 1, 1, 1        886,435
    S     32   1, 2, 2, 4      3,268,643
    B     64   1, 2, 2, 4     12,406,851
    L     64   1, 2, 4, 8     36,261,187

Where the official code goes its own way: it hands the network a time for the residual and one for the noise and uses the first; the
time is not the step t but 1000 times the residual's coefficient at t, a float.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from course_lib.images import pad_to_multiple
from course_lib.models.equaliser import Equaliser
from course_lib.models.rddm import residual_unet
from course_lib.models.unet import WRAPPED_TO_OFFICIAL, WRAPPED_TO_OURS, read_widths
from course_lib.models.unet_parts import StandardizedResidualBlock

TO_OURS, TO_OFFICIAL = WRAPPED_TO_OURS, WRAPPED_TO_OFFICIAL


class DiffUIRNet(nn.Module):
    """[state; degraded] (B, 6, H, W) in [-1, 1] and times t (B,) -> residual (B, 3, H, W), any size. Defaults: DiffUIR-L, 36.3 M.

    `block(channels, out, time_width)` may be your own. `equaliser`: one of `equaliser.py` beside the U-Net; the official network has none.
    """

    size_multiple = 1  # it pads its own input

    def __init__(
        self,
        dim: int = 64,
        dim_mults: Sequence[int] = (1, 2, 4, 8),
        in_channels: int = 6,
        out_channels: int = 3,
        block=StandardizedResidualBlock,
        equaliser: bool = False,
    ):
        super().__init__()
        self.config = dict(dim=dim, dim_mults=list(dim_mults), in_channels=in_channels, out_channels=out_channels)
        self.config |= {"equaliser": True} if equaliser else {}
        self.unet0 = residual_unet(dim, dim_mults, in_channels, out_channels, block)
        self.equaliser = Equaliser() if equaliser else None

    def forward(self, image6: Tensor, t: Tensor) -> Tensor:
        padded, (height, width) = pad_to_multiple(image6, 2 ** len(self.config["dim_mults"]))
        residual = self.unet0(padded, t)[..., :height, :width]
        return residual if self.equaliser is None else residual + self.equaliser(image6[:, 3:], t)


def read_config(state: Mapping[str, Tensor]) -> dict:
    """The arguments of the network that an official state dict belongs to. Raises KeyError where it is another's."""
    return dict(read_widths(state, "unet0."), out_channels=state["unet0.final_conv.weight"].shape[0])
