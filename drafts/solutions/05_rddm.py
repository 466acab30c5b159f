# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown] lang="en"
# # 05 · RDDM: restoration as a short walk
#
# {{colab_badge}} {{kaggle_badge}}
#
# Lesson 04 made pictures out of pure noise. A restorer has more than noise: it has the degraded picture, and most of the answer is in it. This lesson is about
# diffusion that *starts from what you have*.
#
# In this lesson you
#
# 1. see what pure noise throws away, and what a start at the degraded picture keeps,
# 2. write **residual diffusion** (RDDM, Liu et al., CVPR 2024): two coefficients in place of one, a network with two answers, a walk of a few steps,
# 3. train it a little, and measure the shipped one: which of its two answers is good when, and how many steps are worth their time,
# 4. write the sampler of **DiffUIR** (Zheng et al., CVPR 2024), which lets all degradations start from nearly one place, and test that idea,
# 5. let **AutoDIR**'s loop (Jiang et al., ECCV 2024) look at a picture that was spoilt twice, name the damage, repair it, and look again,
# 6. put diffusion beside the Transformers of lessons 02 and 03: quality, seconds, multiply-adds.
#
# Eight exercises, 18 points, and one open one. The whole lesson runs from top to bottom even when nothing is filled in: where your piece is missing, the
# reference piece steps in and the output says so.
#
# **Recorded run** means: trained before, for longer than a lesson can; its recipe, seed and steps are named. **Live** means: made on your machine while you
# read. Live runs are short. They show that a thing works, not how good it can become.

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
import os
import time
from functools import partial

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from IPython.display import display
from torch import nn

from course_lib import figures
from course_lib.datasets.photos import load_photos
from course_lib.degradations.composite import DEGRADATIONS
from course_lib.diffusion.autodir import NAMES, prompt_of
from course_lib.diffusion.chain import from_image, starting_noise, to_image
from course_lib.diffusion.ddpm import DDPM
from course_lib.diffusion.diffuir import DiffUIR
from course_lib.diffusion.rddm import RDDM
from course_lib.diffusion.residual import sampling_times
from course_lib.doctor import usable_device
from course_lib.evaluation import restore
from course_lib.evaluation.five_tasks import KINDS, TASKS, task_pairs
from course_lib.evaluation.protocol import centre_crop
from course_lib.evaluation.published import load_errata, query
from course_lib.evaluation.walks import gains as gains_of
from course_lib.evaluation.walks import read_walks
from course_lib.figures.dataflow import trace
from course_lib.figures.prompts import number_map
from course_lib.figures.residual import hourglass, mean_distance, pair_distances, quality_cost, rounds_figure, state_map, step_diagram
from course_lib.figures.style import line_style, new_figure, style
from course_lib.metrics import psnr, ssim
from course_lib.models import create_model
from course_lib.models.unet_parts import ResidualBlock
from course_lib.paths import data_root
from course_lib.profiles import get_profile
from course_lib.training import Recipe, fit, load_recipe, load_weights
from course_lib.training.checkpoint import read_tensors
from course_lib.training.tasks import mixture
from course_lib.workbook.checks import check, provenance, source_key, use
from course_lib.workbook.records import begin, record

if DATA_DIR:
    os.environ["COURSE_DATA_DIR"] = DATA_DIR
settings = get_profile(PROFILE, "05_rddm")
device = usable_device(DEVICE)
out = begin("05_rddm", OUT_DIR, profile=PROFILE, seed=SEED, device=device)
torch.manual_seed(SEED)
print(f"profile {PROFILE}: {settings.steps} training steps on {device}; results go to {out.name}")


def weights_file(name):
    """Where the course keeps the weights of a shipped model."""
    return data_root() / "checkpoints" / f"{name}.safetensors"


def shipped(name):
    """A model that the course ships, in eval mode."""
    return load_weights(weights_file(name)).to(device).eval()


def origin(name):
    """Where shipped weights come from, for a caption."""
    told = read_tensors(weights_file(name))[1]
    if "steps" not in told:  # trained in parts: its card says how
        return f"{name}, recorded run: see data/checkpoints/{name}.md"
    steps = [str(told["steps"])]
    try:
        part = load_recipe(name)
        while part.start:  # a recipe may begin with another's weights
            part = load_recipe(part.start)
            steps.insert(0, str(part.steps))
    except ValueError:
        pass  # trained without a recipe file: the weights say all that is known
    return f"{name}, recorded run: recipe {told.get('recipe', 'none')}, seed {told.get('seed', 'none')}, {' + '.join(steps)} steps"


# %% [markdown] lang="en"
# ## 1 · Why start from nothing?
#
# A diffusion model can restore when it is *conditioned*: the degraded picture goes into the network as well, and the sampler starts from pure noise, as in
# lesson 04. It works. But think of what the first hundred of its steps do. They build the large shapes and the colours of a picture that lies on the table already.
#
# We take the course's own test again (`data/protocol/five_tasks.json`): five degradations, the same photographs, the same seeds as in lesson 03.
#
# **Predict before you run:** the PSNR of pure noise against a photograph. And of the degraded picture with a *little* noise added?

# %%
def cut(image, side):
    """The middle of (1, 3, h, w), at most `side` pixels a side (0: all of it)."""
    return centre_crop(image, side=side) if side else image


photos = {}  # photograph -> (the five degraded pictures, in the order of TASKS (5, 3, h, w), the clean one five times)
for task in TASKS:
    for name, spoilt, clean in list(task_pairs(task))[: settings.test_images]:
        photos.setdefault(name, []).append((cut(spoilt, settings.test_crop), cut(clean, settings.test_crop)))
photos = {name: tuple(torch.cat(parts).to(device) for parts in zip(*items, strict=True)) for name, items in photos.items()}
first_photo = next(iter(photos))
degraded, clean = photos[first_photo]  # the one that is shown
TITLES = [task.replace("_", " ") for task in TASKS]


def by_task(images):
    """photograph -> restored (5, 3, h, w), to task -> mean PSNR (dB)."""
    scores = torch.stack([psnr(images[name].clamp(0, 1), photos[name][1]) for name in images])  # (photographs, 5)
    return dict(zip(TASKS, scores.mean(0).tolist(), strict=True))


noise = {name: starting_noise(spoilt.shape, SEED).to(device) for name, (spoilt, _) in photos.items()}
starts = {
    "pure noise": {name: to_image(eps) for name, eps in noise.items()},
    "degraded + noise of 1.0": {name: to_image(from_image(photos[name][0]) + eps) for name, eps in noise.items()},
    "degraded + noise of 0.1": {name: to_image(from_image(photos[name][0]) + 0.1 * eps) for name, eps in noise.items()},
    "degraded": {name: spoilt for name, (spoilt, _) in photos.items()},
}
start_table = pd.DataFrame({name: by_task(images) for name, images in starts.items()}).T
input_psnr = start_table.loc["degraded"].to_dict()
record("starts", start_table.round(2).reset_index(names="PSNR of the start (dB)"), f"Four places to start from, against the clean picture; {len(photos)} photographs. Noise in units of the scale [-1, 1].")

# %% [markdown] lang="en"
# Pure noise is the same bad start for every picture. The degraded picture with a little noise is worse than the degraded picture, but not by much, except where there was little wrong with it. All
# decibels between the first row and the third must be *earned again* by a sampler that starts from pure noise.
#
# So change the process itself. DDPM's forward process ends in noise because it was told to. Let it end **at the degraded picture plus a little noise** instead:

# %%
ddpm, rddm_plain = DDPM(1000, "linear"), RDDM(1000, sum_scale=settings.sum_scale, cut=settings.cut)
shown = TASKS.index("rain")
x0, x_in, eps = (from_image(clean), from_image(degraded), noise[first_photo])
times = [0, 199, 399, 599, 799, 999]
strips = [
    {f"t = {t}": to_image(ddpm.q_sample(x0, t, eps))[shown] for t in times},
    {f"t = {t} ": to_image(rddm_plain.q_sample(x0, x_in, t, eps))[shown] for t in times},
]
record("two_ends", figures.grid(strips, zoom=None, clean_key=None, titles=["DDPM", "RDDM"]), "One clean photograph on its way to the end of two processes. Above: DDPM, to pure noise. Below: RDDM, to the rainy picture plus noise of 0.1. A restoration walks from right to left.")

# %% [markdown] lang="en"
# A restoration walks from right to left. In the upper row it starts from something that knows nothing of the photograph. In the lower row it starts from the
# rainy picture.
#
# ## 2 · Residual diffusion
#
# What lies between the two ends of the lower row is the **residual**, degraded minus clean:
#
# $$
# I_{res} = I_{in} - I_0
# $$
#
# **Predict:** draw the residual of noise, blur, rain, haze and low light with your eyes closed. Which one is smooth? Which has both signs?

# %%
residual = x_in - x0
spread = residual.abs().amax(dim=(1, 2, 3))
picture = [dict(zip(TITLES, degraded, strict=True)), {f"{title} ": 0.5 + r / 2 / s for title, r, s in zip(TITLES, residual, spread, strict=True)}]
display(record("residuals", figures.grid(picture, zoom=None, clean_key=None, titles=["degraded", "residual"]), "Five degradations of one photograph and their residuals. Grey is zero; each residual is stretched to its own largest value."))
print("largest residual on the scale [-1, 1]:", {title: round(value, 2) for title, value in zip(TITLES, spread.tolist(), strict=True)})

# %% [markdown] lang="en"
# Noise has a noisy residual. That of blur lives at the edges, in both signs. That of rain is a few bright streaks. Those of haze and low light are large and smooth, with a pale copy of the photograph in them. One network is to
# find them all.
#
# RDDM takes the residual *and* some noise into the picture, a small part at each step:
#
# $$
# I_t = I_{t-1} + \alpha_t\, I_{res} + \beta_t\, \epsilon_{t}, \qquad \epsilon_t \sim N(0, 1)
# $$
#
# Sum up the steps. The residual parts simply add. The noise parts are independent, so their *variances* add:
#
# $$
# I_t = I_0 + \bar\alpha_t\, I_{res} + \bar\beta_t\, \epsilon, \qquad \bar\alpha_t = \sum_{i \le t} \alpha_i, \qquad \bar\beta_t = \sqrt{\textstyle\sum_{i \le t} \beta_i^2}
# $$
#
# | paper | code | meaning |
# |---|---|---|
# | $I_0$, $I_{in}$ | `x0`, `x_in` | clean and degraded picture, in [-1, 1] |
# | $I_{res}$ | `residual` | `x_in - x0` |
# | $I_t$ | `x_t` | the state at time t |
# | $\bar\alpha_t$ | `abar` | how much of the residual is in the state, from 0 to 1 |
# | $\bar\beta_t$ | `bbar` | standard deviation of the noise in the state |
#
# As in lesson 04, time counts 0 ... T-1 in the code, and -1 is clean.

# %% [markdown] lang="en"
# **Exercise 05-a (2 points, about 8 minutes).** RDDM has two schedules, and they have nothing to do with each other. The shares of the residual *fall* from step to
# step, and the variances of the noise *rise*. For $T$ steps:
#
# $$
# \alpha_i = \frac{T + 1 - i}{1 + 2 + \dots + T}, \qquad \beta_i^2 = \frac{i}{1 + 2 + \dots + T}\; s, \qquad i = 1, \dots, T
# $$
#
# $$
# \bar\alpha_t = \sum_{i \le t} \alpha_i, \qquad \bar\beta_t = \sqrt{\textstyle\sum_{i \le t} \beta_i^2}
# $$
#
# The paper counts steps from 1, the code from 0: entry 0 of a table is the state *after* the first step.
#
# | | | |
# |---|---|---|
# | `timesteps` | int | T |
# | `sum_scale` | float | s, the variance of all the noise together |
# | result | `(abar, bbar)`, each `(T,)` float64 | `abar` ends at 1, `bbar` at $\sqrt{s}$ |
#
# Why float64? A thousand small numbers are added up, and the error of each addition adds up as well.
#
# <details><summary>Hint</summary>
#
# `torch.arange(1, T + 1, dtype=torch.float64)` is the rising line; `.flip(0)` makes the falling one. `.cumsum(0)` adds up. Variances of independent noise add up, standard
# deviations do not.
#
# </details>

