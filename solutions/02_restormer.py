# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown] lang="en"
# # 02 · Restormer: attention across channels
#
# {{colab_badge}} {{kaggle_badge}}
#
# A photograph of 512 x 512 pixels has a quarter of a million tokens. Plain attention compares each with each: 69 billion scores for one layer
# of one picture. Restormer (Zamir et al., CVPR 2022) keeps attention and turns it by ninety degrees: *channels* attend to channels. The map
# is then as small as the number of channels, however large the picture is.
#
# In this lesson you
#
# 1. count and **measure** what the two kinds of attention cost,
# 2. write Restormer's two pieces, **MDTA** and **GDFN**, and the pixel (un)shuffle between its levels,
# 3. plug your pieces into the real model, **train it**, and watch it restore photographs that it never saw,
# 4. look at where it stops working, which is why the rest of this course exists.
#
# Six exercises, 13 points. The whole lesson runs from top to bottom even when nothing is filled in: where your piece is missing, the
# reference piece steps in and the output says so.

# %% tags=["setup"]
# {{setup_cell}}

# %% tags=["parameters"]
PROFILE = "quick"  # smoke: seconds, for tests; quick: minutes on two cores; gpu: one card; paper: the published settings
SEED = 0
DEVICE = "auto"
DATA_DIR = ""  # benchmark folders; "" means COURSE_DATA_DIR or the user's cache
OUT_DIR = ""  # where figures, numbers and training runs of this lesson are written

# %%
# %matplotlib inline
import math
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from course_lib import figures
from course_lib.datasets.pairs import noise_of
from course_lib.datasets.photos import load_photos
from course_lib.degradations.blur import motion_blur
from course_lib.degradations.noise import gaussian_noise
from course_lib.doctor import usable_device
from course_lib.evaluation import restore, restore_tiled
from course_lib.figures.style import new_figure, style
from course_lib.metrics import psnr, ssim
from course_lib.models import create_model
from course_lib.models.layers import MDTA as FastMDTA
from course_lib.models.layers import TokenAttention
from course_lib.paths import data_root
from course_lib.profiles import get_profile
from course_lib.training import Recipe, fit, load_weights
from course_lib.training.run import photo_validation
from course_lib.workbook.checks import check, provenance, source_key, use
from course_lib.workbook.records import begin, record

if DATA_DIR:
    os.environ["COURSE_DATA_DIR"] = DATA_DIR
settings = get_profile(PROFILE, "02_restormer")
device = usable_device(DEVICE)
out = begin("02_restormer", OUT_DIR, profile=PROFILE, seed=SEED, device=device)
torch.manual_seed(SEED)
print(f"profile {PROFILE}: {settings.steps} training steps on {device}; results go to {out.name}")

# %% [markdown] lang="en"
# ## 1 · One degradation, one picture
#
# We start with the simplest degradation: white Gaussian noise, `degraded = clean + n`, with `n` drawn from a normal distribution of standard deviation
# $\sigma/255$. The papers quote $\sigma$ on the 0-255 scale; our images lie in $[0, 1]$.
#
# **Predict before you run:** the noise has variance $(\sigma/255)^2$, and PSNR is $-10\log_{10}$ of the mean squared error. What PSNR does a noisy picture have
# at $\sigma = 25$? Does it depend on the picture?

# %%
photos = load_photos("test")  # name -> (3, H, W) in [0, 1]; the model will never train on these
sigma = settings.sigma


