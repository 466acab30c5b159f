# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown] lang="en"
# # 01 · Transformer basics: an average that chooses
#
# {{colab_badge}} {{kaggle_badge}}
#
# Nearly every model in this course is a Transformer, and a Transformer is built around one operation: an average whose weights depend on what is averaged. That is all attention is. This lesson builds it from there, on
# photographs instead of sentences, until it denoises one.
#
# In this lesson you
#
# 1. denoise by averaging **look-alikes**, and see that this is attention with nothing learnt,
# 2. write **scaled dot-product attention**, several **heads**, **positions** and the **block** around them,
# 3. cut pictures into patches, put your pieces into a small Vision Transformer, **train it**, and look at what it looks at,
# 4. **measure** what it costs, and find the wall that lesson 02 goes around.
#
# Six exercises, 13 points. The whole lesson runs from top to bottom even when nothing is filled in: where your piece is missing, the reference piece steps in and the output says so.

# %% tags=["setup"]
# {{setup_cell}}

# %% tags=["parameters"]
PROFILE = "quick"  # smoke: seconds, for tests; quick: minutes on two cores; gpu: one card; paper: a longer schedule
SEED = 0
DEVICE = "auto"
DATA_DIR = ""  # benchmark folders; "" means COURSE_DATA_DIR or the user's cache
OUT_DIR = ""  # where figures, numbers and training runs of this lesson are written

# %%
# %matplotlib inline
import math
import os
import time

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler, used in section 9, talks a lot otherwise

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from course_lib import figures
from course_lib.datasets.pairs import noise_of
from course_lib.datasets.photos import load_photos
from course_lib.degradations.noise import gaussian_noise
from course_lib.doctor import usable_device
from course_lib.evaluation import restore, restore_tiled
from course_lib.figures.style import PALETTE, new_figure, style
from course_lib.metrics import psnr, ssim
from course_lib.models import create_model
from course_lib.models.vit import ViTBlock
from course_lib.profiles import get_profile
from course_lib.training import Recipe, fit
from course_lib.workbook.checks import check, provenance, source_key, use
from course_lib.workbook.records import begin, record

if DATA_DIR:
    os.environ["COURSE_DATA_DIR"] = DATA_DIR
settings = get_profile(PROFILE, "01_transformer_basics")
device = usable_device(DEVICE)
out = begin("01_transformer_basics", OUT_DIR, profile=PROFILE, seed=SEED, device=device)
torch.manual_seed(SEED)
print(f"profile {PROFILE}: {settings.steps} training steps on {device}; results go to {out.name}")

# %% [markdown] lang="en"
# ## 1 · Averaging helps, if you average the right things
#
# Take one photograph and add white Gaussian noise of standard deviation $\sigma = 25$ (of 255). The noise of one pixel has nothing to do with the noise of the next. So the mean of $N$ pixels that *should* have the same
# colour keeps the colour, and its noise is $\sqrt N$ times weaker.
#
# The trouble is in the word *should*. Neighbours on a wall have the same colour; neighbours across an edge do not, and averaging them is called blur.
#
# **Predict before you run:** below, one small patch of a noisy photograph is marked, together with the patches of the same picture that look most like it. How far away from it will they lie? And will their average beat that of the nearest pixels?

# %%
photos = load_photos("test")  # name -> (3, H, W) in [0, 1]; the model will never train on these
sigma = settings.sigma