# %%
# exercise 05-a · 2 points · Two schedules
def residual_schedules(timesteps, sum_scale):
    """T and the total variance -> (abar, bbar), each (T,) float64."""
    ### BEGIN SOLUTION
    line = torch.arange(1, timesteps + 1, dtype=torch.float64)
    line = line / line.sum()
    alphas, betas2 = line.flip(0), sum_scale * line
    return alphas.cumsum(0), betas2.cumsum(0).sqrt()
    ### END SOLUTION

# %%
check("05-a", residual_schedules)


# %% [markdown] lang="en"
# The names tell how fast things change on the way from clean to degraded. *Decreased* alphas: much of the residual comes early. *Increased* betas: most of the
# noise comes late. On the way back it is the other way round: the noise goes first, then the residual.
#
# **Predict:** at half time, how much of the residual is in the state: a quarter, a half, three quarters?

# %%
schedules_of = use("05-a", residual_schedules)
T = 1000
abar, bbar = schedules_of(T, settings.sum_scale)
_, bbar_one = schedules_of(T, 1.0)
with style():
    figure = new_figure(9, 3.0)
    left, right = figure.subplots(1, 2)
    left.plot(abar, label="residual: abar", markevery=200, **line_style(0))
    left.plot(bbar, label=f"noise: bbar, sum_scale {settings.sum_scale:g}", markevery=200, **line_style(1))
    left.plot(bbar_one, label="noise: bbar, sum_scale 1", markevery=200, **line_style(3))
    left.plot(1 - ddpm.alpha_bar.sqrt(), label="DDPM: 1 - sqrt(alpha_bar)", color="0.6", linewidth=1)
    left.set(xlabel="time t", ylabel="in the state at time t")
    right.plot(abar.diff() * T, label="residual a step, times T", color=line_style(0)["color"])
    right.plot((bbar_one**2).diff() * T, label="noise variance a step, times T / sum_scale", color=line_style(3)["color"], linestyle="-.")
    right.set(xlabel="time t", ylabel="added by one step")
    for axes in (left, right):
        axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=1)
display(record("schedules", figure, "RDDM's two schedules. Left: sums; right: single steps. Thin: how fast DDPM (linear) lets go of the picture.", piece=provenance("05-a")))
print(f"at half time {abar[T // 2 - 1]:.2f} of the residual and {bbar_one[T // 2 - 1] ** 2:.2f} of the noise's variance are in the state")

# %% [markdown] lang="en"
# **Exercise 05-b (2 points, about 8 minutes).** Nobody walks the steps one by one in training. As in DDPM, one formula leads to any time:
#
# $$
# x_t = x_0 + \bar\alpha_t\, (x_{\mathrm{in}} - x_0) + \bar\beta_t\, \epsilon
# $$
#
# | | shape | |
# |---|---|---|
# | `x0`, `x_in` | `(B, C, H, W)` | clean and degraded, in [-1, 1] |
# | `t` | `(B,)` int64 | one time **for each image**, 0 ... T-1 |
# | `noise` | `(B, C, H, W)` | $\epsilon$, standard normal |
# | `abar`, `bbar` | `(T,)` | the two tables, float32 or float64 |
# | result | `(B, C, H, W)` | $x_t$, in the dtype of `x0`; it may leave [-1, 1] |
#
# <details><summary>Hint</summary>
#
# `abar[t]` has shape `(B,)`. Torch lines shapes up from the right, so `(B,)` would meet the *width*: bring it to `(B, 1, 1, 1)` first. A float64 table makes the result
# float64; `.to(x0.dtype)` prevents it.
#
# </details>

# %%
# exercise 05-b · 2 points · Any time in one go
def residual_forward(x0, x_in, t, noise, abar, bbar):
    """Images and noise (B, C, H, W), times t (B,), tables (T,) -> x_t (B, C, H, W)."""
    ### BEGIN SOLUTION
    a = abar[t].to(x0.dtype).view(-1, 1, 1, 1)
    b = bbar[t].to(x0.dtype).view(-1, 1, 1, 1)
    return x0 + a * (x_in - x0) + b * noise
    ### END SOLUTION

# %%
check("05-b", residual_forward)


# %% [markdown] lang="en"
# Does the closed form really describe the small steps? Take the small steps one by one, a thousand times, for many pixels at once, and compare mean and
# standard deviation.

# %%
forward = use("05-b", residual_forward)
draws, start, end = 4000, torch.tensor(0.3), torch.tensor(-0.5)  # one pixel, clean and degraded, walked 4000 times
x, generator = torch.full((draws,), start.item()), torch.Generator().manual_seed(SEED)
alpha, beta2 = abar.diff(prepend=abar.new_zeros(1)), (bbar**2).diff(prepend=bbar.new_zeros(1))
for t in range(T):
    x = x + float(alpha[t]) * (end - start) + float(beta2[t]) ** 0.5 * torch.randn(draws, generator=generator)
    if t in (99, 499, 999):
        ones = torch.ones(draws, 1, 1, 1)
        direct = forward(start * ones, end * ones, torch.full((draws,), t), torch.randn(draws, 1, 1, 1, generator=generator), abar, bbar)
        print(f"t = {t:3d}: {t + 1:4d} small steps: mean {x.mean():+.3f}, std {x.std():.4f};   one large step: mean {direct.mean():+.3f}, std {direct.std():.4f}")

# %% [markdown] lang="en"
# ## 3 · Two coefficients, two speeds
#
# In DDPM one number a time rules both: how much picture is left *and* how much noise there is. RDDM has two numbers, and you may choose
# them apart. So every state is a point on a **plane**, and a process is a path on this plane from the lower left (clean) to its end.

# %%
dark = TASKS.index("low_light")
paths = {f"RDDM, sum_scale {s:g}": tuple(values.tolist() for values in schedules_of(T, s)) for s in (settings.sum_scale, 1.0)}
uir = DiffUIR(T)
paths["DiffUIR (section 8)"] = (uir.alphas_cumsum.tolist(), uir.betas_cumsum.tolist())
record("plane", state_map(clean[dark], degraded[dark], noise[first_photo][dark], paths), "Every point of the plane is a picture: across, the residual of low light comes in; upwards, noise. Lines: the paths of three processes from clean (lower left) to where a restoration starts (marker).", piece=provenance("05-a"))

# %% [markdown] lang="en"
# Follow the lines. With `sum_scale` 0.01 the path keeps to the bottom: the state stays nearly free of noise, and the walk is a fade from dark to bright. With 1 there is
# so much noise at the end that fine detail is hidden. The noise hides the small errors of the input, *and* it hides what was right in it. The network has to
# guess what is hidden; that is what makes a diffusion model generative. How much guessing a restorer should do is a choice, and here it is one number.
#
# DDPM is on this plane, too. Set the degraded picture to zero. Then $I_{res} = -I_0$. Call lesson 04's product of alphas $a_t$, and take $\bar\alpha_t = 1 - \sqrt{a_t}$ and $\bar\beta_t = \sqrt{1 - a_t}$: residual diffusion *is* DDPM.

# %% tags=["nbval-check-output"]
one_time, small = torch.tensor([0, 250, 500, 999]), torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
other = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
as_residual = forward(small, torch.zeros_like(small), one_time, other, 1 - ddpm.alpha_bar.sqrt(), (1 - ddpm.alpha_bar).sqrt())
print("residual diffusion towards nothing is DDPM:", torch.allclose(as_residual, ddpm.q_sample(small, one_time, other), atol=1e-6))

# %% [markdown] lang="en"
# ## 4 · A network with two answers
#
# The network sees the state and, beside it, the degraded picture: six channels. It answers two questions: which residual is in there, and which noise? RDDM in its usual
# form asks two U-Nets of one shape, one for each. The U-Net is that of lesson 04 with two changes. It has linear attention (the cost grows with the pixels,
# remember lessons 01 and 02), and its convolutions are **standardised**.
#
# Why standardise a weight? After such a convolution comes GroupNorm, which removes mean and scale of the *maps*. So mean and scale of the *weights* do
# not matter for the result, but they do matter for training: as weights grow, the same gradient turns them less and less. Standardising takes that freedom away.

# %% [markdown] lang="en"
# **Exercise 05-c (3 points, about 12 minutes).** In the networks of RDDM and DiffUIR the 3x3 convolutions of the residual blocks *standardise their weights*. Before a filter is
# used, its own mean is subtracted, and it is divided by its own standard deviation:
#
# $$
# \hat w_{o} = \frac{w_{o} - \mu_o}{\sqrt{\sigma_o^2 + 10^{-5}}}, \qquad
# \mu_o = \frac{1}{n} \sum_{i,y,x} w_{o,i,y,x}, \quad
# \sigma_o^2 = \frac{1}{n} \sum_{i,y,x} (w_{o,i,y,x} - \mu_o)^2
# $$
#
# with $n$ = (input channels of a filter) x k x k. Then comes an ordinary convolution with $\hat w$. The stored weight stays as it is; the standardised one is made anew in each pass,
# so that gradients go through the mean and the variance.
#
# | | shape |
# |---|---|
# | `x` | `(B, in, H, W)` |
# | `self.weight` | `(out, in / groups, k, k)` |
# | `self.bias` | `(out,)` or `None` |
# | result | as of `nn.Conv2d` with the same settings |
#
# The constructor is that of `nn.Conv2d`, so write `forward` only. Stride, padding, dilation, groups and bias work as always.
#
# <details><summary>Hint</summary>
#
# `torch.var_mean(w, dim=(1, 2, 3), correction=0, keepdim=True)`. torch divides by n - 1 unless told; `correction=0` makes it n. For the convolution:
# `F.conv2d(x, weight, bias, stride, padding, dilation, groups)`, and the settings lie in `self.stride`, `self.padding` and so on.
#
# </details>

# %%
# exercise 05-c · 3 points · Weight standardisation
class StandardConv2d(nn.Conv2d):
    """A convolution whose every filter has mean 0 and variance 1 when it is used."""

    def forward(self, x):
        ### BEGIN SOLUTION
        var, mean = torch.var_mean(self.weight, dim=(1, 2, 3), correction=0, keepdim=True)  # (out, 1, 1, 1)
        weight = (self.weight - mean) / (var + 1e-5).sqrt()
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
        ### END SOLUTION

# %%
check("05-c", StandardConv2d)


# %% [markdown] lang="en"
# **Predict:** take a convolution, multiply all its weights by 10 and add 3. What comes out of a plain convolution, and what of yours?

# %%
my_conv = use("05-c", StandardConv2d)
patch = from_image(degraded[:1, :, :32, :32]).cpu()
for name, layer in (("nn.Conv2d", nn.Conv2d), ("standardised", my_conv)):
    torch.manual_seed(SEED)
    conv = layer(3, 16, 3, padding=1)
    with torch.no_grad():
        before = conv(patch)
        conv.weight.mul_(10).add_(3)
        after = conv(patch)
    print(f"{name:>12}: output std {before.std():6.3f} before, {after.std():6.3f} after; largest change {(after - before).abs().max():.4f}")

# %% [markdown] lang="en"
# Now build the network. Your convolution goes into each residual block, with GroupNorm behind it.
#
# One part of it stands in no paper: an **equaliser** (`course_lib/models/equaliser.py`). A residual U-Net must first learn to *copy*: the residual of a noisy picture
# is its every grain, that of a dark one nearly the picture itself. The published networks have hundreds of thousands of steps for that, we have minutes. The equaliser
# splits the degraded picture into three bands of detail, the rest and a constant, and adds each of them to the residual with a gain that a very small network reads off the
# picture. All gains begin at 0, so at first it changes nothing. Section 8 has what it is worth, measured.

# %%
my_block = partial(ResidualBlock, convolution=my_conv, norm=partial(nn.GroupNorm, 8))


def build(config):
    """A fresh RDDM network made of your convolutions."""
    torch.manual_seed(SEED)
    return create_model("rddm", **config, block=my_block)