def middle(image, side):
    """The centre of an image as (1, 3, h, w), at most `side` pixels a side (0: all of it)."""
    height, width = image.shape[1:]
    h, w = (min(side or 10**6, n) // 8 * 8 for n in (height, width))
    top, left = (height - h) // 2, (width - w) // 2
    return image[None, :, top : top + h, left : left + w]


names = list(photos)[: settings.test_images]
clean = {name: middle(photos[name], settings.test_crop) for name in names}
degraded = {name: gaussian_noise(clean[name], sigma, seeds=1000 + i) for i, name in enumerate(names)}

predicted = 20 * math.log10(255 / sigma)
measured = {name: psnr(degraded[name], clean[name]).item() for name in names}
print(f"predicted {predicted:.2f} dB; measured", {name: round(value, 2) for name, value in measured.items()})

# %%
first = names[0]
record(
    "noisy_photo",
    figures.strip({"clean": clean[first], "degraded": degraded[first].clamp(0, 1)}),
    f"A test photograph and what noise of sigma {sigma:g} makes of it (clipped to [0, 1] for showing, which alone gains some hundredths of a dB).",
)

# %% [markdown] lang="en"
# The PSNR of the degraded picture is the same for every picture: noise does not look at what it lands on. What a model can win back does depend on the picture,
# as you will see: sky is easy, fur is hard. A filter that averages neighbours removes noise and detail alike. To tell them apart a model must look at a
# *large* part of the picture and decide for each place anew, which is what attention does and a fixed convolution does not.

# %% [markdown] lang="en"
# ## 2 · What attention costs
#
# Call $L = H \cdot W$ the number of pixels, $C$ the channels and $n$ the heads. Both kinds of attention make two products: the scores, and the map times the
# values.
#
# | | scores | one map is | maps |
# |---|---|---|---|
# | token attention | $QK^\top$ over $L$ tokens | $L \times L$ | $n$ |
# | channel attention (MDTA) | $QK^\top$ over $C/n$ channels | $\frac{C}{n} \times \frac{C}{n}$ | $n$ |
#
# A product of an $a \times b$ with a $b \times c$ matrix takes $abc$ multiplications.
#
# **Exercise 02-e (2 points, about 5 minutes).** Count the multiplications of both products together, and the entries of all the maps, for both kinds. Return
# integers. Only these two products count, not the projections before and after.
#
# <details><summary>Hint</summary>
#
# A head has $C/n$ channels. Token attention: each head multiplies $L \times C/n$ by $C/n \times L$, and there are $n$ heads. For channels, swap the roles.
#
# </details>

# %%
# exercise 02-e · 2 points · What attention costs
def attention_costs(height, width, channels, heads):
    """Multiplications and map entries of token attention and of channel attention, as integers."""
    ### BEGIN SOLUTION
    pixels = height * width
    head_channels = channels // heads
    return {
        "token_multiplications": heads * 2 * pixels * pixels * head_channels,
        "token_map": heads * pixels * pixels,
        "channel_multiplications": heads * 2 * head_channels * head_channels * pixels,
        "channel_map": heads * head_channels * head_channels,
    }
    ### END SOLUTION


# %%
check("02-e", attention_costs)

# %% [markdown] lang="en"
# Counting is one thing; caches, memory and libraries have their own opinion. So we measure, on this machine, the whole attention block forward.
#
# **Predict:** on doubly logarithmic paper a cost of $L^p$ is a line of slope $p$. Which slopes will the two lines have? Which is faster at 16 x 16 pixels?

# %%
costs_of = use("02-e", attention_costs)


def seconds_of(block, side, repeats=settings.cost_repeats):
    """Median seconds of one forward pass on a side x side feature map."""
    x = torch.randn(1, settings.cost_channels, side, side, device=device)
    times = []
    with torch.inference_mode():
        for _ in range(repeats + 1):  # the first call also sets things up
            start = time.perf_counter()
            block(x).sum().item()  # .item() waits for the device
            times.append(time.perf_counter() - start)
    return sorted(times[1:])[repeats // 2]


rows = []
for kind, block_class in (("token attention", TokenAttention), ("MDTA", FastMDTA)):
    block = block_class(settings.cost_channels, settings.cost_heads).to(device)
    for side in settings.cost_sides:
        if kind == "MDTA" or side <= settings.token_limit:
            rows.append({"series": kind, "pixels": side * side, "seconds": seconds_of(block, side)})
cost_table = pd.DataFrame(rows)
record(
    "attention_cost",
    figures.cost_curves(cost_table),
    "Seconds of one attention block against the number of pixels, measured on this machine. The broad band is the fitted slope.",
)

# %%
largest = costs_of(512, 512, 48, 1)
print(f"512 x 512 pixels, 48 channels: the token map has {largest['token_map']:,} entries,")
print(f"in fp32 {largest['token_map'] * 4 / 2**30:,.0f} GiB; the channel map has {largest['channel_map']:,}.")

# %% [markdown] lang="en"
# The token line bends up to slope 2: twice the side, sixteen times the time. The channel line stays near slope 1. Below some tens of pixels a side there is not much
# between them, and what you see there is overhead rather than arithmetic. So the question is not *which attention is better* but *which one can be had at all* at the
# sizes that restoration works at. What MDTA gives up is said plainly, too: a $d \times d$ map cannot say "copy this window from over there". Its reach across the
# picture is statistical: it sees how channels go together over the whole picture. Position comes from convolutions.

# %% [markdown] lang="en"
# ## 3 · MDTA, step by step
#
# Multi-Dconv head transposed attention takes a feature map $X$ of shape $(C, H, W)$:
#
# $$
# Q = W_d^Q W_p^Q X, \quad K = W_d^K W_p^K X, \quad V = W_d^V W_p^V X
# $$
#
# $$
# \mathrm{MDTA}(X) = W_p \left( \mathrm{softmax}\!\left(\hat{Q}\,\hat{K}^{\top} \cdot \tau \right) V \right)
# $$
#
# $W_p$ is a 1 x 1 convolution (mixes channels), $W_d$ a 3 x 3 depthwise one (looks at neighbours). The hat means: every **channel**, a vector of $L$ pixels, is
# divided by its length, so $\hat{Q}\hat{K}^\top$ holds *cosines* between channels. $\tau$ is a learnt temperature, one a head, and starts at 1.
#
# | paper | code | shape |
# |---|---|---|
# | $\hat{Q}, \hat{K}, V$ | `q, k, v` | `(B, n, d, L)`, $d = C/n$ |
# | $\tau$ (the paper writes $1/\alpha$) | `temperature` | `(n, 1, 1)` |
# | $\hat{Q}\hat{K}^\top\tau$ | `scores` | `(B, n, d, d)` |
#
# Paper and code part in two places: the paper divides by $\alpha$ and does not write the normalisation; the official code, and so every checkpoint,
# multiplies and normalises.
#
# **Exercise 02-a (2 points, about 5 minutes).** Write the scores.
#
# <details><summary>Hint</summary>
#
# `F.normalize(x, dim=...)` divides by the Euclidean length along an axis. Which axis holds the pixels?
#
# </details>

# %%
# exercise 02-a · 2 points · Cosine scores between channels
def cosine_scores(q, k, temperature):
    """q, k: (B, n, d, L); temperature: (n, 1, 1) -> scores (B, n, d, d)."""
    ### BEGIN SOLUTION
    q = F.normalize(q, dim=-1)  # each channel becomes a vector of length 1
    k = F.normalize(k, dim=-1)
    return q @ k.transpose(-2, -1) * temperature
    ### END SOLUTION


# %%
check("02-a", cosine_scores)

# %% [markdown] lang="en"
# ### What the map looks like in a trained model
#
# The course ships a small Restormer that was trained longer than this lesson can. We take its first block, feed it a noisy photograph, and look at a few channels and at
# the map that *your* function (or the reference) computes from them.
#
# **Predict:** will the map look like a diagonal (each channel minds its own business), like a flat grey (all the same), or like neither?

# %%
channel_scores = use("02-a", cosine_scores)
shipped = load_weights(data_root() / "checkpoints" / "restormer_small_denoise.safetensors").to(device)

seen = {}
attention = shipped.encoder_level2[0].attn  # the first level with two heads
hook = attention.qkv_dwconv.register_forward_hook(lambda module, inputs, output: seen.setdefault("qkv", []).append(output.detach()))
with torch.enable_grad():  # with gradients the layer works on whole maps instead of strips of rows
    shipped(degraded[first].to(device))
hook.remove()

qkv = seen["qkv"][0].float()  # (1, 3C, h, w)
heads, width = attention.heads, qkv.shape[1] // 3
q, k, v = (part.reshape(1, heads, width // heads, -1) for part in qkv.chunk(3, dim=1))
scores = channel_scores(q, k, attention.temperature.detach())
weights = scores.softmax(dim=-1)[0].cpu()  # (n, d, d)

with style():
    figure = new_figure(9, 4.6)
    panels = figure.subplots(2, 4)
    for channel, panel in enumerate(panels[0]):
        panel.imshow(qkv[0, 4 * channel].cpu(), cmap="gray")
        panel.set_title(f"query channel {4 * channel}")
        panel.set_axis_off()
    for head in range(2):
        for panel, data, title in ((panels[1][2 * head], scores[0, head].cpu(), "scores"), (panels[1][2 * head + 1], weights[head], "after softmax")):
            shown = panel.imshow(data, cmap="viridis")
            panel.set_title(f"head {head}: {title}")
            panel.set_xlabel("key channel")
            figure.colorbar(shown, ax=panel, shrink=0.8)
record("channel_attention", figure, "Top: four query channels of a trained block on a noisy photograph. Bottom: how its channels attend to each other, per head.")

# %% [markdown] lang="en"
# Neither: a few columns stand out. A column is a *key* channel that many query channels take from. Compare the maps with the channels above them: some channels hold edges,
# some hold blurred brightness, and the map decides, for this picture, how much of each goes into the others. Another picture gives another map, with the same weights.

# %% [markdown] lang="en"
# ### What the temperature does
#
# Cosines lie between -1 and 1. A softmax over numbers so close together is nearly flat. The temperature stretches them.
#
# **Predict:** with 24 channels a head, how much weight does the strongest channel get at temperature 1? At 10?

# %%
temperatures = torch.logspace(-1, 2, 40)
cosines = channel_scores(q, k, torch.ones_like(attention.temperature.detach()))[0].cpu()  # (n, d, d)
strongest = torch.stack([(cosines * t).softmax(-1).amax(-1).mean() for t in temperatures])
effective = torch.stack([(-(p * p.clamp_min(1e-12).log()).sum(-1)).exp().mean() for p in ((cosines * t).softmax(-1) for t in temperatures)])
learnt = attention.temperature.detach().flatten().cpu()

with style():
    figure = new_figure(9, 3.2)
    left, right = figure.subplots(1, 2)
    left.semilogx(temperatures, strongest)
    left.set_ylabel("weight of the strongest channel")
    right.semilogx(temperatures, effective)
    right.set_ylabel("channels that share the weight")
    for panel in (left, right):
        panel.set_xlabel("temperature")
        for value in learnt:
            panel.axvline(value.item(), color="0.4", linestyle="--", linewidth=1)
record("temperature", figure, "The temperature decides between averaging all channels and picking one. Dashed: what the trained heads learnt.")

# %% [markdown] lang="en"
# "Channels that share the weight" is the exponential of the entropy of a row: the number of channels it would take to share the weight equally. Left of 1 the map averages
# everything; far to the right it copies a single channel. The dashed lines are what training chose, starting from 1.
#
# **Exercise 02-b (3 points, about 10 minutes).** Now the whole of MDTA. The layers are there; write `forward`. Use `channel_scores` from above (your own function once it is right).
#
# <details><summary>Hint 1</summary>
#
# `self.qkv_dwconv(self.qkv(x))` has 3C channels: q, then k, then v. `chunk(3, dim=1)` splits them.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Head 0 owns the first C/n channels: `(B, C, H, W)` becomes `(B, n, C/n, H*W)` by a plain reshape. At the end go back the same way, then `project_out`.
#
# </details>

# %%
# exercise 02-b · 3 points · MDTA
class MDTA(nn.Module):
    """Multi-Dconv head transposed attention, (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Conv2d(dim, 3 * dim, kernel_size=1, bias=False)
        self.qkv_dwconv = nn.Conv2d(3 * dim, 3 * dim, kernel_size=3, padding=1, groups=3 * dim, bias=False)
        self.project_out = nn.Conv2d(dim, dim, kernel_size=1, bias=False)

    def forward(self, x):
        ### BEGIN SOLUTION
        B, C, H, W = x.shape
        q, k, v = self.qkv_dwconv(self.qkv(x)).chunk(3, dim=1)  # each (B, C, H, W)
        q, k, v = (part.reshape(B, self.heads, C // self.heads, H * W) for part in (q, k, v))  # (B, n, d, L)
        attention = channel_scores(q, k, self.temperature).softmax(dim=-1)  # (B, n, d, d)
        out = attention @ v  # (B, n, d, L)
        return self.project_out(out.reshape(B, C, H, W))
        ### END SOLUTION


# %%
check("02-b", MDTA)

# %% [markdown] lang="en"
# ## 4 · GDFN: a gate for every pixel
#
# The second half of a block treats each pixel on its own, with a look at its neighbours. Two paths are computed, and one decides how much of the other passes:
#
# $$
# \mathrm{GDFN}(X) = W_p^0 \left( \mathrm{gelu}(W_d^1 W_p^1 X) \odot W_d^2 W_p^2 X \right)
# $$
#
# In code both paths are made by one convolution with twice the channels, `project_in`, then `dwconv`, and the result is cut into two halves. The hidden width is `int(C * 2.66)`:
# two paths of 2.66 C cost about what one path of 4 C (the usual Transformer) does.
#
# **Predict:** what does the gate do in a patch of clear sky, and what on an edge?
#
# **Exercise 02-c (2 points, about 5 minutes).** Write `forward`.

# %%
# exercise 02-c · 2 points · GDFN
class GDFN(nn.Module):
    """Gated-Dconv feed-forward network, (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim, expansion=2.66):
        super().__init__()
        hidden = int(dim * expansion)
        self.project_in = nn.Conv2d(dim, 2 * hidden, kernel_size=1, bias=False)
        self.dwconv = nn.Conv2d(2 * hidden, 2 * hidden, kernel_size=3, padding=1, groups=2 * hidden, bias=False)
        self.project_out = nn.Conv2d(hidden, dim, kernel_size=1, bias=False)

    def forward(self, x):
        ### BEGIN SOLUTION
        gate, value = self.dwconv(self.project_in(x)).chunk(2, dim=1)  # each (B, int(C*e), H, W)
        return self.project_out(F.gelu(gate) * value)
        ### END SOLUTION


# %%
check("02-c", GDFN)

# %%
ffn = shipped.encoder_level1[0].ffn
seen = {}
hook = ffn.dwconv.register_forward_hook(lambda module, inputs, output: seen.setdefault("paths", output.detach()))
with torch.enable_grad():
    shipped(degraded[first].to(device))
hook.remove()
gate, value = seen["paths"].float().cpu()[0].chunk(2, dim=0)  # each (hidden, H, W)
opening = F.gelu(gate)
chosen = opening.flatten(1).std(dim=1).argsort(descending=True)[:3]

with style():
    figure = new_figure(9, 5.4)
    panels = figure.subplots(3, 3)
    for row, channel in enumerate(chosen.tolist()):
        maps = ((value[channel], "value"), (opening[channel], "gelu(gate)"), (opening[channel] * value[channel], "product"))
        for panel, (data, title) in zip(panels[row], maps, strict=True):
            limit = data.abs().quantile(0.99).item() + 1e-6
            panel.imshow(data, cmap="RdBu_r", vmin=-limit, vmax=limit)
            panel.set_title(f"{title}, channel {channel}")
            panel.set_axis_off()
record("gates", figure, "Three gates of a trained block on the noisy photograph: the value path, the opened gate, and what passes (red positive, blue negative).")

# %% [markdown] lang="en"
# ## 5 · Changing resolution without losing a pixel
#
# Restormer works at four resolutions. Between them it neither strides nor pools. *Pixel unshuffle* sorts each 2 x 2 of pixels into four channels, and *pixel shuffle* sorts them back. Nothing is
# lost: the pair is a permutation.
#
# Output channel $c r^2 + i r + j$ of the unshuffle holds the pixels at row offset $i$ and column offset $j$ of channel $c$:
#
# $$
# y_{c r^2 + i r + j}(h, w) = x_c(r h + i,\; r w + j)
# $$
#
# **Exercise 02-d (2 points, about 10 minutes).** Write both by `reshape` and `permute` (or einops), for any factor.
#
# <details><summary>Hint</summary>
#
# Split the height into `(H // r, r)` and the width into `(W // r, r)`: six axes. Move the two axes of size `r` behind the channel axis, then join.
#
# </details>

# %%
# exercise 02-d · 2 points · Pixel unshuffle and pixel shuffle
def pixel_unshuffle(x, factor):
    """(B, C, H, W) -> (B, C*r*r, H/r, W/r) with r = factor."""
    ### BEGIN SOLUTION
    B, C, H, W = x.shape
    x = x.reshape(B, C, H // factor, factor, W // factor, factor)  # b c h i w j
    x = x.permute(0, 1, 3, 5, 2, 4)  # b c i j h w
    return x.reshape(B, C * factor * factor, H // factor, W // factor)
    ### END SOLUTION


def pixel_shuffle(x, factor):
    """(B, C*r*r, H, W) -> (B, C, H*r, W*r) with r = factor."""
    ### BEGIN SOLUTION
    B, C, H, W = x.shape
    x = x.reshape(B, C // factor**2, factor, factor, H, W)  # b c i j h w
    x = x.permute(0, 1, 4, 2, 5, 3)  # b c h i w j
    return x.reshape(B, C // factor**2, H * factor, W * factor)
    ### END SOLUTION


# %%
check("02-d", (pixel_unshuffle, pixel_shuffle))

# %%
unshuffle, shuffle = use("02-d", (pixel_unshuffle, pixel_shuffle))
grey = clean[first].mean(dim=1, keepdim=True)  # (1, 1, H, W)
phases = unshuffle(grey, 2)  # (1, 4, H/2, W/2)
print("and back again, largest difference:", (shuffle(phases, 2) - grey).abs().max().item())
with style():
    figure = new_figure(9, 2.4)
    for index, panel in enumerate(figure.subplots(1, 5)):
        data = grey[0, 0] if index == 0 else phases[0, index - 1]
        panel.imshow(data, cmap="gray", vmin=0, vmax=1)
        panel.set_title(f"{data.shape[0]} x {data.shape[1]}" if index == 0 else f"row {(index - 1) // 2}, column {(index - 1) % 2}")
        panel.set_axis_off()
record("pixel_unshuffle", figure, "A photograph, and the four small ones that pixel unshuffle sorts it into: nearly alike, each shifted by one pixel.", piece=provenance("02-d"))

# %% [markdown] lang="en"
# ## 6 · The whole network
#
# Blocks of MDTA and GDFN, four levels down, four up, with the encoder's maps handed across. At full resolution the decoder keeps 2 C channels. The last convolution predicts what to *add* to the degraded
# picture: with nothing learnt, the best guess is to change nothing.
#
# The library takes the pieces as arguments, so the model below is built from **yours** wherever your check passed.

# %%
my_mdta, my_gdfn = use("02-b", MDTA), use("02-c", GDFN)


def build():
    """A fresh Restormer of this profile's size, made of your pieces."""
    torch.manual_seed(SEED)
    return create_model(
        "restormer", **settings.config, attention=my_mdta, feed_forward=my_gdfn,
        unshuffle=lambda x, factor: unshuffle(x, factor), shuffle=lambda x, factor: shuffle(x, factor),
    )  # fmt: skip


model = build().to(device)
patch = clean[first][..., :64, :64].to(device)
record(
    "dataflow",
    figures.dataflow_diagram(model, patch),
    "Data flow of the model in this lesson, drawn from the shapes of a real forward pass.",
    piece=provenance("02-b", "02-c", "02-d"),
)

# %%
layers = figures.layer_table(model, patch, depth=1)
record("layers", layers, "The stages of the model: shapes of a real forward pass, parameters, multiply-adds.")

# %% [markdown] lang="en"
# How large is the published model? The next cell counts, and its output is tested against the official code.

# %% tags=["nbval-check-output"]
published = create_model("restormer")
denoising = create_model("restormer", norm_bias=False)
print(f"Restormer, layer norm with bias: {sum(p.numel() for p in published.parameters()):,} parameters")
print(f"Restormer, bias-free (denoising): {sum(p.numel() for p in denoising.parameters()):,} parameters")

# %%
del published, denoising
library_model = create_model("restormer", **settings.config)
library_model.load_state_dict(model.state_dict())
library_model.to(device).eval()
with torch.no_grad():
    gap = (library_model(patch) - model.eval()(patch)).abs().max().item()
print(f"your pieces against the library's faster ones, same weights: largest difference {gap:.1e}")

# %% [markdown] lang="en"
# The library writes the same mathematics in another order: the map is multiplied into the last projection, so that two passes over the pixels become one, and wide maps are made a few rows at a time so that they stay in
# the processor's cache. `course bench restormer` measures what that brings. Reading `course_lib/models/layers.py` after having written your own is a good evening.

# %% [markdown] lang="en"
# ## 7 · Training with growing patches
#
# Small patches are cheap, so many can be seen; large ones show what attention over a whole picture needs. Restormer starts small and grows, with fewer pictures a step: *progressive learning*. The published schedule:
#
# | iterations | 92k | 64k | 48k | 36k | 36k | 24k |
# |---|---|---|---|---|---|---|
# | patch | 128 | 160 | 192 | 256 | 320 | 384 |
# | pictures per GPU | 8 | 5 | 4 | 2 | 1 | 1 |
#
# **Exercise 02-f (2 points, about 5 minutes).** Given a list of stages `[iterations, patch, batch]`, return `[patch, batch]` for a step. Steps count from 0; after the last stage its values go on.

# %%
# exercise 02-f · 2 points · Progressive learning
def progressive_stage(step, stages):
    """[patch, batch] of `step` for stages [[iterations, patch, batch], ...]."""
    ### BEGIN SOLUTION
    end = 0
    for iterations, patch, batch in stages:
        end += iterations
        if step < end:
            return [patch, batch]
    return [stages[-1][1], stages[-1][2]]
    ### END SOLUTION


# %%
check("02-f", progressive_stage)

# %%
stage_of = use("02-f", progressive_stage)
schedule = [[92_000, 128, 8], [64_000, 160, 5], [48_000, 192, 4], [36_000, 256, 2], [36_000, 320, 1], [24_000, 384, 1]]
steps = np.arange(0, 300_000, 1_000)
stages = np.array([stage_of(int(step), schedule) for step in steps])  # (300, 2): patch, batch
with style():
    figure = new_figure(9, 2.8)
    left, right = figure.subplots(1, 2)
    left.step(steps, stages[:, 0], where="post")
    left.set_ylabel("patch side (pixels)")
    right.step(steps, stages[:, 1] * stages[:, 0] ** 2 / 1e6, where="post")
    right.set_ylabel("megapixels a step and GPU")
    right.set_ylim(bottom=0)
    for panel in (left, right):
        panel.set_xlabel("step")
record("schedule", figure, "The published schedule: patches grow while the pixels of a step stay about the same.", piece=provenance("02-f"))

# %% [markdown] lang="en"
# Now train. The recipe is the profile's; the loop is the one behind `course train` (read `course_lib/training/loop.py`: it is short). It saves itself: stop the cell and run it again, and it goes on.
#
# **Predict:** the degraded pictures have about 20.2 dB. How many dB will a network with 1.35 million parameters reach after a few minutes? What will the first hundred steps look like?

# %%
recipe = Recipe(
    name="restormer_lesson", config=settings.config, sigma=sigma, seed=SEED, steps=settings.steps,
    patches=tuple(settings.patches), batches=tuple(settings.batches), stage_ends=tuple(settings.stage_ends),
    learning_rate=settings.learning_rate, final_learning_rate=settings.final_learning_rate, warmup=settings.warmup,
    clip_norm=settings.clip_norm, ema_decay=settings.ema_decay, precision=settings.precision,
    log_every=settings.log_every, validate_every=max(1, settings.steps // 4), checkpoint_seconds=settings.checkpoint_seconds,
)  # fmt: skip
# The folder carries a fingerprint of your code: change a piece, and a new run starts instead of the old one going on.
folder = out / "training" / f"restormer-{source_key(my_mdta, my_gdfn, unshuffle, shuffle)}"
run = fit(build(), recipe, list(load_photos("train").values()), noise_of(sigma), folder, device=device, validate=photo_validation(sigma=sigma))
print(f"{run.steps} steps in {run.seconds:.0f} s with {provenance('02-b', '02-c', '02-d')}")
record("training_seconds", run.seconds, "Seconds of training.", piece=provenance("02-b", "02-c", "02-d"))

# %%
record(
    "training_curve",
    figures.training_curves({"this lesson": run.log}),
    "Loss, validation PSNR and learning rate of the run above.",
    piece=provenance("02-b", "02-c", "02-d"),
)

# %% [markdown] lang="en"
# ## 8 · Before and after
#
# **Predict:** which of the test photographs gains most, which least? Look at them first.

# %%
def restored_by(network, image):
    """Restored image in [0, 1], on the CPU."""
    return restore(network, image.to(device)).clamp(0, 1).cpu()


restored = {name: restored_by(run.model, degraded[name]) for name in names}
shown = names[:3]
record(
    "before_after",
    figures.grid([{"degraded": degraded[n].clamp(0, 1), "restored": restored[n], "clean": clean[n]} for n in shown]),
    f"Test photographs, restored by the model trained above in {run.seconds:.0f} seconds.",
    piece=provenance("02-b", "02-c", "02-d"),
)

# %% [markdown] lang="en"
# A picture convinces; a table with the right rows in it informs. Beside the trained model stand the untouched input, a classical method that nobody trained (non-local means, which averages similar patches), and
# the model that the course ships, with many more steps and on other photographs.

# %%
from skimage.restoration import denoise_nl_means


def non_local_means(image):
    """Classical denoising of (1, 3, H, W): averages patches that look alike; told the noise level."""
    array = image[0].permute(1, 2, 0).numpy()
    result = denoise_nl_means(array, h=0.6 * sigma / 255, sigma=sigma / 255, patch_size=5, patch_distance=6, channel_axis=-1)
    return torch.from_numpy(np.ascontiguousarray(result)).permute(2, 0, 1)[None].float().clamp(0, 1)


def scored(method, results, whose):
    """One row of the table: means over the test photographs."""
    pairs = [(results[n], clean[n]) for n in names]
    return {
        "method": method,
        "PSNR (dB)": round(float(np.mean([psnr(a, b).item() for a, b in pairs])), 2),
        "SSIM": round(float(np.mean([ssim(a, b).item() for a, b in pairs])), 4),
        "made of": whose,
    }


shipped.eval()
by_shipped = {name: restored_by(shipped, degraded[name]) for name in names}
results = pd.DataFrame(
    [
        scored("untouched input", degraded, "-"),
        scored("non-local means", {name: non_local_means(degraded[name]) for name in names}, "-"),
        scored(f"Restormer, {run.steps} steps here", restored, provenance("02-b", "02-c", "02-d")),
        scored("restormer_small_denoise, shipped", by_shipped, "the course"),
    ]
)
record("degraded_psnr", results["PSNR (dB)"][0], f"Mean PSNR of the degraded test photographs at sigma {sigma:g}.")
record("restored_psnr", results["PSNR (dB)"][2], "Mean PSNR after the model trained in this lesson.", piece=provenance("02-b", "02-c", "02-d"))
record("results", results, f"Denoising at sigma {sigma:g} on {len(names)} test photographs, all measured in this run.")

# %% [markdown] lang="en"
# Read it honestly. If your run was short, non-local means, from 2005 and told the noise level, is a serious opponent. The shipped model shows what patience brings with the same architecture. The published Restormer is
# twenty times larger, saw four data sets and 300,000 steps; nothing in this table compares with it, and its numbers are measured on other pictures.

# %%
record(
    "errors",
    figures.difference({"clean": clean[first], "degraded": degraded[first].clamp(0, 1), "trained here": restored[first], "shipped": by_shipped[first]}),
    "What is left of the error, on one colour scale.",
    piece=provenance("02-b", "02-c", "02-d"),
)

# %% [markdown] lang="en"
# The noise was the same everywhere; the error that is left is not. It sits on texture and edges: there the model could not tell noise from detail and chose caution.

# %% [markdown] lang="en"
# ## 9 · A model of one trade
#
# The shipped model is a good denoiser for noise levels that it saw. What does it do with a noise it never saw, and with a picture that has no noise but is *blurred*?
#
# **Predict:** will the blurred picture come out sharper, unchanged, or worse than before?

# %%
trials = {
    "noise 15": gaussian_noise(clean[first], 15, seeds=7),
    "noise 50": gaussian_noise(clean[first], 50, seeds=7),
    "noise 90 (never seen)": gaussian_noise(clean[first], 90, seeds=7),
    "motion blur": motion_blur(clean[first], length=9, angle=30),
    "motion blur, then noise 25": gaussian_noise(motion_blur(clean[first], length=9, angle=30), 25, seeds=7),
}
answers = {name: restored_by(shipped, image) for name, image in trials.items()}
one_trade = pd.DataFrame(
    [
        {
            "degradation": name,
            "input (dB)": round(psnr(image, clean[first]).item(), 2),
            "denoiser (dB)": round(psnr(answers[name], clean[first]).item(), 2),
        }
        for name, image in trials.items()
    ]
)
one_trade["gain (dB)"] = (one_trade["denoiser (dB)"] - one_trade["input (dB)"]).round(2)
record("one_trade", one_trade, "One denoiser on degradations of its own trade and of others.")

# %%
record(
    "one_trade_pictures",
    figures.grid([{"degraded": trials[n].clamp(0, 1), "restored": answers[n], "clean": clean[first]} for n in ("noise 90 (never seen)", "motion blur", "motion blur, then noise 25")]),
    "A denoiser outside its trade: it cannot remove blur, and noise stronger than it ever saw breaks it.",
)

# %% [markdown] lang="en"
# Look at the gains. Inside its trade the denoiser is good; noise stronger than it was trained on is left half removed; blur stays blur, and the model may even take a little away, because it
# knows fine structure only as something to be doubted.
#
# This is what *single-degradation* restoration means: one model, one trade. Blur wants high frequencies *added*, noise wants them *removed*, and the weights of this model know only the second. One could train a model per
# degradation and keep a shelf of them; but somebody then has to say which one a picture needs, and the last row needs two. Training one Restormer on everything is the obvious next step, and lesson 03 shows what goes wrong
# when one does (the tasks pull the shared weights in different directions) and what prompts do about it.

# %% [markdown] lang="en"
# ## 10 · Pictures of any size
#
# MDTA is linear in the pixels, but linear still grows: a 12-megapixel photograph does not fit many machines at once. So large pictures are restored in tiles. Tiles must overlap, for two reasons: a pixel at the border
# of a tile lacks its neighbours, and the attention map of each tile is computed from that tile alone.
#
# **Predict:** where will tiles without overlap differ from the picture restored at once?

# %%
whole = middle(photos[first], settings.big_side)
noisy = gaussian_noise(whole, sigma, seeds=3).to(device)
at_once = restore(shipped, noisy).clamp(0, 1).cpu()
tiled = {overlap: restore_tiled(shipped, noisy, tile=settings.tile, overlap=overlap).clamp(0, 1).cpu() for overlap in (0, 16)}
with style():
    figure = new_figure(9, 3.2)
    for panel, (overlap, result) in zip(figure.subplots(1, 2), tiled.items(), strict=True):
        gap = (result - at_once).abs().mean(dim=1)[0]
        shown = panel.imshow(gap * 255, cmap="magma", vmin=0, vmax=3)
        panel.set_title(f"overlap {overlap}: mean difference {gap.mean() * 255:.2f} of 255")
        panel.set_axis_off()
    figure.colorbar(shown, ax=figure.axes[:2], shrink=0.8, label="difference to the whole image (0-255)")
record("tiles", figure, f"Tiles of {settings.tile} pixels against the picture restored at once. The grid of the borders shows without overlap only.")

# %% [markdown] lang="en"
# Two things are to be seen. The bright grid on the left is the missing neighbours at the borders, and overlap removes it. The faint texture *inside* the tiles stays on the right: each tile has its own attention
# map, computed from its own pixels, and no overlap changes that. It is small here, a fraction of one grey level, and it is the price of bounded memory.
#
# Try it on your own photograph: `course_lib.images.load_image("path")[None]` gives the tensor, `restore_tiled(shipped, ...)` the result.

# %% [markdown] lang="en"
# ## Report
#
# Answer in a few sentences each, in this cell. The PDF of this notebook carries your answers, the figures, and the result of every check.
#
# 1. **Data flow.** Follow a 3 x 64 x 64 patch through the network with the layer table: where is the map widest, where deepest? Why is the decoder's first level twice as wide as the encoder's?
#
#    *Your answer:*
#
# 2. **What is new.** Name the two changes that Restormer makes to a plain Transformer block and what each is for.
#
#    *Your answer:*
#
# 3. **Results.** Compare your row of the results table with its neighbours. Which photograph is hardest, and where is the error left?
#
#    *Your answer:*
#
# 4. **Think.** In section 9 the denoiser leaves blur untouched. Suppose you train one Restormer on noise and blur together. Which of its parts could serve both, and where would the tasks disagree?
#
#    *Your answer:*
