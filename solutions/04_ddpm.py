# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown] lang="en"
# # 04 · Diffusion: destroy a picture, then learn to go back
#
# {{colab_badge}} {{kaggle_badge}}
#
# The models of lessons 01 to 03 answer one question: *what is the most likely clean picture?* They were trained for an error in pixels, so where they do not know, they
# give the mean of all possibilities, and a mean of sharp pictures is blurred. A **diffusion model** (DDPM: Ho, Jain and Abbeel, NeurIPS 2020) answers another question: *what do pictures look like at all?* It can
# then draw new ones, and it can fill in whatever a damaged picture has lost, without ever having been trained on that damage.
#
# In this lesson you
#
# 1. destroy a picture in 1000 small steps, find out by experiment what all these steps do together, and prove it,
# 2. derive the loss from the bound in three steps, write the **loss** and the **network that knows the time**, and train on patches of 32 x 32 pixels,
# 3. write the step of **DDIM**, which draws pictures with the same network in 10 steps instead of 1000, and measure what that costs in quality,
# 4. restore pictures without any training for it: **DDNM** fills in holes, colours and pixels, and you see where it fails,
# 5. look at **latent diffusion** and measure what the latent saves.
#
# Eight exercises, 18 points, and one open one. The whole lesson runs from top to bottom even when nothing is filled in: where your piece is missing, the
# reference piece steps in and the output says so.
#
# Results come in two kinds. **Recorded run** means: trained before, for longer than a lesson can; its recipe, seed and steps are named. **Live** means: made
# on your machine while you read. Live trainings are short. They show that a thing works, not how good it can become.

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

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from IPython.display import display
from torch import nn

from course_lib import figures
from course_lib.datasets.photos import load_photos
from course_lib.diffusion import ddim, ddnm
from course_lib.diffusion.chain import from_image, starting_noise, to_image
from course_lib.diffusion.ddpm import DDPM
from course_lib.diffusion.operators import Colourisation, CompressedSensing, Inpainting, SuperResolution
from course_lib.diffusion.schedules import linear_betas, make_alpha_bar, visited_times
from course_lib.doctor import usable_device
from course_lib.figures.compare import detail_box
from course_lib.figures.diffusion import (
    density_figure,
    film,
    level_figure,
    noise_floor,
    schedule_curves,
    step_slider,
    unet_figure,
)
from course_lib.figures.style import INK, PALETTE, line_style, new_figure, style
from course_lib.lab.spectra import density, radial_spectrum
from course_lib.metrics import psnr
from course_lib.models.ddpm_unet import DDPMUNet
from course_lib.models.unet_parts import Block, RMSNorm
from course_lib.paths import data_root
from course_lib.profiles import get_profile
from course_lib.training import Recipe, fit, load_recipe, load_weights
from course_lib.workbook.checks import check, provenance, source_key, use
from course_lib.workbook.records import begin, record

if DATA_DIR:
    os.environ["COURSE_DATA_DIR"] = DATA_DIR
settings = get_profile(PROFILE, "04_ddpm")
device = usable_device(DEVICE)
exact = torch.float32 if device.type == "mps" else torch.float64  # Apple's GPUs have no float64
out = begin("04_ddpm", OUT_DIR, profile=PROFILE, seed=SEED, device=device)
torch.manual_seed(SEED)
print(f"profile {PROFILE}: {settings.steps} training steps on {device}; results go to {out.name}")


def shipped(name):
    """A model that the course ships, in eval mode."""
    return load_weights(data_root() / "checkpoints" / f"{name}.safetensors").to(device)


def origin(name):
    """Where shipped weights come from, for a caption."""
    plan = load_recipe(name)
    begun = f", begun with {plan.start} ({load_recipe(plan.start).steps} steps)" if plan.start else ""
    return f"{name}, recorded run: recipe {plan.hash()} (data/recipes/{name}.toml), seed {plan.seed}, {plan.steps} steps on {plan.data}{begun}"

# %% [markdown] lang="en"
# ## 1 · Destroying and rebuilding
#
# Take a photograph and spoil it very gently: make it a little paler, and add a little noise. Do it again. And again, 1000 times. With $\beta$ a small number,
#
# $$
# x_t = \sqrt{1 - \beta_t}\; x_{t-1} + \sqrt{\beta_t}\; z_t, \qquad z_t \sim \mathcal{N}(0, 1)
# $$
#
# In diffusion, pictures are numbers from -1 (black) to 1 (white), so that "nothing" is mid-grey. The library's `from_image` and `to_image` translate.
#
# **Predict before you run:** after how many of the 1000 steps will you no longer recognise the picture? What will be left at the end?