def middle(image, side):
    """The centre of an image as (1, 3, h, w), at most `side` pixels a side (0: all of it)."""
    height, width = image.shape[1:]
    h, w = (min(side or 10**6, n) // 8 * 8 for n in (height, width))
    top, left = (height - h) // 2, (width - w) // 2
    return image[None, :, top : top + h, left : left + w].contiguous()


names = list(photos)[: settings.test_images]
clean = {name: middle(photos[name], settings.test_crop) for name in names}
degraded = {name: gaussian_noise(clean[name], sigma, seeds=1000 + i, clip=False) for i, name in enumerate(names)}
first = names[0]

side, p = 64, 5  # a small picture, and patches of 5 x 5 pixels around each of its pixels
small_clean = middle(photos["chelsea"], 0)[..., 72 : 72 + side, 150 : 150 + side]  # an eye and fur
small = gaussian_noise(small_clean, sigma, seeds=5, clip=False)
patches = F.unfold(F.pad(small, [p // 2] * 4, mode="reflect"), p)[0].T  # (4096, 75): one patch a pixel
query = 30 * side + 47  # on the dark rim of the lid
nearest = (patches - patches[query]).square().mean(dim=1).argsort()[:25]  # the query itself and its 24 look-alikes

colours, truth = small[0].flatten(1).T, small_clean[0].flatten(1).T  # (4096, 3): the noisy and the clean colour of every pixel
places = torch.stack([torch.arange(side**2) // side, torch.arange(side**2) % side], dim=1).float()
asked = torch.randperm(side**2, generator=torch.Generator().manual_seed(SEED))[:400]  # 400 queries, for a fair mean
counts = (1, 2, 3, 4, 6, 9, 13, 18, 25, 36, 49, 64, 81)
errors = {}
for kind, vectors in (("look-alikes", patches), ("nearest in space", places)):
    order = torch.cdist(vectors[asked], vectors).argsort(dim=1)
    errors[kind] = [(colours[order[:, :n]].mean(1) - truth[asked]).square().mean().sqrt().item() * 255 for n in counts]

with style():
    figure = new_figure(9, 3.4)
    left, right = figure.subplots(1, 2)
    left.imshow(small[0].permute(1, 2, 0).clamp(0, 1))
    left.scatter(nearest[1:] % side, nearest[1:] // side, s=45, marker="s", facecolors="none", edgecolors="white", linewidths=1.3)
    left.scatter(query % side, query // side, s=70, marker="s", facecolors="none", edgecolors=PALETTE[1], linewidths=2.5)
    left.set_title("orange: the query; white: its 24 look-alikes")
    left.set_axis_off()
    for index, (kind, values) in enumerate(errors.items()):
        right.semilogx(counts, values, color=PALETTE[index], linestyle=("-", "--")[index], marker="os"[index], markersize=4, label=f"average of {kind}")
    right.semilogx(counts, sigma / np.sqrt(counts), color="0.5", linestyle=":", label=r"the law $\sigma / \sqrt{N}$")
    right.set_xticks([1, 3, 9, 25, 81], ["1", "3", "9", "25", "81"])
    right.minorticks_off()
    right.set_xlabel("N, pixels averaged")
    right.set_ylabel("root mean squared error (0-255)")
    right.legend(frameon=False)
record("look_alikes", figure, "Left: a pixel of a noisy photograph and the pixels whose surroundings look most like its own. Right: the error of the average of N pixels, over 400 queries.")

# %% [markdown] lang="en"
# The look-alikes are not simply the neighbours: they follow the dark rim, and some lie far away. On the right both ways first follow the law, and then leave it. The nearest neighbours are the better choice as long as a few are
# enough (nobody had to find them, so noise could not mislead the search); from about a dozen on they reach across edges and the average turns to blur. Look-alikes can be averaged by the dozen. The best would be to use both, *what it
# looks like* and *where it is*; remember this when positions come in section 5.
#
# So a good average must *choose*, and the choice must come from the picture itself. Three questions make any such average:
#
# 1. What does a pixel **ask** for? Here: the patch around it.
# 2. What does every other pixel **offer**, to be compared with that? Here: the patch around *it*.
# 3. What is **handed over** when they match? Here: the colour in the middle.
#
# In a Transformer the three answers are called *query*, *key* and *value*. You will meet them again in section 2; so far nothing is learnt.
#
# ### From choosing to weighting
#
# "The 25 best" is a hard cut: number 25 counts fully, number 26 not at all, and the cut has no gradient. Softer: every pixel counts, and the less it looks like the query, the less. With a squared distance $D$ between two
# patches and a temperature $T$,
#
# $$
# w_j = \frac{e^{-D_j / T}}{\sum_k e^{-D_k / T}}, \qquad \text{result} = \sum_j w_j \, v_j .
# $$
#
# The fraction is the **softmax** of $-D / T$: positive numbers that sum to 1. This is non-local means (Buades, Coll and Morel, CVPR 2005), and it is attention.
#
# **Exercise 01-a (2 points, about 5 minutes).** Write it for many queries at once: row $i$ of `distances` belongs to query $i$. It must also work when *every* distance is large, where $e^{-D/T}$ is zero in floating point.
#
# <details><summary>Hint</summary>
#
# `torch.softmax(x, dim=...)` first subtracts the largest entry, which changes nothing on paper and saves the day in floating point. Along which axis must the weights sum to 1? The rest is a matrix product, `weights @ values`.
#
# </details>

# %%
# exercise 01-a · 2 points · A soft average
def soft_average(distances, values, temperature):
    """distances: (Q, N), values: (N, C), temperature: a number -> (Q, C), the weighted average for every query."""
    ### BEGIN SOLUTION
    weights = torch.softmax(-distances / temperature, dim=-1)  # (Q, N), rows sum to 1
    return weights @ values
    ### END SOLUTION


# %%
check("01-a", soft_average)

# %% [markdown] lang="en"
# Now every pixel of the small picture asks, and every pixel answers: 4096 queries, 4096 keys, 16.8 million distances.
#
# **Predict:** what comes out at a very low temperature? At a very high one? (What are the weights in each case?)

# %%
average = use("01-a", soft_average)
distances = torch.cdist(patches, patches).square() / patches.shape[1]  # (4096, 4096)
noise_floor = 2 * (sigma / 255) ** 2  # two noisy copies of one patch differ by this much on average
temperatures = [noise_floor * t for t in (0.005, 0.02, 0.04, 0.06, 0.1, 0.2, 0.5, 2, 20)]
soft = {t: average(distances, colours, t).T.reshape(1, 3, side, side) for t in temperatures}
scores = [psnr(image.clamp(0, 1), small_clean).item() for image in soft.values()]
best = temperatures[int(np.argmax(scores))]
chosen = {"noisy": small, f"T = {temperatures[0]:.1g}": soft[temperatures[0]], f"T = {best:.1g}": soft[best], f"T = {temperatures[-1]:.1g}": soft[temperatures[-1]]}
record(
    "temperature",
    figures.strip({**{name: image.clamp(0, 1) for name, image in chosen.items()}, "clean": small_clean}, zoom=None),
    "Averages over the whole small picture at a low, the best and a high temperature. Nothing is learnt here.",
    piece=provenance("01-a"),
)

# %% [markdown] lang="en"
# Low: every pixel finds only itself (its distance to itself is zero), so the noise stays. High: all weights are equal and the picture becomes its mean colour. In between lies a real denoiser, made of nothing but a softmax and a
# matrix product. The temperature decides between *copying one* and *averaging all*; keep that in mind for the $\sqrt d$ below.
#
# What is *not* good about it was our choice: we decided that pixels are compared by the squared difference of 5 x 5 patches, and that a colour is handed over. Why those? The Transformer's answer: let training decide.

# %% [markdown] lang="en"
# ## 2 · Queries, keys, values
#
# Put a picture's pieces into vectors, called **tokens**, one row of a matrix $X$ each. Three learnt matrices make three vectors of each token:
#
# $$
# Q = X W_Q \;\;\text{(asks)}, \qquad K = X W_K \;\;\text{(offers)}, \qquad V = X W_V \;\;\text{(is handed over)} .
# $$
#
# How well query $i$ and key $j$ match is their dot product. Expand a squared distance, $\lVert q - k \rVert^2 = \lVert q \rVert^2 + \lVert k \rVert^2 - 2\, q \cdot k$, and you see why: between vectors of one length, a large dot product *is* a
# small distance. The rest is section 1 again (Vaswani et al. 2017, eq. 1):
#
# $$
# \mathrm{attention}(Q, K, V) = \mathrm{softmax}\!\left(\frac{Q K^\top}{\sqrt d}\right) V .
# $$
#
# ### Why divide by $\sqrt d$?
#
# A dot product is a sum of $d$ terms. If the entries are independent with mean 0 and variance 1, the sum has variance $d$. The wider the vectors, the larger the scores, and large scores do to a softmax what a low temperature did above.
#
# **Predict:** a query meets 256 keys. With $d = 256$ and no division, how many of them share the weight: about 256, about 50, or hardly more than one?

# %%
widths = [4, 16, 64, 256, 1024]
keys = 256
drawn = {}
for width in widths:
    g = torch.Generator().manual_seed(SEED)
    drawn[width] = torch.randn(200, width, generator=g) @ torch.randn(keys, width, generator=g).T  # (200 queries, 256 keys)


def sharing(scores):
    """How many keys share the weight of a query, on average: the exponential of the entropy of its weights."""
    weights = scores.softmax(dim=-1)
    return (-(weights * weights.clamp_min(1e-30).log()).sum(-1)).exp().mean().item()


with style():
    figure = new_figure(9, 3.2)
    left, right = figure.subplots(1, 2)
    bins = np.linspace(-60, 60, 81)
    for index, width in enumerate((4, 64, 256)):
        left.hist(drawn[width].flatten().numpy(), bins, density=True, histtype="step", linewidth=1.6, color=PALETTE[index], label=f"d = {width}, spread {drawn[width].std():.0f}")
    left.set_xlabel(r"score $q \cdot k$, not divided")
    left.set_ylabel("density")
    left.set_yscale("log")
    left.legend(frameon=False)
    right.semilogx(widths, [sharing(drawn[w]) for w in widths], "o-", color=PALETTE[0], label="plain scores")
    right.semilogx(widths, [sharing(drawn[w] / math.sqrt(w)) for w in widths], "s--", color=PALETTE[1], label=r"divided by $\sqrt{d}$")
    right.axhline(keys, color="0.6", linewidth=1)
    right.set_ylim(0, 1.08 * keys)
    right.set_xlabel("channels d")
    right.set_ylabel("keys that share the weight")
    right.legend(frameon=False, loc=(0.5, 0.3))
record("why_sqrt_d", figure, "Random queries and keys. Left: scores spread like the root of d. Right: without the division a wide query sees a single key; with it the width does not matter.")

# %% [markdown] lang="en"
# Hardly more than one. A softmax that has already decided passes almost no gradient to the losers, so a network that *starts* like that learns slowly or not at all. Divided by $\sqrt d$, scores have spread 1 at any
# width and the network starts undecided: it may sharpen its weights by growing $W_Q$ and $W_K$, but it need not fight its own size first.
#
# **Exercise 01-b (2 points, about 5 minutes).** Write scaled dot-product attention. Axes before the last two (batch, heads) are only carried along; there may be fewer keys than queries, and values may have another width.
#
# <details><summary>Hint</summary>
#
# `k.transpose(-2, -1)` turns the last two axes whatever stands before them. Which axis of the scores belongs to the keys?
#
# </details>

# %%
# exercise 01-b · 2 points · Scaled dot-product attention
def scaled_dot_product_attention(q, k, v):
    """q: (..., Lq, d), k: (..., Lk, d), v: (..., Lk, e) -> (..., Lq, e)."""
    ### BEGIN SOLUTION
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (..., Lq, Lk)
    weights = scores.softmax(dim=-1)  # each query's row sums to 1 over the keys
    return weights @ v
    ### END SOLUTION


# %%
check("01-b", scaled_dot_product_attention)

# %% [markdown] lang="en"
# Write it once yourself, then use `torch.nn.functional.scaled_dot_product_attention`: same mathematics, but it works through the map in blocks and never stores it. Section 9 shows what that is worth.

# %%
attend = use("01-b", scaled_dot_product_attention)
q, k, v = (torch.randn(2, 4, 100, 16) for _ in range(3))
gap = (attend(q, k, v) - F.scaled_dot_product_attention(q, k, v)).abs().max().item()
print(f"against torch's fused version: largest difference {gap:.1e}")

# %% [markdown] lang="en"
# ## 3 · From a picture to tokens
#
# Language comes in words. What is the word of a picture? Pixels would be the natural choice, but then a photograph of 512 x 512 has 262,144 of them, and every one meets every other. The Vision Transformer (Dosovitskiy et al., ICLR
# 2021) cuts the picture into square **patches** of $p \times p$ pixels and makes each a token: $p^2$ fewer tokens, $p^4$ fewer pairs.
#
# For recognition $p = 16$ is usual. Restoration must give every pixel back, so patches must be small, and cutting must lose nothing. Tokens are counted row by row over the picture; inside a token come all pixels of channel 0
# (row by row), then those of channel 1, and so on:
#
# $$
# \text{token}_{\,y \cdot (W/p) + x}\,[\,c\,p^2 + i\,p + j\,] = \text{image}_c(p\,y + i,\; p\,x + j)
# $$
#
# **Exercise 01-c (2 points, about 10 minutes).** Write the cut and its exact inverse, for any patch size and any number of channels.
#
# <details><summary>Hint 1</summary>
#
# Split the height into `(H // p, p)` and the width into `(W // p, p)`: six axes, `(B, C, H/p, p, W/p, p)`. Then `permute` them so that the two axes that count tokens stand together, and the three inside a token too.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Going back: first give the axes their lengths, in the order they were joined in, then permute to `(B, C, H/p, p, W/p, p)`, then reshape.
#
# </details>

# %%
# exercise 01-c · 2 points · Patches and back
def patchify(x, patch):
    """(B, C, H, W) -> (B, H/p * W/p, C*p*p) with p = patch."""
    ### BEGIN SOLUTION
    B, C, H, W = x.shape
    x = x.reshape(B, C, H // patch, patch, W // patch, patch)  # b c y i x j
    x = x.permute(0, 2, 4, 1, 3, 5)  # b y x c i j
    return x.reshape(B, (H // patch) * (W // patch), C * patch * patch)
    ### END SOLUTION


def unpatchify(tokens, patch, height, width):
    """(B, H/p * W/p, C*p*p) -> (B, C, H, W) with H = height, W = width, in pixels."""
    ### BEGIN SOLUTION
    B, _, values = tokens.shape
    channels = values // patch**2
    x = tokens.reshape(B, height // patch, width // patch, channels, patch, patch)  # b y x c i j
    x = x.permute(0, 3, 1, 4, 2, 5)  # b c y i x j
    return x.reshape(B, channels, height, width)
    ### END SOLUTION


# %%
check("01-c", (patchify, unpatchify))

# %%
cut, join = use("01-c", (patchify, unpatchify))
picture = middle(photos["coffee"], 192)
rows, columns = picture.shape[-2] // 32, picture.shape[-1] // 32
tokens = cut(picture, 32)  # large patches, for the eye
print(f"picture {tuple(picture.shape)} -> tokens {tuple(tokens.shape)}; and back, largest difference:", (join(tokens, 32, *picture.shape[-2:]) - picture).abs().max().item())
with style():
    figure = new_figure(9, 3.6)
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.15))
    panel = left.subplots()
    panel.imshow(picture[0].permute(1, 2, 0))
    panel.set_axis_off()
    panel.set_title("the picture")
    for index, panel in enumerate(right.subplots(rows, columns).flat):
        panel.imshow(tokens[0, index].reshape(3, 32, 32).permute(1, 2, 0))
        panel.set_title(str(index), fontsize=7, pad=1)
        panel.set_axis_off()
record("patches", figure, "A picture and its patches of 32 x 32 pixels with the number of each token. The model below uses smaller ones.", piece=provenance("01-c"))

# %% tags=["nbval-check-output"]
for patch in (1, 2, 4, 8, 16):
    count = (512 // patch) ** 2
    print(f"512 x 512 pixels in patches of {patch:2d}: {count:7,} tokens, {count**2:14,} pairs")

# %% [markdown] lang="en"
# ## 4 · Several heads
#
# One softmax gives each query *one* set of weights. But a patch may want two things at once: other patches with the same texture, to average the noise away, and its direct neighbours, to continue an edge. One set of weights
# can only offer a compromise. So the $C$ channels are shared out among $n$ **heads** of $d = C/n$ channels. Each head makes its own map; the results are put side by side and mixed by one more matrix.
#
# The cost hardly changes: $n$ maps, each from vectors $n$ times shorter. All that is hard about it is book-keeping. Follow the shapes:
#
# | step | shape |
# |---|---|
# | tokens | `(B, L, C)` |
# | one linear layer makes q, k and v together | `(B, L, 3C)` |
# | cut into three | `(B, L, C)` each: q, then k, then v |
# | share the channels among heads | `(B, L, n, d)` |
# | heads to the front, so that the last two axes are tokens and channels | `(B, n, L, d)` |
# | attention (its maps: `(B, n, L, L)`) | `(B, n, L, d)` |
# | heads back behind the tokens | `(B, L, n, d)` |
# | heads side by side, then the last linear layer | `(B, L, C)` |
#
# **Predict:** a reshape from `(B, L, C)` straight to `(B, n, L, d)` has the right shape as well. What would it mix?
#
# **Exercise 01-d (3 points, about 10 minutes).** The layers are there; write `forward`. `attend` from above is your own function once it is right. Head 0 owns the first $d$ channels.
#
# <details><summary>Hint 1</summary>
#
# `self.qkv(x).chunk(3, dim=-1)` gives q, k, v. `t.reshape(B, L, n, d).transpose(1, 2)` brings the heads to the front.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# On the way back use `transpose(1, 2)` again *before* the reshape to `(B, L, C)`: a reshape never moves numbers, it only relabels them.
#
# </details>

# %%
# exercise 01-d · 3 points · Multi-head self-attention
class MultiHeadSelfAttention(nn.Module):
    """Tokens attend to tokens, (B, L, C) -> (B, L, C)."""

    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        ### BEGIN SOLUTION
        B, L, C = x.shape
        q, k, v = self.qkv(x).chunk(3, dim=-1)  # each (B, L, C)
        q, k, v = (t.reshape(B, L, self.heads, C // self.heads).transpose(1, 2) for t in (q, k, v))  # (B, n, L, d)
        out = attend(q, k, v)  # (B, n, L, d)
        return self.proj(out.transpose(1, 2).reshape(B, L, C))
        ### END SOLUTION


# %%
check("01-d", MultiHeadSelfAttention)

# %% [markdown] lang="en"
# ## 5 · Attention does not know where anything is
#
# Look at the formula again: nowhere does it say *which* token comes first. Here is a small experiment. Cut a photograph into tokens, run them through an attention layer (with random weights), and put the result together
# again. Then do the same with the tokens **shuffled**.
#
# **Predict:** will the shuffled result be the same picture shuffled, or something else?

# %%
my_attention = use("01-d", MultiHeadSelfAttention)
torch.manual_seed(SEED)
layer = my_attention(3 * 8 * 8, 4).to(device)
picture = middle(photos["coffee"], 192).to(device)
tokens = cut(picture, 8) - 0.5  # (1, 576, 192)
order = torch.randperm(tokens.shape[1], generator=torch.Generator().manual_seed(1)).to(device)
with torch.no_grad():
    seen_in_order = layer(4 * tokens)
    seen_shuffled = layer(4 * tokens[:, order])
unshuffled = torch.empty_like(seen_shuffled)
unshuffled[:, order] = seen_shuffled
print("shuffled, attended, put back in order: largest difference", f"{(unshuffled - seen_in_order).abs().max().item():.1e}")


channel = seen_in_order[0].std(dim=0).argmax()  # the one of the 192 output channels that varies most
across, down = picture.shape[-1] // 8, picture.shape[-2] // 8
with style():
    figure = new_figure(9, 2.2)
    shown = (
        ("tokens in order", tokens),
        ("after attention", seen_in_order),
        ("tokens shuffled", tokens[:, order]),
        ("after attention", seen_shuffled),
        ("... put back in order", unshuffled),
    )
    for panel, (title, values) in zip(figure.subplots(1, 5), shown, strict=True):
        if title.startswith("tokens"):
            panel.imshow((join(values, 8, *picture.shape[-2:])[0].cpu() + 0.5).permute(1, 2, 0))
        else:
            panel.imshow(values[0, :, channel].reshape(down, across).cpu(), cmap="viridis")
        panel.set_title(title, fontsize=8)
        panel.set_axis_off()
record("order_blind", figure, "An attention layer with random weights on a picture's patches, in order and shuffled (one output channel, one value a token). It does not notice the shuffling.", piece=provenance("01-c", "01-d"))

# %% [markdown] lang="en"
# It is the same picture, shuffled: the layer has no idea. (The mathematical word is *permutation equivariant*.) For a bag of words that may do; in a picture "the patch to my right" is worth knowing. So the place must be written
# into the token itself: a **position code**, one vector for each place, is added to the tokens before the first block.
#
# The classic code (Vaswani et al. 2017, section 3.5) is a set of clocks that run at different speeds. For a number $y$ and $m$ frequencies:
#
# $$
# \omega_i = \text{base}^{-i/m}, \qquad E(y) = [\,\sin(\omega_0 y), \dots, \sin(\omega_{m-1} y),\; \cos(\omega_0 y), \dots, \cos(\omega_{m-1} y)\,] .
# $$
#
# A step to the right turns every clock by a fixed angle, and turning is a matrix product. So a learnt $W_Q$ can ask for "one to my right" *wherever it stands*. A picture has two axes: half of the channels encode the row, half
# the column, so $m = C/4$. The paper's base is 10000, made for long sentences; a grid of some dozen patches needs slower clocks no more than a village needs a calendar of millennia, and we use a smaller base.
#
# **Exercise 01-e (2 points, about 10 minutes).** Write the codes of a grid: token $y \cdot \text{width} + x$ gets $[E(y), E(x)]$.
#
# <details><summary>Hint</summary>
#
# Make $E$ for all rows, `(height, dim/2)`, and for all columns, `(width, dim/2)`. Then `[:, None].expand(height, width, -1)` repeats the one along the other axis; `torch.cat(..., dim=-1)` joins them; `reshape` makes one axis of tokens.
#
# </details>

# %%
# exercise 01-e · 2 points · Where a token is
def sinusoidal_positions(height, width, dim, base):
    """Codes of a height x width grid, (height*width, dim): the first half of the channels for the row, the second for the column."""
    ### BEGIN SOLUTION
    m = dim // 4
    frequencies = base ** (-torch.arange(m) / m)  # (m,)

    def axis(length):
        angles = torch.arange(length)[:, None] * frequencies  # (length, m)
        return torch.cat([angles.sin(), angles.cos()], dim=1)  # (length, dim/2)

    rows = axis(height)[:, None].expand(height, width, dim // 2)
    columns = axis(width)[None, :].expand(height, width, dim // 2)
    return torch.cat([rows, columns], dim=-1).reshape(height * width, dim)
    ### END SOLUTION


# %%
check("01-e", sinusoidal_positions)

# %%
codes = use("01-e", sinusoidal_positions)
grid_side = 16
table = codes(grid_side, grid_side, 64, settings.config["base"])  # (256, 64)
places = [(8, 8), (2, 13)]
with style():
    figure = new_figure(9, 2.3)
    panels = figure.subplots(1, 6)
    for panel, channel in zip(panels, (0, 4, 10, 32), strict=False):
        panel.imshow(table[:, channel].reshape(grid_side, grid_side), cmap="RdBu_r", vmin=-1, vmax=1)
        panel.set_title(f"channel {channel}\n({'row' if channel < 32 else 'column'})")
    for panel, (y, x) in zip(panels[4:], places, strict=True):
        similarity = F.normalize(table, dim=1) @ F.normalize(table[y * grid_side + x], dim=0)
        panel.imshow(similarity.reshape(grid_side, grid_side), cmap="viridis")
        panel.plot(x, y, "o", markersize=5, markerfacecolor="none", markeredgecolor="white")
        panel.set_title(f"cosine to the code\nof row {y}, column {x}")
    for panel in panels:
        panel.set_xticks([])
        panel.set_yticks([])
record("positions", figure, "Position codes of a 16 x 16 grid. Left: four of the 64 channels. Right: how alike the codes of all places are to that of one place (circle).", piece=provenance("01-e"))

# %% [markdown] lang="en"
# Near places have like codes, far ones do not, and it works the same way everywhere on the grid. The alternative is to **learn** the codes: a table with one vector a place, started at random and trained with the rest. That is
# what ViT does. It needs no formula; but it knows only the places it was trained on.
#
# ### A task that only positions can solve
#
# Fill an 8 x 8 grid with random vectors and ask one attention layer to answer, at every place: *what lies to your right?* (At the right edge: the first of the row.)
#
# **Predict:** which of these can solve it: no positions, sinusoidal ones, learnt ones? Which of the two learns faster?


# %%
class Neighbour(nn.Module):
    """One attention layer that is to answer with the content of the place to the right."""

    def __init__(self, positions, dim=64, content=8):
        super().__init__()
        self.embed, self.attention, self.answer = nn.Linear(content, dim), my_attention(dim, 4), nn.Linear(dim, content)
        start = {"none": torch.zeros(64, dim), "sinusoidal": codes(8, 8, dim, 100.0), "learnt": 0.5 * torch.randn(64, dim)}[positions]
        self.positions = nn.Parameter(start.float(), requires_grad=positions == "learnt")

    def forward(self, x):
        return self.answer(self.attention(self.embed(x) + self.positions))


def to_the_right(x):
    return x.reshape(-1, 8, 8, 8).roll(-1, dims=2).reshape(x.shape)


curves = {}
for kind in ("none", "sinusoidal", "learnt"):
    torch.manual_seed(SEED)
    finder = Neighbour(kind).to(device)
    optimizer = torch.optim.Adam(finder.parameters(), 3e-3)
    curves[kind] = []
    for _ in range(settings.neighbour_steps):
        x = torch.randn(16, 64, 8, device=device)
        loss = F.mse_loss(finder(x), to_the_right(x))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        curves[kind].append(loss.item())

with style():
    figure = new_figure(6.5, 2.9)
    panel = figure.subplots()
    for index, (kind, losses) in enumerate(curves.items()):
        panel.semilogy(losses, color=PALETTE[index], linestyle=("-", "--", ":")[index], linewidth=1.6, label=f"positions: {kind}")
    panel.axhline(1, color="0.6", linewidth=1)
    panel.set_xlabel("step")
    panel.set_ylabel("mean squared error")
    panel.legend(frameon=False)
record("neighbour", figure, "Finding the right-hand neighbour. The grey line, 1, is the variance of the content: what guessing zero costs.", piece=provenance("01-d", "01-e"))

# %% [markdown] lang="en"
# Without positions the error stays at 1, however long one trains: the neighbour cannot be told from the other 63. With either code one layer finds it within some hundred steps. Learnt codes are no worse, here even faster; but a
# table ends where the training pictures end, and section 10 asks what happens beyond.

# %% [markdown] lang="en"
# ## 6 · The block
#
# Attention moves information *between* tokens and can only average it. A small two-layer network (MLP), the same for every token, works *within* each: it is where things are computed. Together they make a **block**, and a
# Transformer is a stack of blocks:
#
# $$
# x \leftarrow x + \mathrm{attention}(\mathrm{norm}_1(x)), \qquad x \leftarrow x + \mathrm{MLP}(\mathrm{norm}_2(x)) .
# $$
#
# Two habits keep a deep stack trainable. The **residual**, $x + \dots$: a block only writes corrections, and with nothing learnt yet information and gradients pass straight through. The **norm** (layer norm: each token gets mean 0 and
# variance 1 over its channels, then a learnt scale and shift): however the numbers in the stream grow, a branch always sees them at the same scale. It stands *inside* the branch ("pre-norm"). The paper of 2017 put it behind the sum,
# where it also rescales what should pass through untouched; such stacks need a careful warm-up.
#
# **Exercise 01-f (2 points, about 5 minutes).** Write `forward`.

# %%
# exercise 01-f · 2 points · The Transformer block
class TransformerBlock(nn.Module):
    """Pre-norm Transformer block, (B, L, C) -> (B, L, C)."""

    def __init__(self, dim, heads, attention=my_attention):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x):
        ### BEGIN SOLUTION
        x = x + self.attention(self.norm1(x))  # between tokens
        return x + self.mlp(self.norm2(x))  # within each token
        ### END SOLUTION


# %%
check("01-f", TransformerBlock)

# %% [markdown] lang="en"
# ## 7 · A Vision Transformer that denoises
#
# Everything is there. The patches are tokens; a linear layer takes each to $C$ channels; positions are added; the blocks do their work; a linear layer takes each token back to the pixels of its patch; the patches are put
# together. One help lets it train in about a minute: a 3 x 3 convolution before the cut and another after the joining (`stem` and `tail`), with a shortcut from one to the other, so that patches overlap and leave no seams.
# What comes out is taken as the **noise**, and subtracted:
#
# $$
# \text{restored} = \text{degraded} - \text{network}(\text{degraded}) .
# $$
#
# Noise is the easier thing to predict (Zhang et al., DnCNN, 2017): it has one size and no structure, and a network that knows nothing yet does best to change little. Lesson 02 does the same with the opposite sign.
#
# The library takes the pieces as arguments (`course_lib/models/vit.py`, one short file), so the model below is built from **yours** wherever your check passed.

# %%
my_block = use("01-f", TransformerBlock)
ours = provenance("01-c", "01-d", "01-e", "01-f")


def build(block=my_block, attention=my_attention):
    """A fresh denoiser of this profile's size, made of your pieces."""
    torch.manual_seed(SEED)
    return create_model("vit", **settings.config, block=block, attention=attention, cut=cut, join=join, codes=codes)


model = build().to(device)
patch_side = settings.patches[-1]
example = degraded[first][..., :patch_side, :patch_side].to(device)
print(f"{sum(parameter.numel() for parameter in model.parameters()):,} parameters")
layers = figures.layer_table(model, example, depth=1)
record("layers", layers, f"The parts of the model for a crop of {patch_side} x {patch_side} pixels: shapes of a real forward pass, parameters, multiply-adds.", piece=ours)

# %%
record("dataflow", figures.dataflow_diagram(model, example), "Data flow of the model, drawn from a real forward pass. The cutting and joining of patches, which has no weights, is not drawn.", piece=ours)

# %% [markdown] lang="en"
# How good can this get *without* looking around? To know that, we also train a **control**: the same model with attention taken out of every block. Each patch is then denoised from its own
# pixels and the one or two around it that the convolutions see. Whatever the real model does better, attention did.
#
# **Predict:** the degraded pictures have about 20.2 dB. What will the control reach, and what the model with attention? A token holds 2 x 2 pixels; a crop of 32 pixels a side has 256 tokens, one of 48 has 576.

# %%
class NoAttention(nn.Module):
    """Stands in for attention and says nothing."""

    def __init__(self, dim, heads):
        super().__init__()

    def forward(self, x):
        return torch.zeros_like(x)


def restored_by(network, image):
    """Restored image in [0, 1], on the CPU. In tiles of the size that the model was trained on; section 10 shows why."""
    return restore_tiled(network, image.to(device), tile=patch_side, overlap=settings.overlap).clamp(0, 1).cpu()


held_out = [middle(image, settings.validation_crop) for image in load_photos("validation").values()]


def validate(network):
    """Mean PSNR on crops of the three validation photographs."""
    noisy = [gaussian_noise(image, sigma, seeds=2000 + i, clip=False) for i, image in enumerate(held_out)]
    return float(np.mean([psnr(restored_by(network, degraded_), image).item() for degraded_, image in zip(noisy, held_out, strict=True)]))


recipe = Recipe(
    name="vit_lesson", model="vit", config=settings.config, sigma=sigma, seed=SEED, steps=settings.steps,
    patches=tuple(settings.patches), batches=tuple(settings.batches), stage_ends=tuple(settings.stage_ends),
    learning_rate=settings.learning_rate, final_learning_rate=settings.final_learning_rate, warmup=settings.warmup,
    clip_norm=settings.clip_norm, ema_decay=settings.ema_decay, precision=settings.precision,
    log_every=settings.log_every, validate_every=max(1, settings.steps // 4), checkpoint_seconds=settings.checkpoint_seconds,
)  # fmt: skip
training_photos = list(load_photos("train").values())

# The folder carries a fingerprint of your code: change a piece, and a new run starts instead of the old one going on.
folder = out / "training" / f"vit-{source_key(my_block, my_attention, attend, cut, join, codes)}"
run = fit(build(), recipe, training_photos, noise_of(sigma), folder, device=device, validate=validate)
print(f"{run.steps} steps in {run.seconds:.0f} s with {ours}")
record("training_seconds", run.seconds, "Seconds of training.", piece=ours)

# %%
control = fit(
    build(block=ViTBlock, attention=NoAttention), recipe.replace(name="vit_control"), training_photos, noise_of(sigma),
    out / "training" / f"control-{source_key(cut, join, codes)}", device=device, validate=validate,
)  # fmt: skip
record(
    "training_curve",
    figures.training_curves({"with attention": run.log, "control, without": control.log}),
    "Loss, validation PSNR and learning rate of the model and of its control: the same crops, the same noise, the same number of steps.",
    piece=ours,
)

# %% [markdown] lang="en"
# ### Before and after
#
# **Predict:** which of the test photographs gains most, which least? Look at them first.

# %%
restored = {name: restored_by(run.model, degraded[name]) for name in names}
by_control = {name: restored_by(control.model, degraded[name]) for name in names}
shown = names[:3]
record(
    "before_after",
    figures.grid([{"degraded": degraded[n].clamp(0, 1), "no attention": by_control[n], "restored": restored[n], "clean": clean[n]} for n in shown]),
    f"Test photographs, restored by the model trained above in {run.seconds:.0f} seconds, and by its control without attention.",
    piece=ours,
)

# %%
from skimage.restoration import denoise_nl_means


def non_local_means(image):
    """Section 1 with care, on (1, 3, H, W): scikit-image's non-local means, told the noise level."""
    array = image[0].permute(1, 2, 0).numpy()
    result = denoise_nl_means(array, h=0.6 * sigma / 255, sigma=sigma / 255, patch_size=5, patch_distance=6, channel_axis=-1)
    return torch.from_numpy(np.ascontiguousarray(result)).permute(2, 0, 1)[None].float().clamp(0, 1)


def scored(method, images, whose):
    """One row of the table: means over the test photographs."""
    pairs = [(images[n], clean[n]) for n in names]
    return {
        "method": method,
        "PSNR (dB)": round(float(np.mean([psnr(a, b).item() for a, b in pairs])), 2),
        "SSIM": round(float(np.mean([ssim(a, b).item() for a, b in pairs])), 4),
        "made of": whose,
    }


results = pd.DataFrame(
    [
        scored("untouched input", degraded, "-"),
        scored("non-local means, nothing learnt", {name: non_local_means(degraded[name]) for name in names}, "-"),
        scored(f"the same model without attention, {control.steps} steps", by_control, provenance("01-c", "01-e")),
        scored(f"Vision Transformer, {run.steps} steps here", restored, ours),
    ]
)
record("degraded_psnr", results["PSNR (dB)"][0], f"Mean PSNR of the degraded test photographs at sigma {sigma:g}.")
record("restored_psnr", results["PSNR (dB)"][3], "Mean PSNR after the model trained in this lesson.", piece=ours)
record("results", results, f"Denoising at sigma {sigma:g} on {len(names)} test photographs, all measured in this run.")

# %% [markdown] lang="en"
# Read it honestly. Some nine decibels are gained, and the pictures show it. But non-local means, which nobody trained, gains more than eight, and so does the control, which cannot look around: much of denoising is knowing what *small*
# pieces of photographs look like. What the model has over its control, with the same crops and the same number of steps, is attention's: something under one decibel in our run. That is what looking around is worth here, to a small model after a
# minute of training; the error maps below show where, along edges and in texture that repeats. In the curves above
# the two losses run together for the first two hundred steps or so: attention has to be learnt before it can help.

# %%
record(
    "errors",
    figures.difference({"clean": clean[first], "degraded": degraded[first].clamp(0, 1), "no attention": by_control[first], "with attention": restored[first]}),
    "What is left of the error, on one colour scale.",
    piece=ours,
)

# %% [markdown] lang="en"
# ## 8 · What does it look at?
#
# An attention map can be read: row $i$ says how much token $i$ takes from every other. Below, three queries on a crop of a test photograph, and for each block the weights of their rows, averaged over the heads.
#
# **Predict:** will a query look at its neighbours, at look-alikes further away, or everywhere? Will the first block do the same as the last?

# %%
def with_trained_weights(model):
    """The trained weights in another model, by their places and not by their names: your piece may call its layers otherwise."""
    with torch.no_grad():
        for weight, trained in zip(model.parameters(), run.model.parameters(), strict=True):
            weight.copy_(trained)
    return model.to(device).eval()


library_model = with_trained_weights(create_model("vit", **settings.config))  # the library's own pieces, which also give their maps
eye = (80, 150)  # corner of a crop of the first test photograph, counted in the whole of it
sizes = zip(eye, photos[first].shape[-2:], clean[first].shape[-2:], strict=True)
top, left = (max(0, min(start - (full - size) // 2, size - patch_side)) for start, full, size in sizes)
crop = degraded[first][..., top : top + patch_side, left : left + patch_side].to(device)
with torch.no_grad():
    gap = (library_model(crop) - run.model(crop)).abs().max().item()
print(f"your pieces against the library's faster ones, same weights: largest difference {gap:.1e}")

maps = []
with torch.no_grad():
    x = library_model.tokens(crop)[1]
    for block in library_model.blocks:
        maps.append(block.attention.weights(block.norm1(x))[0].cpu())  # (heads, L, L)
        x = block(x)

p = settings.config["patch"]
n = patch_side // p  # tokens a side
queries = [(n // 4, n // 4), (n // 2, n // 2), (4 * n // 5, 4 * n // 5)]


def show_query(panel, image, query):
    """A crop with the query's patch marked."""
    from matplotlib.patches import Rectangle

    panel.imshow(image[0].cpu().clamp(0, 1).permute(1, 2, 0))
    panel.add_patch(Rectangle((query[1] * p - 0.5, query[0] * p - 0.5), p, p, fill=False, edgecolor=PALETTE[1], linewidth=2))
    panel.set_axis_off()


with style():
    figure = new_figure(1.9 * (2 + len(maps)), 5.8)
    panels = figure.subplots(3, 2 + len(maps))
    for row, query in zip(panels, queries, strict=True):
        show_query(row[0], crop, query)
        show_query(row[1], clean[first][..., top : top + patch_side, left : left + patch_side], query)
        for panel, block_maps in zip(row[2:], maps, strict=True):
            weights = block_maps.mean(0)[query[0] * n + query[1]].reshape(n, n)
            panel.imshow(weights / weights.max(), cmap="magma")
            panel.plot(query[1], query[0], "s", markersize=4, markerfacecolor="none", markeredgecolor="white", markeredgewidth=0.8)
            panel.set_axis_off()
    for panel, title in zip(panels[0], ["noisy crop", "clean, for you", *(f"block {i + 1}" for i in range(len(maps)))], strict=True):
        panel.set_title(title)
record("attention_maps", figure, "Where three query patches (orange; white on the maps) look in the blocks of the trained model: black 0, bright the largest weight of the map. Mean over the heads.", piece=ours)

# %%
with style():
    figure = new_figure(9, 1.1 + 1.75 * len(maps))
    panels = figure.subplots(len(maps), 1 + settings.config["heads"], squeeze=False)
    for index, (row, block_maps) in enumerate(zip(panels, maps, strict=True)):
        show_query(row[0], crop, queries[1])
        for head, panel in enumerate(row[1:]):
            weights = block_maps[head, queries[1][0] * n + queries[1][1]]
            share = (-(weights * weights.clamp_min(1e-30).log()).sum()).exp().item()
            panel.imshow(weights.reshape(n, n), cmap="magma")
            panel.set_title(f"block {index + 1}, head {head}\n{share:.0f} of {n * n} share")
            panel.set_axis_off()
record("attention_heads", figure, "The middle query, head by head. The number: how many tokens share the weight (exponential of the entropy).", piece=ours)

# %% [markdown] lang="en"
# The maps do not look like the clean neighbourhoods of a convolution, nor like a list of look-alikes, but like something in between. The first block looks far and wide: most tokens get some weight, more of it on what has the query's
# brightness, with broad horizontal and vertical bars that come from the position codes. Later blocks are choosy: they stay near the query *and* on tokens that look like it. In our run the middle query lies on a reflection in the pupil, and the
# last block follows that reflection around and leaves the dark between out. Heads differ in what they follow and in how many tokens they let in. This is the average of section 1 again, with both of its criteria, looks and place, and nobody
# wrote the rule.
#
# One caution. A map shows where a layer *reads*, not what it does with it: the values, the MLP and the later blocks decide that. Do not take such pictures for an explanation.

# %% [markdown] lang="en"
# ## 9 · What it costs
#
# Every token meets every token. With $L$ tokens a map has $L^2$ entries, and the two products $QK^\top$ and (map) $V$ take $2 L^2 C$ multiplications. $L$ itself is the number of pixels over $p^2$. So twice the side is four times the
# tokens and *sixteen* times the cost. That is arithmetic; machines have overheads, caches and limits of their own, so we measure: one attention layer, forward, time and the largest memory held at once.
#
# **Predict:** on doubly logarithmic paper a cost of (pixels)$^s$ is a line of slope $s$. Which slopes will time and memory have? And where does your layer differ from the fused one, which never stores the map?

# %%
def cost_of(layer, side, repeats=settings.cost_repeats):
    """(median seconds, peak megabytes) of one forward pass over the tokens of a side x side picture."""
    x = torch.randn(1, (side // p) ** 2, settings.config["dim"], device=device)
    times = []
    with torch.inference_mode():
        for _ in range(repeats + 1):  # the first call also sets things up
            start = time.perf_counter()
            layer(x).sum().item()  # .item() waits for the device
            times.append(time.perf_counter() - start)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            layer(x)
            return sorted(times[1:])[repeats // 2], (torch.cuda.max_memory_allocated() - before) / 2**20
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            layer(x)
    held = np.cumsum([event.nbytes() for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"])
    return sorted(times[1:])[repeats // 2], max(held) / 2**20


torch.manual_seed(SEED)
rows = []
kinds = {"your layer" if provenance("01-d") == "your piece" else "the lesson's layer": my_attention, "fused (library)": type(library_model.blocks[0].attention)}
for kind, layer_class in kinds.items():
    layer = layer_class(settings.config["dim"], settings.config["heads"]).to(device)
    for side in settings.cost_sides:
        seconds, megabytes = cost_of(layer, side)
        rows.append({"series": kind, "pixels": side * side, "seconds": seconds, "memory_mb": megabytes})
costs = pd.DataFrame(rows)
record("attention_cost", figures.cost_curves(costs), f"One attention layer on patches of {p} x {p} pixels, measured on this machine. The broad band is the fitted slope.", piece=provenance("01-d"))

# %% [markdown] lang="en"
# Now extend the lines to a picture of 512 x 512 pixels. What follows is **extrapolated**, not measured: the fitted line, drawn on. Once with the patches of this model and once with one token a pixel.

# %%
measured = np.array(settings.cost_sides) ** 2 // p**2  # tokens
targets = np.array([512 * 512 // p**2, 512 * 512])
lines = []
with style():
    figure = new_figure(9, 3.6)
    for panel, (column, label) in zip(figure.subplots(1, 2), (("seconds", "seconds"), ("memory_mb", "peak memory (MB)")), strict=True):
        for index, kind in enumerate(kinds):
            mine = costs[costs["series"] == kind]
            slope, scale, _ = figures.fit_slope(measured, mine[column])
            look = {"color": PALETTE[index], "marker": "os"[index], "markersize": 5}
            panel.loglog(measured, mine[column], linestyle="none", label=f"{kind}: measured", **look)
            beyond = np.array([measured[-1], *targets])
            panel.loglog(beyond, scale * beyond**slope, linestyle="--", markerfacecolor="white", markevery=[1, 2], label=f"{kind}: extrapolated", **look)
            lines.append((kind, column, slope, scale, float(mine[column].iloc[-1])))
        for target, text in zip(targets, (f"512 x 512,\npatches of {p}", "512 x 512,\npixels"), strict=True):
            panel.axvline(target, color="0.6", linewidth=1, zorder=0)
            panel.text(target, 0.01, f"{text} ", transform=panel.get_xaxis_transform(), ha="right", va="bottom", fontsize=6.5)
        panel.set_xlabel("tokens")
        panel.set_ylabel(label)
        panel.grid(True, color="#dddddd", linewidth=0.6)
    figure.axes[0].legend(frameon=False, fontsize=7, loc="upper left")
record("extrapolated", figure, "Filled: measured. Hollow and dashed: extrapolated by the fitted slope to a picture of 512 x 512 pixels.", piece=provenance("01-d"))

# %%
table = []
for side, count, basis in (
    (max(settings.cost_sides), int(measured[-1]), "measured"),
    (512, int(targets[0]), "extrapolated"),
    (512, int(targets[1]), "extrapolated, one token a pixel"),
):
    row = {"picture": f"{side} x {side}", "tokens": f"{count:,}"}
    for kind, column, slope, scale, last in lines:
        value = last if basis == "measured" else scale * count**slope
        row[f"{kind}: {'seconds' if column == 'seconds' else 'GB'}"] = f"{value if column == 'seconds' else value / 1024:,.3g}"
    table.append({**row, "how": basis})
record("cost_table", pd.DataFrame(table), "One attention layer: measured at the largest picture above, extrapolated beyond.", piece=provenance("01-d"))

# %% [markdown] lang="en"
# Memory of your layer rises with slope 2, as counted, and so does time, or a little faster where the maps outgrow the processor's caches. The fused layer computes the same numbers piece by piece and keeps no map, so its memory grows only
# linearly, and it is faster. But its *time* is quadratic too: no kernel makes fewer products. Look at the table: for one layer, forward, of one picture, the stored maps would take more memory than most computers have. Training also keeps them
# for the way back, in every block. And a telephone's photographs have not 512 x 512 pixels but fifty times as many.
#
# How far to trust the extrapolation? As far as the slope: at 16 times the tokens, a slope that is 0.1 too high gives a time that is a third too long, and other work on the machine while it measured can do worse. Memory is the firmer line.

# %% [markdown] lang="en"
# ## 10 · Pictures larger than those it was trained on
#
# The model never saw more than one crop's worth of places. At a larger picture two things change. **Positions:** rows and columns get numbers that no training step ever used. **Dilution:** every query shares its weight among
# more keys. Three ways to go on:
#
# - *at once*: the whole picture, position codes simply counted on;
# - *at once, stretched*: the whole picture, with the trained codes stretched over it like a rubber sheet (what is done with learnt tables);
# - *tiles* of the training size with some overlap, which is what this lesson did all along.
#
# **Predict:** which is best at four times the side? Is more context not always better?

# %%
def stretched_codes(height, width, dim, base):
    """The codes of the grid that the model was trained on, stretched to another one."""
    trained = codes(n, n, dim, base).T.reshape(1, dim, n, n)
    return F.interpolate(trained, (height, width), mode="bicubic", align_corners=False)[0].flatten(1).T


stretched_model = with_trained_weights(create_model("vit", **settings.config, codes=stretched_codes))
ways = {
    "at once": lambda image: restore(library_model, image),
    "at once, stretched": lambda image: restore(stretched_model, image),
    "tiles": lambda image: restore_tiled(library_model, image, tile=patch_side, overlap=settings.overlap),
}
rows, kept = [], {}
for name in names[: settings.larger_images]:
    whole, noisy = (middle(images[name][0], max(settings.larger_sides)) for images in (clean, degraded))
    for side in settings.larger_sides:
        for way, restore_by in ways.items():
            result = restore_by(middle(noisy[0], side).to(device)).clamp(0, 1).cpu()
            score = psnr(middle(result[0], patch_side), middle(whole[0], patch_side)).item()  # the same middle at every size
            rows.append({"photograph": name, "side": side, "way": way, "PSNR of the middle (dB)": score})
            kept.setdefault(name, {})[way] = result
larger = pd.DataFrame(rows).groupby(["way", "side"], sort=False)["PSNR of the middle (dB)"].mean().reset_index()
with style():
    figure = new_figure(6.5, 3)
    panel = figure.subplots()
    for index, way in enumerate(ways):
        mine = larger[larger["way"] == way]
        panel.plot(mine["side"], mine["PSNR of the middle (dB)"], color=PALETTE[index], linestyle=("-", "--", ":")[index], marker="os^"[index], label=way)
    panel.axvline(patch_side, color="0.6", linewidth=1)
    panel.set_xlabel("side of the picture given (pixels); grey line: training size")
    panel.set_ylabel(f"PSNR of the middle {patch_side} x {patch_side} (dB)")
    panel.legend(frameon=False)
record("larger", figure, f"Restoring larger and larger pictures around the same middle; mean over {settings.larger_images} photograph(s).", piece=ours)

# %%
largest_side = max(settings.larger_sides)
whole = middle(clean[first][0], largest_side)
record(
    "larger_pictures",
    figures.strip({**{way: image for way, image in kept[first].items()}, "clean": whole}),
    f"A picture of {largest_side} x {largest_side} pixels, given to a model that was trained on {patch_side} x {patch_side}.",
    piece=ours,
)

# %% [markdown] lang="en"
# At once, simply counting on, the model breaks: colours drift and a grid appears, because places that it never met mean nothing to it. Stretching the codes repairs most of that: every code is one it knows, only nearer to the next than
# usual. What is left is dilution, and it grows with the picture. Tiles stay at the level of training at any size. And the context? The middle gains when the picture grows from one tile to a few (its border is no longer near), and nothing
# after that: more is better only if one was trained for it.
#
# So tiles are the way out of both troubles, cost and positions. Their price: whatever lies further away than a tile cannot help, be it the same brick a hundred pixels to the right or the haze over the whole picture.

# %% [markdown] lang="en"
# ## 11 · Why restoration needs something else
#
# Put the last two sections together. Restoration works on whole photographs, at full resolution, and wants fine tokens. Attention between tokens is then unaffordable, and beyond its training size it does not even work well. Each way
# out gives something up:
#
# | way out | keeps | gives up |
# |---|---|---|
# | larger patches | global view | fine detail: a token must carry $p^2$ pixels |
# | windows or tiles (SwinIR, and this lesson) | linear cost | everything beyond the window |
# | a fused kernel | the exact result, memory | nothing, but the *time* stays quadratic |
# | attention across **channels** (Restormer, lesson 02) | linear cost, global statistics | "copy from over there": the map no longer knows places |
#
# The last row is the idea behind most models of this course. When a $C \times C$ map replaces the $L \times L$ one, the picture's size leaves the map altogether, position codes disappear, and a picture of any size is just a picture.
# How that works, and what takes the place of "looking at look-alikes", is lesson 02.

# %% [markdown] lang="en"
# ## Report
#
# Answer in a few sentences each, in this cell. The PDF of this notebook carries your answers, the figures, and the result of every check.
#
# 1. **In your own words.** What are query, key and value in non-local means, and what in your trained model?
#
#    *Your answer:*
#
# 2. **Data flow.** Follow a crop through the network with the table of layers: how many tokens, how wide, and where are most of the multiplications?
#
#    *Your answer:*
#
# 3. **Results.** How much of the gain in the results table is attention's? Where in the picture is it (look at the error maps)?
#
#    *Your answer:*
#
# 4. **Think.** Section 10 compares three ways to restore a larger picture. Invent a fourth and say what it would keep and give up.
#
#    *Your answer:*

# %% [markdown] lang="en"
# ## Learning notes
#
# The course page's reading list for this part. Two or three sentences on each are enough: the problem, the idea, what you did not understand.
#
# | what | how closely | my notes |
# |---|---|---|
# | [How the Transformer works, in detail](https://zhuanlan.zhihu.com/p/675569052) (in Chinese; this lesson covers the same ground) | skim | |
# | [Restormer](https://arxiv.org/pdf/2111.09881) (CVPR 2022): one model for one degradation; most later Transformers of the field are built on it | read closely, then do lesson 02 | |
# | [PromptIR](https://arxiv.org/pdf/2306.13090) (NeurIPS 2023): one Transformer for all degradations | read closely, with lesson 03 | |
# | Beyond the list: [Attention is all you need](https://arxiv.org/abs/1706.03762), [ViT](https://arxiv.org/abs/2010.11929), [non-local means](https://doi.org/10.1109/CVPR.2005.38) | the formulas used here | |
# | Textbook: [Dive into Deep Learning](https://d2l.ai/) (中文：[动手学深度学习](https://zh.d2l.ai/)), the chapter on attention mechanisms and Transformers | if something stayed unclear | |
#
# *Write here, in the third column or below, before you go on to lesson 02:*