network = build(settings.config).to(device)
pair = torch.cat([from_image(degraded[:1]), from_image(degraded[:1])], dim=1)[..., :64, :64]  # (1, 6, h, w): state and degraded


def size(shape):
    """(1, C, h, w) as text."""
    return "×".join(map(str, shape[1:]))


boxes, single = {}, size(pair[:, :3].shape)
for name, part in network.named_children():
    if name == "equaliser":
        boxes["equaliser (ours)"] = (f"added to the residual\n{single}", ["degraded picture in 5 bands", "a gain a band and colour"])
        continue
    stages = {row.name: row for row in trace(part, pair, torch.zeros(1, dtype=torch.long, device=device), depth=2)}
    lines = [f"down {k + 1}: {size(stages[f'downs.{k}'].inputs[0])}" for k in range(len(part.downs))]
    lines += [f"bottom: {size(stages['mid_block2'].outputs[0])}", f"up to: {size(stages['final_res_block'].outputs[0])}"]
    boxes[f"{name}, told the time t"] = (f"{'residual' if name == 'unet0' else 'noise'}\n{size(stages[''].outputs[0])}", lines)
display(record(
    "dataflow",
    step_diagram({"state": single, "degraded": single, "together": size(pair.shape), "step": single}, boxes),
    "Data flow of one step, with the shapes of a real forward pass through this lesson's network. The state goes into the networks, and it is what the step back changes.",
    piece=provenance("05-c"),
))
parts = {name: sum(p.numel() for p in part.parameters()) for name, part in network.named_children()}
print("parameters:", ", ".join(f"{name} {count:,}" for name, count in parts.items()), "(unet0: the residual, unet1: the noise)")

# %% [markdown] lang="en"
# If your convolution does what the paper's does, the shipped weights must work in a network made of it:

# %%
rddm = shipped("rddm_small")
twin = build(rddm.network.config).to(device).eval()
twin.load_state_dict(rddm.network.state_dict())
with torch.no_grad():
    ours, theirs = (torch.cat(net(pair, torch.full((1,), 500, device=device)), 1) for net in (twin, rddm.network))
print(f"the shipped weights with {provenance('05-c')}: largest difference to the library's network {(ours - theirs).abs().max():.1e}")

# %% [markdown] lang="en"
# **Exercise 05-d (2 points, about 8 minutes).** The training. Make a state at a random time, show it to the network *beside* the degraded image, and ask for both parts:
#
# $$
# \hat r, \hat\epsilon = \mathrm{model}\big([x_t;\, x_{\mathrm{in}}],\, t\big), \qquad
# L = \mathrm{mean}\,\big|\hat r - (x_{\mathrm{in}} - x_0)\big| + \mathrm{mean}\,\big|\hat\epsilon - \epsilon\big|
# $$
#
# | | shape | |
# |---|---|---|
# | `model` | callable | `model(image6, t)` -> `(residual, noise)`, each `(B, C, H, W)` |
# | `image6` | `(B, 2C, H, W)` | the state first, then the degraded image, along the channels |
# | `x0`, `x_in`, `t`, `noise`, `abar`, `bbar` | as in 05-b | `t` goes to the model as it is |
# | result | 0-d tensor | the mean runs over all values of the batch; gradients reach the model |
#
# You may call your `residual_forward`.
#
# <details><summary>Hint</summary>
#
# `torch.cat([a, b], dim=1)` joins along the channels. The network guesses the *whole* residual and the noise of standard deviation 1, not their shares in $x_t$.
#
# </details>

# %%
# exercise 05-d · 2 points · The loss
def rddm_loss(model, x0, x_in, t, noise, abar, bbar):
    """model(image6, t) -> (residual, noise); images (B, C, H, W), t (B,), tables (T,) -> loss, a 0-d tensor."""
    ### BEGIN SOLUTION
    a, b = (table[t].to(x0.dtype).view(-1, 1, 1, 1) for table in (abar, bbar))
    x_t = x0 + a * (x_in - x0) + b * noise
    residual, epsilon = model(torch.cat([x_t, x_in], dim=1), t)
    return F.l1_loss(residual, x_in - x0) + F.l1_loss(epsilon, noise)
    ### END SOLUTION

# %%
check("05-d", rddm_loss)


# %% [markdown] lang="en"
# Train it, from random weights, on all five tasks at once. The loop is the one behind `course train`; what is new is the *objective*: it draws a time and some
# noise for each picture and calls your loss.
#
# **Predict:** the loss is a sum of two errors, and one of them starts near 0.8. Which, and why 0.8? (The mean of $|\epsilon|$ for a standard normal number is $\sqrt{2/\pi}$.)

# %%
my_loss = use("05-d", rddm_loss)
tables = tuple(values.to(device) if device.type != "mps" else values.float().to(device) for values in (abar, bbar))


def objective(model, batch):
    """Your loss at times and with noise that are drawn for this batch."""
    spoilt, target = from_image(batch[0]), from_image(batch[1])
    t = torch.randint(0, T, (len(target),)).to(target.device)
    eps = torch.randn(target.shape).to(target.device)
    return my_loss(model, target, spoilt, t, eps, *tables)