# %%
photos = {split: load_photos(split) for split in ("train", "test")}
side = settings.film_side
coffee = photos["test"]["coffee"]
top, left, height, width = detail_box(coffee, 0.45)
middle = (top + height // 2, left + width // 2)
corner = [max(0, min(place - side // 2, size - side)) for place, size in zip(middle, coffee.shape[-2:], strict=True)]
picture = coffee[None, :, corner[0] : corner[0] + side, corner[1] : corner[1] + side]

T = 1000
betas = linear_betas(T)  # the paper's: from 0.0001 to 0.02 in a straight line
x, frames = from_image(picture), {0: picture}
for t, beta in enumerate(betas.tolist(), 1):
    x = (1 - beta) ** 0.5 * x + beta**0.5 * torch.randn_like(x)
    if t in (20, 50, 100, 200, 350, 600, 1000):
        frames[t] = to_image(x)
record(
    "destroyed",
    film({"x after t steps": torch.cat(list(frames.values()))}, [f"t = {t}" for t in frames]),
    "One photograph, spoilt in 1000 single steps (computed in this run, step by step, with the paper's linear betas).",
)

# %% [markdown] lang="en"
# At the end there is nothing but noise, and any photograph ends like this. Going back is the hard part. One step back is easy to imagine: a denoiser that removes *a very little* noise. If a network
# can do that for every amount of noise, it can walk the whole way back, from any point.
#
# The course ships such a network, `ddpm_patches_small`. It has learnt from patches of 32 x 32 pixels, cut out of the photographs that its recipe names. We spoil patches that it has never seen up to a time $t$ and let it walk back from there.
#
# **Predict:** from which time on will it rebuild a *different* picture?

# %%
def crops(images, count, side=32, seed=0, detailed=False):
    """`count` random patches (count, 3, side, side) of photographs; `detailed` takes only those with some contrast."""
    rng, found, names = np.random.default_rng(seed), [], list(images)
    while len(found) < count:
        image = images[names[len(found) % len(names)]]
        top, left = (rng.integers(0, size - side + 1) for size in image.shape[-2:])
        patch = image[:, top : top + side, left : left + side]
        if not detailed or F.avg_pool2d(patch, side // 8).std() > 0.2:
            found.append(patch)
    return torch.stack(found)


prior = shipped("ddpm_patches_small")
network, process = prior.network, prior.process
held_out = crops(photos["test"], 12, seed=8, detailed=True).to(device)
print(f"{origin('ddpm_patches_small')}; {sum(p.numel() for p in network.parameters()):,} parameters, T = {process.T}")


def walk_back(x, t, steps):
    """From x (B, 3, h, w) of time t to a picture in [0, 1], by the shipped network."""
    times = sorted({int(time) for time in np.linspace(0, t, steps)}, reverse=True) if steps > 1 else [t]
    return to_image(ddim.sample(process, network, x, spacing=times))


shown = held_out[: settings.rebuild_patches]
starts = [int(share * (process.T - 1)) for share in (0.05, 0.15, 0.3, 0.5, 0.7, 0.9)]
spoilt, rebuilt = [shown], [shown]
for t in starts:
    x_t = process.q_sample(from_image(shown), t, starting_noise(shown.shape, 30, device))
    spoilt.append(to_image(x_t))
    rebuilt.append(walk_back(x_t, t, settings.rebuild_steps))
rows, notes = {}, {}
for number in range(len(shown)):
    rows[f"spoilt {number + 1}"] = torch.stack([pictures[number] for pictures in spoilt])
    rows[f"rebuilt {number + 1}"] = torch.stack([pictures[number] for pictures in rebuilt])
    for name, row in (("spoilt", spoilt), ("rebuilt", rebuilt)):
        scores = [psnr(pictures[number : number + 1], shown[number : number + 1]).item() for pictures in row[1:]]
        notes[f"{name} {number + 1}"] = [""] + [f"{score:.1f} dB" for score in scores]
record(
    "rebuilt",
    film(rows, ["original"] + [f"from t = {t}" for t in starts], notes=notes),
    f"Held-out patches, spoilt up to time t and rebuilt from there by {settings.rebuild_steps} steps of the shipped network, with the PSNR against the original ({origin('ddpm_patches_small')}).",
)

# %% [markdown] lang="en"
# Read it from left to right. With little noise the network gives the picture back: that is **denoising**, and you know it from lesson 01. With more noise, details go first, then shapes. At the right end hardly anything of the original has
# survived, and what comes out is a patch that the network *invented*: that is **generation**. There is no line between the two. A diffusion model is a denoiser for every amount of noise, used again and again.
#
# Notice also what the rebuilt patches are *not*: they are not the grey blur that one big step of denoising would give. Many small steps commit to one possibility. How, and at what price, is what follows.

# %% [markdown] lang="en"
# ## 2 · The closed form
#
# For training we shall need $x_t$ for random $t$, millions of times. 500 single steps each time would be far too slow. So: what do $t$ steps do *together*? Let us ask an experiment before we ask algebra.
#
# Take one number, $x_0 = 0.8$, in many thousand copies. Every copy walks its own 1000 steps. After every step we measure the mean and the variance over the copies.
#
# **Predict:** where does the mean go? The variance gets a little more with every step; will it grow without end?

# %%
x = torch.full((settings.copies,), 0.8, dtype=torch.float64)
means, variances = [], []
for beta in betas.tolist():
    x = (1 - beta) ** 0.5 * x + beta**0.5 * torch.randn_like(x)
    means.append(x.mean().item())
    variances.append(x.var().item())
with style():
    figure = new_figure(9, 2.8)
    axes = figure.subplots()
    axes.plot(means, color=PALETTE[0], label="mean of the copies")
    axes.plot(variances, color=PALETTE[1], linestyle="--", label="variance of the copies")
    axes.set(xlabel="steps of noise, t", ylabel="measured", ylim=(-0.1, 1.1))
    axes.legend(frameon=False, loc="center right")
record("measured", figure, f"Mean and variance of {settings.copies:,} copies of the number 0.8, measured after every single step.")

# %% [markdown] lang="en"
# The mean fades to 0, and the variance stops at 1. Both look smooth, so there should be a formula. Let us guess:
#
# - every step multiplies the mean by $\sqrt{1 - \beta_s}$, so all of them together multiply it by the *product* $\prod_s \sqrt{1 - \beta_s}$,
# - the variance ends at 1 when nothing is left of the picture. Perhaps it always fills what the picture has left: variance = 1 - (that product) squared.

# %%
product = torch.cumprod(1 - betas, 0)  # of the squares
rows = []
for t in (10, 100, 300, 600, 1000):
    rows.append({"steps": t, "mean / 0.8, measured": means[t - 1] / 0.8, "root of the product": float(product[t - 1].sqrt()), "variance, measured": variances[t - 1], "1 - product": float(1 - product[t - 1])})
record("guess", pd.DataFrame(rows).round(3), f"The guess against the measurement. With {settings.copies:,} copies chance alone moves the second column by about {1 / (0.8 * settings.copies**0.5):.3f} and the fourth by about {(2 / settings.copies) ** 0.5:.3f} where the variance is near 1. ('product': of all 1 - beta.)")

# %% [markdown] lang="en"
# The guess holds: the columns differ by no more than chance explains. Now the proof, in two lines. Write $\alpha_t = 1 - \beta_t$ and put one step into the next:
#
# $$
# x_t = \sqrt{\alpha_t}\,\big(\sqrt{\alpha_{t-1}}\, x_{t-2} + \sqrt{1 - \alpha_{t-1}}\, z_{t-1}\big) + \sqrt{1 - \alpha_t}\, z_t
# $$
#
# The two noises are independent, so they add up to *one* Gaussian whose variance is the sum: $\alpha_t (1 - \alpha_{t-1}) + 1 - \alpha_t = 1 - \alpha_t \alpha_{t-1}$. Two steps look like one step with $\alpha_t \alpha_{t-1}$ in the place of $\alpha_t$. By induction, with
# $\bar\alpha_t = \prod_{s \le t} \alpha_s$,
#
# $$
# q(x_t \mid x_0) = \mathcal{N}\big(\sqrt{\bar\alpha_t}\; x_0,\; (1 - \bar\alpha_t)\, I\big)
# $$
#
# $\bar\alpha$ is the one curve that says everything about a diffusion: the share of the picture's power that is left.
#
# | paper | code | meaning |
# |---|---|---|
# | $t = 1 \dots T$ | `t` = 0 ... T-1 | code counts from 0; -1 is the clean picture |
# | $\beta_t$, $\alpha_t$ | `beta`, `alpha` | variance that a step adds, and 1 - that |
# | $\bar\alpha_t$ | `alpha_bar`, shape `(T,)` | the product of the alphas |
# | $x_0$, $x_t$ | `x_0`, `x_t`, `(B, C, H, W)` | clean picture in [-1, 1], noisy picture |
# | $\epsilon$ | `epsilon`, same shape | standard normal noise |

# %% [markdown] lang="en"
# **Exercise 04-a (2 points, about 5 minutes).** Go from the clean picture to any noise level at once:
#
# $$
# x_t = \sqrt{\bar\alpha_t}\; x_0 + \sqrt{1 - \bar\alpha_t}\;\epsilon \qquad \text{(DDPM, eq. 4)}
# $$
#
# | | shape | |
# |---|---|---|
# | `x_0` | `(B, C, H, W)` | clean pictures in [-1, 1] |
# | `t` | `(B,)`, int64 | a time of its own for every picture, counted from 0 |
# | `epsilon` | `(B, C, H, W)` | standard normal noise |
# | `alpha_bar` | `(T,)`, float64 | `alpha_bar[0]` belongs to t = 0 |
# | result | `(B, C, H, W)` | in the dtype of `x_0`, not clipped |
#
# <details><summary>Hint</summary>
#
# `alpha_bar[t]` picks one number a picture, `(B,)`. Torch lines shapes up from the right, so `(B,)` would meet the *width*. With `[:, None, None, None]` it becomes
# `(B, 1, 1, 1)`. Take the roots in float64, then `.to(x_0.dtype)`.
#
# </details>

# %%
# exercise 04-a · 2 points · Noise in one step
def noise_image(x_0, t, epsilon, alpha_bar):
    """x_0 and epsilon (B, C, H, W), t (B,) int64, alpha_bar (T,) -> x_t (B, C, H, W) in the dtype of x_0."""
    ### BEGIN SOLUTION
    bar = alpha_bar[t][:, None, None, None]  # (B, 1, 1, 1)
    signal, noise = bar.sqrt().to(x_0.dtype), (1 - bar).sqrt().to(x_0.dtype)
    return signal * x_0 + noise * epsilon
    ### END SOLUTION

# %%
check("04-a", noise_image)

# %% [markdown] lang="en"
# A picture is thousands of such numbers, and every one of them goes the same way. To see the whole *distribution* go, take a number that is either near 0.7 or near -0.5, like a pixel that is either sky or roof. The figure shows its density after every step, and
# a few single walks over it. The jump of your function is used for the dots: they start at the same $x_0$ and are thrown to time $t$ in one go.
#
# **Predict:** at which time do the two peaks become one?

# %%
noise_to = use("04-a", noise_image)
peaks, spread = (0.7, -0.5), 0.06
alpha_bar = make_alpha_bar(T, "linear")
x = torch.tensor([peaks[0]] * 3 + [peaks[1]] * 3, dtype=torch.float64)
paths = [x]
for beta in betas.tolist():
    paths.append((1 - beta) ** 0.5 * paths[-1] + beta**0.5 * torch.randn(6, dtype=torch.float64))
figure = density_figure(alpha_bar, torch.stack(paths, 1), peaks, spread=spread)
jump_to = torch.arange(90, T, 130)
x_0 = torch.tensor(peaks, dtype=torch.float64).repeat(len(jump_to) * 12)[:, None, None, None]
times = jump_to.repeat_interleave(24)
jumped = noise_to(x_0, times, torch.randn_like(x_0), alpha_bar).flatten()
with style():
    figure.axes[1].scatter(times, jumped, s=5, color=PALETTE[1], zorder=3)
# two equal bells have one common top as soon as each is as wide as half the way between them
half_way, width = alpha_bar.sqrt() * (peaks[0] - peaks[1]) / 2, (alpha_bar * spread**2 + 1 - alpha_bar).sqrt()
print(f"one peak instead of two from t = {int((half_way <= width).nonzero()[0])} on (by the formula)")
record("density", figure, "A number with two likely values turns into a standard normal. White: single walks, step by step. Orange: jumps by the closed form.", piece=provenance("04-a"))

# %% [markdown] lang="en"
# Walks and dots fill the same bright region. The right end is the bell curve of $\mathcal{N}(0, 1)$, wherever one started: **the end forgets the beginning**. That is what makes generation possible: we know how to draw from the right end, and then walk to the left.

# %% [markdown] lang="en"
# ## 3 · Schedules: how fast to destroy
#
# The linear $\beta_t$ of the first paper was a guess that worked. Nichol and Dhariwal (ICML 2021) looked at small pictures on their way through it: they are destroyed too early, and the end of the chain is nothing but noise, steps in which
# there is nothing to learn. They drew the curve of $\bar\alpha$ itself instead, as a squared cosine. A third one, "scaled linear", lets the *roots* of the betas run in a straight line; latent diffusion (section 10) came with it.

# %% [markdown] lang="en"
# **Exercise 04-b (2 points, about 10 minutes).** Write the cosine schedule of Nichol and Dhariwal (2021, eq. 17). Over $T$ steps the share of the picture falls
# like a squared cosine:
#
# $$
# f(u) = \cos^2\Big( \frac{u + s}{1 + s} \cdot \frac{\pi}{2} \Big), \qquad
# \beta_t = \min\Big( 1 - \frac{f\big(\tfrac{t+1}{T}\big)}{f\big(\tfrac{t}{T}\big)},\; \beta_{\max} \Big), \qquad
# \bar\alpha_t = \prod_{i=0}^{t} (1 - \beta_i), \qquad t = 0 \dots T-1
# $$
#
# | | | |
# |---|---|---|
# | `timesteps` | $T$ | a whole number |
# | `offset` | $s$ | 0.008 unless given: it keeps the first steps from being too small to matter |
# | `largest_beta` | $\beta_{\max}$ | 0.999 unless given: at the end $f(1) = 0$, and a beta of 1 would leave nothing of the picture |
# | result | $\bar\alpha$ | `(T,)`, float64 |
#
# Cut the *betas*, then multiply $1 - \beta$ up again. Stay in float64 from the first tensor on: near $u = 1$ the cosine is almost 0, and float32 has no digits left there.
# The check looks at ten digits.
#
# <details><summary>Hint</summary>
#
# `torch.arange(timesteps + 1, dtype=torch.float64) / timesteps` gives the $T + 1$ times from 0 to 1. Then `f[1:] / f[:-1]` are all the fractions,
# `.clamp(max=...)` cuts, and `torch.cumprod` multiplies up.
#
# </details>

# %%
# exercise 04-b · 2 points · The cosine schedule
def cosine_alpha_bar(timesteps, offset=0.008, largest_beta=0.999):
    """Number of steps T -> alpha_bar (T,) float64."""
    ### BEGIN SOLUTION
    time = torch.arange(timesteps + 1, dtype=torch.float64) / timesteps  # 0, 1/T, ..., 1
    f = torch.cos((time + offset) / (1 + offset) * math.pi / 2) ** 2
    betas = (1 - f[1:] / f[:-1]).clamp(max=largest_beta)
    return torch.cumprod(1 - betas, dim=0)
    ### END SOLUTION

# %%
check("04-b", cosine_alpha_bar)

# %%
cosine = use("04-b", cosine_alpha_bar)
schedules = {"linear": make_alpha_bar(T, "linear"), "cosine": cosine(T), "scaled linear": make_alpha_bar(T, "scaled_linear")}
marks = (50, 150, 300, 450, 600, 750, 900, 999)
record("schedules", schedule_curves(schedules, marks=marks), "Three schedules of 1000 steps: the share of the picture's power that is left, and signal over noise. Thin lines: the times of the next figure.", piece=provenance("04-b"))

# %% [markdown] lang="en"
# Curves say little until one sees pictures. The same picture, the same noise, three schedules:
#
# **Predict:** in which row can you still see something at t = 600?

# %%
small = F.avg_pool2d(picture, side // 32)
epsilon = starting_noise(small.shape, SEED)
rows = {}
for name, curve in schedules.items():
    times = torch.tensor(marks)
    many = from_image(small).expand(len(marks), -1, -1, -1)
    rows[name] = to_image(noise_to(many, times, epsilon.expand_as(many), curve))
record("schedule_films", film(rows, [f"t = {t}" for t in marks]), "One picture and one noise under three schedules, by the closed form.", piece=provenance("04-a", "04-b"))

# %% [markdown] lang="en"
# At t = 600 only the cosine row still shows a dark and a red side. In the other two the right half is wasted: picture after picture of noise. The cosine spreads the destruction more evenly.
#
# What exactly is lost, and in which order? Photographs have much power in slow changes and little in fine detail; noise has the same power everywhere. So there is a frequency where the two meet, and all detail finer than that is under the noise.
#
# **Predict:** what does noise cover first, fine detail or large shapes? What must a network that walks *back* draw first?

# %%
clean = torch.cat([from_image(image[None, :, :128, :128]) for image in list(photos["train"].values())[: settings.spectrum_photos]])
spectrum = radial_spectrum(clean, settings.spectrum_side)
inside = (spectrum.frequency > 0) & (spectrum.frequency <= 0.5)
levels = {f"t = {t}": float(schedules["cosine"][t]) for t in (50, 300, 600, 900)}
record(
    "noise_floor",
    noise_floor(spectrum.frequency[inside], spectrum.power[inside], schedules, levels),
    "Left: mean spectrum of the training photographs, and the noise of four times of the cosine schedule. Right: the finest detail that is still above the noise, for every time of three schedules.",
    piece=provenance("04-b"),
)

# %% [markdown] lang="en"
# So the forward chain eats a picture from the fine end to the coarse end, and the way back goes from coarse to fine: first light and dark, then shapes, then texture. (Where a curve at the right runs flat along the bottom, noise is stronger than even the coarsest waves that this spectrum tells apart.) Keep this in mind when you look at samples. It also tells what a schedule *does*: it decides how many steps are spent on
# each kind of detail. The linear one hurries through the fine detail and lingers where everything is gone.

# %% [markdown] lang="en"
# **Trap: a schedule belongs to its T.** The linear betas 0.0001 ... 0.02 are meant for 1000 steps. With fewer, the chain stops half way: its end is *not* noise, and a sampler that starts from noise starts somewhere the network has never been.

# %%
rows = []
for steps in (1000, 250, 100, 20):
    rows.append({"T": steps} | {f"{name}: root of the last alpha-bar": float(curve(steps)[-1].sqrt()) for name, curve in (("linear", lambda n: make_alpha_bar(n, "linear")), ("cosine", cosine))})
record("ends", pd.DataFrame(rows).round(4), "How much of the picture is left at the end of the chain (a factor on its pixels; it should be near 0).", piece=provenance("04-b"))

# %% [markdown] lang="en"
# With 20 linear steps nine tenths of the picture are still there. (The cosine reaches its end with any T. Look again at the cut in your function: without it the last $\bar\alpha$ would be exactly 0, and the sampler would divide by it.)

# %% [markdown] lang="en"
# ## 4 · One step back
#
# A network shall walk back. What is the right answer for *one* step, from $x_t$ to $x_{t-1}$? Without more knowledge it is hopeless: many pictures may have led to this $x_t$. But in training we know the clean picture. And given both $x_0$ and $x_t$ the question is easy, by Bayes:
#
# $$
# q(x_{t-1} \mid x_t, x_0) \;\propto\; \underbrace{q(x_t \mid x_{t-1})}_{\text{one step forward}} \;\; \underbrace{q(x_{t-1} \mid x_0)}_{\text{the closed form}}
# $$
#
# A product of two Gaussians is a Gaussian. Its mean lies between what $x_0$ says and what $x_t$ says, weighted by how sure each of them is.

# %% [markdown] lang="en"
# **Exercise 04-c (2 points, about 10 minutes).** One step back, if the clean picture were known. Both $x_0$ and $x_t$ say something about $x_{t-1}$; together they fix it up
# to a small Gaussian:
#
# $$
# q(x_{t-1} \mid x_t, x_0) = \mathcal{N}(\tilde\mu,\ \tilde\beta), \qquad
# \tilde\mu = \frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1 - \bar\alpha_t}\, x_0 + \frac{\sqrt{\alpha_t}\,(1 - \bar\alpha_{t-1})}{1 - \bar\alpha_t}\, x_t, \qquad
# \tilde\beta = \frac{1 - \bar\alpha_{t-1}}{1 - \bar\alpha_t}\,\beta_t
# $$
#
# (DDPM, eq. 6 and 7), with $\alpha_t = \bar\alpha_t / \bar\alpha_{t-1}$ and $\beta_t = 1 - \alpha_t$.
#
# | | | |
# |---|---|---|
# | `x_0`, `x_t` | `(B, C, H, W)` | take them as they come, do not clip |
# | `t` | a Python int, 0 ... T-1 | one time for the whole batch |
# | `alpha_bar` | `(T,)`, float64 | the products already |
# | result | `mean, variance` | `(B, C, H, W)` in the dtype of `x_0`; one number (a float or a 0-d tensor) |
#
# Before the first step lies the clean picture. So at t = 0 the alpha-bar before is 1, the mean is `x_0`, and the variance is 0.
#
# <details><summary>Hint</summary>
#
# `alpha_bar[t - 1]` does not stop at t = 0: index -1 is the *last* value. Write `alpha_bar[t - 1] if t > 0 else 1.0`.
#
# </details>

# %%
# exercise 04-c · 2 points · One step back, if x_0 were known
def posterior(x_0, x_t, t, alpha_bar):
    """x_0 and x_t (B, C, H, W), t an int, alpha_bar (T,) -> mean (B, C, H, W) and variance (a number) of q(x_{t-1} | x_t, x_0)."""
    ### BEGIN SOLUTION
    bar_t = float(alpha_bar[t])
    bar_before = float(alpha_bar[t - 1]) if t > 0 else 1.0
    alpha = bar_t / bar_before
    beta = 1 - alpha
    mean = bar_before**0.5 * beta / (1 - bar_t) * x_0 + alpha**0.5 * (1 - bar_before) / (1 - bar_t) * x_t
    return mean, (1 - bar_before) / (1 - bar_t) * beta
    ### END SOLUTION

# %%
check("04-c", posterior)

# %% [markdown] lang="en"
# Does the formula tell the truth? Count! A short chain of 10 steps, one number $x_0 = 0.8$, very many walks. We keep only those walks that pass near a given value at time $t$, and look where they *came from*.
#
# **Predict:** the walks that reach -0.3 at time 5 started at 0.8. Where were they one step before: nearer to -0.3, nearer to the fading mean, or between?

# %%
posterior_of = use("04-c", posterior)
short = make_alpha_bar(10, "cosine")
steps = torch.cat([short[:1], short[1:] / short[:-1]])  # alpha of each step
x, t, reached = torch.full((settings.pairs,), 0.8, dtype=torch.float64), 5, -0.3
for alpha in steps[: t + 1].tolist():
    before, x = x, alpha**0.5 * x + (1 - alpha) ** 0.5 * torch.randn_like(x)
came_from = before[(x - reached).abs() < 0.05]
mean, variance = posterior_of(torch.full((1, 1, 1, 1), 0.8, dtype=torch.float64), torch.full((1, 1, 1, 1), reached, dtype=torch.float64), t, short)
mean, variance = mean.item(), float(variance)


def bell(x, mean, variance):
    return torch.exp(-0.5 * (x - mean) ** 2 / variance) / (2 * torch.pi * variance) ** 0.5


ones = torch.ones(1, 1, 1, 1, dtype=torch.float64)
long, times = schedules["cosine"], list(range(1, T, 10))
weights = [[posterior_of(a * ones, b * ones, t, long)[0].item() for t in times] for a, b in ((1, 0), (0, 1))]
with style():
    figure = new_figure(9, 3.2)
    left, right = figure.subplots(1, 2)
    grid = torch.linspace(-1.6, 2.2, 200, dtype=torch.float64)
    left.hist(came_from.numpy(), bins=40, density=True, color=PALETTE[5], label=f"{len(came_from):,} counted walks")
    left.plot(grid, bell(grid, mean, variance), color=INK, linewidth=2, label="posterior, your formula")
    left.plot(grid, bell(grid, float(short[t - 1].sqrt()) * 0.8, float(1 - short[t - 1])), color=PALETTE[1], linestyle="--", label="all walks, one step before")
    left.axvline(reached, color="0.5", linewidth=0.8)
    left.set(xlabel="value one step before", ylabel="density", title=f"10 steps, from x_0 = 0.8 to {reached} at t = {t}")
    left.legend(frameon=False, fontsize=7, loc="upper right")
    left.set_ylim(0, left.get_ylim()[1] * 1.35)
    left.text(reached, left.get_ylim()[1] * 0.97, f"reached: {reached} ", fontsize=7.5, va="top", ha="right")
    right.semilogy(times, weights[0], color=PALETTE[0], label="weight of x_0")
    right.semilogy(times, weights[1], color=PALETTE[1], linestyle="--", label="weight of x_t")
    right.set(xlabel="time t of 1000 (cosine)", title="the mean of the posterior is a mixture of two", ylim=(1e-4, 2))
    right.legend(frameon=False, loc="lower right")
display(record("posterior", figure, "Left: where walks came from that reached a given value, counted and by the formula. Right: what the mean is made of, with 1000 steps.", piece=provenance("04-c")))
print(f"counted: mean {came_from.mean():.3f}, variance {came_from.var():.3f}; formula: mean {mean:.3f}, variance {variance:.3f}")

# %% [markdown] lang="en"
# They came from between the two: the counted mean lies right of -0.3 and left of the dashed curve's middle, and the formula says the same.
#
# Now look at the right panel. With 1000 steps the weight of $x_t$ is nearly 1, and that of $x_0$ stays below a hundredth for most of the chain: **one step back moves hardly anything.** The network's opinion about $x_0$ is taken a little at a time, and before the next step it may change its mind. Only in the very last steps
# does $x_0$ rule. This is why the chain can commit slowly where one big step would have to give a blurred mean.

# %% [markdown] lang="en"
# ## 5 · The loss, in three steps
#
# In use nobody gives us $x_0$. The network must guess. What shall it be trained for?
#
# **Step 1: the bound.** We want pictures to be likely, so we want $-\log p_\theta(x_0)$ to be small. The chain gives an upper bound for it (as in every variational method), and the bound falls apart into one term for each time:
#
# $$
# -\log p_\theta(x_0) \;\le\; \mathbb{E}_q \Big[\, \underbrace{D(q(x_T \mid x_0) \,\|\, p(x_T))}_{\text{no weights in it}} + \sum_{t > 1} D\big(q(x_{t-1} \mid x_t, x_0) \,\|\, p_\theta(x_{t-1} \mid x_t)\big) - \log p_\theta(x_0 \mid x_1) \Big]
# $$
#
# $D$ is the Kullback-Leibler divergence. In words: *at every time, the network's step back should be the step that somebody would take who knows* $x_0$. That is the posterior of section 4.
#
# **Step 2: two Gaussians.** Let the network's step be a Gaussian with the same variance $\sigma_t^2$. The divergence of two Gaussians that differ in the mean alone is the squared distance of the means:
#
# $$
# D = \frac{1}{2 \sigma_t^2} \lVert \tilde\mu(x_t, x_0) - \mu_\theta(x_t, t) \rVert^2
# $$
#
# **Step 3: predict the noise.** $x_t = \sqrt{\bar\alpha_t} x_0 + \sqrt{1 - \bar\alpha_t} \epsilon$ ties $x_0$ and $\epsilon$ together: who knows one knows the other. Put $x_0$ in terms of $\epsilon$ into the posterior's mean, and the distance becomes
#
# $$
# D = \frac{\beta_t^2}{2 \sigma_t^2\, \alpha_t (1 - \bar\alpha_t)} \lVert \epsilon - \epsilon_\theta(x_t, t) \rVert^2
# $$
#
# So after all this the task is: *look at a noisy picture and say which noise is in it.*
#
# Believe it by numbers. The next cell takes a wrong guess of the noise and computes the divergence of step 2 with your posterior, and the formula of step 3.

# %% tags=["nbval-check-output"]
curve = make_alpha_bar(1000, "cosine")
generator = torch.Generator().manual_seed(0)
x_0, epsilon, wrong = (torch.randn(1, 3, 8, 8, generator=generator, dtype=torch.float64) for _ in range(3))
guess = epsilon + 0.1 * wrong
print("time   step 2: means     step 3: noise")
for t in (10, 200, 500, 900):
    bar, before = float(curve[t]), float(curve[t - 1])
    alpha = bar / before
    x_t = bar**0.5 * x_0 + (1 - bar) ** 0.5 * epsilon
    guessed_x_0 = (x_t - (1 - bar) ** 0.5 * guess) / bar**0.5
    (right, variance), (guessed, _) = posterior_of(x_0, x_t, t, curve), posterior_of(guessed_x_0, x_t, t, curve)
    by_means = float((right - guessed).square().sum() / (2 * variance))
    by_noise = float((1 - alpha) ** 2 / (2 * variance * alpha * (1 - bar)) * (epsilon - guess).square().sum())
    print(f"{t:4d} {by_means:15.6f} {by_noise:17.6f}")

# %% [markdown] lang="en"
# The two columns agree, and the values differ much from time to time, although the guess is equally wrong everywhere. That is the factor in front. Here it is for all times:

# %%
plan = DDPM(T, "linear")
with style():
    figure = new_figure(9, 2.8)
    axes = figure.subplots()
    axes.semilogy(range(1, T), plan.weight("bound")[1:], color=PALETTE[0], label="weight of the bound")
    axes.axhline(1, color=PALETTE[1], linestyle="--", label="simple loss: 1 everywhere")
    axes.set(xlabel="time t", ylabel="weight of the squared error\nof the noise")
    axes.legend(frameon=False, loc="center")
record("weights", figure, "How much an error of the predicted noise counts at each time, in the bound and in the simple loss (linear schedule, as in the paper; the bound's variance is beta).")

# %% [markdown] lang="en"
# The bound cares most about the very first times, where the noise is so weak that nobody sees it: it counts *bits*, and most bits of a picture are in its finest detail. Ho et al. dropped the factor. Their **simple loss** is worse as a bound and better for the eye: it leaves more of the network's
# strength for the times where shapes are decided.
#
# $$
# L_{\text{simple}} = \mathbb{E}_{x_0, t, \epsilon}\, \lVert \epsilon - \epsilon_\theta\big(\sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \epsilon,\; t\big) \rVert^2
# $$
#
# **Predict:** what is this loss for a network that always answers zero?

# %% [markdown] lang="en"
# **Exercise 04-f (2 points, about 5 minutes).** All that is left of the bound is one line. Make $x_t$, ask the network for the noise in it, and compare:
#
# $$
# L_{\mathrm{simple}} = \mathrm{mean}\, \lVert \epsilon - \epsilon_\theta(x_t, t) \rVert^2, \qquad x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1 - \bar\alpha_t}\,\epsilon \qquad \text{(DDPM, eq. 14)}
# $$
#
# | | shape | |
# |---|---|---|
# | `model` | `model(x_t, t) -> (B, C, H, W)` | call it once, with `t` as it came; training needs its gradient |
# | `x_0`, `epsilon` | `(B, C, H, W)` | the picture in [-1, 1], standard normal noise |
# | `t`, `alpha_bar` | `(B,)` int64, `(T,)` float64 | as in 04-a |
# | result | `()` | the mean of the squares over all values of all pictures, a tensor and no Python number |
#
# <details><summary>Hint</summary>
#
# `noise_image` of 04-a makes `x_t`. If yours is not right yet, write its line here again. `F.mse_loss(a, b)` is the mean of `(a - b)**2`.
#
# </details>

# %%
# exercise 04-f · 2 points · The simple loss
def simple_loss(model, x_0, t, epsilon, alpha_bar):
    """A network, x_0 and epsilon (B, C, H, W), t (B,), alpha_bar (T,) -> loss, a scalar."""
    ### BEGIN SOLUTION
    bar = alpha_bar[t][:, None, None, None]  # (B, 1, 1, 1)
    x_t = bar.sqrt().to(x_0.dtype) * x_0 + (1 - bar).sqrt().to(x_0.dtype) * epsilon
    return F.mse_loss(model(x_t, t), epsilon)
    ### END SOLUTION

# %%
check("04-f", simple_loss)

# %% [markdown] lang="en"
# **Three names for one answer.** Instead of $\epsilon$ a network may be asked for $x_0$, or for $v = \sqrt{\bar\alpha}\, \epsilon - \sqrt{1 - \bar\alpha}\, x_0$ (Salimans and Ho, ICLR 2022). With $x_t$ at hand each gives the others, so they differ only in how errors are weighed. Near pure noise $\epsilon$ is an easy question with a useless
# answer ("nearly all of it is noise"), and $x_0$ from it is divided by $\sqrt{\bar\alpha} \approx 0$. $v$ asks for the noise where there is little, and for the picture where there is much noise. The shipped prior answers $v$; the library's `process.predict` gives all three.

# %%
print(f"the shipped prior predicts {process.prediction}, with the {'cosine' if torch.allclose(process.alpha_bar, make_alpha_bar(process.T, 'cosine')) else 'other'} schedule and T = {process.T}")

# %% [markdown] lang="en"
# ## 6 · A network that knows the time
#
# One network serves all 1000 noise levels, so it must be told which one it sees: the same speck is a detail at t = 10 and dirt at t = 300. The number $t$ is first spread out into many numbers, as positions were in lesson 01: sines and cosines of many frequencies.

# %% [markdown] lang="en"
# **Exercise 04-d (2 points, about 10 minutes).** One network serves all noise levels, so it must be told which one it sees. A single number is a poor input for a linear
# layer. So the time becomes a vector, as a position does in a Transformer: sines and cosines, fast ones for neighbouring times, slow ones for the whole chain.
#
# $$
# \omega_k = 10000^{-k / (d/2 - 1)}, \quad k = 0 \dots d/2 - 1, \qquad
# e(t) = \big[\, \sin(\omega_0 t), \dots, \sin(\omega_{d/2-1} t),\ \cos(\omega_0 t), \dots, \cos(\omega_{d/2-1} t) \,\big]
# $$
#
# | | shape | |
# |---|---|---|
# | `dim` | $d$, even, at least 4 | half of it sines, half cosines |
# | `t` | `(B,)` | int64, or floats that need not be whole |
# | result | `(B, dim)` | float32 |
#
# The first frequency is 1 and the last is 1/10000. All sines come first, then all cosines. The module has nothing to learn, so it has no `nn.Parameter`. It will go into a real
# network, so it must also work on a GPU: a plain tensor kept in `__init__` would stay behind on the CPU. Make the frequencies in `forward` with `device=t.device`, or keep them
# with `self.register_buffer`.
#
# <details><summary>Hint</summary>
#
# $10000^{-x} = e^{-x \ln 10000}$. `t[:, None] * frequencies` has the shape `(B, dim/2)`, all products at once.
#
# </details>

# %%
# exercise 04-d · 2 points · The time as a vector
class TimeEmbedding(nn.Module):
    """Times (B,) -> (B, dim): sines, then cosines."""

    def __init__(self, dim):
        super().__init__()
        ### BEGIN SOLUTION
        self.dim = dim
        ### END SOLUTION

    def forward(self, t):
        ### BEGIN SOLUTION
        half = self.dim // 2
        frequencies = torch.exp(-math.log(10000) * torch.arange(half, device=t.device) / (half - 1))  # 1 ... 1/10000
        angles = t[:, None] * frequencies  # (B, dim/2)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)
        ### END SOLUTION

# %%
check("04-d", TimeEmbedding)

# %%
my_embedding = use("04-d", TimeEmbedding)
codes = my_embedding(64)(torch.arange(1000)).detach()
alike = F.cosine_similarity(codes[[100, 500, 900], None], codes[None], dim=-1)
with style():
    figure = new_figure(9, 3.0)
    left, right = figure.subplots(1, 2)
    shown_codes = left.imshow(codes[::8].T, aspect="auto", extent=(0, 1000, 64, 0), cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    left.set(xlabel="time t", ylabel="number of the code", title="the code of every time: sines above, cosines below")
    figure.colorbar(shown_codes, ax=left)
    for index, (t, row) in enumerate(zip((100, 500, 900), alike, strict=True)):
        right.plot(row, label=f"t = {t}", **{key: value for key, value in line_style(index).items() if key != "marker"})
    right.set(xlabel="another time", ylabel="cosine of the two codes", title="near times have near codes", ylim=(-0.05, 1.25))
    right.legend(frameon=False, ncols=3, loc="upper center")
record("time_codes", figure, "The code of the time, 64 numbers: fast waves tell neighbours apart, slow ones tell early from late.", piece=provenance("04-d"))

# %% [markdown] lang="en"
# The code goes through two linear layers and then into *every* residual block, where it sets a scale and a shift of each channel:
#
# $$
# h \leftarrow h \cdot (1 + \text{scale}(t)) + \text{shift}(t)
# $$
#
# A channel can so be switched off at some noise levels and turned up at others. This is the only place where the network learns how noisy its input is.
#
# **Think:** could it find out by itself, without being told? From a flat patch of sky it could: measure the scatter, and you have the level. From leaves it is harder. So a network that is told has one task less.

# %% [markdown] lang="en"
# **Exercise 04-e (3 points, about 15 minutes).** The block that the U-Net is made of. It is a residual block of two convolutions, and the embedded time turns the volume of each channel up or
# down:
#
# $$
# (\gamma, \delta) = W\,\mathrm{SiLU}(\tau) + b, \qquad
# h = \mathrm{SiLU}\big( \mathrm{norm}(\mathrm{conv}(x)) \cdot (\gamma + 1) + \delta \big), \qquad
# \mathrm{out} = \mathrm{SiLU}\big( \mathrm{norm}(\mathrm{conv}(h)) \big) + R\,x
# $$
#
# The course gives you `Block(channels, out_channels, convolution, norm)`. It does convolution, norm, scale and shift, SiLU: `block(x)`, or `block(x, scale, shift)`, which multiplies by
# `scale + 1` and adds `shift`. You make four parts under exactly these names, because the networks of this course are saved under them:
#
# | part | what it is | parameters |
# |---|---|---|
# | `self.mlp` | `nn.Sequential` of `nn.SiLU()` and `nn.Linear` | `mlp.1`: `(2 * out_channels, time_width)` and a bias |
# | `self.block1` | `Block(channels, out_channels, nn.Conv2d, RMSNorm)` | `block1.proj`, `block1.norm` |
# | `self.block2` | `Block(out_channels, out_channels, nn.Conv2d, RMSNorm)` | `block2.proj`, `block2.norm` |
# | `self.res_conv` | `nn.Conv2d(channels, out_channels, 1)` where the two numbers differ, else `nn.Identity()` | `res_conv`, or none |
#
# | | shape |
# |---|---|
# | `x` | `(B, channels, H, W)` |
# | `time` | `(B, time_width)` |
# | scale, shift | `(B, out_channels, 1, 1)` each: the first and the second half of what `mlp` gives |
# | result | `(B, out_channels, H, W)` |
#
# Only the first block gets scale and shift. The shortcut starts at `x` and is added at the very end.
#
# <details><summary>Hint</summary>
#
# `self.mlp(time)[:, :, None, None]` is `(B, 2 * out_channels, 1, 1)`, and `.chunk(2, dim=1)` cuts it into the two halves.
#
# </details>

# %%
# exercise 04-e · 3 points · A block that is told the time
class TimeResidualBlock(nn.Module):
    """x (B, channels, H, W) and embedded time (B, time_width) -> (B, out_channels, H, W)."""

    def __init__(self, channels, out_channels, time_width):
        super().__init__()
        ### BEGIN SOLUTION
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(time_width, 2 * out_channels))
        self.block1 = Block(channels, out_channels, nn.Conv2d, RMSNorm)
        self.block2 = Block(out_channels, out_channels, nn.Conv2d, RMSNorm)
        self.res_conv = nn.Conv2d(channels, out_channels, 1) if channels != out_channels else nn.Identity()
        ### END SOLUTION

    def forward(self, x, time):
        ### BEGIN SOLUTION
        scale, shift = self.mlp(time)[:, :, None, None].chunk(2, dim=1)  # each (B, out_channels, 1, 1)
        h = self.block1(x, scale, shift)
        return self.block2(h) + self.res_conv(x)
        ### END SOLUTION

# %%
check("04-e", TimeResidualBlock)

# %% [markdown] lang="en"
# The library's U-Net takes both pieces as arguments, so the network below is built from **yours** wherever your check passed. It is small; the shape is that of the shipped one and of the large ones.

# %%
my_block = use("04-e", TimeResidualBlock)


def build(config):
    """A fresh denoiser made of your pieces."""
    torch.manual_seed(SEED)
    return DDPMUNet(**config, block=my_block, embedding=my_embedding)


model = build(settings.config).to(device)
one = held_out[:1]
record(
    "dataflow",
    unet_figure(model, from_image(one), torch.tensor([500], device=device)),
    "Data flow of the denoiser of this lesson, drawn from the shapes of a real forward pass. What the way down keeps goes into the way up; the code of the time goes into every orange block.",
    piece=provenance("04-d", "04-e"),
)

# %%
layers = figures.layer_table(model, from_image(one), torch.tensor([500], device=device), depth=1)
record("layers", layers, "The parts of the model: shapes of a real forward pass, parameters, multiply-adds.", piece=provenance("04-d", "04-e"))

# %% [markdown] lang="en"
# If your pieces follow the paper and use the library's names, the shipped weights must fit into them. That is a hard test: load them, and compare with the library's network.

# %%
twin = build(network.config).to(device).eval()
twin.load_state_dict(network.state_dict(), strict=False)  # an embedding may keep its frequencies in a buffer
with torch.no_grad():
    x_t, t = from_image(held_out), torch.linspace(0, process.T - 1, len(held_out), device=device).long()
    distance = (twin(x_t, t) - network(x_t, t)).abs().max().item()
print(f"the shipped weights in a network of {provenance('04-d', '04-e')}: largest difference to the library's {distance:.1e}")

# %% [markdown] lang="en"
# ## 7 · Train it
#
# The loop is the one behind `course train`; only the loss is new, and it is yours. A step takes a batch of patches, draws a time for each, draws noise, and asks for the noise.
#
# A single number is a poor report for such a training. An error at t = 10 and one at t = 900 are different things: one is about texture, the other about what there is to see. So we measure the loss **by noise level**, always on the same held-out patches with the same noise.
#
# **Predict:** at which noise levels is the noise easy to guess? At which does more training help most?

# %%
loss_of = use("04-f", simple_loss)
plan = DDPM(settings.timesteps, cosine(settings.timesteps))
alpha_bar = plan.alpha_bar.to(exact).to(device)
level_times = [int((level + 0.5) * plan.T / 10) for level in range(10)]
level_patches = from_image(crops(photos["test"], settings.level_patches, seed=3)).to(device)
level_noise = starting_noise(level_patches.shape, 500, device)


def noise_losses(answer, bars):
    """Mean squared error of the noise at the ten level times; `answer(x_t, t)` gives the noise."""
    with torch.no_grad():
        whole = (torch.full((len(level_patches),), t, device=device) for t in level_times)
        return [float(loss_of(answer, level_patches, t, level_noise, bars)) for t in whole]


def objective(net, batch):
    """One batch (the pair of a degraded and a clean patch; here both are clean) -> your loss."""
    x_0 = from_image(batch[1])
    t = plan.draw_times(len(x_0)).to(x_0.device)
    return loss_of(net, x_0, t, torch.randn_like(x_0), alpha_bar)


def by_level(net):
    """For the log of the run: level -> the loss in decibels, because that is the unit in which the loop keeps its validation."""
    return {str(t): -10 * float(np.log10(loss)) for t, loss in zip(level_times, noise_losses(net, alpha_bar), strict=True)}


def as_it_is(clean, rng):
    """No degradation: the noise of a diffusion is drawn in the loss."""
    return clean


recipe = Recipe(
    name="ddpm_lesson", model="ddpm_unet", config=settings.config, seed=SEED, steps=settings.steps, patches=(settings.patch,), batches=(settings.batch,),
    learning_rate=settings.learning_rate, final_learning_rate=1e-6, warmup=settings.warmup, weight_decay=0.0, clip_norm=1.0, ema_decay=settings.ema_decay,
    precision=settings.precision, log_every=settings.log_every, validate_every=max(1, settings.steps // settings.validations), checkpoint_seconds=30,
)  # fmt: skip
untrained = noise_losses(model.eval(), alpha_bar)
# The folder carries a fingerprint of your code: change a piece, and a new run starts instead of the old one going on.
folder = out / "training" / f"ddpm-{source_key(my_block, my_embedding, loss_of, noise_to, cosine)}"
run = fit(model, recipe, list(photos["train"].values()), as_it_is, folder, device=device, validate=by_level, objective=objective)
print(f"{run.steps} steps in {run.seconds:.0f} s with {provenance('04-d', '04-e', '04-f')}")
record("training_seconds", run.seconds, "Seconds of training.", piece=provenance("04-d", "04-e", "04-f"))

# %%
def shipped_noise(x, t):
    """The noise that the shipped prior sees in x at times t (B,), whatever it predicts."""
    return process.predict(network(x, t), x, t).epsilon


log, validation = pd.read_csv(run.log), pd.read_csv(folder / "validation.csv")
curves = {"untrained": untrained}
for step, rows in validation.groupby("step"):
    curves[f"live, {step} steps"] = [10 ** (-value / 10) for value in rows.sort_values("task", key=lambda names: names.astype(int))["psnr"]]
if plan.T == process.T and torch.allclose(plan.alpha_bar, process.alpha_bar):
    curves["shipped (recorded run)"] = noise_losses(shipped_noise, process.alpha_bar.to(exact).to(device))
display(record(
    "loss_by_level",
    level_figure(curves, level_times, losses=list(zip(log["step"], log["loss"], strict=True))),
    f"Live, {run.steps} steps from random weights: the training loss, and the loss by noise level on {settings.level_patches} held-out patches. For comparison {origin('ddpm_patches_small')}.",
    piece=provenance("04-a", "04-d", "04-e", "04-f"),
))  # fmt: skip
noise_table = pd.DataFrame(curves, index=level_times).T
ratio = np.array([(1 - float(plan.alpha_bar[t])) / float(plan.alpha_bar[t]) for t in level_times])
picture_table = noise_table * ratio
picture_table.loc["mid-grey, whatever it sees"] = float(level_patches.square().mean())
for name, kind, numbers in (("noise_errors", "noise", noise_table), ("picture_errors", "picture", picture_table)):
    shown_numbers = numbers.round(4).rename_axis(f"error of the {kind} at t =").reset_index()
    display(record(name, shown_numbers, f"Squared error of the {kind} by noise level on {settings.level_patches} held-out patches, measured in this run.", piece=provenance("04-a", "04-d", "04-e", "04-f")))

# %% [markdown] lang="en"
# An answer of zero has loss 1: that is about where the untrained network begins. The loss falls first at the **right**, where $x_t$ is nearly all noise and "give back what you see" is a good answer. That is most of what the quick fall of the training loss shows, and it means little. The second table tells why: who wants the *picture* out of the noise multiplies the squared
# error by $(1 - \bar\alpha_t) / \bar\alpha_t$, which is tiny at the left and huge at the right. Wherever a number is above the last line, answering plain grey would be the better guess of the picture. A network that predicts $v$, as the shipped one does, has less trouble there: at the right end $v$ *is* the picture (up to its sign).
#
# The left end is hard for another reason: the noise is so weak that it hides in the texture of the picture, and it takes a good model of pictures to tell the two apart. Compare the live curves with the shipped one level by level: where did more training help?
#
# What does such a network draw after so few steps? Sampling is the next section; here only a look.
#
# **Predict:** from its loss curve, what will be right in its patches, and what not: colours, shapes, texture?

# %%
count = settings.sample_count
start_noise = starting_noise((count, 3, settings.patch, settings.patch), 900, device)
drawn_live = to_image(ddim.sample(plan, run.model, start_noise, steps=min(20, settings.sample_steps), spacing="trailing"))
drawn = prior.sample(start_noise, steps=settings.sample_steps)
real = crops(photos["test"], count, seed=21).to(device)
record(
    "samples",
    film({f"live,\n{run.steps} steps": drawn_live, "shipped\n(recorded)": drawn, "real patches\n(test)": real}),
    f"Patches drawn from noise by the network of this lesson and by the shipped one, {settings.sample_steps} steps of DDIM, same noise; below, random patches of the test photographs ({origin('ddpm_patches_small')}).",
    piece=provenance("04-d", "04-e", "04-f"),
)

# %% [markdown] lang="en"
# A random patch of 32 pixels of a photograph is rarely a "thing": it is a bit of sky, an edge, some leaves. So judge the drawn patches by that measure: do they have smooth parts *and* edges, colours that go together, texture without grain?
#
# The live network draws coloured noise with blotches in it. Its loss was small, and that was the easy part of the loss. The shipped network has learnt which colours go together and that light and dark come in areas. But clean edges are rare, single pixels stick out, and you would hardly take a row of its patches for a row of real ones. It is a small network after a short training, and everything that follows is done with it. Section 8 turns this impression into numbers.

# %% [markdown] lang="en"
# ## 8 · Sampling, fast and slow
#
# The paper's sampler (*ancestral sampling*) takes the steps of section 4, with the network's estimate in the place of $x_0$:
#
# $$
# \hat x_0 = \frac{x_t - \sqrt{1 - \bar\alpha_t}\; \epsilon_\theta(x_t, t)}{\sqrt{\bar\alpha_t}}, \qquad x_{t-1} \sim q(x_{t-1} \mid x_t, \hat x_0)
# $$
#
# Each state has a better idea of the picture than the one before. The film shows both: the state $x_t$, and the estimate $\hat x_0$ that the network makes of it.
#
# **Predict:** what does $\hat x_0$ look like at the very first step, when $x_t$ is pure noise?

# %%
states = list(process.steps(network, start_noise[4 % len(start_noise)][None], steps=settings.sample_steps))
keep = sorted({round(place) for place in np.linspace(0, len(states) - 1, 8)})
rows = {name: torch.cat([to_image(getattr(states[place], part)) for place in keep]) for name, part in (("state x_t", "x"), ("estimate of x_0", "x_0"))}
record("sampling", film(rows, [f"step {states[place].step}" for place in keep]), f"A patch on its way out of noise: the state and the network's estimate of the clean picture, {settings.sample_steps} ancestral steps ({origin('ddpm_patches_small')}).")

# %% [markdown] lang="en"
# The first estimate is almost one flat colour: the mean of all pictures that this noise could still become. (The grain in it is the network's own error.) Then light and dark settle, then shapes, then texture, in the order of section 3.
#
# The paper takes 1000 steps: 1000 runs of the network for one picture. (The film above skips most of them.) The larger the steps, the more noise each one adds, and the fewer are left to take it out again. DDIM (Song, Meng and Ermon, ICLR 2021) found a whole *family* of chains that have the same $q(x_t \mid x_0)$ at every time, and so the same loss and **the same network**, but other steps. From $t$ to any earlier $s$:
#
# $$
# x_s = \sqrt{\bar\alpha_s}\; \hat x_0 + \sqrt{1 - \bar\alpha_s - \sigma^2}\; \epsilon_\theta + \sigma z, \qquad \sigma = \eta \sqrt{\frac{1 - \bar\alpha_s}{1 - \bar\alpha_t}} \sqrt{1 - \frac{\bar\alpha_t}{\bar\alpha_s}}
# $$
#
# In words: go to the estimated clean picture, then put back the noise that belongs to time $s$, partly the *old* noise (which the network has just named) and partly *new* noise. $\eta = 1$ is the ancestral sampler, $\eta = 0$ takes no new noise at all.

# %% [markdown] lang="en"
# **Exercise 04-g (3 points, about 15 minutes).** The step of DDIM goes from any level $\bar\alpha_t$ to any cleaner one $\bar\alpha_s$ (eq. 12 and 16; the paper writes $\alpha$ for $\bar\alpha$):
#
# $$
# \hat x_0 = \frac{x_t - \sqrt{1 - \bar\alpha_t}\,\epsilon}{\sqrt{\bar\alpha_t}}, \qquad
# \sigma = \eta\, \sqrt{\frac{1 - \bar\alpha_s}{1 - \bar\alpha_t}}\, \sqrt{1 - \frac{\bar\alpha_t}{\bar\alpha_s}}
# $$
#
# $$
# x_s = \sqrt{\bar\alpha_s}\; \hat x_0 + \sqrt{1 - \bar\alpha_s - \sigma^2}\;\epsilon + \sigma z
# $$
#
# Read it as a sum: the picture at its new size, what stays of the old noise, and fresh noise. The variances of the last two add up to $1 - \bar\alpha_s$, whatever $\eta$ is.
#
# | | | |
# |---|---|---|
# | `x_t`, `epsilon` | `(B, C, H, W)` | the noisy picture, and the noise that the network sees in it |
# | `bar_t`, `bar_s` | Python floats | `bar_t < bar_s`; in the last step `bar_s` is 1.0 |
# | `eta` | a float in [0, 1] | 0: no fresh noise, 1: as much as DDPM adds |
# | `z` | `(B, C, H, W)` | fresh standard normal noise, given even where `eta` is 0 |
# | result | `(B, C, H, W)` | in the dtype of `x_t`; clip nothing |
#
# <details><summary>Hint</summary>
#
# `bar_t` and `bar_s` are plain numbers: `bar_t ** 0.5` or `math.sqrt(bar_t)`; `torch.sqrt` wants a tensor. Compute `sigma` first.
#
# </details>

# %%
# exercise 04-g · 3 points · A DDIM step
def ddim_step(x_t, epsilon, bar_t, bar_s, eta, z):
    """x_t, epsilon, z (B, C, H, W), floats bar_t, bar_s, eta -> x_s (B, C, H, W)."""
    ### BEGIN SOLUTION
    x_0 = (x_t - (1 - bar_t) ** 0.5 * epsilon) / bar_t**0.5
    sigma = eta * ((1 - bar_s) / (1 - bar_t)) ** 0.5 * (1 - bar_t / bar_s) ** 0.5
    rest = max(0.0, 1 - bar_s - sigma**2)  # rounding may bring it just below 0
    return bar_s**0.5 * x_0 + rest**0.5 * epsilon + sigma * z
    ### END SOLUTION

# %%
check("04-g", ddim_step)

# %% [markdown] lang="en"
# Your step goes into the sampler of the shipped model. One more thing is done there: the estimate $\hat x_0$ is kept inside [-1, 1], because a picture has no other values. That is clipping of the *estimate*, outside your step.
#
# First, does it do the same as the library's sampler?

# %%
step = use("04-g", ddim_step)
level = process.level  # time -> alpha-bar, 1 for time -1


def estimate(x, t):
    """The shipped network's estimate of x_0 within [-1, 1], and the noise that agrees with it; in the precision of x."""
    with torch.no_grad():
        answer = network(x.float(), torch.full((len(x),), t, device=x.device)).to(x.dtype)
    x_0 = process.predict(answer, x, t).x_0.clamp(-1, 1)
    return x_0, process.predict(x_0, x, t, "x_0").epsilon


def draw_pictures(noise, steps, eta=0.0, seed=SEED):
    """Pictures in [0, 1] from noise (B, 3, h, w), by your step."""
    x, generator = noise.to(exact), torch.Generator().manual_seed(seed)
    times = visited_times(process.T, steps, "trailing")
    for t, s in zip(times, [*times[1:], -1], strict=True):
        z = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
        x = step(x, estimate(x, t)[1], level(t), level(s), eta, z)
    return to_image(x).float()


few = min(5, settings.sample_steps)
library = to_image(ddim.sample(process, network, start_noise[:2], steps=few, spacing="trailing", clip_epsilon=True))
print(f"largest difference to the library's sampler after {few} steps: {(draw_pictures(start_noise[:2], few) - library).abs().max():.1e}")

# %% [markdown] lang="en"
# Now the same noise, more and more steps.
#
# **Predict:** with one single step, what comes out? From how many steps on will you see no more difference?

# %%
quality_noise = starting_noise((settings.quality_count, 3, 32, 32), 7000, device)
by_steps = {}
for steps in settings.quality_steps:
    t_begin = time.perf_counter()
    by_steps[steps] = draw_pictures(quality_noise, steps)
    print(f"{steps:4d} {'step' if steps == 1 else 'steps'}: {(time.perf_counter() - t_begin) / settings.quality_count:.3f} s a patch")
few_of_them = {str(steps): pictures[:6] for steps, pictures in by_steps.items()}
slider = step_slider(few_of_them)
record("steps", film({f"{name} steps" if name != "1" else "1 step": pictures for name, pictures in few_of_them.items()}), f"The same noise drawn with more and more steps of DDIM, eta 0 ({origin('ddpm_patches_small')}).", piece=provenance("04-g"))

# %% [markdown] lang="en"
# In a live notebook the cell above shows a slider. Move it. A single step gives nearly one flat colour, the mean of all pictures, and two steps a soft patch. But from about eight steps on the picture does not *change* with more steps, it comes into *focus*. With $\eta = 0$ there is no chance on the way; the noise at the start has already decided which picture it will be, and more steps only follow the path more exactly.
#
# How good are the pictures? The usual number, the Fréchet Inception Distance, needs a network trained on ImageNet and tens of thousands of pictures. We measure something smaller that says openly what it is. Each patch gives ten numbers: mean brightness and contrast, the power of detail in four octaves, two colours and how much they vary, and how
# *sparse* its edges are (a photograph has few strong edges; noise has weak ones everywhere). For each number we compare mean and spread over drawn and over real patches, in units of the real spread, and add up:
#
# $$
# d = \sum_{k=1}^{10} \big(m_k - m_k^{\text{real}}\big)^2 + \big(s_k - s_k^{\text{real}}\big)^2
# $$
#
# This is the Fréchet distance of two Gaussians with ten independent numbers. It is blind for *things*: it cannot tell a face from leaves. And with few patches it is never 0, not even for real ones. So we also measure it for as many real patches, drawn twenty times, and for the same patches with a blur and with noise: that shows what the number sees. (The shipped network learnt from other photographs than these. A part of its distance is that difference, and no fault of its own.)

# %%
def statistics(images):
    """(N, 3, h, w) in [0, 1] -> (N, 10): brightness, contrast, four octaves of detail, two colours, their spread, sparseness of edges."""
    images = images.cpu().double()
    grey = images.mean(1)
    warm, green = images[:, 0] - images[:, 2], images[:, 1] - (images[:, 0] + images[:, 2]) / 2
    power = torch.fft.fft2(grey - grey.mean((1, 2), keepdim=True)).abs().square() / grey[0].numel()
    axis = torch.fft.fftfreq(grey.shape[-1], dtype=torch.float64)
    radius = (axis[:, None] ** 2 + axis**2).sqrt()
    octaves = [power[:, (radius > 2.0**-k / 2) & (radius <= 2.0**-k)].mean(1) for k in (1, 2, 3, 4)]
    edges = torch.cat([grey.diff(dim=1).flatten(1), grey.diff(dim=2).flatten(1)], 1)
    numbers = [grey.mean((1, 2)), (grey.var((1, 2)) + 1e-6).log(), *((octave + 1e-6).log() for octave in octaves)]
    numbers += [warm.mean((1, 2)), green.mean((1, 2)), (warm.var((1, 2)) + green.var((1, 2)) + 1e-6).log()]
    numbers += [(edges.square().mean(1) / (edges.abs().mean(1).square() + 1e-9) + 1e-6).log()]
    return torch.stack(numbers, 1)


every_photo = {**photos["train"], **load_photos("validation"), **photos["test"]}
reference = statistics(crops(every_photo, settings.pool, seed=100))
mean, spread_of = reference.mean(0), reference.std(0)


def distance_to_real(images):
    """The distance of the text between patches (N, 3, h, w) and many patches of the course's photographs."""
    own = (statistics(images) - mean) / spread_of
    return float(own.mean(0).square().sum() + (own.std(0) - 1).square().sum())


real_pool = crops(every_photo, settings.pool, seed=200)
draws = [real_pool[torch.randperm(len(real_pool))[: settings.quality_count]] for _ in range(20)]
floor = sorted(distance_to_real(draw) for draw in draws)
rows = [{"sampler": "DDIM, eta 0", "steps": steps, "distance": distance_to_real(pictures)} for steps, pictures in by_steps.items()]
rows += [{"sampler": "eta 1", "steps": steps, "distance": distance_to_real(draw_pictures(quality_noise, steps, eta=1.0))} for steps in settings.noisy_steps]
longest = max(by_steps)
for row in rows:
    if row["sampler"] == "DDIM, eta 0":
        row["to the longest chain (dB)"] = round(float(psnr(by_steps[row["steps"]], by_steps[longest]).mean()), 2) if row["steps"] < longest else ""
spoil = {
    "as they are": lambda patches: patches,
    "blurred (3 x 3)": lambda patches: F.avg_pool2d(F.pad(patches, (1, 1, 1, 1), mode="replicate"), 3, 1),
    "noise of 5 grey levels": lambda patches: (patches + 5 / 255 * torch.randn_like(patches)).clamp(0, 1),
    "noise of 25 grey levels": lambda patches: (patches + 25 / 255 * torch.randn_like(patches)).clamp(0, 1),
}
rows += [{"sampler": f"real patches, {name}", "steps": "", "distance": float(np.mean([distance_to_real(change(draw)) for draw in draws]))} for name, change in spoil.items()]
quality = pd.DataFrame(rows)
quality["distance"] = quality["distance"].round(2)
quality["to the longest chain (dB)"] = quality["to the longest chain (dB)"].fillna("")
with style():
    figure = new_figure(9, 3.2)
    left, right = figure.subplots(1, 2)
    for index, name in enumerate(("DDIM, eta 0", "eta 1")):
        part = quality[quality["sampler"] == name]
        left.plot(part["steps"].astype(int), part["distance"], label=name, **line_style(index))
    left.axhspan(floor[1], floor[-2], color="0.88", zorder=0, label="real patches, as many")
    left.set(xlabel="steps", ylabel="distance to real patches", xscale="log", ylim=(0, 1.2 * quality["distance"].max()))
    left.legend(frameon=False, fontsize=7.5, loc="upper right")
    apart = [(steps, float(psnr(pictures, by_steps[longest]).mean())) for steps, pictures in by_steps.items() if steps < longest]
    right.plot(*zip(*apart, strict=True), **line_style(0))
    right.set(xlabel="steps", ylabel=f"PSNR (dB) against {longest} steps", xscale="log")
    for axes in (left, right):
        axes.set_xticks(settings.quality_steps, settings.quality_steps)
        axes.minorticks_off()
display(record("quality", figure, f"Quality against steps, {settings.quality_count} patches each, measured in this run: the distance of the text (grey: what {settings.quality_count} real patches get), and how near a short chain comes to a long one from the same noise.", piece=provenance("04-g")))
best = min(by_steps, key=lambda steps: distance_to_real(by_steps[steps]))
print(f"nearest to real patches with {best} steps; 18 of 20 draws of {settings.quality_count} real patches lie between {floor[1]:.2f} and {floor[-2]:.2f} (grey)")
in_spreads = {steps: (statistics(pictures) - mean) / spread_of for steps, pictures in by_steps.items()}
own = in_spreads[longest]
names = ("brightness", "contrast", *(f"octave {k}" for k in (1, 2, 3, 4)), "warm", "green", "colour's spread", "sparseness")
print(f"after {longest} steps, in real spreads (0 and 1 would be right; octave 1 is the finest detail):")
print("\n".join(f"{name:16s} mean {m:+.1f}, spread {d:.1f}" for name, m, d in zip(names, own.mean(0).tolist(), own.std(0).tolist(), strict=True)))
print("octave 1, the mean by steps: " + ", ".join(f"{steps}: {values[:, 2].mean():+.1f}" for steps, values in in_spreads.items()))
record("quality_table", quality, f"The same in numbers, measured in this run with {settings.quality_count} patches; real ones: the mean of twenty draws ({origin('ddpm_patches_small')}).", piece=provenance("04-g"))

# %% [markdown] lang="en"
# Read the table from below: it says what the number can see. It has sharp eyes for grain and hardly any for a light blur, because many real patches are out of focus anyway.
#
# - **Steps.** The distance falls steeply up to four steps, a little more up to eight, and then it *rises* again. The list under the figure says why: the finest detail ends up too strong, and from two steps on every longer chain brings out more of it. The estimates of a short chain are blurred, and that hides the grain of this network. *Where* a curve ends says how good the **network** is; how *soon* it gets there says how good the **sampler** is. Better networks gain from more steps for longer.
# - **The network.** No number of steps brings it into the grey band. Most of the distance is in the spreads, which are about half of what they should be: the drawn patches are too much alike. Real patches are now and then perfectly smooth, or all black and white; these are always something in between.
# - **eta.** With $\eta = 1$ and few steps, every step throws in much new noise and few steps are left to take it out again: at four steps it is clearly the worse of the two. At sixteen it is not: fresh noise also covers up what went wrong before.
# - **Focus.** The right panel compares picture with picture. It says that the *paths* are still followed more exactly when the statistics gain nothing any more: a good sampler for a network that is not.
#
# Since the start decides, one can also walk *between* two starts. A warning about geometry: the mean of two noises is not noise. It has half the variance, and the network has never seen such a thing. On the sphere of equal length it works.
#
# **Predict:** what will the network make of the halved noise: a grey patch, a smooth one, a mixture of the two ends?

# %%
ends = starting_noise((2, 3, 32, 32), 4321, device)
shares = torch.linspace(0, 1, settings.slerp_count, device=device)[:, None, None, None]
angle = torch.acos(F.cosine_similarity(ends[0].flatten(), ends[1].flatten(), dim=0))
straight = (1 - shares) * ends[:1] + shares * ends[1:]
round_way = (torch.sin((1 - shares) * angle) * ends[:1] + torch.sin(shares * angle) * ends[1:]) / torch.sin(angle)
both_ways = draw_pictures(torch.cat([round_way, straight]), settings.slerp_steps)
display(record(
    "between",
    film({"on the sphere": both_ways[: len(shares)], "straight": both_ways[len(shares) :]}, [f"{float(share):.2f}" for share in shares.flatten()]),
    f"From one starting noise to another, on the sphere and straight through, {settings.slerp_steps} steps, eta 0 ({origin('ddpm_patches_small')}).",
    piece=provenance("04-g"),
))  # fmt: skip
print("standard deviation of the noise in the middle: " + ", ".join(f"{name} {float(way[len(way) // 2].std()):.2f}" for name, way in (("sphere", round_way), ("straight", straight))))

# %% [markdown] lang="en"
# On the sphere one patch turns into the other, and every patch on the way is as rich as the ends. Straight through, the network meets less noise than belongs to this time. It takes that for a smoother picture, and draws one.

# %% [markdown] lang="en"
# ## 9 · Restoring without training: DDNM
#
# So far the model draws what it likes. Now we want *this* picture back, of which we have only a measurement $y = A x$: half of the pixels, a smaller picture, only the brightness. $A$ is linear and we know it. Normally one trains a network for each $A$. DDNM (Wang, Yu and Zhang, ICLR 2023) trains nothing.
#
# The idea is pure linear algebra. Every $A$ has a pseudo-inverse $A^+$ with $A A^+ A = A$. It splits every picture into two parts:
#
# $$
# x = \underbrace{A^+ A\, x}_{\text{range part: fixed by } y} + \underbrace{(I - A^+ A)\, x}_{\text{null part: } A \text{ does not see it}}
# $$
#
# Look at the two parts for four measurements. Then something mean: we take the range part of one picture and the null part of **another**.
#
# **Predict:** what does the measurement say about this mixture?

# %%
generator = torch.Generator().manual_seed(SEED)
mask = (torch.rand(1, 1, 32, 32, generator=generator) < 0.5).float().to(device)
operators = {
    "inpainting": Inpainting(mask),
    "super-resolution": SuperResolution(2),
    "colourisation": Colourisation(),
    "compressed sensing": CompressedSensing(32, 32, 0.5, seed=SEED),
}
told = {"inpainting": "half of the pixels", "super-resolution": "means of 2 x 2 pixels", "colourisation": "mean of the three colours", "compressed sensing": "half of the numbers of a Hadamard transform"}
first, second = held_out[1:2], held_out[4:5]
rows = {}
for name, A in operators.items():
    x_1, x_2 = from_image(first), from_image(second)
    mixed = A.range(x_1) + A.null(x_2)
    parts = [x_1, A.range(x_1), A.null(x_1), x_2, A.null(x_2), mixed]
    rows[name] = to_image(torch.cat(parts))
    print(f"{name:18s} largest |A x - A mixture|: {(A(x_1) - A(mixed)).abs().max():.1e}   ({told[name]})")
record(
    "range_null",
    film(rows, ["picture 1", "its range part", "its null part", "picture 2", "its null part", "range 1 + null 2"]),
    "Range and null part of a picture for four measurements (0 is mid-grey). Last column: the range part of picture 1 with the null part of picture 2 has exactly the measurement of picture 1.",
)

# %% [markdown] lang="en"
# The measurement sees no difference at all. **Every** null part is allowed, and the mixtures look wrong only because *we* know what pictures look like: colours that follow other edges, grids, ghosts. This knowledge is what a prior is. So the division of labour is:
#
# - the **measurement** gives the range part, exactly,
# - the **diffusion model** gives the null part, such that the two fit together to a natural picture.
#
# DDNM does this at every step of the chain: it takes the network's estimate $\hat x_0$ and replaces its range part.

# %% [markdown] lang="en"
# **Exercise 04-h (2 points, about 5 minutes).** The network has a guess $x_0$, the measurement says $y = A x$. Keep of the guess what the measurement does not see (its *null-space* part), and take
# the rest (the *range* part) from the measurement:
#
# $$
# \hat x_0 = A^+ y + (I - A^+ A)\, x_0 = x_0 + A^+ (y - A x_0) \qquad \text{(DDNM, eq. 13)}
# $$
#
# | | shape | |
# |---|---|---|
# | `A` | `A(x)` measures, `A.pinv(y)` goes back | a linear operator with its pseudo-inverse |
# | `y` | whatever `A` gives | a smaller picture, one channel, a row of numbers ... |
# | `x_0` | `(B, C, H, W)` | the network's guess |
# | result | `(B, C, H, W)` | not clipped, or $A \hat x_0 = y$ would break |
#
# The two forms are the same, because $A$ and $A^+$ are linear. Leave `y` and `x_0` unchanged.
#
# <details><summary>Hint</summary>
#
# `A(x_0)` is what the measurement *would* be for the guess. How far is that from `y`?
#
# </details>

# %%
# exercise 04-h · 2 points · What the measurement says
def null_space_step(A, y, x_0):
    """An operator A, its measurement y, a guess x_0 (B, C, H, W) -> the guess that agrees with y, (B, C, H, W)."""
    ### BEGIN SOLUTION
    return x_0 + A.pinv(y - A(x_0))
    ### END SOLUTION

# %%
check("04-h", null_space_step)

# %% [markdown] lang="en"
# Now DDNM is DDIM plus one line. The line changes $\hat x_0$; the noise is computed anew to agree with it; the rest is your step with $\eta = 1$.

# %%
correct = use("04-h", null_space_step)


def restore(A, y, noise, steps, seed=SEED):
    """A picture, about [0, 1], whose measurement is y, from noise (B, 3, h, w), by your two steps."""
    x = noise.to(exact)
    y = 2 * y.to(exact) - A(torch.ones_like(x))  # the measurement of the picture in [-1, 1]
    times = visited_times(process.T, steps, "trailing")
    for t, s in zip(times, [*times[1:], -1], strict=True):
        x_0 = correct(A, y, estimate(x, t)[0])  # the line that makes DDIM a restorer
        epsilon = (x - level(t) ** 0.5 * x_0) / (1 - level(t)) ** 0.5
        z = starting_noise(x.shape, 10_000 * (t + 1) + seed, x.device).to(exact)
        x = step(x, epsilon, level(t), level(s), 1.0, z)
    return ((x + 1) / 2).float()


few, A, small = min(5, settings.ddnm_steps), operators["super-resolution"], held_out[:1]
noise = starting_noise(small.shape, 77, device)
library = ddnm.restore(process, network, A, A(small), noise, steps=few, spacing="trailing", generator=lambda t: starting_noise(small.shape, 10_000 * (t + 1) + SEED, device))
print(f"largest difference to the library's DDNM after {few} steps: {(restore(A, A(small), noise, few) - library).abs().max():.1e}")

# %% [markdown] lang="en"
# What to compare with? Two rows need no network:
#
# - $A^+ y$, the pseudo-inverse: the range part alone, the null part grey.
# - A **Gaussian prior**: the classical answer. Suppose that pictures were Gaussian with the mean spectrum of photographs (section 3). Then the most likely $x$ for a measurement has a formula, $x = \mu + C A^T (A C A^T)^{-1} (y - A \mu)$. It knows that neighbours are alike, and nothing else: no edges, no things.
#
# **Predict:** for which of the four measurements will the diffusion model gain most over the pseudo-inverse? For which will PSNR be *no* good judge?

# %%
opponent = torch.tensor([[1, 1, 1], [1, 0, -1], [1, -2, 1]], dtype=torch.float64)
opponent = opponent / opponent.norm(dim=1, keepdim=True)  # brightness and two colours, nearly independent in photographs
train = torch.cat([from_image(image[None, :, :192, :192]) for image in list(photos["train"].values())[: settings.spectrum_photos]]).double()
power = torch.stack([density(torch.einsum("c,bchw->bhw", row, train)[:, None], 64) for row in opponent])  # (3, 64, 64)
power[:, 0, 0] = 4 * power[:, 0, 1]  # the mean brightness of a patch varies, too
tint = train.mean((0, 2, 3))[:, None, None]


def covariance(x):
    """C x for pictures (B, 3, 32, 32): every frequency of the three opponent channels times its mean power."""
    seen = F.pad(torch.einsum("kc,bchw->bkhw", opponent, x), (0, 64 - x.shape[-1], 0, 64 - x.shape[-2]))
    seen = torch.fft.ifft2(torch.fft.fft2(seen) * power).real[..., : x.shape[-2], : x.shape[-1]]
    return torch.einsum("kc,bkhw->bchw", opponent, seen)


def gaussian_prior(A, y, shape, steps):
    """The most likely picture in [0, 1] under the Gaussian prior, by `steps` of conjugate gradients; A^+ is A^T but for a factor here."""
    mu = tint.expand(shape)
    y = 2 * y.cpu().double() - A(torch.ones_like(mu))
    z, rest = torch.zeros_like(y), y - A(mu)
    way, size = rest, (rest * rest).flatten(1).sum(1)
    for _ in range(steps):
        seen = A(covariance(A.pinv(way))) + 1e-6 * way
        length = size / (way * seen).flatten(1).sum(1).clamp_min(1e-30)
        length = length.reshape(-1, *[1] * (y.ndim - 1))
        z, rest = z + length * way, rest - length * seen
        new = (rest * rest).flatten(1).sum(1)
        way, size = rest + (new / size.clamp_min(1e-30)).reshape(length.shape) * way, new
    return to_image(mu + covariance(A.pinv(z))).float().to(device)


targets = held_out[6 : 6 + settings.ddnm_images]
restored, table, pictures_of = {}, [], {}
for number, (name, A) in enumerate(operators.items()):
    y = A(targets)
    rows = {
        "A⁺y": to_image(A.pinv(2 * y - A(torch.ones_like(targets)))),
        "Gaussian prior": gaussian_prior(A, y, targets.shape, settings.classical_steps),
        "DDNM": restore(A, y, starting_noise(targets.shape, 50 + number, device), settings.ddnm_steps),
    }
    restored[name] = rows
    scores = {row: psnr(pictures.clamp(0, 1), targets) for row, pictures in rows.items()}
    table.append({"measurement": name, **{row: float(values.mean()) for row, values in scores.items()}, "largest |A x - y|": float((A(rows["DDNM"]) - y).abs().max())})
    pictures_of[name] = film(
        {"original": targets[:4], **{row: pictures[:4] for row, pictures in rows.items()}},
        notes={row: [f"{float(value):.1f} dB" for value in values[:4]] for row, values in scores.items()},
        title=f"{name}: {told[name]}",
    )


def caption(name):
    return f"DDNM, {name} ({told[name]}), {settings.ddnm_steps} steps, the first of {len(targets)} held-out patches ({origin('ddpm_patches_small')})."


pieces = provenance("04-g", "04-h")
display(record("ddnm_inpainting", pictures_of["inpainting"], caption("inpainting"), piece=pieces))
display(record("ddnm_super_resolution", pictures_of["super-resolution"], caption("super-resolution"), piece=pieces))
display(record("ddnm_colourisation", pictures_of["colourisation"], caption("colourisation"), piece=pieces))
display(record("ddnm_compressed_sensing", pictures_of["compressed sensing"], caption("compressed sensing"), piece=pieces))

# %%
table = pd.DataFrame(table)
means = table[["A⁺y", "Gaussian prior", "DDNM"]].mean()
record("degraded_psnr", means["A⁺y"], "Mean PSNR of the pseudo-inverse over the four measurements.")
record("restored_psnr", means["DDNM"], "Mean PSNR of DDNM over the four measurements.", piece=provenance("04-g", "04-h"))
shown_table = pd.concat([table, pd.DataFrame([{"measurement": "average", **means}])], ignore_index=True)
shown_table[list(means.index)] = shown_table[list(means.index)].round(2)
shown_table["largest |A x - y|"] = [f"{value:.0e}" if value == value else "" for value in shown_table["largest |A x - y|"]]
record("ddnm_table", shown_table, f"PSNR (dB) of {len(targets)} held-out patches and the largest disagreement with the measurement, measured in this run: one sample of DDNM, {settings.ddnm_steps} steps.", piece=provenance("04-g", "04-h"))

# %%
for row in table.to_dict("records"):
    gain, against = row["DDNM"] - row["A⁺y"], row["DDNM"] - row["Gaussian prior"]
    verdict = "ahead of" if against > 0.2 else "about as good as" if against > -0.2 else "behind"
    print(f"{row['measurement']:18s} {gain:+6.2f} dB over the pseudo-inverse; {verdict} the Gaussian prior ({against:+.2f} dB)")

# %% [markdown] lang="en"
# The last column is the strong point: whatever the network thinks, the result agrees with the measurement, to rounding. The PSNR needs an honest reading.
#
# - **Inpainting and compressed sensing** work: many decibels over the pseudo-inverse, with a network that was never trained for either.
# - **The Gaussian prior is a strong opponent**, and here it wins both. Half of the pixels, or half of the numbers, are *much*: between known neighbours the best smooth curve is hard to beat, and a formula has no noise of training in it. Our prior is small and had little training, and the specks that it left in the drawn patches are in these pictures, too. A large one gains where much is missing and where pictures are least Gaussian: at edges, in things. Nothing in this run shows that.
# - **Super-resolution.** One sample is about as good as no network at all. All that is missing is the finest detail. DDNM draws *some* fine detail, and invented detail at the wrong place costs PSNR twice: the right one is missing and a wrong one is there. A smooth answer is safer.
# - **Colourisation** loses. What the brightness does not tell, nobody can know. Is it a red or a green apple? A patch of 32 pixels seldom says. Grey is the safe answer; DDNM chooses colours, and when it chooses wrong PSNR punishes it. Look at the pictures: some colours are *possible*, none is to be believed.
#
# A **sample** is not a mean. PSNR loves means. That can be tested: draw several samples for the same measurement and average them.
#
# **Predict:** will the mean of several samples have a higher PSNR than each of them? Where in the picture will the samples disagree?

# %%
few_targets = targets[: settings.mean_images]
A, many = operators["super-resolution"], settings.mean_of
y = A(few_targets).repeat_interleave(many, 0)
drawn_many = restore(A, y, starting_noise((len(y), 3, 32, 32), 3000, device), max(2, settings.ddnm_steps // 2)).unflatten(0, (len(few_targets), many))
average, disagreement = drawn_many.mean(1), drawn_many.std(1).mean(1, keepdim=True).expand(-1, 3, -1, -1)
kinds = {
    "A⁺y": to_image(A.pinv(2 * A(few_targets) - 1)),
    "Gaussian prior": restored["super-resolution"]["Gaussian prior"][: len(few_targets)],
    "sample 1": drawn_many[:, 0],
    "sample 2": drawn_many[:, 1],
    f"mean of {many}": average,
}
scores = {name: psnr(pictures.clamp(0, 1), few_targets) for name, pictures in kinds.items()}
each = psnr(drawn_many.flatten(0, 1).clamp(0, 1), few_targets.repeat_interleave(many, 0)).mean()
display(record(
    "samples_and_mean",
    film({"original": few_targets, **kinds, "disagreement x 10": 10 * disagreement}, notes={name: [f"{float(v):.1f} dB" for v in values] for name, values in scores.items()}),
    f"Super-resolution: two samples for the same measurement, the mean of {many}, and where the samples disagree (their standard deviation, ten times as bright), {max(2, settings.ddnm_steps // 2)} steps ({origin('ddpm_patches_small')}).",
    piece=provenance("04-g", "04-h"),
))  # fmt: skip
of_mean = scores[f"mean of {many}"].mean()
print(f"PSNR: pseudo-inverse {float(scores['A⁺y'].mean()):.2f} dB, Gaussian prior {float(scores['Gaussian prior'].mean()):.2f} dB, single samples {float(each):.2f} dB, their mean {float(of_mean):.2f} dB")
print(f"the mean of {many} gains {float(of_mean - each):.2f} dB; samples of a perfect prior would gain {10 * math.log10(2 / (1 + 1 / many)):.2f} dB")

# %% [markdown] lang="en"
# The mean of the samples is better than each of them and better than the pseudo-inverse. How much better can be known beforehand: if the samples were as far from each other as from the truth, each would have twice the error of a mean of infinitely many, and a mean of $n$ would have $1 + 1/n$ times that error. (The second line above; what is missing to it is error that all samples share.)
#
# The samples agree in the flat parts and disagree at edges and in texture: this map is a picture of *what the measurement leaves open*, and no network that gives one answer can draw it. The mean is smoother than each sample. Which of the two is "better" depends on the use: for a measuring eye the mean, for a looking eye the sample. This
# is the perception-distortion trade-off (Blau and Michaeli, CVPR 2018): one cannot have the lowest error and the most natural look at the same time.

# %% [markdown] lang="en"
# ### Where it stops working
#
# Two limits, both drawn. First a **hole**: instead of every second pixel, a whole square is gone. Second **noise** in the measurement. Plain DDNM *believes* the measurement, so it carves its noise into the picture. DDNM+ is told the noise's strength and takes only as much of the correction as the noise of the step can hide.
#
# **Predict:** the hole is a quarter of the patch. Will the inside be wrong, blurred, or empty?

# %%
some = targets[: settings.noisy_images]
hole = torch.ones(1, 1, 32, 32, device=device)
hole[..., 8:24, 8:24] = 0
A = Inpainting(hole)
filled = restore(A, A(some), starting_noise(some.shape, 60, device), settings.ddnm_steps)
inside = slice(8, 24)
sigma_y = 25 / 255
A_half = operators["inpainting"]
y = A_half(some + sigma_y * starting_noise(some.shape, 61, device))
start = starting_noise(some.shape, 62, device)
plain = restore(A_half, y, start, settings.ddnm_steps)
plus = ddnm.restore(process, network, A_half, y, start, sigma_y=sigma_y, steps=settings.ddnm_steps, spacing="trailing")
rows = {"original": some, "hole": to_image(A(from_image(some))), "DDNM, hole": filled, "half the pixels,\nwith noise": to_image(A_half.pinv(2 * y - A_half(torch.ones_like(some)))), "DDNM": plain, "DDNM+": plus}
notes = {"DDNM, hole": [f"inside {float(v):.1f} dB" for v in psnr(filled[..., inside, inside].clamp(0, 1).contiguous(), some[..., inside, inside].contiguous())]}
notes |= {name: [f"{float(v):.1f} dB" for v in psnr(rows[name].clamp(0, 1), some)] for name in ("half the pixels,\nwith noise", "DDNM", "DDNM+")}
print("means: " + ", ".join(f"{name} {float(psnr(rows[key].clamp(0, 1), some).mean()):.2f} dB" for name, key in (("half the pixels with noise", "half the pixels,\nwith noise"), ("DDNM", "DDNM"), ("DDNM+", "DDNM+"))))
record("limits", film(rows, notes=notes), f"Limits: a hole of 16 x 16 pixels, and noise of 25 grey levels in the measurement, without and with the correction of DDNM+; {settings.ddnm_steps} steps ({origin('ddpm_patches_small')}).", piece=provenance("04-g", "04-h"))

# %% [markdown] lang="en"
# What fills the hole is invented, and it is wrong. Here and there it takes colours from the surroundings, elsewhere not even that: one sees the square. How *possible* a filling looks depends on the prior, and a small one with little training does not go far. With the largest priors in the world it looks much better, and it is the same in principle: what nobody measured is invented. In a holiday
# picture this is welcome. In a medical one it is a danger, and a number like PSNR over the whole patch hides it.
#
# The lower rows show the other limit: noise in the measurement ends up in the picture. DDNM+ was told how strong it is and takes some of it out, on most of the patches; the numbers say how much. Much of it stays.

# %% [markdown] lang="en"
# ### Your own measurement (open, no points)
#
# Choose a linear damage of your own and restore it with your DDNM: no training needed. You need two methods: `__call__(x)`, which gives the measurement, and `pinv(y)`, its pseudo-inverse. Ideas: every third line of the picture is lost; a weighted mean of the colours, as a camera makes it; the mean of a picture and its mirror image; a blur.
#
# The pseudo-inverse is the *only* matrix with four properties (Penrose, 1955), and the cell below tests them on random pictures:
#
# $$
# A A^+ A = A, \qquad A^+ A A^+ = A^+, \qquad (A A^+)^T = A A^+, \qquad (A^+ A)^T = A^+ A
# $$
#
# Say first which part of the picture your measurement does not see, and whether its surroundings tell anything about it.

# %%
class MyOperator(SuperResolution):
    """Your measurement, in one sentence. Left as it is, this is super-resolution by a factor of 2 once more."""

    ### BEGIN HIDDEN
    # A worked example: a Gaussian blur of 1.2 pixels whose weak frequencies are lost for good, as rounding to 8 bits would lose them. A and
    # its pseudo-inverse are both diagonal in the Fourier transform: the first multiplies, the second divides where something is left.
    def transfer(self, like):
        down, across = (torch.fft.fftfreq(size, dtype=like.dtype, device=like.device) for size in like.shape[-2:])
        gain = torch.exp(-2 * (torch.pi * 1.2) ** 2 * (down[:, None] ** 2 + across**2))
        return torch.where(gain > 0.05, gain, 0.0)

    def __call__(self, x):
        return torch.fft.ifft2(torch.fft.fft2(x) * self.transfer(x)).real

    def pinv(self, y):
        gain = self.transfer(y)
        inverse = torch.where(gain > 0, 1 / gain.clamp_min(1e-9), 0.0)
        return torch.fft.ifft2(torch.fft.fft2(y) * inverse).real

    ### END HIDDEN

# %%
A, written = MyOperator(2), "__call__" in vars(MyOperator)
x, x_other = torch.randn(2, 1, 3, 32, 32, dtype=torch.float64)
y, y_other = A(x), torch.randn_like(A(x))
penrose = {
    "A A⁺ A = A": (A(A.pinv(A(x))) - A(x)).abs().max(),
    "A⁺ A A⁺ = A⁺": (A.pinv(A(A.pinv(y_other))) - A.pinv(y_other)).abs().max(),
    "A A⁺ symmetric": ((A(A.pinv(y)) * y_other).sum() - (y * A(A.pinv(y_other))).sum()).abs(),
    "A⁺ A symmetric": ((A.pinv(A(x)) * x_other).sum() - (x * A.pinv(A(x_other))).sum()).abs(),
}
for name, value in penrose.items():
    print(f"{name:16s} {'holds' if value < 1e-6 else 'does NOT hold'} (off by {float(value):.0e})")
own = restore(A, A(some), starting_noise(some.shape, 63, device), settings.ddnm_steps)
own_rows = {"measurement": to_image(from_image(A(some))) if A(some).shape == some.shape else to_image(A.pinv(2 * A(some) - A(torch.ones_like(some)))), "A⁺y": to_image(A.pinv(2 * A(some) - A(torch.ones_like(some)))), "DDNM": own}
if not written:
    print("MyOperator is not written yet: this is super-resolution once more")
record(
    "own_operator",
    film({"original": some, **own_rows}, notes={name: [f"{float(v):.1f} dB" for v in psnr(pictures.clamp(0, 1), some)] for name, pictures in own_rows.items()}),
    f"Own measurement: {'written' if written else 'not written, super-resolution once more'}; {settings.ddnm_steps} steps of DDNM ({origin('ddpm_patches_small')}).",
    piece=provenance("04-g", "04-h"),
)

# %% [markdown] lang="en"
# ## 10 · Latent diffusion: what the latent saves
#
# A chain runs the network dozens of times on every pixel. Most of that work goes into texture that hardly anybody looks at. Latent diffusion (Rombach et al., CVPR 2022; Stable Diffusion is one) first squeezes the picture with an autoencoder and runs the chain on the small code $z$:
#
# $$
# z = E(x), \qquad \text{diffusion on } z, \qquad x = D(z)
# $$
#
# The course's `latent_small` squeezes 64 x 64 pixels to 16 x 16 places with four channels. The first question is what the squeezing alone loses: no diffusion can be better than the autoencoder.
#
# **Predict:** what will be missing in $D(E(x))$?

# %%
latent = shipped("latent_small")
large = crops(photos["test"], settings.latent_count, side=64, seed=6, detailed=True).to(device)
codes = latent.encode(large)
decoded = latent.decode(codes)
ceiling = psnr(decoded, large)
code_maps = torch.stack([(code[:3] - code[:3].mean()) / (4 * code[:3].std()) + 0.5 for code in codes])
display(record(
    "autoencoder",
    film(
        {"original": large[:4], "3 channels\nof its code": code_maps[:4], "decoded": decoded[:4], "difference x 2": 0.5 + 2 * (decoded - large)[:4]},
        notes={"decoded": [f"{float(value):.1f} dB" for value in ceiling[:4]]},
    ),
    f"What passes through the latent: the first of {len(large)} held-out patches of 64 x 64, their codes of {tuple(codes.shape[1:])}, decoded again ({origin('latent_small')}).",
))  # fmt: skip
print(f"numbers a picture: {large[0].numel():,} in pixels, {codes[0].numel():,} in the code; mean PSNR of the way through the code {float(ceiling.mean()):.2f} dB")

# %% [markdown] lang="en"
# Now the price of a step. The same network, once on pixels and once on codes: multiply-adds counted in a real pass, seconds measured on your machine.
#
# **Predict:** sixteen times fewer places: will a step be sixteen times cheaper? In seconds, too?

# %%
denoiser = latent.model
pixel_config = denoiser.config | dict(in_channels=3, out_channels=3)
torch.manual_seed(SEED)
on_pixels = DDPMUNet(**pixel_config).to(device).eval()
t_one = torch.tensor([500], device=device)


def seconds_of(call, repeats=3):
    """The fastest of a few calls."""
    best = []
    for _ in range(repeats):
        begin_at = time.perf_counter()
        with torch.no_grad():
            call()
        if device.type == "cuda":
            torch.cuda.synchronize()
        best.append(time.perf_counter() - begin_at)
    return min(best)


steps = settings.latent_steps
rows = []
for name, net, x, more in (
    ("a step on pixels, 64 x 64", on_pixels, from_image(large[:1]), [t_one]),
    ("a step on codes, 16 x 16", denoiser, codes[:1], [t_one]),
    ("the decoder, once", latent.autoencoder.decoder, codes[:1], []),
):
    rows.append({"": name, "numbers": x[0].numel(), "million multiply-adds": figures.trace(net, x, *more)[0].multiply_adds / 1e6, "seconds": seconds_of(lambda net=net, x=x, more=more: net(x, *more))})
pixel_step, code_step, decoder = rows
whole, work = (
    {"on pixels": steps * pixel_step[what], "on codes": steps * code_step[what] + decoder[what]} for what in ("seconds", "million multiply-adds")
)
rows += [{"": f"a picture in {steps} steps {name}", "numbers": "", "million multiply-adds": work[name], "seconds": whole[name]} for name in whole]
cost = pd.DataFrame(rows).round({"million multiply-adds": 1, "seconds": 4})
display(record("latent_cost", cost, f"One picture of 64 x 64 pixels, measured in this run on {device}; the same network on pixels (fresh weights, only its cost counts) and on codes."))
print(f"a step: {pixel_step['million multiply-adds'] / code_step['million multiply-adds']:.1f} times fewer multiply-adds, {pixel_step['seconds'] / code_step['seconds']:.1f} times as fast")
print(f"the latent saves a factor of {work['on pixels'] / work['on codes']:.1f} in multiply-adds and {whole['on pixels'] / whole['on codes']:.1f} in seconds, for {steps} steps")

# %% [markdown] lang="en"
# And what does it draw? **Predict:** which fault will these patches show that the patches of section 7 did not have?

# %%
latent_noise = starting_noise((settings.latent_count, *codes.shape[1:]), 808, device)
drawn_large = latent.sample(latent_noise, steps=settings.latent_steps)
record(
    "latent_samples",
    film({"drawn in\nthe latent": drawn_large[:6], "real patches": large[:6]}),
    f"Patches of 64 x 64 pixels drawn by diffusion in the latent, {settings.latent_steps} steps, with the decoder at the end ({origin('latent_small')}). Below, real ones.",
)

# %% [markdown] lang="en"
# **The price.** A convolution on sixteen times fewer places is sixteen times cheaper. The plain attention at the deepest level is cheaper by the *square* of that, so a step saves a little more than sixteen; the decoder comes on top, once. Seconds follow less well: small maps leave a processor idle. And a code is not a picture: it has no black and no white, so the chain on codes is not clipped.
#
# **The pictures.** Colours go together, and soft areas lie beside blotches of texture. What the patches of section 7 did not have is the softness: no edge is as clean as in the row of real patches, and in smooth places there is a fine grid. Look back at the decoded photographs: both are there already, so the decoder is to blame and not the chain. Objects there are none: this is a small autoencoder and a small denoiser after forty minutes of training in all.
#
# **For restoration the ceiling matters.** Fine texture is what did not come through (hair, scratches, the leaves on the rock), and even flat areas changed their colour a little. All this is lost before any damage is repaired. A restorer that works in the latent loses detail twice, once by the damage and once by the squeezing. This is one reason why lesson 05 goes another way. (How a latent diffusion would be told what to restore: the code of the damaged picture joins $z$ as further channels, or a list of vectors, a text for instance, comes in by cross-attention. `course_lib/diffusion/latent.py` has both.)

# %% [markdown] lang="en"
# ## 11 · Trap box: where it goes wrong silently
#
# None of these gives an error message. All of them give worse pictures.
#
# | trap | what happens | how to notice |
# |---|---|---|
# | pictures in [0, 1] instead of [-1, 1] | the network sees pictures that are all "bright"; samples get a tint and low contrast | print the mean of a batch: about 0, not about 0.5 |
# | $t$ of the paper (1 ... T) with tables from 0 | every time is off by one; the last step divides by the wrong $\bar\alpha$ | at t = 0 the posterior's mean must be $x_0$ |
# | linear betas with another T | the chain does not end in noise | print the root of the last $\bar\alpha$ (section 3) |
# | noise scaled by $1 - \bar\alpha$ instead of its root | the variance at time t is wrong; training runs, samples are grainy or flat | variance of $x_t$ for pictures of variance 1 must be 1 |
# | clipping codes of a latent | contrast and colours are cut off | codes have deviation 1, and many values beyond it |
# | sampling with the last weights | speckled colours; the average of the weights (EMA) is what papers sample from | compare the two |
# | $y$ in [0, 1], chain in [-1, 1] | DDNM pulls the picture to another brightness | $A$ of the result against $y$ |
#
# ## 12 · What to take along
#
# - A diffusion model is a denoiser for every noise level. The closed form makes it trainable, the posterior makes it walk.
# - $\bar\alpha$ is the whole process. A schedule decides how many steps go into which kind of detail.
# - The same network serves every sampler. Few steps cost quality, and how much can be measured.
# - A generative prior restores what a measurement *fixes* exactly and *invents* the rest plausibly. One model, any linear damage, no training: an all-in-one model of another kind than PromptIR. But it must be *told* $A$, it needs dozens of runs of the network for a patch, and haze or a moving camera are not so simple a matrix. And it is as good as its prior: with one as small as ours a formula was better where PSNR decides.
#
# Lesson 05 asks: why start from pure noise at all, when the damaged picture is at hand?

# %% [markdown] lang="en"
# ## Report
#
# Answer in a few sentences each, in this cell. The PDF of this notebook carries your answers, the figures, and the result of every check.
#
# 1. **Data flow.** Follow one training step: what is drawn at random, what goes into the network with which shapes, what comes out, what is compared? Then one step of sampling.
#
#    *Your answer:*
#
# 2. **Noise levels.** From the figure of the loss by level: where did the live training gain first, and why does that say little? What did the shipped model learn besides?
#
#    *Your answer:*
#
# 3. **Steps.** From how many steps on could you not tell the pictures from those of the longest chain? Give the number of dB or the distance, and say how sure you are with so few patches.
#
#    *Your answer:*
#
# 4. **Restoration.** For which measurement would you use DDNM, for which the Gaussian prior, for which neither? Use a row of the table *and* a picture.
#
#    *Your answer:*
#
# 5. **Think.** A single sample has a lower PSNR than the mean of many, and looks better. A doctor, a judge and a holiday photographer ask you for a restorer. What do you give to each, and what do you tell them?
#
#    *Your answer:*
#
# 6. **Your operator.** Which part of the picture did your measurement not see? What did DDNM put there?
#
#    *Your answer:*