recipe = Recipe(
    name="rddm_lesson", model="rddm", config=settings.config, tasks="five-task", seed=SEED, steps=settings.steps,
    patches=(settings.patch,), batches=(settings.batch,), learning_rate=settings.learning_rate, final_learning_rate=1e-6,
    warmup=settings.warmup, clip_norm=settings.clip_norm, ema_decay=settings.ema_decay, precision=settings.precision,
    log_every=settings.log_every, validate_every=max(1, settings.steps // settings.validations), checkpoint_seconds=30,
)  # fmt: skip
validation = {}  # task -> (degraded, clean), one small picture: enough to see a curve
rocket = cut(next(iter(load_photos("validation").values()))[None], settings.validation_crop)
for task, (kind, fixed) in KINDS.items():
    validation[task] = DEGRADATIONS[kind].sample(7, **fixed).apply(rocket, [4000], clip=task != "noise")
validation_batch = torch.cat(list(validation.values()))


def validate(model):
    """Task -> PSNR (dB) of the validation picture after a short walk of the library's sampler."""
    restored = rddm_plain.sample(model, validation_batch.to(device), settings.validation_steps, starting_noise(validation_batch.shape, SEED).to(device))
    return dict(zip(validation, psnr(restored.clamp(0, 1).cpu(), rocket.expand_as(validation_batch)).tolist(), strict=True))


# The folder carries a fingerprint of your code: change a piece, and a new run starts instead of the old one going on.
folder = out / "training" / f"rddm-{source_key(my_conv, my_loss)}"
run = fit(network, recipe, mixture(recipe, list(load_photos("train").values())), None, folder, device=device, validate=validate, objective=objective)
record("training_seconds", run.seconds, "Seconds of training.", piece=provenance("05-c", "05-d"))
print(f"{run.steps} steps in {run.seconds:.0f} s with {provenance('05-c', '05-d')}")

# %%
log, loss = pd.read_csv(folder / "validation.csv"), pd.read_csv(run.log)
with style():
    figure = new_figure(9, 3.6)
    left, right = figure.subplots(1, 2)
    left.plot(loss["step"], loss["loss"], color="0.3")
    left.axhline((2 / np.pi) ** 0.5, color="0.6", linestyle=":", linewidth=1)
    left.set(xlabel="step", ylabel="training loss: residual + noise (L1)", ylim=(0, None))
    inputs = dict(zip(validation, psnr(validation_batch.clamp(0, 1), rocket.expand_as(validation_batch)).tolist(), strict=True))
    for index, task in enumerate(TASKS):
        part = log[log["task"] == task]
        right.plot(part["step"], part["psnr"] - inputs[task], label=f"{task.replace('_', ' ')} (input {inputs[task]:.1f} dB)", markersize=4, **line_style(index))
    right.axhline(0, color="0.6", linewidth=0.8)
    right.set(xlabel="step", ylabel="gain over the input (dB)")
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
record("training_curve", figure, f"Live, {run.steps} steps from random weights. Left: the loss; dotted, what guessing no noise at all costs. Right: the gain on one small validation picture, {settings.validation_steps} steps of the sampler.", piece=provenance("05-c", "05-d"))

# %% [markdown] lang="en"
# A network that answers "no residual, no noise" pays the mean of $|\epsilon|$, the dotted line, plus the mean of the residual. What is below that sum has been learnt. The noise is the harder half here: with `sum_scale` 0.01 its standard deviation in the state is
# at most 0.1, and the network has to name it as if it were 1. Do not expect restored pictures from a minute: the gain on the right says what there is.
#
# ### When is which answer easy?
#
# The loss is a mean over all times. That hides a lot. We ask the shipped network at single times, with fresh noise, and keep the two errors apart.
#
# **Predict:** at $t$ near 0 the state holds hardly any noise and hardly any residual. Is it easy or hard to say which noise it was? And at $t = T$?

# %%
def answers(model, process, x_t, x_in, t):
    """(residual, noise) that a network sees in x_t at time t, not cut; of a network with one output the other follows from the state."""
    times_of = torch.full((len(x_t),), t, device=x_t.device)
    with torch.no_grad():
        told = process.run(model, x_t, x_in, times_of)
    return told if len(told) == 2 else process.predict(model, x_t, x_in, times_of)[:2]


def short_walk(count):
    """`count` times from T-1 down to nearly 0, evenly."""
    return [round(t) for t in np.linspace(T - 1, T // 50, count)]


told = {}  # model -> rows: time, errors, the states and the answers
for name, model in ((f"live, {run.steps} steps", run.model), ("rddm_small (recorded)", rddm.network)):
    process = rddm.process if "small" in name else rddm_plain
    for t in short_walk(settings.times):
        x_t = process.q_sample(x0, x_in, t, noise[first_photo])
        res, eps_told = answers(model, process, x_t, x_in, t)
        told.setdefault(name, []).append(dict(t=t, x_t=x_t, residual=res, noise=eps_told))
with style():
    figure = new_figure(9, 3.2)
    panels = figure.subplots(1, 2)
    for axes, what, truth in zip(panels, ("residual", "noise"), (x_in - x0, noise[first_photo]), strict=True):
        for index, (name, rows) in enumerate(told.items()):
            axes.plot([row["t"] for row in rows], [(row[what] - truth).abs().mean().item() for row in rows], label=name, markersize=5, **line_style(index))
        axes.axhline(truth.abs().mean().item(), color="0.6", linestyle=":", linewidth=1, label="answering zero")
        axes.set(xlabel="time t", ylabel="mean absolute error", title=f"the {what}")
        axes.set_ylim(0, 1.08 * axes.get_ylim()[1])
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
record("error_by_time", figure, f"Error of the two answers by time, five degradations of one photograph. {origin('rddm_small')}. Live: {provenance('05-c', '05-d')}.", piece=provenance("05-c", "05-d"))

# %% [markdown] lang="en"
# The noise is the harder to name the less of it there is: near $t = 0$ a network must tell noise of a few grey levels from the texture of the photograph. The dotted line is what "zero" would cost.
#
# The residual curve is the more interesting one. Its network sees the degraded picture at *every* time, beside the state. If it only used that, the curve would be flat. Where it falls towards $t = 0$, the
# network has found out that the state holds a clean picture there, and that degraded minus state is nearly the answer. Look how far the shipped network has learnt this, and remember it: a walk of several steps can
# only be better than a single one if later states help.

# %% [markdown] lang="en"
# ## 5 · Residual, noise, or both?
#
# The state is made of three things, $I_t = I_0 + \bar\alpha_t I_{res} + \bar\beta_t \epsilon$, and the degraded picture is given, $I_{in} = I_0 + I_{res}$. So one answer is enough to find the clean picture; two are more than enough. There are three ways:

# %% [markdown] lang="en"
# **Exercise 05-e (2 points, about 10 minutes).** RDDM can be trained to predict the residual, the noise, or both. Each tells us what the clean image must be, by one equation and its
# two relatives. Start from
#
# $$
# x_t = x_0 + \bar\alpha_t\, r + \bar\beta_t\, \epsilon, \qquad r = x_{\mathrm{in}} - x_0
# $$
#
# and solve for $x_0$, using *only* what is given:
#
# | `objective` | given | not to be used |
# |---|---|---|
# | `"pred_res"` | `first` = $\hat r$, and $x_{\mathrm{in}}$ | $x_t$; `second` is `None` |
# | `"pred_noise"` | `second` = $\hat\epsilon$, $x_t$ and $x_{\mathrm{in}}$ | `first` is `None`: replace $r$ by $x_{\mathrm{in}} - x_0$ |
# | `"pred_res_noise"` | both, and $x_t$ | $x_{\mathrm{in}}$ |
#
# Images and predictions are `(B, C, H, W)`; `abar_t` and `bbar_t` are floats, `abar_t` < 1. The result is $\hat x_0$, `(B, C, H, W)`, not clamped.
#
# **Predict:** which of the three gets into trouble when $\bar\alpha_t$ comes close to 1?
#
# <details><summary>Hint</summary>
#
# For `"pred_noise"`: $x_t = x_0 + \bar\alpha_t x_{\mathrm{in}} - \bar\alpha_t x_0 + \bar\beta_t \epsilon$. Collect what belongs to $x_0$.
#
# </details>

# %%
# exercise 05-e · 2 points · Three predictions, one clean image
def clean_estimate(objective, first, second, x_t, x_in, abar_t, bbar_t):
    """Predicted residual (`first`) and noise (`second`), (B, C, H, W) or None, state and degraded image -> estimate of x0."""
    ### BEGIN SOLUTION
    if objective == "pred_res":
        return x_in - first
    if objective == "pred_noise":
        return (x_t - abar_t * x_in - bbar_t * second) / (1 - abar_t)
    return x_t - abar_t * first - bbar_t * second
    ### END SOLUTION

# %%
check("05-e", clean_estimate)


# %% [markdown] lang="en"
# One network, both answers, three estimates. We take the answers of the shipped network from above and put them into your function.
#
# **Predict:** one of the three must fail near $t = T$. Which? (Look at the denominator. What does the state still hold of the clean picture there?) And which one cannot get better towards $t = 0$, unless its network does?

# %%
clean_of = use("05-e", clean_estimate)
rows = []
for row in told["rddm_small (recorded)"]:
    a = min(float(rddm.process.alphas_cumsum[row["t"]]), 1 - 1e-6)  # at the end nothing is left to divide by; the official code does this too
    b = float(rddm.process.betas_cumsum[row["t"]])
    for name, given in (("pred_res", (row["residual"], None)), ("pred_noise", (None, row["noise"])), ("pred_res_noise", (row["residual"], row["noise"]))):
        estimate = clean_of(name, *given, row["x_t"], x_in, a, b)
        rows += [dict(t=row["t"], way=name, task=task, psnr=value) for task, value in zip(TASKS, psnr(to_image(estimate), clean).tolist(), strict=True)]
ways = pd.DataFrame(rows)
with style():
    figure = new_figure(9, 3.4)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (title, part) in zip(panels, (("all five tasks", ways), ("noise alone", ways[ways["task"] == "noise"])), strict=True):
        for index, (name, own) in enumerate(part.groupby("way", sort=False)):
            mean = own.groupby("t")["psnr"].mean()
            axes.plot(mean.index, mean, label=name, markersize=5, **line_style(index))
        inputs = dict(zip(TASKS, psnr(degraded, clean).tolist(), strict=True))
        axes.axhline(np.mean([inputs[task] for task in part["task"].unique()]), color="0.6", linestyle=":", linewidth=1, label="the input")
        axes.set(xlabel="time t at which the state is made", title=title)
    panels[0].set_ylabel("PSNR of the estimate (dB)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
record("three_ways", figure, f"The clean picture out of one state, by three formulas from the two answers of one network. States are made from the clean picture, so small t is easy. {origin('rddm_small')}.", piece=provenance("05-e"))

# %%
late, early = ways["t"].max(), ways["t"].min()
for t in (late, early):
    at = ways[ways["t"] == t].groupby("way", sort=False)["psnr"].mean()
    print(f"t = {t:3d}: " + ", ".join(f"{name} {value:.2f} dB" for name, value in at.items()))

# %% [markdown] lang="en"
# At $t = T$ the state is degraded picture plus noise. Whoever knows the noise knows ... the degraded picture. So `pred_noise` has to divide by nearly zero, and its small error becomes a large one.
# `pred_res` does not use the state in its formula at all, only through its network: it is safe at $t = T$, and it gets no better towards $t = 0$ unless its network learns to look at the state. Near $t = 0$ the state *is* nearly the clean
# picture, and the two ways that use it multiply their errors by the small $\bar\alpha_t$ and $\bar\beta_t$. High values there say little: in a restoration the states are made by the walk itself, and hold what it got wrong.
#
# This is the paper's reason to choose by task: *residual* where the answer is certain (a restoration that wants to be faithful), *noise* where something must be invented (a generation), both in between. One caution: here one
# network gave both answers. The paper trains a network for each objective, and then each can spend itself on what it is asked.

# %% [markdown] lang="en"
# ## 6 · A walk of a few steps
#
# A sampler starts at $t = T$, asks the network, and goes to an earlier time $s$. RDDM's deterministic step takes out exactly that part of residual and noise which should not be there any more at time $s$.
# It is DDIM's idea (lesson 04): because only the sums count, the steps may be as long as you like.

# %% [markdown] lang="en"
# **Exercise 05-f (2 points, about 5 minutes).** One step back, from time t to an earlier time s, without fresh noise ($\eta = 0$). If the network is right, we know residual and noise, so we know the state
# at *every* time:
#
# $$
# x_t = x_0 + \bar\alpha_t r + \bar\beta_t \epsilon, \qquad x_s = x_0 + \bar\alpha_s r + \bar\beta_s \epsilon
# $$
#
# Subtract one from the other, and $x_0$ is gone. What is left says how to get from $x_t$ to $x_s$.
#
# | | shape | |
# |---|---|---|
# | `x_t`, `residual`, `noise` | `(B, C, H, W)` | the state, and the network's two predictions, used as they are |
# | `abar_t`, `abar_s`, `bbar_t`, `bbar_s` | floats | at the end of the walk, `abar_s` = `bbar_s` = 0 |
# | result | `(B, C, H, W)` | $x_s$, not clamped |
#
# <details><summary>Hint</summary>
#
# It is the *same* noise at both times; it only gets smaller. So its standard deviations are subtracted, not its variances.
#
# </details>

# %%
# exercise 05-f · 2 points · One step back
def rddm_step(x_t, residual, noise, abar_t, abar_s, bbar_t, bbar_s):
    """State and predictions (B, C, H, W), coefficients at t and at the earlier s -> x_s (B, C, H, W)."""
    ### BEGIN SOLUTION
    return x_t - (abar_t - abar_s) * residual - (bbar_t - bbar_s) * noise
    ### END SOLUTION

# %%
check("05-f", rddm_step)


# %%
step = use("05-f", rddm_step)


def my_walk(model, process, spoilt, eps, count):
    """Restore `spoilt` (B, 3, h, w) by your step: (restored in [0, 1], the states, the estimates of the clean picture)."""
    x_in = from_image(spoilt)
    x, states, estimates = process.start(x_in, eps), [], []  # x_in + sqrt(sum_scale) eps
    times = sampling_times(process.num_timesteps, count)  # T-1 ... -1
    a, b = (values.tolist() + [0.0] for values in (process.alphas_cumsum, process.betas_cumsum))  # the last one is for t = -1
    for t, s in zip(times, times[1:], strict=False):
        res, eps_told = answers(model, process, x, x_in, t)
        res = process.bounded(res)  # the authors' code cuts it to [-1, 1], the shipped models leave it as it is: section 10
        states.append((t, x))
        estimates.append(clean_of("pred_res_noise", res, eps_told, x, x_in, a[t], b[t]))
        x = step(x, res, eps_told, a[t], a[s], b[t], b[s])
    return to_image(x), states, estimates


with torch.no_grad():
    restored, states, estimates = my_walk(rddm.network, rddm.process, degraded, noise[first_photo], settings.walk_steps)
    library, other_way = rddm.restore(degraded, 2, noise[first_photo]).clamp(0, 1), my_walk(rddm.network, rddm.process, degraded, noise[first_photo], 2)[0]
print(f"two steps of your walk and of the library's differ by {(other_way - library).abs().max():.1e} at most")

# %%
shown = TASKS.index("rain")
strips = [
    {f"t = {t}": to_image(x)[shown] for t, x in states} | {"done": restored[shown]},
    {f"at {t}: {psnr(to_image(e), clean)[shown].item():.2f} dB": to_image(e)[shown] for (t, _), e in zip(states, estimates, strict=True)} | {"clean": clean[shown]},
]
record("walk", figures.grid(strips, zoom=None, clean_key=None, titles=["state", "estimate"]), f"A restoration in {settings.walk_steps} steps, rain. Above the states, below what the clean picture is believed to be at that time. {origin('rddm_small')}.", piece=provenance("05-e", "05-f"))

# %% [markdown] lang="en"
# The last estimate is the result. But look at the *first* one: it is a whole restoration after one call of the network.
#
# **Predict:** draw PSNR against the number of steps, from 1 to 10. Does it rise, stay flat, or fall?

# %%
few = list(photos)[: settings.walk_images]
by_steps = {}
for count in settings.walk_counts:
    by_steps[count] = by_task({name: my_walk(rddm.network, rddm.process, photos[name][0], noise[name], count)[0] for name in few})
few_input = by_task({name: photos[name][0] for name in few})
steps_table = pd.DataFrame(by_steps).T
gains = steps_table - pd.Series(few_input)
with style():
    figure = new_figure(8, 3.4)
    axes = figure.subplots()
    for index, task in enumerate(TASKS):
        axes.plot(range(len(gains)), gains[task], label=task.replace("_", " "), markersize=5, **line_style(index))
    axes.plot(range(len(gains)), gains.mean(axis=1), label="mean", color="0.3", linewidth=2.5)
    axes.axhline(0, color="0.6", linewidth=0.8)
    axes.set(xlabel="number of steps", ylabel="gain over the input (dB)")
    axes.set_xticks(range(len(gains)), settings.walk_counts)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", frameon=False)
record("psnr_by_steps", figure, f"PSNR against the number of steps, {len(few)} photograph(s) in five degradations, measured in this run. {origin('rddm_small')}.", piece=provenance("05-e", "05-f"))

# %%
mean_gain = gains.mean(axis=1)
print("mean gain by steps:", {int(count): round(value, 2) for count, value in mean_gain.items()})
print("best number of steps by task:", {task: int(gains[task].idxmax()) for task in TASKS})
print(f"most steps against one step: {mean_gain.iloc[-1] - mean_gain.iloc[0]:+.2f} dB in the mean, at {settings.walk_counts[-1]} times the cost")

# %%
recorded = read_walks()
SHIPPED = {"rddm_small_first": "rddm_small_first: true states, as the paper", "rddm_small": "rddm_small: then its own states", "diffuir_small_first": "diffuir_small_first: true states", "diffuir_small": "diffuir_small: then its own states"}


def gain_table(names, counts=None):
    """Recorded gains over the input (dB) of the models in `names` (name -> how the table calls it), one row a number of steps."""
    return pd.DataFrame([
        {"model": title, "steps of the walk": count, **{task.replace("_", " "): f"{own[task]:+.2f}" for task in TASKS}, "mean": f"{own['mean']:+.2f}"}
        for name, title in names.items() for (model, count), own in gains_of(recorded).items() if model == name and count in (counts or [count])
    ])


def told_of(names):
    """Where recorded rows come from, for a caption."""
    rows = {row["model"]: row for row in recorded if row["model"] in names}
    return "recorded run, data/walk_steps.csv, `python -m course_lib.evaluation.walks`: " + "; ".join(f"{name}: recipe {row['recipe']}, seed {row['seed']}, {row['steps']} steps, {row['seconds']:.0f} s, commit {row['commit']}" for name, row in rows.items())


display(record("walk_steps", gain_table({name: name for name in ("rddm_small", "diffuir_small")}), f"Gain over the input (dB) by the number of steps, all five photographs, whole test pictures; {told_of(('rddm_small', 'diffuir_small'))}."))

# %% [markdown] lang="en"
# Judge by the printed lines. If ten steps are hardly better than one in PSNR, that is no accident of a small model. The first estimate is the network's best guess of the *mean* of all clean pictures that fit, and PSNR likes
# means. Later steps decide for one of these pictures: they can sharpen, and they can be wrong. They can also add up the errors of a network that was trained on states made from *clean* pictures, and now sees states that it has made itself.
#
# ### States that the walk makes itself
#
# In section 4 the residual was the easier to name the nearer $t$ came to 0. Why then do later steps not help more? Those states were **true** ones: made from the clean picture. A true state at time $t$ holds the share $1 - \bar\alpha_t$ of the
# difference between clean and degraded. A network that is trained on true states learns to read the answer off them. In a walk nobody has the clean picture: the state holds what the network itself said a step before.
#
# **Predict:** the error of the residual along the walk, on true states and on those of the walk.

# %%
told_by = {"true states": [], "the walk's own states": []}
with torch.no_grad():
    for t, x in states:
        for name, state in zip(told_by, (rddm.process.q_sample(x0, x_in, t, noise[first_photo]), x), strict=True):
            told_by[name].append((answers(rddm.network, rddm.process, state, x_in, t)[0] - (x_in - x0)).abs().mean().item())
with style():
    figure = new_figure(6.5, 3.2)
    axes = figure.subplots()
    for index, (name, values) in enumerate(told_by.items()):
        axes.plot([t for t, _ in states], values, label=name, markersize=5, **line_style(index))
    axes.axhline((x_in - x0).abs().mean().item(), color="0.6", linestyle=":", linewidth=1, label="answering zero")
    axes.set(xlabel="time t of the state (a walk goes from right to left)", ylabel="mean error of the residual")
    axes.set_ylim(0, 1.08 * axes.get_ylim()[1])
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", frameon=False)
display(record("own_states", figure, f"Mean absolute error of the residual on the states of a walk of {settings.walk_steps} steps, and on true states at the same times; five degradations of one photograph. {origin('rddm_small')}.", piece=provenance("05-f")))
print("; ".join(f"{name}: " + ", ".join(f"t = {t}: {value:.3f}" for (t, _), value in zip(states, values, strict=True)) for name, values in told_by.items()))

# %% [markdown] lang="en"
# TEXT_OWN

# %%
display(record("before_and_after", gain_table(SHIPPED, (1, 3, 5)), f"Gain over the input (dB) before and after the training on the walk's own states, five-task test, whole pictures; {told_of(SHIPPED)}."))

# %% [markdown] lang="en"
# TEXT_OWN_2
#
# ### What the noise of the start does
#
# The same degraded picture, other noise: do we get another picture? If the walk only repeated what the input says, no. If it invents, yes.
#
# **Predict:** where in the picture will two results differ most? Is the mean of several results better in PSNR than each of them, or worse?

# %%
looked, draws = TASKS.index("noise"), settings.start_draws
others = torch.cat([starting_noise(degraded[:1].shape, 100 + seed) for seed in range(draws)]).to(device)
many = my_walk(rddm.network, rddm.process, degraded[looked : looked + 1].expand(draws, -1, -1, -1), others, settings.walk_steps)[0]
mean_picture, deviation = many.mean(0, keepdim=True), many.std(0).mean(0) * 255
single, together = psnr(many, clean[:1].expand_as(many)), psnr(mean_picture, clean[:1])
with style():
    figure = new_figure(9, 2.7)
    panels = figure.subplots(1, 4)
    for axes, (title, image) in zip(panels, ((f"start 1: {single[0]:.2f} dB", many[0]), (f"start 2: {single[1]:.2f} dB", many[1]), (f"mean of {draws}: {together[0]:.2f} dB", mean_picture[0])), strict=False):
        axes.imshow(image.cpu().permute(1, 2, 0).numpy())
        axes.set_title(title)
    drawn = panels[3].imshow(deviation.cpu().numpy(), cmap="magma", vmin=0)
    panels[3].set_title("where they differ")
    figure.colorbar(drawn, ax=panels[3], label="std (grey levels)", shrink=0.8)
    for axes in panels:
        axes.set_axis_off()
display(record("starts_differ", figure, f"One noisy picture, {draws} starting noises of standard deviation {rddm.process.sum_scale**0.5:g}, {settings.walk_steps} steps each: two results, their mean, and where they differ. {origin('rddm_small')}.", piece=provenance("05-f")))
print(f"single results {single.mean():.2f} dB (spread {single.std():.2f}); their mean {together[0]:.2f} dB; they differ by {deviation.mean():.2f} grey levels")

# %% [markdown] lang="en"
# The map on the right says where this network *invents*: bright where another start gives another picture, dark where the input decides. (A map that is equally grainy all over says something else: the walk has left some of its own starting noise in the picture.) And compare the decibels: the mean of several results cannot be worse than the results are on average, because the squared error is a convex function.
# Keep this for the thinking question at the end: *PSNR rewards the mean, and a mean is what a diffusion model was made not to give*.

# %% [markdown] lang="en"
# ## 7 · Your own path (open, no points)
#
# The two coefficients are free, so a walk may take another path on the plane than the one it was trained on. The network only has to be told where it is: the U-Net for the residual gets the time at which
# $\bar\alpha$ had this value in training, the one for the noise the time of this $\bar\beta$. (The paper calls this *partially path-independent*, and trains with the coefficients themselves as times to make it more so.)
#
# Write a path: a list of points $(\bar\alpha, \bar\beta)$ from $(1, \sqrt{s})$ to $(0, 0)$, where $s$ is `sum_scale`. Ideas: take out the residual late, or early; take out all noise in the first step; take large steps first and small ones at the end; stay at one place and ask twice.
#
# Say first which path you expect to win, and on which task.

# %%
top = rddm.process.sum_scale**0.5


def my_path(count):
    """`count` + 1 points (abar, bbar) from (1, top) to (0, 0). Left as it is: a straight line."""
    share = [1 - k / count for k in range(count + 1)]
    path = [(s, top * s) for s in share]
    ### BEGIN HIDDEN
    # A worked example: the noise goes quadratically, so most of it in the first steps, and the residual waits.
    path = [(1 - (1 - s) ** 2, top * s**2) for s in share]
    ### END HIDDEN
    return path


def trained_path(count):
    """The points of RDDM's own schedules at the times of a walk of `count` steps."""
    a, b = (values.tolist() + [0.0] for values in (rddm.process.alphas_cumsum, rddm.process.betas_cumsum))
    return [(a[t], b[t]) for t in sampling_times(T, count)]


def noise_first(count):
    """All noise in the first step, then the residual evenly."""
    return [(1.0, top)] + [(1 - k / (count - 1), 0.0) for k in range(count)] if count > 1 else [(1.0, top), (0.0, 0.0)]


def residual_first(count):
    """The residual evenly, the noise stays to the last step."""
    return [(1 - k / count, top if k < count else 0.0) for k in range(count + 1)]


def nearest_time(values, wanted):
    """The time at which a schedule comes nearest to a value."""
    return int((values - wanted).abs().argmin())


def walk_along(path, spoilt, eps):
    """Restore along a path of points (abar, bbar), with your step."""
    process, x_in = rddm.process, from_image(spoilt)
    x = process.start(x_in, eps)
    for (a, b), (a_next, b_next) in zip(path, path[1:], strict=False):
        t_res, t_noise = (torch.full((len(x),), nearest_time(*pair), device=x.device) for pair in ((process.alphas_cumsum, a), (process.betas_cumsum, b)))
        if rddm.network.config["networks"] == "two":
            with torch.no_grad():
                res, eps_told = rddm.network(torch.cat([x, x_in], 1), (t_res, t_noise))
        else:  # one U-Net has one time only
            res, eps_told = answers(rddm.network, process, x, x_in, int(t_res[0]))
        x = step(x, process.bounded(res), eps_told, a, a_next, b, b_next)
    return to_image(x)


ways_to_walk = {"RDDM's own": trained_path, "noise first": noise_first, "residual first": residual_first, "your path": my_path}
chosen = [TASKS.index(task) for task in ("noise", "low_light")]
with style():
    figure = new_figure(9, 3.2)
    left, right = figure.subplots(1, 2)
    rows = {}
    for index, (name, path_of) in enumerate(ways_to_walk.items()):
        path = path_of(settings.walk_steps)
        left.plot(*zip(*path, strict=True), label=name, markersize=6, **line_style(index))
        rows[name] = psnr(walk_along(path, degraded[chosen], noise[first_photo][chosen]), clean[chosen]).tolist()
        right.bar([k + 0.2 * index for k in range(len(chosen))], [value - start for value, start in zip(rows[name], psnr(degraded[chosen], clean[chosen]).tolist(), strict=True)], width=0.18, color=line_style(index)["color"], label=name)
    left.set(xlabel="abar: residual left", ylabel="bbar: noise left", title="a walk goes from upper right to lower left")
    right.set_xticks([k + 0.3 for k in range(len(chosen))], [TITLES[k] for k in chosen])
    right.set_ylabel("gain over the input (dB)")
    right.axhline(0, color="0.6", linewidth=0.8)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
paths_table = pd.DataFrame(rows, index=[TITLES[k] for k in chosen]).T
display(record("own_path", figure, f"Four paths from the degraded picture to the clean one, {settings.walk_steps} steps each, measured in this run on one photograph. {origin('rddm_small')}.", piece=provenance("05-f")))
print(paths_table.round(2).to_string())

# %% [markdown] lang="en"
# One photograph and two tasks show that the paths *run*, and how large the differences are. To say which is better, raise `walk_images` and the tasks, and compare the differences with those between starting noises in section 6.

# %% [markdown] lang="en"
# ## 8 · DiffUIR: let all degradations meet
#
# RDDM with many degradations ends in many places: a dark picture plus noise, a hazy picture plus noise. From each of them its own way leads back. DiffUIR adds one more term. On the way to the end the *degraded picture itself* fades out:
#
# $$
# I_t = I_0 + \bar\alpha_t\, I_{res} + \bar\beta_t\, \epsilon - \bar\delta_t\, I_{in}, \qquad \bar\delta_T \approx 0.9
# $$
#
# At the end there is $(1 - \bar\delta_T)\, I_{in}$ plus noise: a tenth of the degraded picture. All tasks end in nearly the same distribution, the **shared** one. The paper calls its picture of this an hourglass: tasks come together, pass a narrow place, and part again.
#
# **Predict:** how far apart are the five tasks at the end, compared with RDDM's: half, a tenth, a hundredth?

# %%
uir_start = uir.start(x_in, noise[first_photo])  # what the sampler of DiffUIR starts from
uir_trained = uir.q_sample(x0, x_in, T - 1, noise[first_photo])  # what the official training shows its network at T
rows = [
    dict(zip(TITLES, to_image(rddm_plain.start(x_in, noise[first_photo])), strict=True)),
    {f"{title} ": image for title, image in zip(TITLES, to_image(uir_start), strict=True)},
    {f"{title}  ": image for title, image in zip(TITLES, to_image(uir_trained), strict=True)},
]
record("shared_states", figures.grid(rows, zoom=None, clean_key=None, titles=["RDDM", "DiffUIR,\nsampling", "official\ntraining"]), "Where a restoration starts, five degradations of one photograph. RDDM keeps each input; DiffUIR keeps a tenth of it. Third row: the state at T on which the authors' code trains DiffUIR's network, with noise of standard deviation 1 in place of 0.1.")

# %%
means = {
    "RDDM": lambda t: rddm_plain.q_sample(x0, x_in, t, torch.zeros_like(x0)),
    "DiffUIR without the shared term": lambda t: x0 + uir.alphas_cumsum[t].item() * (x_in - x0),
    "DiffUIR": lambda t: uir.q_sample(x0, x_in, t, torch.zeros_like(x0)),
}
every = list(range(0, T, T // 50)) + [T - 1]
curves = {name: ([t / (T - 1) for t in every], [mean_distance(state(t)) for t in every]) for name, state in means.items()}
record("hourglass", hourglass(curves, ylabel="mean distance of two tasks"), "How far apart the five degradations of one photograph are at time t: root mean square difference of the states without their noise, mean over all pairs.")

# %%
apart = {name: pair_distances(state(T - 1)) for name, state in means.items() if name != "DiffUIR without the shared term"}
display(record("task_distances", number_map({f"{name}, t = T": matrix.float().cpu() for name, matrix in apart.items()}, TITLES, TITLES, label="distance"), "Distances between the states of the five degradations at the end, noise left out."))
ends = {
    f"RDDM, sum_scale {settings.sum_scale:g}": (apart["RDDM"], settings.sum_scale**0.5), "RDDM, sum_scale 1": (apart["RDDM"], 1.0),
    "DiffUIR, sampling": (apart["DiffUIR"], uir.start_std), "DiffUIR, official training": (apart["DiffUIR"], float(uir.betas_cumsum[-1])),
}  # fmt: skip
ends = pd.DataFrame([{"end of the walk": name, "distance": round(float(d.sum() / 20), 3), "noise": round(s, 3), "distance / noise": round(float(d.sum() / 20 / s), 2)} for name, (d, s) in ends.items()])
display(record("ends", ends, "Mean distance of two degradations at the end, the standard deviation of the noise there, and their ratio: what counts for telling tasks apart."))

# %% [markdown] lang="en"
# Without the shared term DiffUIR's tasks would end as far apart as RDDM's. With it they come together after the middle: there is the hourglass, and the distance at the end is a tenth.
#
# But look at the last column of the table. A distance means something only beside the noise. In the authors' training DiffUIR's noise at $T$ is 1, and the tasks can hardly be told apart in the state. In *sampling* its noise is 0.1, and the ratio is that of an RDDM with `sum_scale` 1. And one more thing: the network also gets the degraded picture itself, as three further channels. So it can **always** see which degradation it has. What the shared term joins is the *state*, not what the network knows. Whether that helps to train one model for all is a question for an experiment at equal budget, and the paper's answer is yes on its data.

# %% [markdown] lang="en"
# **Exercise 05-g (3 points, about 15 minutes).** Write DiffUIR's sampler, as its authors run it. With $x_{\mathrm{in}} = 2\,\mathrm{degraded} - 1$:
#
# | | |
# |---|---|
# | start | $x = (1 - \bar\delta_{T-1})\, x_{\mathrm{in}} + \mathrm{start\_std} \cdot \epsilon$ |
# | at each time t, next time s | $\hat r = \mathrm{network}([x;\, x_{\mathrm{in}}],\, \bar\alpha_t T)$, cut to [-1, 1] |
# | step, while $s \ge 0$ | $x \leftarrow x - (\bar\alpha_t - \bar\alpha_s)\, \hat r + (\bar\delta_t - \bar\delta_s)\, x_{\mathrm{in}}$ |
# | last step, when $s = -1$ | $x \leftarrow x_{\mathrm{in}} - \hat r$, cut to [-1, 1] |
# | result | $(x + 1) / 2$ |
#
# | | shape | |
# |---|---|---|
# | `network` | callable | `network(image6 (B, 6, H, W), time (B,) float)` -> residual `(B, 3, H, W)` |
# | `degraded`, result | `(B, 3, H, W)` | in [0, 1] |
# | `times` | list of ints | falls from T-1 to -1, for example `[999, 665, 332, -1]`: three steps |
# | `noise` | `(B, 3, H, W)` | $\epsilon$, standard normal; draw none yourself |
# | `abar`, `dbar` | `(T,)` | tables; T is their length |
# | `start_std` | float | 0.1 in the official code |
#
# Two things are easily overlooked. The network is told $\bar\alpha_t T$, a float, and not t. And index -1 of a table is its *last* entry, not a clean one before the first.
#
# <details><summary>Hint</summary>
#
# `for t, s in zip(times, times[1:]):` gives each time with the next. `torch.full((len(x),), value, device=x.device)` makes one time for each image. Use `float(abar[t])`, and the tables' dtype
# cannot spread.
#
# </details>

# %%
# exercise 05-g · 3 points · DiffUIR in a few steps
def diffuir_sample(network, degraded, times, noise, abar, dbar, start_std):
    """degraded (B, 3, H, W) in [0, 1], times [T-1, ..., -1], start noise, tables (T,) -> restored (B, 3, H, W) in [0, 1]."""
    ### BEGIN SOLUTION
    x_in = 2 * degraded - 1
    x = (1 - float(dbar[-1])) * x_in + start_std * noise
    for t, s in zip(times, times[1:], strict=False):
        time = torch.full((len(x),), float(abar[t]) * len(abar), dtype=x.dtype, device=x.device)
        residual = network(torch.cat([x, x_in], dim=1), time).clamp(-1, 1)
        if s < 0:
            x = (x_in - residual).clamp(-1, 1)
        else:
            x = x - float(abar[t] - abar[s]) * residual + float(dbar[t] - dbar[s]) * x_in
    return (x + 1) / 2
    ### END SOLUTION

# %%
check("05-g", diffuir_sample)


# %% [markdown] lang="en"
# ### Noise that training has and the walk has not
#
# Look at your step once more. It takes out residual and puts back the input, but it takes out no *noise*: the 0.1 of the start stay in the state to the end. The authors'
# training does not know this. At time $t$ it adds noise of standard deviation $\bar\beta_t$, and that is 0.82 at $t = 332$ and more later. So the network is trained on states which its own walk never meets. (The line that
# would start the walk from noise of 1 stands in the official code, commented out. It would not help much: the noise would still stay.)
#
# The course's `diffuir_small` is therefore trained on the states of the walk: noise of 0.1 at every time, `DiffUIR(walk_noise=True)`. Is that better? A recorded experiment: three small trainings of 800 steps each, on the same samples. One follows the authors' training;
# one has the walk's noise; one has the walk's noise, but no equaliser.
#
# **Predict:** which of them wins in one step? And in three?

# %%
TRAININGS = {"diffuir_official_noise": "noise as the authors train", "diffuir_walk_noise": "noise of the walk", "diffuir_no_equaliser": "noise of the walk, no equaliser"}
display(record("training_noise", gain_table(TRAININGS), f"Gain over the input (dB) after equally short trainings, five-task test, whole pictures; {told_of(TRAININGS)}."))

# %% [markdown] lang="en"
# TEXT_ABLATION
#
# Now the shipped model, live. Your sampler drives it, from the start that it knows and from a start that it has never seen. It differs from the authors' walk in one more point: its residual is not cut to [-1, 1]. Your sampler cuts, as theirs does, so the library's walk stands beside it.
#
# **Predict:** the network was trained with noise of 0.1 in the state. It is now shown noise of 1. How much worse?

# %%
sample_uir = use("05-g", diffuir_sample)
diffuir = shipped("diffuir_small")
own = diffuir.process
usual = sampling_times(own.num_timesteps, diffuir.steps)


def my_uir(spoilt, eps, times, start_std):
    with torch.no_grad():
        return sample_uir(diffuir.network, spoilt, times, eps, own.alphas_cumsum.to(spoilt.device), own.delta_cumsum.to(spoilt.device), start_std)


uncut = own.sample(diffuir.network, degraded, diffuir.steps, noise[first_photo]).clamp(0, 1)
as_authors = DiffUIR(own.num_timesteps, own.sum_scale, start_std=own.start_std, cut=True)
library = as_authors.sample(diffuir.network, degraded, diffuir.steps, noise[first_photo]).clamp(0, 1)
tried = {
    f"{diffuir.steps} steps, start noise {own.start_std:g}": (usual, own.start_std),
    f"{diffuir.steps} steps, start noise 1": (usual, 1.0),
    f"1 step, start noise {own.start_std:g}": (sampling_times(own.num_timesteps, 1), own.start_std),
    "1 step, start noise 1": (sampling_times(own.num_timesteps, 1), 1.0),
}
results = {name: my_uir(degraded, noise[first_photo], times, std) for name, (times, std) in tried.items()}
print(f"times {usual}; your sampler and the library's, cut as the authors do, differ by {(results[next(iter(tried))] - library).abs().max():.1e} at most")
print("noise in the state, authors' training:", {t: round(float(own.betas_cumsum[t]), 2) for t in usual[:-1]}, f"; in the walk it stays what it was at the start, {own.start_std:g}")
results["the library's, as it ships: residual not cut"] = uncut
uir_table = pd.DataFrame({name: psnr(image, clean).tolist() for name, image in {"input": degraded.clamp(0, 1), **results}.items()}, index=TITLES).T
uir_table["average"] = uir_table.mean(axis=1)
display(record("diffuir_starts", uir_table.round(2).reset_index(names="PSNR (dB)"), f"DiffUIR from two starts and in two numbers of steps, one photograph, measured in this run. {origin('diffuir_small')}.", piece=provenance("05-g")))

# %%
first_row = next(iter(results.values()))
uir_rows = [
    {f"{title}\n{value:.2f} dB": image for title, value, image in zip(TITLES, psnr(degraded.clamp(0, 1), clean).tolist(), degraded, strict=True)},
    {f"{title}\n{value:.2f} dB ": image for title, value, image in zip(TITLES, psnr(first_row, clean).tolist(), first_row, strict=True)},
    {f"{title}\n{value:.2f} dB  ": image for title, value, image in zip(TITLES, psnr(restored, clean).tolist(), restored, strict=True)},
]
record("five_restored", figures.grid(uir_rows, zoom=None, clean_key=None, titles=["degraded", f"diffuir_small,\n{diffuir.steps} steps", f"rddm_small,\n{settings.walk_steps} steps"]), f"Five degradations of one photograph, restored by the two shipped diffusion models. {origin('diffuir_small')}; {origin('rddm_small')}.", piece=provenance("05-f", "05-g"))

# %% [markdown] lang="en"
# The table before the pictures holds two tests.
#
# - **The start.** Its rows differ in the *state* that the network saw, 0.1 or 1 of noise; the degraded picture beside it was the same. Rows that differ by a few hundredths of a decibel say that the network hardly looks at its
#   state at $t = T$: it reads the degraded picture. Rows that differ much say that it looks.
# - **One call or three.** The step back of DiffUIR takes out residual and puts back the input, but it never takes out *noise*: what was there at the start stays to the end. In training the noise falls with $t$, so every later state of the walk is one that the network has not met, whichever start you take. See in the table
#   whether the walk pays for this.
#
# One should know both before one explains results by a shared distribution.

# %% [markdown] lang="en"
# ## 9 · AutoDIR: look, name, repair, look again
#
# All models so far repair a picture in one go and never say what was wrong with it. Real pictures often have *two* faults: a dark photograph is noisy as well, and in rain there is haze. AutoDIR works like a person with a toolbox:
#
# 1. **Look.** A quality head compares the picture with a sentence for each degradation, as CLIP compares pictures and texts. It gives a score for each name, and one for "clean".
# 2. **Name.** The strongest degradation that was not treated yet becomes the prompt.
# 3. **Repair** only what the prompt names: a diffusion restorer gets picture *and* prompt.
# 4. Look again, until the head says "clean".
#
# The published sentences are of the kind "A photo needs noise artifact reduction"; ours stand below. The published system is large: CLIP's image tower as head, Stable Diffusion 1.5 as restorer (about $10^9$ parameters), and a module that brings back what the autoencoder lost. The course's `autodir_small` has the same loop at a size that a CPU trains. One thing is poorer in kind: its sentences are encoded by a text tower with untrained weights, so that nothing need be downloaded. Such vectors tell the sentences apart, and mean nothing.
#
# **Predict:** which two degradations will a small head confuse most easily?

# %%
autodir = shipped("autodir_small")
print(f"sentences encoded by {autodir.encoder}")
print("\n".join(f"  {name:>10}: {prompt_of(name)}" for name in NAMES))
rows, truth = [], []
every_photo = {**load_photos("test"), **load_photos("validation")}
seen = [cut(image[None], settings.loop_crop) for image in list(every_photo.values())[: settings.head_images]]
for index, image in enumerate(seen):
    for number, (name, (kind, fixed)) in enumerate(zip(NAMES, KINDS.values(), strict=False)):
        spoilt = DEGRADATIONS[kind].sample(70 + index, **fixed).apply(image, [70 + 10 * number + index])
        rows.append(autodir.scores(spoilt.to(device))[0].cpu())
        truth.append(name)
    rows.append(autodir.scores(image.to(device))[0].cpu())
    truth.append("clean")
said = torch.stack(rows)
confusion = torch.stack([said[[t == name for t in truth]].mean(0) for name in NAMES])
right = np.mean([NAMES[int(row.argmax())] == t for row, t in zip(said, truth, strict=True)])
record("head", number_map({f"mean scores; the highest is right in {right:.0%} of {len(truth)} pictures": confusion}, NAMES, NAMES, label="score", limits=(0, 1), row_label="the picture has", column_label="the head says"), f"The quality head on {len(seen)} photographs that it never saw, each spoilt in one way or left clean (middle {settings.loop_crop} pixels, measured in this run). {origin('autodir_small')}.")

# %% [markdown] lang="en"
# **Exercise 05-h (2 points, about 8 minutes).** AutoDIR's loop needs a decision after every look: which degradation next, or are we done? The quality head gives one score a name, "clean" among
# them.
#
# | | |
# |---|---|
# | `scores` | `(N,)`, probabilities |
# | `names` | list of N strings, in the same order; "clean" is one of them, at any place |
# | `done` | set of the names that were removed already |
# | `threshold` | float |
# | result | a name, or `None` when the loop should stop |
#
# Take the largest score among the names that are neither in `done` nor "clean"; of equal scores the first. Return its name if the score is **at least** `threshold` and **larger than** the
# score of "clean". Otherwise, and when no name is left, return `None`. Leave `done` as it is: the loop fills it.
#
# **Predict:** why must a removed degradation not be chosen again, even if its score is still the largest?
#
# <details><summary>Hint</summary>
#
# A plain loop over `zip(scores.tolist(), names)` is enough. "clean" may have the largest score of all: then nothing else is larger.
#
# </details>

# %%
# exercise 05-h · 2 points · What next?
def next_degradation(scores, names, done, threshold):
    """scores (N,), names (list), done (set of names), threshold -> the name of the next degradation, or None."""
    ### BEGIN SOLUTION
    scores = dict(zip(names, scores.tolist(), strict=True))
    left = [name for name in names if name != "clean" and name not in done]
    best = max(left, key=scores.get, default=None)  # the first of equal ones
    if best is None or scores[best] < threshold or scores[best] <= scores["clean"]:
        return None
    return best
    ### END SOLUTION

# %%
check("05-h", next_degradation)


# %% [markdown] lang="en"
# Your rule decides, the shipped head looks, the shipped restorer repairs. The picture: rain, and then haze over it.
#
# **Predict:** which of the two will the head name first? Does the order matter?

# %%
next_name = use("05-h", next_degradation)


def loop(image, most=settings.rounds, threshold=0.2):
    """AutoDIR's loop with your rule: [(name that was removed before, image, its scores), ...] with the input first, and why it ended."""
    done, shown = set(), [("input", image, autodir.scores(image)[0])]
    for _ in range(most):
        name = next_name(shown[-1][2].cpu(), list(NAMES), done, threshold)
        if name is None:
            return shown, "nothing left to do"
        image = autodir.remove(image, name)
        done.add(name)
        shown.append((name, image, autodir.scores(image)[0]))
    return shown, f"stopped after {most} rounds"


target = seen[0].to(device)
twice = {"rain, then haze": (("rain", {}), ("haze", {})), "low light, then noise": (("low_light", {}), ("gaussian_noise", {"sigma": 25.0}))}
spoilt_twice = {}
for title, kinds in twice.items():
    image = target
    for number, (kind, fixed) in enumerate(kinds):
        image = DEGRADATIONS[kind].sample(80 + number, **fixed).apply(image, [80 + number])
    spoilt_twice[title] = image
histories = {title: loop(image) for title, image in spoilt_twice.items()}
title, (history, _) = next(iter(histories.items()))
heads = [f"{'input' if k == 0 else f'{k}. {name} removed'}\n{psnr(image.clamp(0, 1), target).item():.2f} dB" for k, (name, image, _) in enumerate(history)]
record("rounds", rounds_figure([image for _, image, _ in history], heads, [scores.tolist() for *_, scores in history], NAMES), f"AutoDIR's loop on a picture with {title}: the picture after each round, and the scores of the quality head. {origin('autodir_small')}.", piece=provenance("05-h"))

# %%
rows = []
restormer = shipped("restormer_small")
for title, (history, ending) in histories.items():
    print(f"{title}: " + " -> ".join(f"{name} {psnr(image.clamp(0, 1), target).item():.2f} dB" for name, image, _ in history) + f" -> {ending}")
    row = {"picture": title, "input": psnr(spoilt_twice[title], target).item(), "AutoDIR's loop": psnr(history[-1][1].clamp(0, 1), target).item()}
    first = restore(restormer, spoilt_twice[title]).clamp(0, 1)
    row["restormer_small, once"] = psnr(first, target).item()
    row["restormer_small, twice"] = psnr(restore(restormer, first).clamp(0, 1), target).item()
    row["rddm_small, once"] = psnr(restore(rddm, spoilt_twice[title]).clamp(0, 1), target).item()
    rows.append(row)
loop_table = pd.DataFrame(rows).round(2)
display(record("loop_table", loop_table, f"Two pictures that were spoilt twice, PSNR (dB), measured in this run. The others repair in one go and are not told what is wrong; twice means that the result goes in again. {origin('autodir_small')}.", piece=provenance("05-h")))

# %% [markdown] lang="en"
# Read the bars below each picture before the decibels. A loop can only be as good as its weakest part, and there are two ways to fail. The head names something that is not there, and the restorer then "repairs" what was right. Or the restorer leaves a trace, the head sees *that* in the next round, and so on. The set of names that were done, and the largest number of rounds, are there so that the loop ends in any case.
#
# Two pictures are an example, not a measurement. The card of the shipped weights (`data/checkpoints/autodir_small.md`) has all test photographs: the first name is right in 21 of 25; told the right name the restorer reaches 21.64 dB on average, the loop that must find it 20.79. Later rounds go wrong more often, because they see half-restored pictures, and the head has never seen
# such pictures in training.
#
# What the loop gives besides a picture is an **account**: which faults, in which order, and how sure. No model of lessons 02 and 03 can tell you that.

# %% [markdown] lang="en"
# ## 10 · Trap box: the code is not the paper
#
# Whoever builds on RDDM or DiffUIR meets these. Official weights follow the *code*, so the library follows it, too, and says so.
#
# | | paper | official code | what happens |
# |---|---|---|---|
# | sizes (RDDM) | restoration of photographs | training *and* test pictures are **resized to 256 x 256**, the clean ones too | PSNR is of a smaller picture: not comparable |
# | measure (DiffUIR) | PSNR, SSIM | on the **Y channel** of 8-bit pictures, for all tasks | higher figures than on RGB |
# | noise (DiffUIR) | one process for training and sampling | training has noise up to 1 in the state; sampling starts from **0.1** (the consistent line is commented out) and never takes it out | the network meets states that it has not seen: section 8 measured it, `diffuir_small` is trained on the walk's |
# | `sum_scale` (RDDM) | one setting a task | default 0.01, the deraining experiment sets 1 | weights of one, start of the other: see below |
# | residual | lies in [-2, 2] | cut to [-1, 1] | what lies beyond is lost: a very dark picture stays too dark; our small models do not cut |
# | time of the network (DiffUIR) | t | $1000\,\bar\alpha_t$, a float | other weights, other times: silently wrong |
# | posterior at t = 0 | - | what comes before the first step is taken as 1, then entry 0 is set by hand | harmless, but copy it with care |
# | missing weights | - | `load` goes on **silently** when the file is not there; the README warns to "check double times" | you test a random network |
# | low light | blind | the input gets a histogram equalisation first (the author regrets it) | an advantage that the others do not have |
#
# Some of them can be measured here.

# %%
def luma(image):
    """The Y channel of BT.601 in 8-bit range, as the restoration codes take it, (B, 1, h, w) in [0, 1]."""
    return (16 + (image * image.new_tensor([65.481, 128.553, 24.966]).view(1, 3, 1, 1)).sum(1, keepdim=True)) / 255


def halved(image):
    """Half the side, as a photograph of 512 pixels that is resized to 256."""
    return F.interpolate(image, scale_factor=0.5, mode="bicubic", antialias=True).clamp(0, 1)


measures = {"full RGB": lambda image: image, "Y channel": luma, "resized to half": halved, "resized, Y channel": lambda image: luma(halved(image))}
protocol_table = pd.DataFrame({name: psnr(change(restored.clamp(0, 1)), change(clean)).tolist() for name, change in measures.items()}, index=TITLES).T
protocol_table["average"] = protocol_table.mean(axis=1)
display(record("measures", protocol_table.round(2).reset_index(names="PSNR (dB)"), f"The SAME restored pictures, four ways to measure them, one photograph. {origin('rddm_small')}, {settings.walk_steps} steps.", piece=provenance("05-f")))

# %% [markdown] lang="en"
# Nothing was restored better from row to row. A table that mixes such rows compares rulers, not models.

# %%
beyond = {title: float((r.abs() > 1).float().mean()) for title, r in zip(TITLES, x_in - x0, strict=True)}
print("share of residual values beyond [-1, 1], which the code cuts off:", {title: f"{share:.2%}" for title, share in beyond.items()})
shipped_cut, rddm.process.cut = rddm.process.cut, True
cut_walk = my_walk(rddm.network, rddm.process, degraded[dark : dark + 1], noise[first_photo][:1], settings.walk_steps)[0]
rddm.process.cut = shipped_cut
print(f"low light, residual cut to [-1, 1]: {psnr(cut_walk, clean[:1]).item():.2f} dB; as the shipped model walks, cut = {shipped_cut}: {psnr(restored, clean)[dark].item():.2f} dB")
wrong_start = RDDM(T, sum_scale=1.0 if rddm.process.sum_scale < 1 else 0.01).start(x_in, noise[first_photo])
x, times_of = wrong_start, sampling_times(T, settings.walk_steps)
a, b = (values.tolist() + [0.0] for values in (rddm.process.alphas_cumsum, rddm.process.betas_cumsum))
for t, s in zip(times_of, times_of[1:], strict=False):  # the walk of section 6 from another start
    res, eps_told = answers(rddm.network, rddm.process, x, x_in, t)
    x = step(x, rddm.process.bounded(res), eps_told, a[t], a[s], b[t], b[s])
print(f"start noise as trained ({rddm.process.sum_scale**0.5:g}): {psnr(restored, clean).mean():.2f} dB; with the other setting's sum_scale: {psnr(to_image(x), clean).mean():.2f} dB")
torch.manual_seed(SEED)
untrained = create_model("rddm", **rddm.network.config).to(device).eval()
silent = rddm.process.sample(untrained, degraded, 1, noise[first_photo]).clamp(0, 1)
print(f"the network without its weights, one step: {psnr(silent, clean).mean():.2f} dB, the input {psnr(degraded.clamp(0, 1), clean).mean():.2f} dB")
del untrained

# %% [markdown] lang="en"
# A share of 0 in the first line means that this trap does not bite at the strengths of our test; count before you worry. A wrong `sum_scale` does bite. And the last line is the habit to take home: a random network does not crash, it returns a picture. Load strictly, and let the first thing that a test prints be a number that only the right weights can give.

# %% [markdown] lang="en"
# ## 11 · Diffusion against the Transformers
#
# Now the comparison that the title of this lesson owes. Four blind models for the same five tasks: `restormer_small` and `promptir_small` (one pass), `diffuir_small` (three calls of one U-Net), `rddm_small` (five calls of two). Quality by three measures:
#
# - **PSNR**: the mean error. Higher is better.
# - **SSIM**: local structure. Higher is better.
# - **GMSD** (gradient magnitude similarity deviation, Xue et al. 2014): how *unevenly* the edges are damaged over the picture. Lower is better.
#
# LPIPS would be the usual fourth. It needs a network that must be downloaded, so it is not here.
#
# **Predict:** order the four by PSNR, by seconds, by multiply-adds.

# %%
def gmsd(image, clean):
    """Gradient magnitude similarity deviation of (B, 3, h, w) in [0, 1], (B,). Xue et al., TIP 2014: Y halved, Prewitt, c = 170 of 255^2."""
    kernel = image.new_tensor([[1, 0, -1]] * 3) / 3
    kernel = torch.stack([kernel, kernel.T])[:, None]
    weights = image.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    slopes = [F.conv2d(F.avg_pool2d((x * weights).sum(1, keepdim=True), 2), kernel, padding=1).square().sum(1).sqrt() for x in (image, clean)]
    likeness = (2 * slopes[0] * slopes[1] + 170 / 255**2) / (slopes[0] ** 2 + slopes[1] ** 2 + 170 / 255**2)
    return likeness.flatten(1).std(1, correction=0)


compared = {"restormer_small": restormer, "promptir_small": shipped("promptir_small"), "diffuir_small": diffuir, "rddm_small": rddm}
rows, restored_by = [], {}
for name, model in {"input": None, **compared}.items():
    started, results = time.perf_counter(), {}
    for photo, (spoilt, _) in photos.items():
        results[photo] = spoilt if model is None else restore(model, spoilt).clamp(0, 1)
    seconds = (time.perf_counter() - started) / (len(photos) * len(TASKS))
    restored_by[name] = results
    row = {"model": name, "PSNR (dB)": np.mean(list(by_task(results).values()))}
    for measure, function in (("SSIM", ssim), ("GMSD", gmsd)):
        row[measure] = float(np.mean([function(results[photo].clamp(0, 1), photos[photo][1]).mean().item() for photo in photos]))
    if model is not None:
        calls = getattr(model, "steps", 1)
        row |= {"calls": calls, "seconds an image": seconds, "multiply-adds an image": trace(model, photos[first_photo][0][:1], depth=0)[0].multiply_adds, "parameters": sum(p.numel() for p in model.parameters())}
    rows.append(row)
versus = pd.DataFrame(rows)
side = "x".join(map(str, degraded.shape[-2:]))
digits = {"PSNR (dB)": 2, "SSIM": 4, "GMSD": 4, "seconds an image": 3, "10^9 multiply-adds": 2, "10^6 parameters": 2, "calls": 0}
shown_versus = versus.assign(**{"10^9 multiply-adds": versus["multiply-adds an image"] / 1e9, "10^6 parameters": versus["parameters"] / 1e6})
shown_versus = shown_versus[["model", *digits]]
for column, places in digits.items():
    shown_versus[column] = ["" if np.isnan(value) else f"{value:.{places}f}" for value in shown_versus[column].astype(float)]
display(record("versus", shown_versus, f"{len(photos)} photographs in five degradations, the middle {side} pixels, measured in this run on {device} with {torch.get_num_threads()} threads. " + "; ".join(origin(name) for name in compared) + "."))

# %%
def seen_in_training(name):
    """(samples, pixels) that a shipped model was trained on, over all parts of its recipe."""
    part, samples, pixels = load_recipe(name), 0, 0
    while part:
        for patch, batch in map(part.stage, range(part.steps)):
            samples, pixels = samples + batch, pixels + batch * patch**2
        part = load_recipe(part.start) if part.start else None
    return samples, pixels


rows = []
for row in versus.dropna(subset=["calls"]).to_dict("records"):
    samples, pixels = seen_in_training(row["model"])
    a_pixel = row["multiply-adds an image"] / row["calls"] / degraded[0, 0].numel()  # training calls the network once a sample
    rows.append({"model": row["model"], "samples seen": f"{samples:,}", "10^6 pixels seen": f"{pixels / 1e6:.0f}", "10^12 multiply-adds of training": f"{3 * a_pixel * pixels / 1e12:.0f}"})
display(record("budget", pd.DataFrame(rows), "What each model was trained with, from its recipe and the parts that it begins with (data/recipes). Multiply-adds: one call of the network a sample, times three, for the way back costs about twice the way there; the walks of the last part of the diffusion models' training come on top."))

# %%
record("quality_cost", quality_cost(versus[versus["model"] != "input"], quality="PSNR (dB)", costs={"seconds an image": "seconds an image", "multiply-adds an image": "multiply-adds an image"}, baseline=float(versus.loc[versus["model"] == "input", "PSNR (dB)"].iloc[0])), "Quality against cost, the table above as a picture; dashed: the input. Left depends on this machine, right does not.")

# %%
names = {"degraded": restored_by["input"], **{name: restored_by[name] for name in compared}}
picks = [TASKS.index(task) for task in ("rain", "low_light")]
grid_rows = [
    {f"{name}\n{psnr(images[first_photo][k : k + 1].clamp(0, 1), clean[k : k + 1]).item():.2f} dB{' ' * n}": images[first_photo][k] for name, images in names.items()} | {f"clean\n{' ' * n}": clean[k]}
    for n, k in enumerate(picks)
]
display(record("side_by_side", figures.grid(grid_rows, zoom=None, clean_key=None, titles=[TITLES[k] for k in picks]), "Two degradations, four models (all recorded runs)."))
per_task = pd.DataFrame({name: by_task(images) for name, images in restored_by.items()}).T
record("versus_tasks", per_task.round(2).reset_index(names="PSNR (dB)"), f"The same by task, {len(photos)} photographs, measured in this run.")

# %%
live = {photo: my_walk(run.model.eval(), rddm_plain, spoilt, noise[photo], settings.walk_steps)[0] for photo, (spoilt, _) in list(photos.items())[: settings.walk_images]}
before, after = (by_task({photo: images[photo] for photo in live}) for images in (restored_by["input"], live))
before, after = ({**scores, "mean": float(np.mean(list(scores.values())))} for scores in (before, after))
record("degraded_psnr", before["mean"], f"Mean PSNR of the degraded pictures over the five tasks, {len(live)} photograph(s).")
record("restored_psnr", after["mean"], f"Mean PSNR of the same after the model trained in this lesson (live, {run.steps} steps).", piece=provenance("05-c", "05-d", "05-f"))
print(f"trained in this lesson, {run.steps} steps, {settings.walk_steps} steps of the walk: " + ", ".join(f"{task} {before[task]:.2f} -> {after[task]:.2f} dB" for task in before))
best = per_task.drop(index="input").idxmax()
losses = [f"{name} on {task} ({per_task.loc[name, task] - per_task.loc['input', task]:+.2f} dB)" for name in compared for task in TASKS if per_task.loc[name, task] < per_task.loc["input", task]]
print("best PSNR by task:", best.to_dict())
print("below its own input:", "; ".join(losses) or "none")
cheapest = versus.dropna(subset=["seconds an image"]).set_index("model")["multiply-adds an image"]
print("multiply-adds, in units of restormer_small:", (cheapest / cheapest["restormer_small"]).round(1).to_dict())

# %% [markdown] lang="en"
# How to read it honestly:
#
# - **Equal budget is not equal everything.** All four saw the same five tasks on the same photographs, each for about an hour or two of two shared CPU cores. The second table has what that bought. BUDGET_TEXT
# - **PSNR and SSIM ask for the mean.** A one-pass regressor is trained for exactly that. If the order changes with GMSD, the measures want different things; if it does not, the walk has brought no sharper edges at this size.
# - **Cost counts calls.** A walk of five calls of two networks is ten passes. If the curve of section 6 is flat, most of them are spent for nothing *in PSNR*.
# - **What diffusion gives besides:** several answers to one question (section 6), a choice between faithful and inventive by one number, and a model of pictures that can be used for tasks it was not trained on (DDNM, lesson 04).
# - These are small models after short training. The published ones are ten to a hundred times larger. This table is about *here*.

# %% [markdown] lang="en"
# ## 12 · Results, ours and published
#
# The first table was **measured by the course**, on whole test pictures. The second is **printed in papers**.

# %%
board_file = data_root() / "leaderboard.csv"
if board_file.is_file():
    board = pd.read_csv(board_file)
    board = board[board["dataset"].astype(str).str.contains("five")]
    label = {"input": "input", "classical": "classical method"}
    board = board.assign(model=[label.get(kind, model) for kind, model in zip(board["kind"], board["model"], strict=True)], task=board["task"].str.replace("_", " "))
    table = board.pivot_table(index="model", columns="task", values="psnr", sort=False).rename_axis(columns=None)
    table["average"] = table.mean(axis=1, skipna=False)
    ours = board[board["kind"] == "ours"].groupby("model", sort=False)
    table["SSIM"] = board.groupby("model", sort=False)["ssim"].mean()
    table["s/image"] = ours["seconds_per_image"].first()
    table["M param."] = ours["parameters"].first() / 1e6
    shown_board = table.round(2).reset_index(names="PSNR (dB)").astype(object).where(lambda t: t.notna(), "")
    told_by = ", ".join(sorted({str(value) for value in board["commit"].dropna()}))
    display(record("leaderboard", shown_board, f"The course's five tasks, measured by the course (recorded: data/leaderboard.csv, commit {told_by}; seconds of one 320 x 320 picture on one CPU thread)."))
    missing = [name for name in ("rddm_small", "diffuir_small") if name not in table.index]
    print("not in the table yet: " + ", ".join(missing) if missing else "all shipped models of this lesson are in the table")
else:
    print("data/leaderboard.csv is not there yet; `course leaderboard --measure` makes it")

# %%
published_rows = [row for method in ("Restormer", "AirNet", "PromptIR", "DFPIR") for row in query(setting="five-task", method=method)]
printed = pd.DataFrame([{"method": row.method, "set": row.data, "PSNR": row.psnr, "source": row.source} for row in published_rows])
printed_table = printed.pivot_table(index="method", columns="set", values="PSNR", sort=False).rename_axis(columns=None).reset_index(names="PSNR (dB)")
display(record("published", printed_table, "Published, five tasks, full RGB, not measured here. Sources: " + "; ".join(f"{m}: {s}" for m, s in printed.groupby("method", sort=False)["source"].first().items()) + "."))
kept_out = pd.DataFrame([{"where": row["where"], "on": row["data"], "printed": row["printed"], "why it is not in the table": row["fault"]} for row in load_errata() if row["method"] in ("RDDM", "DiffUIR-L")])
display(record("not_comparable", kept_out, "What the two papers print, and why it does not stand in the same table (data/published/errata.csv)."))

# %% [markdown] lang="en"
# There is no row of RDDM or DiffUIR in the published table, and that is the point. Section 10 measured how many decibels the other ruler is worth on *one and the same* picture. A fair row would need their weights on the papers' sets with the Transformers' ruler: `load_official("rddm", ...)` and `course eval` do that where you have the weights.

# %% [markdown] lang="en"
# ## Report
#
# Answer in a few sentences each, in this cell. The PDF of this notebook carries your answers, the figures, and the result of every check.
#
# 1. **Data flow.** Follow one restoration of RDDM from the degraded picture to the result: what goes into the network, what comes out, what is computed by hand?
#
#    *Your answer:*
#
# 2. **Two coefficients.** What does `sum_scale` decide? Use the plane and the starting noises of section 6.
#
#    *Your answer:*
#
# 3. **Residual or noise.** At which times is each answer good, and why? Use the two figures of sections 4 and 5.
#
#    *Your answer:*
#
# 4. **The shared term.** The states meet, but the network sees the input anyway. Design an experiment, at equal budget, that would show whether the shared term helps.
#
#    *Your answer:*
#
# 5. **Think.** PSNR is highest for the *mean* of all clean pictures that could lie behind a degraded one; a diffusion model draws *one* of them. So a perfect sampler loses in PSNR against a perfect regressor (by how much? think of the mean of several draws). When would you want the sample, when the mean? Which of this lesson's numbers speak for your answer?
#
#    *Your answer:*
#
# 6. **Your path.** What did you expect, what did you see, and how many pictures and starts would convince you?
#
#    *Your answer:*
