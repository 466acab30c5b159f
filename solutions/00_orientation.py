# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown] lang="en"
# # 00 · Orientation: spoiling pictures, measuring pictures, and a map of the field
#
# {{colab_badge}} {{kaggle_badge}}
#
# This course is about one question: can *one* model repair pictures that were spoilt in many different ways? Before we repair anything, we learn to spoil. That is
# not a detour. Nobody can photograph the same moment with and without rain, so almost every model of this field learns from clean pictures that somebody spoilt on purpose.
# Whoever makes the rain decides what the model believes rain to be.
#
# In this lesson you
#
# 1. find out what your machine can do,
# 2. spoil a photograph in eleven ways, with the physics beside it,
# 3. write **PSNR** and **SSIM**, the two numbers of every paper, and catch both of them disagreeing with your eye,
# 4. put **haze** over a **night** picture and see why the order matters,
# 5. **train** the smallest restoration model there is, 49 numbers, and watch two tasks fight over them,
# 6. draw a map of the field from 228 papers, and
# 7. start your learning notes.
#
# Six exercises, 15 points. The whole lesson runs from top to bottom even when nothing is filled in: where your piece is missing, the reference piece steps in and
# the output says so. So read first if you like, and write later.

# %% tags=["setup"]
# {{setup_cell}}

# %% tags=["parameters"]
PROFILE = "quick"  # smoke: seconds, for tests; quick: about a minute on two cores; gpu and paper: larger pictures, longer training
SEED = 0
DEVICE = "auto"
DATA_DIR = ""  # benchmark folders; "" means COURSE_DATA_DIR or the user's cache
OUT_DIR = ""  # where figures, numbers and tables of this lesson are written

# %%
# %matplotlib inline
import math
import os
import re

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from course_lib import doctor, figures, metrics
from course_lib.datasets.photos import load_photos
from course_lib.degradations.blur import gaussian_blur
from course_lib.degradations.composite import (
    CDD11_TASKS,
    DEGRADATIONS,
    Composite,
    composite,
    draw_composite,
    guided_illumination,
    haze_step,
    low_step,
)
from course_lib.degradations.depth import motorcycle, procedural_depth
from course_lib.degradations.lime import box_mean
from course_lib.figures.playground import LENS, SENSOR, WEATHER, playground
from course_lib.figures.style import INK, PALETTE, line_style, new_figure, style
from course_lib.paths import data_root
from course_lib.profiles import get_profile
from course_lib.workbook.checks import check, provenance, use
from course_lib.workbook.records import begin, record

if DATA_DIR:
    os.environ["COURSE_DATA_DIR"] = DATA_DIR
settings = get_profile(PROFILE, "00_orientation")
device = torch.device("cpu")  # nothing in this lesson is large enough for a GPU to be quicker
out = begin("00_orientation", OUT_DIR, profile=PROFILE, seed=SEED, device=device)
torch.manual_seed(SEED)
pd.set_option("display.max_colwidth", 200)
print(f"profile {PROFILE}: {settings.steps} training steps on the {device}; results go to {out.name}")

# %% [markdown] lang="en"
# ## 1 · Is this machine ready?
#
# Most of what goes wrong in a course goes wrong in the first ten minutes: a library is too old, the graphics card is there but cannot compute, the disk is full. The doctor tries each thing *for real*: it runs a
# convolution on every device and makes a page of PDF. In a terminal the same report comes from `course doctor`.
#
# **Predict before you run:** on which device will the later lessons compute here?

# %%
findings = doctor.examine(DEVICE)
found = {finding.name: finding for finding in findings}


def plain(text):
    """Text without folders: a report is handed in, and whose machine it was is nobody's business."""
    return re.sub(r"(?:[A-Za-z]:\\|/)[\w.\-\\/]+[\\/]", ".../", text)


ready = "NOT ready" if doctor.failed(findings) else "ready"
print(f"This machine is {ready}: {sum(f.status == 'ok' for f in findings)} checks passed.")
for name, question in (
    ("lessons compute on", "Later lessons compute on"),
    ("memory", "Memory"),
    ("typst", "PDF reports"),
    ("benchmark sets", "Benchmark sets"),
):
    if name in found:
        print(f"{question}: {plain(found[name].detail)}")
for finding in findings:
    if finding.status != "ok":
        print(f"\n{finding.status.upper()} {finding.name}: {plain(finding.detail)}\n    what to do: {plain(finding.remedy)}")
_ = record(
    "machine",
    f"{ready}; computes on {plain(found['lessons compute on'].detail) if 'lessons compute on' in found else device}",
    "What the doctor found.",
)

# %% [markdown] lang="en"
# **How to read it.** *FAIL* must be repaired before you go on; the line below it says how. *WARN* names something that only some lessons or only instructors need: you can go on. No graphics card is no trouble: every lesson has the
# profile `quick`, which restores real pictures on two processor cores, because small trained models come with the course.
#
# Missing benchmark sets are no trouble either. The lessons run on the 25 photographs that come along, and say so wherever a published number was measured on something else.

# %% [markdown] lang="en"
# ## 2 · What a degradation is
#
# A camera never delivers the scene. It delivers the scene after the air, the lens, the sensor and the file format have had their turn. Written as one equation,
#
# $$
# I = D_\theta(J)
# $$
#
# with $J$ the clean picture that we would like to have, $I$ the degraded one that we got, $D$ the **kind** of degradation and $\theta$ its **parameters**. Restoration is to find $J$ from $I$. Usually $D$ throws information away, so many $J$ fit one $I$, and
# a model has to know what pictures look like to choose among them. That is why it must learn.
#
# In code a picture is a tensor of shape `(3, H, W)`, red, green and blue, with values from 0 to 1; several make a batch `(B, 3, H, W)`. A kind is a class, its parameters are the fields of an object, and `.apply(batch, seed)` spoils the batch. The same seed
# spoils it in the same way, on every machine.
#
# **Predict before you play:** which kinds change *every* pixel, and which only some? Which kinds could you undo exactly if you knew $\theta$?


# %%
def small(image, width):
    """A photograph (3, H, W) as (1, 3, h, width), shrunk without jagged edges."""
    height = round(image.shape[1] * width / image.shape[2])
    return F.interpolate(image[None], size=(height, width), mode="bilinear", antialias=True).clamp(0, 1)


tower = small(load_photos("train")["china"], settings.view)  # (1, 3, H, W)
toy = playground(tower, seed=SEED)

# %% [markdown] lang="en"
# Where a notebook window is open, you see sliders above: choose a kind, pull, and watch picture, PSNR and SSIM (section 3 says what these are). The line at the bottom is the object as JSON; paste it into
# `DEGRADATIONS["rain"].from_json(...)` to get it back. Where nobody can pull a slider, as in a test run or in a PDF, the same kinds follow as pictures at fixed strengths; the line above says which was shown and why.
#
# We follow the light, and begin with what happens to it **before the camera**: too little of it, and what hangs in the air. Each row: the equation, then three strengths from mild to strong.

# %%
said = f"Playground shown as {toy.shown}; here at fixed strengths, the other parameters at their defaults."
weather, _ = toy.pictures(WEATHER, levels=settings.levels, seed=SEED)
record(
    "playground_weather", weather, f"Before the camera: light and weather. {said} The distances behind the haze are invented, not measured."
)

# %% [markdown] lang="en"
# Then the **lens**, and the hand that holds it.

# %%
lens, _ = toy.pictures(LENS, levels=settings.levels, seed=SEED)
record("playground_lens", lens, f"In the lens: three kinds of blur. {said}")

# %% [markdown] lang="en"
# Last the **sensor and the file**.

# %%
sensor, _ = toy.pictures(SENSOR, levels=settings.levels, seed=SEED)
record("playground_sensor", sensor, f"On the sensor and in the file: noise, fewer pixels, compression. {said}")

# %% [markdown] lang="en"
# Look at the rows again with three questions in mind.
#
# - **Does it look at the picture?** Gaussian noise falls on black and white alike. Poisson noise is stronger where it is bright. JPEG spends its bits on edges and gives smooth skies to the blocks.
# - **Is it the same everywhere?** Blur is. Haze grows with distance, so it depends on something that the picture does not even contain.
# - **Is anything lost?** A known haze with known distances could be undone by arithmetic, were it not for noise and rounding. Blur lowers fine detail until noise drowns it. Downsampling drops it.
#
# Each degradation needs another answer. Keep that in mind for section 5.
#
# ### Writing one yourself
#
# We start with the simplest, white Gaussian noise:
#
# $$
# I = \mathrm{clip}\left(J + \tfrac{\sigma}{255}\, n,\ 0,\ 1\right), \qquad n \sim \mathcal{N}(0, 1)
# $$
#
# The papers quote $\sigma$ on the scale from 0 to 255, because that is how pictures are stored; our pictures lie in $[0, 1]$. Clipping is what a file does: it holds nothing brighter than white.
#
# **Exercise 00-a (2 points, about 5 minutes).** The noise $n$ is handed over, already drawn, so that the result can be compared.
#
# <details><summary>Hint</summary>
#
# One line. `x.clamp(0, 1)` clips a tensor.
#
# </details>


# %%
# exercise 00-a · 2 points · Gaussian noise
def add_gaussian_noise(clean, sigma, noise):
    """clean (B, C, H, W) in [0, 1]; sigma on the 0-255 scale; noise standard normal, shaped like clean -> degraded, in [0, 1]."""
    ### BEGIN SOLUTION
    return (clean + sigma / 255 * noise).clamp(0, 1)
    ### END SOLUTION


# %%
check("00-a", add_gaussian_noise)

# %% [markdown] lang="en"
# A degradation that cannot be repeated is no experiment. Every object of the course can be written down as JSON and replayed, a whole chain of steps too. The seed is part of it: it decides where each raindrop falls.

# %%
noisy_at = use("00-a", add_gaussian_noise)
chain = draw_composite("motion_blur+gaussian_noise+jpeg", seed=3)
print(chain)
written = chain.to_json()
again = Composite.from_json(written)
print("the same pixels again:", torch.equal(chain.apply(tower), again.apply(tower)))
print(written)

# %% [markdown] lang="en"
# ## 3 · How good is a picture?
#
# To say that a model restores *well* we need a number. Two numbers stand in nearly every paper of the field.
#
# ### PSNR: how far off are the pixels?
#
# Average the squared difference over all pixels and channels of a picture, and put it on a logarithmic scale. For values in $[0, 1]$:
#
# $$
# \mathrm{MSE} = \frac{1}{3HW}\sum (x - y)^2, \qquad \mathrm{PSNR} = 10 \log_{10}\frac{1}{\mathrm{MSE}} = -10 \log_{10} \mathrm{MSE} \quad \text{(decibels)}
# $$
#
# An error twice as large costs about 6 dB. At 20 dB a picture is plainly noisy; at 40 dB you have to look for the fault.
#
# **Exercise 00-b (2 points, about 5 minutes).** One value for each picture of a batch.
#
# <details><summary>Hint</summary>
#
# `.mean(dim=(1, 2, 3))` averages over everything but the batch. `.log10()` is the logarithm to base 10.
#
# </details>


# %%
# exercise 00-b · 2 points · PSNR
def psnr(x, y):
    """x, y: (B, 3, H, W) in [0, 1] -> PSNR of each picture in dB, (B,)."""
    ### BEGIN SOLUTION
    error = (x - y).square().mean(dim=(1, 2, 3))  # (B,)
    return -10 * error.log10()
    ### END SOLUTION


# %%
check("00-b", psnr)

# %% [markdown] lang="en"
# Now your noise meets your ruler. The noise has variance $(\sigma/255)^2$, so without clipping the PSNR should be $20 \log_{10}(255/\sigma)$, whatever the picture.
#
# **Predict before you run:** by how much does the PSNR fall when $\sigma$ doubles? Will clipping make the measured PSNR better or worse than the formula? On which pictures most?

# %%
psnr_of = use("00-b", psnr)
draws = torch.Generator().manual_seed(SEED)
sigmas = [5, 10, 15, 25, 35, 50, 75, 100]
pictures = {"tower (bright sky)": tower, "mid grey": torch.full_like(tower, 0.5), "black": torch.zeros_like(tower)}
with style():
    figure = new_figure(6.5, 3.6)
    axes = figure.subplots()
    axes.plot(sigmas, [20 * math.log10(255 / s) for s in sigmas], color="0.6", linewidth=6, label="formula, no clipping")
    for number, (name, picture) in enumerate(pictures.items()):
        measured = [psnr_of(noisy_at(picture, s, torch.randn(picture.shape, generator=draws)), picture).item() for s in sigmas]
        axes.plot(sigmas, measured, label=f"measured: {name}", **line_style(number))
    axes.set_xscale("log", base=2)
    axes.set_xticks(sigmas, [str(s) for s in sigmas])
    axes.set_xlabel("sigma (0-255 scale)")
    axes.set_ylabel("PSNR (dB)")
    axes.legend()
record("noise_psnr", figure, "PSNR of noisy pictures against the strength of the noise.", piece=provenance("00-a", "00-b"))

# %% [markdown] lang="en"
# Doubling $\sigma$ costs 6 dB: on this paper that is the same slope for every picture, until so much is clipped that the line bends. Clipping *helps*: where the picture is black, half of the noise would go below black and is cut away, which leaves half the squared error, 3 dB more. So the "PSNR of the input" in a
# paper depends on whether it clips, and on how dark its pictures are. Two papers with the same $\sigma$ need not have the same input. The course's `course eval` has both ways as named protocols.
#
# ### SSIM: does the structure agree?
#
# PSNR treats every error alike, wherever it sits. SSIM (Wang et al., 2004) compares small windows and asks three things of each: is it as bright, is it as contrasty, do the pixels go up and down together? With means $\mu$, variances $v$ and the covariance $c$ of the two windows:
#
# $$
# \mathrm{SSIM} = \frac{2\mu_x\mu_y + C_1}{\mu_x^2 + \mu_y^2 + C_1} \cdot \frac{2c + C_2}{v_x + v_y + C_2}, \qquad C_1 = 0.01^2,\ C_2 = 0.03^2
# $$
#
# The small constants keep a flat window from dividing zero by zero. The field's papers take 7 x 7 windows with equal weights and the *sample* variance and covariance: with $n$ pixels, divide by $n - 1$. At the end all windows of all three channels are averaged. 1 means equal.
#
# **Exercise 00-c (3 points, about 10 minutes).** The SSIM of each window; a window is one row of $n$ numbers.
#
# <details><summary>Hint</summary>
#
# `x.mean(dim=1)` gives one mean a window. For the covariance: `((x - mean_x) * (y - mean_y)).sum(dim=1) / (n - 1)`; with `keepdim=True` the means keep their place for the subtraction.
#
# </details>


# %%
# exercise 00-c · 3 points · SSIM of a window
def window_ssim(x, y):
    """x, y: (N, n), N windows of n pixels -> SSIM of each window, (N,)."""
    ### BEGIN SOLUTION
    C1, C2 = 0.01**2, 0.03**2
    n = x.shape[1]
    mean_x, mean_y = x.mean(dim=1, keepdim=True), y.mean(dim=1, keepdim=True)  # (N, 1)
    var_x = (x - mean_x).square().sum(dim=1) / (n - 1)  # (N,)
    var_y = (y - mean_y).square().sum(dim=1) / (n - 1)
    cov = ((x - mean_x) * (y - mean_y)).sum(dim=1) / (n - 1)
    mean_x, mean_y = mean_x[:, 0], mean_y[:, 0]
    light = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    structure = (2 * cov + C2) / (var_x + var_y + C2)
    return light * structure
    ### END SOLUTION


# %%
check("00-c", window_ssim)

# %% [markdown] lang="en"
# `F.unfold` cuts a picture into all its 7 x 7 windows, your function scores them, and the scores laid out again make a *map*: SSIM can say **where** a picture is bad.
#
# **Predict before you run:** noise and blur, both at the same PSNR. Which hurts SSIM more in the flat sky, which on the roof?

# %%
window_of = use("00-c", window_ssim)


def ssim_map(x, y):
    """(1, 3, H, W) twice -> SSIM of every 7 x 7 window, mean over the channels, (H-6, W-6)."""
    channels, height, width = x.shape[1:]
    rows = [F.unfold(image.transpose(0, 1), 7).transpose(1, 2).reshape(-1, 49) for image in (x, y)]  # (3 * windows, 49)
    return window_of(*rows).reshape(channels, height - 6, width - 6).mean(0)


def matched(spoil, target, low, high):
    """`spoil(strength)` at the strength where its PSNR comes down to `target` dB, found by halving the interval."""
    for _ in range(13):
        middle = (low + high) / 2
        low, high = (middle, high) if psnr_of(spoil(middle), tower).item() > target else (low, middle)
    return spoil(high)


noise = torch.randn(tower.shape, generator=torch.Generator().manual_seed(SEED))
one_pixel = torch.cat([tower[..., :1], tower[..., :-1]], dim=-1)  # everything moved one pixel to the right
target = psnr_of(one_pixel, tower).item()
same_psnr = {
    "noise": matched(lambda s: noisy_at(tower, s, noise), target, 0, 120),
    "blur": matched(lambda s: gaussian_blur(tower, s), target, 0, 8),
}
maps = {name: ssim_map(picture, tower) for name, picture in same_psnr.items()}
for name, picture in same_psnr.items():
    print(
        f"{name}: PSNR {psnr_of(picture, tower).item():.2f} dB, your SSIM {maps[name].mean().item():.6f}, the library's {metrics.ssim(picture, tower).item():.6f}"
    )

# %%
with style():
    figure = new_figure(9, 4.6)
    panels = figure.subplots(2, 2)
    for row, (name, picture) in zip(panels, same_psnr.items(), strict=True):
        row[0].imshow(picture[0].permute(1, 2, 0))
        row[0].set_title(f"{name}, PSNR {psnr_of(picture, tower).item():.1f} dB")
        drawn = row[1].imshow(maps[name], cmap="cividis", vmin=0, vmax=1)
        row[1].set_title(f"SSIM of each window, mean {maps[name].mean().item():.2f}")
    for panel in panels.flat:
        panel.set_axis_off()
    figure.colorbar(drawn, ax=list(panels[:, 1]), shrink=0.8, label="SSIM (bright is alike)")
record("ssim_maps", figure, "The same PSNR, and where SSIM sees the damage.", piece=provenance("00-a", "00-b", "00-c"))

# %% [markdown] lang="en"
# The maps are almost each other's negatives. In the sky there is no structure, so the slightest noise is all the structure there is, and SSIM falls to nothing, while blur changes nothing there. On roofs and leaves the structure is stronger than the noise, but blur takes it away.
# An average over the picture therefore depends on how much sky it has. (From here on the tables take the library's SSIM: the same number, as you just saw, without 49 copies of the picture.)
#
# ### Your eye against the numbers
#
# Here are seven versions of the picture. All have the *same* PSNR, that of the picture moved by one single pixel. Look at the pictures first, without reading on.
#
# **Predict:** write your ranking into the next cell, best first, *before* you run the cell after it.

# %%
my_ranking = []  # for example ["shifted", "brighter", "flatter", "black box", "noise", "JPEG", "blur"], best first


# %%
def flatter(strength):
    mean = tower.mean(dim=(2, 3), keepdim=True)
    return mean + (tower - mean) * (1 - strength)


def black_box(share):
    picture, (height, width) = tower.clone(), tower.shape[2:]
    h, w = max(1, round(height * share)), max(1, round(width * share))
    picture[..., height // 3 : height // 3 + h, width // 3 : width // 3 + w] = 0
    return picture


def jpeg(strength):
    return DEGRADATIONS["jpeg"](quality=max(1, round(100 - strength))).apply(tower)


versions = {
    "shifted": one_pixel,
    "brighter": matched(lambda s: (tower + s).clamp(0, 1), target, 0, 1),
    "flatter": matched(flatter, target, 0, 1),
    "black box": matched(black_box, target, 0, 0.6),
    "noise": same_psnr["noise"],
    "JPEG": matched(jpeg, target, 0, 99),
    "blur": same_psnr["blur"],
}
scores = pd.DataFrame(
    [
        {"version": name, "PSNR (dB)": round(psnr_of(x, tower).item(), 2), "SSIM": round(metrics.ssim(x, tower).item(), 3)}
        for name, x in versions.items()
    ]
)
with style():
    figure = new_figure(9, 9 / 4 * tower.shape[2] / tower.shape[3] * 2 + 1.1)
    for panel, (name, picture) in zip(figure.subplots(2, 4).flat, {"clean": tower, **versions}.items(), strict=True):
        panel.imshow(picture[0].permute(1, 2, 0))
        panel.set_title(name, color=INK)
        panel.set_axis_off()
record("same_psnr", figure, f"A clean picture and seven spoilt ones that all have about {target:.1f} dB.", piece=provenance("00-a", "00-b"))

# %%
scores["rank by SSIM"] = scores["SSIM"].rank(ascending=False).astype(int)
if sorted(my_ranking) == sorted(scores["version"]):
    scores["your rank"] = [my_ranking.index(name) + 1 for name in scores["version"]]
    print(
        f"your ranking against SSIM's: correlation {scores['your rank'].corr(scores['rank by SSIM']):.2f} (1 is the same order, -1 the reverse)"
    )
else:
    print("no ranking of all seven in my_ranking yet; SSIM's stands alone")
record(
    "eye_against_numbers",
    scores.sort_values("rank by SSIM", ignore_index=True),
    "Seven pictures of one PSNR, ranked by SSIM.",
    piece=provenance("00-b"),
)

# %% [markdown] lang="en"
# PSNR cannot tell these seven apart, by construction (JPEG comes in whole steps of quality, so it is only near). SSIM can, and often sides with the eye: *brighter* and *flatter* hurt little. But look at three rows.
#
# - The **shifted** picture is one that nobody can tell from the clean one. Both numbers punish it: PSNR as hard as visible noise, SSIM still hard. A model that draws perfect detail one pixel beside its place gets nothing for it. So models learn to be cautious, and cautious is blurred.
# - The **black box** destroys a part of the picture for good, and SSIM ranks it at the top, because everything outside it is untouched.
# - The **noisy** picture comes last, far behind JPEG and blur: all that sky. Ask three people which of the three they would keep; most take the noisy one, because the details are still there.
#
# So: compare models by PSNR and SSIM, because everybody does and because both are honest about *something*. Then open the pictures. No table in this course stands without its pictures.

# %% [markdown] lang="en"
# ## 4 · The order matters
#
# Outside, degradations do not come one at a time. A hazy night is dark, *and* noisy, *and* hazy. The question "which first?" has a physical answer: follow the light. It leaves a lamp, falls on the scene, goes through the air, and ends on the sensor, where the noise is made.
#
# Haze (Koschmieder, 1924): on its way from a thing at distance $d$, the light of the scene fades, and light of the sky, of brightness $A$, is scattered into its way:
#
# $$
# I = J \cdot t + A \cdot (1 - t), \qquad t = e^{-\beta d}
# $$
#
# The *transmission* $t$ is the share of the scene's light that arrives: 1 close by, towards 0 far away. $\beta$ says how thick the haze is.
#
# **Exercise 00-d (2 points, about 5 minutes).** `distance` has shape `(B, 1, H, W)`, 0 near and 1 far; it fits all three channels by itself (broadcasting).
#
# <details><summary>Hint</summary>
#
# Two lines: first $t$ with `torch.exp`, then the mixture.
#
# </details>


# %%
# exercise 00-d · 2 points · Haze
def haze(clean, distance, beta, air_light):
    """clean (B, 3, H, W), distance (B, 1, H, W), two numbers -> the hazy picture (B, 3, H, W)."""
    ### BEGIN SOLUTION
    transmission = torch.exp(-beta * distance)  # (B, 1, H, W)
    return clean * transmission + air_light * (1 - transmission)
    ### END SOLUTION


# %%
check("00-d", haze)

# %% [markdown] lang="en"
# Haze needs distances. For this one photograph somebody measured them, with two cameras (Middlebury's *Motorcycle*).
#
# We put haze and noise over it in both orders. **Predict before you run:** in which order is the noise weaker far away, and why?

# %%
hazy_at = use("00-d", haze)
try:
    photo, measured_distance = motorcycle()
    scene, distance = small(photo, settings.view), small(measured_distance, settings.view)
    print("distances: measured")
except FileNotFoundError as error:  # some distributions of scikit-image come without the picture
    scene, distance = tower, procedural_depth(*tower.shape[2:], np.random.default_rng(SEED))
    print(f"distances: INVENTED ({error})")
noise = torch.randn(scene.shape, generator=torch.Generator().manual_seed(SEED))
strong = 2 * settings.sigma
orders = {
    "haze alone": hazy_at(scene, distance, 2.0, 0.85),
    "haze, then noise": noisy_at(hazy_at(scene, distance, 2.0, 0.85), strong, noise),
    "noise, then haze": hazy_at(noisy_at(scene, strong, noise), distance, 2.0, 0.85),
}
far = (distance > distance.quantile(0.8)).expand_as(scene)
for name in ("haze, then noise", "noise, then haze"):
    left = orders[name] - orders["haze alone"]
    print(
        f"{name}: noise of sigma {255 * left[far].std().item():.0f} far away, {255 * left[~far].std().item():.0f} nearer; PSNR {psnr_of(orders[name], scene).item():.2f} dB"
    )
with style():
    figure = new_figure(9, 5.6)
    shown = {"clean": scene, "distance (bright is far)": distance, **{name: orders[name] for name in list(orders)[1:]}}
    for panel, (name, picture) in zip(figure.subplots(2, 2).flat, shown.items(), strict=True):
        panel.imshow(picture[0].permute(1, 2, 0).clamp(0, 1), cmap="gray", vmin=0, vmax=1)
        panel.set_title(name, color=INK)
        panel.set_axis_off()
record("order", figure, "Haze and noise in both orders.", piece=provenance("00-a", "00-d"))

# %% [markdown] lang="en"
# In the physical order, *haze, then noise*, the sensor's noise is equally strong everywhere. The other way round, the haze lies over the noise as over everything else, and far away less than a third of it is left. A model trained on one order has learnt a habit that the other order breaks: it expects noise where there is none.
#
# ### The eleven tasks of CDD-11
#
# The composite data set that this course ends with, CDD-11 (Guo et al., OneRestore, ECCV 2024), fixes one order: **low light, then rain or snow, then haze**. Its low light brings the noise along, so its haze covers the noise. That is not how a sensor works; it is a choice, and now you can see it in the pixels. (Data sets are full of such choices. Look for them.)
#
# The low-light step follows Retinex: a picture is *reflectance times illumination*, $J = R \cdot L$. Divide by the illumination $L$, and multiply by its power $L^\gamma$ with $\gamma > 1$; then add the noise $n$ and clip, because this is a stored picture:
#
# $$
# I_1 = \mathrm{clip}\left(\frac{J}{L}\, L^{\gamma} + n,\ 0,\ 1\right), \qquad I_2 = \mathrm{clip}\left(I_1\, t + A\,(1-t),\ 0,\ 1\right)
# $$
#
# **Exercise 00-e (3 points, about 10 minutes).** Both steps, in this order. `noise` is ready to be added as it is; `transmission` is $t$.
#
# <details><summary>Hint</summary>
#
# Three lines: the dark picture; plus noise, clipped; the haze over it. Tensor arithmetic and `.clamp(0, 1)` are all you need.
#
# </details>


# %%
# exercise 00-e · 3 points · A night in the haze
def night_haze(clean, illumination, gamma, noise, transmission, air_light):
    """clean, noise (B, 3, H, W); illumination, transmission (B, 1, H, W); two numbers -> CDD-11's low_haze, (B, 3, H, W) in [0, 1]."""
    ### BEGIN SOLUTION
    dark = clean / illumination * illumination**gamma
    night = (dark + noise).clamp(0, 1)
    return (night * transmission + air_light * (1 - transmission)).clamp(0, 1)
    ### END SOLUTION


# %%
check("00-e", night_haze)

# %%
night_of = use("00-e", night_haze)
illumination = guided_illumination(tower)  # (1, 1, H, W), estimated from the picture itself
depth = 1 - procedural_depth(*tower.shape[2:], np.random.default_rng(SEED))  # CDD-11 stores nearness: near is bright; invented here
farness = (1 - box_mean(depth, 22)).clamp_max(0.7)
noise = 0.05 * torch.randn(tower.shape, generator=torch.Generator().manual_seed(SEED))
mine = night_of(tower, illumination + 1e-7, 2.5, noise, torch.exp(-1.5 * farness), 0.75)
library = haze_step(low_step(tower, illumination, 2.5, noise), depth, 1.5, 0.75)
print(f"largest difference to the library's composite: {(mine - library).abs().max().item():.1e}")

# %% [markdown] lang="en"
# And here are all eleven, made by the library with parameters drawn from the published ranges. Rain and snow never meet.
#
# **Predict before you run:** which of the eleven has the lowest PSNR? Is a mixture always worse than each of its parts?

# %%
tasks = {task: composite(tower, task, seeds=SEED + 1) for task in CDD11_TASKS}
task_scores = pd.DataFrame(
    [
        {
            "task": task,
            "steps": len(CDD11_TASKS[task]),
            "PSNR (dB)": round(psnr_of(x, tower).item(), 2),
            "SSIM": round(metrics.ssim(x, tower).item(), 3),
        }
        for task, x in tasks.items()
    ]
)
with style():
    figure = new_figure(9, 4 * (9 / 3 * tower.shape[2] / tower.shape[3]) + 1.4)
    for panel, (name, picture) in zip(figure.subplots(4, 3).flat, {"clean": tower, **tasks}.items(), strict=True):
        panel.imshow(picture[0].permute(1, 2, 0))
        panel.set_title(name if name == "clean" else f"{name.replace('_', ' + ')}, {psnr_of(picture, tower).item():.1f} dB", color=INK)
        panel.set_axis_off()
record("cdd11_tasks", figure, "The eleven tasks of CDD-11, composed by the course from one clean photograph.", piece=provenance("00-b"))

# %%
record(
    "cdd11_scores",
    task_scores.sort_values("PSNR (dB)", ignore_index=True),
    "PSNR and SSIM of the eleven inputs above.",
    piece=provenance("00-b"),
)

# %% [markdown] lang="en"
# Haze and darkness are far down in PSNR, rain and snow far up, for a simple reason: haze and darkness are wrong by a lot at *every* pixel, rain and snow at some. And a mixture can have a *higher* PSNR than one of its parts: haze brings some of the missing brightness back to a dark picture. Even SSIM agrees, because the haze
# hides the noise. Ask your eye instead. The PSNR of an *input* says little about how hard a task is. The published results at the end of section 6 will show it.

# %% [markdown] lang="en"
# ## 5 · The smallest restoration model
#
# Enough spoiling. We now train a model, and it has 49 numbers: one 7 x 7 filter that replaces every pixel by a weighted sum of its neighbours. The weights are not written by hand; they are *learnt* from pairs of noisy and clean patches, in the same loop that trains the large models of the later lessons:
#
# 1. take clean patches, spoil them (with your 00-a),
# 2. restore them with the present filter,
# 3. measure the mean squared error $\ell$ against the clean ones,
# 4. move every weight a little against its gradient: $\;k \leftarrow k - \eta\, \dfrac{\partial \ell}{\partial k}$,
# 5. go to 1.
#
# `F.conv2d(noisy, kernel)` applies the filter. It eats the border: a patch of side $s$ comes out with side $s - 6$, so the clean patch has been cut to that size already.
#
# **Exercise 00-f (3 points, about 10 minutes).** Step 4: return the *new* kernel after one step with rate $\eta$.
#
# <details><summary>Hint 1</summary>
#
# PyTorch finds the gradient for you: `k = kernel.detach().clone().requires_grad_()`, compute the loss from `k`, then `(gradient,) = torch.autograd.grad(loss, k)`.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `loss = (F.conv2d(noisy, k) - clean).square().mean()`, and the answer is `kernel - rate * gradient`.
#
# </details>


# %%
# exercise 00-f · 3 points · One step downhill
def gradient_step(kernel, noisy, clean, rate):
    """kernel (1, 1, k, k), noisy (B, 1, H+k-1, W+k-1), clean (B, 1, H, W), a number -> the kernel after one step down the MSE."""
    ### BEGIN SOLUTION
    k = kernel.detach().clone().requires_grad_()
    loss = (F.conv2d(noisy, k) - clean).square().mean()
    (gradient,) = torch.autograd.grad(loss, k)
    return kernel - rate * gradient
    ### END SOLUTION


# %%
check("00-f", gradient_step)

# %% [markdown] lang="en"
# Pairs first. The training photographs and the test photographs are different ones: a model is judged on what it never saw. (One detail: we subtract 0.5, mid grey, before filtering and add it afterwards. The gradient of a bright picture is dominated by its brightness, and training would crawl.)

# %%
side, reach = settings.filter_side, settings.filter_side // 2
train_photos = list(load_photos("train").values())
test_photos = load_photos("test")


def clean_patches(count, generator, photos=train_photos):
    """`count` patches (count, 1, patch, patch), each from a random place and channel of a random photograph."""
    patches = []
    for _ in range(count):
        photo = photos[int(torch.randint(len(photos), (), generator=generator))]
        channel, top, left = (
            int(torch.randint(limit, (), generator=generator))
            for limit in (3, photo.shape[1] - settings.patch, photo.shape[2] - settings.patch)
        )
        patches.append(photo[None, None, channel, top : top + settings.patch, left : left + settings.patch])
    return torch.cat(patches)


def middle_of(patches):
    """The patches without the border that the filter eats."""
    return patches[..., reach:-reach, reach:-reach]


def restored_with(kernel, image):
    """Filter every channel of (1, 3, H, W); borders are mirrored, so that the size stays."""
    padded = F.pad(image - 0.5, (reach,) * 4, mode="reflect").transpose(0, 1)  # (3, 1, H+k-1, W+k-1)
    return (F.conv2d(padded, kernel).transpose(0, 1) + 0.5).clamp(0, 1)


def centre(image):
    """(3, H, W) -> the middle as (1, 3, h, w), at most `test_crop` pixels a side (0: all of it)."""
    height, width = image.shape[1:]
    h, w = (min(settings.test_crop or 10**6, n) for n in (height, width))
    return image[None, :, (height - h) // 2 : (height - h) // 2 + h, (width - w) // 2 : (width - w) // 2 + w]


names = list(test_photos)[: settings.test_images]
clean = {name: centre(test_photos[name]) for name in names}
degraded = {}
for number, name in enumerate(names):
    noise = torch.randn(clean[name].shape, generator=torch.Generator().manual_seed(1000 + number))
    degraded[name] = noisy_at(clean[name], settings.sigma, noise)


def mean_psnr(results):
    return float(np.mean([psnr_of(results[name], clean[name]).item() for name in names]))


print(f"{len(train_photos)} training photographs, {len(names)} test photographs at {mean_psnr(degraded):.2f} dB")

# %% [markdown] lang="en"
# The filter starts as 49 zeros: its first answer is a grey picture.
#
# **Predict before you run:** will the curve rise steadily, or fast and then slowly? What will the finished filter look like: equal weights, a bump in the middle, stripes? (The dashed line is the best that *any* 7 x 7 filter can reach on the training patches, found not by walking but by solving the equations of least squares.)


# %%
def best_kernel(spoilt, target):
    """The filter with the least squared error on given patches (N, 1, s, s) -> (N, 1, s-k+1, s-k+1): least squares, no walking."""
    windows = F.unfold(spoilt.double() - 0.5, side).transpose(1, 2).reshape(-1, side * side)  # every window is one equation
    wanted = target.double().reshape(-1, 1) - 0.5
    return torch.linalg.solve(windows.T @ windows, windows.T @ wanted).float().reshape(1, 1, side, side)


take_step = use("00-f", gradient_step)
draws = torch.Generator().manual_seed(SEED)
kernel = torch.zeros(1, 1, side, side)
curve, kept = [], {}
for step in range(settings.steps + 1):
    if step % settings.log_every == 0:
        curve.append({"step": step, "test PSNR (dB)": mean_psnr({name: restored_with(kernel, degraded[name]) for name in names})})
    if step in (1, 10, settings.steps):
        kept[f"after {step} steps" if step > 1 else "after 1 step"] = kernel.clone()
    patches = clean_patches(settings.batch, draws)
    noisy = noisy_at(patches, settings.sigma, torch.randn(patches.shape, generator=draws))
    kernel = take_step(kernel, noisy - 0.5, middle_of(patches) - 0.5, settings.rate).detach()

patches = clean_patches(settings.two_trades_patches, draws)
noisy = noisy_at(patches, settings.sigma, torch.randn(patches.shape, generator=draws))
kept["least squares"] = best_kernel(noisy, middle_of(patches))
curve = pd.DataFrame(curve)
floor = mean_psnr({name: restored_with(kept["least squares"], degraded[name]) for name in names})
restored = {name: restored_with(kernel, degraded[name]) for name in names}
whose = provenance("00-a", "00-b", "00-f")
print(f"{mean_psnr(degraded):.2f} dB -> {mean_psnr(restored):.2f} dB with {whose}; the best such filter reaches {floor:.2f} dB")

# %%
with style():
    figure = new_figure(9, 5)
    upper, lower = figure.subfigures(2, 1, height_ratios=[1.3, 1])
    axes = upper.subplots()
    axes.plot(curve["step"], curve["test PSNR (dB)"], color=PALETTE[0], label="your loop")
    axes.axhline(floor, color=INK, linestyle="--", label="best filter (least squares)")
    axes.axhline(mean_psnr(degraded), color="0.6", linestyle=":", label="noisy input")
    axes.set_xlabel("step")
    axes.set_ylabel("test PSNR (dB)")
    axes.legend(loc="lower right")
    for panel, (name, weights) in zip(lower.subplots(1, len(kept)), kept.items(), strict=True):
        limit = weights.abs().max().item()
        panel.imshow(weights[0, 0], cmap="RdBu_r", vmin=-limit, vmax=limit)
        panel.set_title(f"{name}, sum {weights.sum().item():.2f}", fontsize=9)
        panel.set_axis_off()
record(
    "learning_curve",
    figure,
    "Training 49 numbers: the curve, and the filter on its way (red positive, blue negative, each on its own scale).",
    piece=whose,
)

# %% [markdown] lang="en"
# After one step the filter is nearly flat: it averages everything, because what all noisy patches share with the clean ones is their coarse brightness. That direction is steep and learnt at once. Then the weights gather in the middle, step by step, as the filter finds out how much detail it can afford to keep.
# The shape that comes out is a bump with a sharp tip: *mostly this pixel and its neighbours, a little of the others*. Nobody told it. It is the compromise between noise, which wants a wide average, and edges, which want a narrow one.

# %%
first = names[0]
record(
    "before_after",
    figures.grid([{"degraded": degraded[name], "restored": restored[name], "clean": clean[name]} for name in names[:2]]),
    f"Test photographs with noise of sigma {settings.sigma:g}, restored by the trained filter.",
    piece=whose,
)

# %% [markdown] lang="en"
# A picture convinces; a table with the right rows in it informs. Beside your filter stand the untouched input, the best linear filter, and a classical method that nobody trained: non-local means (2005), which averages patches that look alike and is told the noise level.

# %%
from skimage.restoration import denoise_nl_means


def non_local_means(image):
    """Classical denoising of (1, 3, H, W)."""
    array = image[0].permute(1, 2, 0).numpy()
    level = settings.sigma / 255
    result = denoise_nl_means(array, h=0.7 * level, sigma=level, patch_size=5, patch_distance=4, fast_mode=True, channel_axis=-1)
    return torch.from_numpy(np.ascontiguousarray(result)).permute(2, 0, 1)[None].float().clamp(0, 1)


def scored(method, results, made_of):
    values = [(psnr_of(results[n], clean[n]).item(), metrics.ssim(results[n], clean[n]).item()) for n in names]
    return {
        "method": method,
        "PSNR (dB)": round(float(np.mean([v[0] for v in values])), 2),
        "SSIM": round(float(np.mean([v[1] for v in values])), 3),
        "made of": made_of,
    }


results = pd.DataFrame(
    [
        scored("untouched input", degraded, "-"),
        scored(f"your filter, {side * side} numbers, {settings.steps} steps", restored, whose),
        scored("best linear filter (least squares)", {n: restored_with(kept["least squares"], degraded[n]) for n in names}, "-"),
        scored("non-local means", {n: non_local_means(degraded[n]) for n in names}, "-"),
    ]
)
record(
    "degraded_psnr",
    results["PSNR (dB)"][0],
    f"Mean PSNR of the noisy test photographs at sigma {settings.sigma:g}.",
    piece=provenance("00-a", "00-b"),
)
record("restored_psnr", results["PSNR (dB)"][1], "Mean PSNR after the filter trained in this lesson.", piece=whose)
record(
    "results",
    results,
    f"Denoising at sigma {settings.sigma:g} on {len(names)} test photographs, all measured in this run.",
    piece=provenance("00-b"),
)

# %% [markdown] lang="en"
# A few dozen numbers win about six decibels, and then the road ends: the dashed line is the limit of *every* such filter, because it treats all pixels alike. (Look at the SSIM column, too: the filter with the best PSNR need not have the best SSIM.) Non-local means gets past it because it looks at the picture before it decides whom to average. To look, and then to decide, is what attention does; that is lesson 01.
#
# ### Two trades, one filter
#
# Now the question of the whole course, in its smallest form. Blur is another degradation, and it can be undone in part by a filter, too. We solve for three filters: one for **noise**, one for **blur**, and one for **both** at once, trained on a half and half mixture.
#
# **Predict before you run:** what does the noise filter do to a blurred picture, and the blur filter to a noisy one? Will the filter for both come close to the two specialists?


# %%
def spoil_both(images, seed):
    """The same images twice: noisy, and blurred with the little noise that every camera adds."""
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
    return {"noise": noisy_at(images, settings.sigma, noise), "blur": noisy_at(gaussian_blur(images, settings.blur_sigma), 2.0, noise)}


patches = clean_patches(settings.two_trades_patches, draws)
spoilt, target = spoil_both(patches, SEED), middle_of(patches)
filters = {
    "for noise": best_kernel(spoilt["noise"], target),
    "for blur": best_kernel(spoilt["blur"], target),
    "for both": best_kernel(torch.cat(list(spoilt.values())), torch.cat([target, target])),
}
tests = {name: spoil_both(clean[name], 1000 + number) for number, name in enumerate(names)}
rows = []
for task in ("noise", "blur"):
    row = {"test picture": task, "untouched": mean_psnr({n: tests[n][task] for n in names})}
    for name, weights in filters.items():
        row[f"filter {name}"] = mean_psnr({n: restored_with(weights, tests[n][task]) for n in names})
    rows.append(row)
two_trades = pd.DataFrame(rows).round(2)
record("two_trades", two_trades, "PSNR (dB) on the test photographs: each filter on each task.", piece=provenance("00-a", "00-b"))

# %%
frequencies = torch.linspace(0, 0.5, 100)  # cycles per pixel, along the rows
offsets = torch.arange(side) - reach
with style():
    figure = new_figure(9, 3.4)
    left, right = figure.subplots(1, 2, width_ratios=[1.3, 1])
    for number, (name, weights) in enumerate(filters.items()):
        along = weights[0, 0].sum(0)  # the filter summed down its columns: what it does to vertical stripes
        gain = (along[None] * torch.cos(2 * math.pi * frequencies[:, None] * offsets)).sum(1)
        left.plot(frequencies, gain, label=name, **{**line_style(number), "marker": ""})
    left.axhline(1, color="0.7", linewidth=1)
    left.set_xlabel("frequency of stripes (cycles per pixel)")
    left.set_ylabel("stripes are multiplied by")
    left.legend()
    places = np.arange(2)
    for number, name in enumerate(["untouched", *(f"filter {name}" for name in filters)]):
        drawn = right.bar(
            places + 0.2 * number, two_trades[name], 0.19, label=name.replace("filter ", ""), color=["0.8", *PALETTE][number], edgecolor=INK
        )
        right.bar_label(drawn, fmt="%.1f", fontsize=7, padding=1)
    right.set_xticks(places + 0.3, ["noisy pictures", "blurred pictures"])
    right.set_ylabel("PSNR (dB)")
    right.set_ylim(bottom=max(0, two_trades.drop(columns="test picture").min().min() - 6))
    right.legend(fontsize=7, ncols=2, loc="upper left")
    right.margins(y=0.25)
record(
    "two_trades_filters",
    figure,
    "Left: what each filter does to fine stripes. Right: what that costs on the two tasks.",
    piece=provenance("00-a", "00-b"),
)

# %% [markdown] lang="en"
# The left panel is the whole story. Against noise a filter *lowers* the high frequencies; against blur it *raises* them. The filter for both can only go between. The noise is the larger error, so noise wins: the filter keeps its good score there and makes blurred pictures *worse than they came*. A good mean would hide that. This is **task conflict**, also called negative transfer, with nothing hidden in it.
#
# The way out is to see it, too: *if the filter knew which of the two it has before it, it could be two filters.* It would have to look at the picture, find out what is wrong with it, and change its own weights accordingly. All-in-one restoration is the art of doing that inside one network. Lesson 03 measures the
# same conflict in the gradients of a real network, and lets prompts switch it.

# %% [markdown] lang="en"
# ## 6 · A map of the field
#
# You now know enough to read the map. Why *one* model for all?
#
# - **Nobody tells you what is wrong.** A photo app, a car or a rover gets a picture, not a label. A shelf of specialists needs somebody who chooses.
# - **Things come mixed.** For the pair "dark and hazy" the shelf has no specialist, and running two one after the other makes the second one see what it never saw in training.
# - **One is cheaper than ten** to store, to load and to keep up to date.
# - **Tasks can teach each other.** All of them share one question: what do clean pictures look like?
#
# Against it stand four challenges. You have met the first with your own eyes, in section 5.

# %%
challenges = pd.read_csv(data_root() / "field" / "challenges.csv")
record("challenges", challenges, "Four challenges of all-in-one restoration, and where the course meets them.")

# %% [markdown] lang="en"
# ### 228 papers
#
# The survey of the field (Jiang et al., TPAMI 2025, [arXiv 2410.15067](https://arxiv.org/abs/2410.15067)) keeps a [list of papers](https://github.com/Harbinzzy/All-in-One-Image-Restoration-Survey). The course carries it as data, as it stood in June 2026: title, year, venue, links. `find_papers` searches it.

# %% tags=["nbval-check-output"]
papers = pd.read_csv(data_root() / "field" / "papers.csv").fillna("")


def find_papers(words="", year=None, venue=None):
    """Papers whose title holds all `words`, of one year, at a venue ("CVPR"); small and capital letters count the same."""
    found = papers
    for word in words.lower().split():
        found = found[found["title"].str.lower().str.contains(word, regex=False)]
    if year is not None:
        found = found[found["year"] == year]
    if venue is not None:
        found = found[found["venue"].str.lower().str.contains(venue.lower(), regex=False)]
    return found.reset_index(drop=True)


print(f"{len(papers)} papers, {len(find_papers('prompt'))} with 'prompt' in the title, {len(find_papers(year=2023))} of 2023")

# %%
find_papers("prompt", venue="CVPR")[["year", "title", "venue", "code"]]

# %% [markdown] lang="en"
# Try your own, for example
#
# - `find_papers("diffusion", year=2024)`
# - `find_papers("weather")`
# - `find_papers("", venue="NeurIPS")`
#
# and choose the one that you would like to read first.
#
# **Predict before you run:** in which year did the field take off? Which words rise in the titles, which fall?

# %%
by_year = papers.groupby("year").agg(papers=("title", "size"), code=("code", lambda links: (links != "").sum()))
topics = {
    "weather": "weather",
    "prompt": "prompt",
    "diffusion": "diffusion",
    "language, text": "language|text|instruct|vision-language|clip",
    "experts": "expert|moe",
    "frequency": "frequen|spectr|wavelet",
    "mamba": "mamba|state space",
    "agents": "agent",
}
years = [year for year in by_year.index if by_year["papers"][year] >= 20]
share = {
    name: [papers[papers["year"] == year]["title"].str.lower().str.contains(pattern).mean() for year in years]
    for name, pattern in topics.items()
}
with style():
    figure = new_figure(9, 3.6)
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.25])
    labels = [f"{year}\nto June" if year == 2026 else str(year) for year in by_year.index]
    drawn = left.bar(labels, by_year["papers"], color="0.88", edgecolor=INK, label="all")
    left.bar(labels, by_year["code"], color=PALETTE[5], edgecolor=INK, hatch="//", label="with a link to code")
    left.bar_label(drawn, fontsize=8, padding=2)
    left.set_ylabel("papers in the list")
    left.legend(loc="upper left")
    table = np.array(list(share.values())) * 100
    right.imshow(table, cmap="Blues", aspect="auto", vmin=0, vmax=40)
    right.set_xticks(range(len(years)), [str(year) for year in years])
    right.set_yticks(range(len(topics)), list(topics))
    for (row, column), value in np.ndenumerate(table):
        right.text(column, row, f"{value:.0f} %", ha="center", va="center", fontsize=8, color="white" if value > 24 else INK)
    right.set_title("titles that hold the word")
record("growth", figure, f"The {len(papers)} papers of the survey's list by year, and what their titles speak of.")

# %% [markdown] lang="en"
# Two readings, and a warning. The field is young: nine papers up to 2022, then 28, 52 and 83 a year. And the words follow the tools of their year: prompts and text fall from their height of 2023, experts, frequencies and agents come up from nothing. The warning: this is *one* list, kept by hand; 2026 is half a year; a title without "diffusion" may still be about diffusion, and about half of the entries are preprints. It is a map, not the land.
#
# ### The families of methods
#
# Task 3.1 of the course page asks you to classify the methods and to weigh each class. Here is a beginning. It is meant to be argued with: sort it, add rows, put your own words in.
#
# **Before you look at the columns:** which families can restore a picture *without being told* what is wrong with it? Which would you trust with a degradation that nobody trained on?

# %%
families = pd.read_csv(data_root() / "field" / "families.csv", dtype=str).fillna("")
my_rows = [
    # copy this line for each family or paper that you add, and fill it in
    {"family": "", "idea": "", "examples": "", "told the degradation": "", "strengths": "", "weaknesses": "", "lesson": ""},
]
mine = pd.DataFrame([row for row in my_rows if any(row.values())], columns=families.columns)
families = pd.concat([families, mine], ignore_index=True)
sort_by = "told the degradation"  # or "family", "lesson", ...
families = families.sort_values(sort_by, kind="stable", ignore_index=True)
record("families", families[["family", "idea", "examples"]], f"Families of methods, {len(mine)} rows by the student.")

# %%
record(
    "families_weighed", families[["family", "told the degradation", "strengths", "weaknesses"]], "What each family buys and what it costs."
)

# %% [markdown] lang="en"
# Notice that the second column of this table splits it in two. *Blind* methods must find out by themselves; the others are told, by a user, a text or an equation. When you compare two papers, look for that first: being told is an advantage, and the tables do not always say so. Two more questions to ask of each paper:
# **closed or open set** (is it tested only on kinds it was trained on?) and **zero-shot or trained**.
#
# ### The experimental settings
#
# What is "the five-task setting"? A convention: which data, which sizes, which noise levels. Numbers from two different settings must never meet in one table.

# %%
experiments = pd.read_csv(data_root() / "field" / "settings.csv", dtype=str).fillna("")
record("settings", experiments, "The usual experimental settings.")

# %% [markdown] lang="en"
# Mind the sizes: 72,135 hazy pairs stand against 200 rainy ones. A network that sees them as they come learns mostly dehazing, so papers repeat the small sets many times over (PromptIR shows each rainy pair 120 times). How often is part of the method, and seldom in its abstract.
#
# Mind also the traps. Rain100L's clean pictures and CBSD68's pictures come from the same source, BSDS500: whoever trains on all of BSDS500 has seen both test sets.
#
# ### What the papers report
#
# The numbers below were **published by others**; none of them was measured here. `data/published/` holds each with its source.
#
# **Predict before you run:** in the five-task setting, is a network made for all-in-one restoration always ahead of a plain one (Restormer, NAFNet) that was simply trained on everything?

# %%
published = {name: pd.read_csv(data_root() / "published" / f"{name}.csv") for name in ("three_tasks", "five_tasks", "cdd11")}
means = {
    "three tasks": published["three_tasks"].query("data == 'average'"),
    "five tasks": published["five_tasks"].query("data == 'average'"),
    "CDD-11, mean of eleven": published["cdd11"].query("task == 'mean'"),
}
plain_networks = set(
    "SwinIR Restormer NAFNet DGUNet MPRNet MIRNet MIRNetv2 Fourmer OKNet SRUDC FDGAN".split()
)  # made for one task at a time
with style():
    figure = new_figure(9, 4.6)
    for panel, (name, rows) in zip(figure.subplots(1, 3), means.items(), strict=True):
        rows = rows.drop_duplicates("method").sort_values("psnr")
        colours = [
            "white" if method.lower().endswith("input") else "0.8" if method.split(" (")[0] in plain_networks else PALETTE[5]
            for method in rows["method"]
        ]
        drawn = panel.barh(rows["method"], rows["psnr"], color=colours, edgecolor=INK, height=0.7)
        panel.bar_label(drawn, fmt="%.2f", fontsize=7, padding=2)
        panel.set_xlim(rows["psnr"].min() - 1.5, rows["psnr"].max() + 1.6)
        panel.set_title(name)
        panel.set_xlabel("published PSNR (dB)")
        panel.tick_params(axis="y", labelsize=7)
    figure.suptitle("published by others, not measured here; blue: made for all-in-one, grey: plain networks; the axes do not start at 0")
record(
    "published_means",
    figure,
    "Published averages in three settings, from data/published. Averages of different settings cannot be compared.",
)

# %% [markdown] lang="en"
# The plain networks are in the middle of the field and not at its end: a strong backbone trained on everything beats several methods that were made for the purpose, and it is the first rival that any new idea has to face. Also note how narrow the race is: half a decibel is a paper. With the seed, the schedule and the crop of the pictures you can
# lose as much, which is why protocols matter.
#
# Last, the mixtures. **Predict:** a method trained on all eleven tasks of CDD-11 has seen the mixtures. Will they still be harder than their parts?

# %%
order = [task for task in CDD11_TASKS]
rows = published["cdd11"]
chosen = [
    name
    for name in rows["method"].unique()
    if name.lower().endswith("input") or name in ("AirNet", "PromptIR", "Restormer", "OneRestore (text)")
]
with style():
    figure = new_figure(9, 3.6)
    axes = figure.subplots()
    for number, method in enumerate(chosen):
        values = rows[rows["method"] == method].drop_duplicates("task").set_index("task")["psnr"].reindex(order)
        axes.plot(range(len(order)), values, label=method, **{**line_style(number), "linewidth": 1.2})
    for border in (3.5, 8.5):
        axes.axvline(border, color="0.8", linewidth=1)
    for place, words in ((1.5, "one degradation"), (6, "two"), (9.5, "three")):
        axes.text(place, axes.get_ylim()[1], words, ha="center", va="bottom", fontsize=8, color="0.3")
    axes.set_xticks(range(len(order)), [task.replace("_", "\n") for task in order])
    axes.set_ylabel("published PSNR (dB)")
    axes.legend(ncols=1, loc="center left", bbox_to_anchor=(1.0, 0.5))
record("published_cdd11", figure, "CDD-11 by task, published by Guo et al. (2024), not measured here.")

# %% [markdown] lang="en"
# Compare the lowest line (the input) with the others. On low light every method gains about thirteen or fourteen decibels, more than on rain, and still ends lower. Most of that gain is brightness, which is cheap to win back; what stays is the noise in the dark, and it cannot be undone. So every mixture with *low* in it ends
# at about 22 to 26 dB, whatever else comes along. What decides is not how far off the input is, but how much the degradation destroyed. And the methods lie closest together where it is dark: there is the room for a better idea, or there is no room at all. Nobody knows yet.
#
# You can now say in one sentence what every method of this course is about. It has one network; it must find out what is wrong with a picture, and it must let that knowledge change what the network does.

# %% [markdown] lang="en"
# ## 7 · Learning notes
#
# Task 3.1 of the course: classify the methods, sum up the settings, write learning notes. Fill in the cells below as you read; double-click a cell to edit it. The PDF of this notebook carries them, together with your figures and the result of every check.
#
# ### Reading list of the course page
#
# *Closely* means: you could explain its main figure on a blackboard. *Skim* means: you know when to come back to it.
#
# | what | read | lesson |
# |---|---|---|
# | [A Survey on All-in-One Image Restoration](https://arxiv.org/pdf/2410.15067) (TPAMI 2025) and its [list of papers](https://github.com/Harbinzzy/All-in-One-Image-Restoration-Survey) | closely: taxonomy, settings | 00 |
# | [Transformers explained](https://zhuanlan.zhihu.com/p/675569052) (Chinese) | skim | 01 |
# | [Restormer](https://arxiv.org/pdf/2111.09881) (CVPR 2022) | closely | 02 |
# | [PromptIR](https://arxiv.org/pdf/2306.13090) (NeurIPS 2023) | closely | 03 |
# | [Generative diffusion models (1): DDPM](https://spaces.ac.cn/archives/9119) (Chinese) | closely | 04 |
# | [DDPM](https://zhuanlan.zhihu.com/p/563661713), [DDIM](https://zhuanlan.zhihu.com/p/565698027), [DDNM: range and null space](https://zhuanlan.zhihu.com/p/588663035) (Chinese) | skim | 04 |
# | [Diffusion and Stable Diffusion, the mathematics](https://zhuanlan.zhihu.com/p/597924053) (Chinese) | closely | 04 |
# | [RDDM](https://openaccess.thecvf.com/content/CVPR2024/papers/Liu_Residual_Denoising_Diffusion_Models_CVPR_2024_paper.pdf) (CVPR 2024) | closely | 05 |
# | [DiffUIR](https://arxiv.org/pdf/2403.11157) (CVPR 2024), [AutoDIR](https://arxiv.org/pdf/2310.10123) (ECCV 2024) | closely | 05 |
#
# To fill gaps: [Dive into Deep Learning](https://zh.d2l.ai/) (Chinese, with [videos](https://space.bilibili.com/1567748478/lists/358497?type=series)), [Deep Learning](https://www.deeplearningbook.org/), the [PyTorch tutorials](https://docs.pytorch.org/tutorials/) ([in Chinese](https://pytorch-cn.readthedocs.io/zh/latest/)),
# [Pattern Recognition and Machine Learning](https://www.microsoft.com/en-us/research/wp-content/uploads/2006/01/Bishop-Pattern-Recognition-and-Machine-Learning-2006.pdf). To compute for free: [Colab](https://colab.research.google.com/), [Kaggle](https://www.kaggle.com/).

# %% [markdown] lang="en"
# ### Notes 1 · The families
#
# Guidance: one paragraph a family. What does the network learn about the degradation, and where does that knowledge act? Name one strength and one weakness *with its reason* (generality, efficiency, data, control, behaviour on mixtures). Where do you disagree with the table of section 6?
#
# *Your notes:*
#
# - family, and a paper of it:
# - what tells the network which degradation it has:
# - where that acts in the network:
# - strength, and why:
# - weakness, and why:

# %% [markdown] lang="en"
# ### Notes 2 · The settings of the papers that you read
#
# Guidance: a row a paper. Write "not stated" where a paper does not say; that, too, is a finding. The last column is the interesting one: is the method tested on mixtures, real pictures, or degradations outside its training?
#
# | paper | tasks | training data and sizes | test data | metrics (RGB or Y?) | told the degradation? | tested on hard cases? |
# |---|---|---|---|---|---|---|
# | PromptIR | | | | | | |
# | RDDM | | | | | | |
# | DiffUIR | | | | | | |
# | AutoDIR | | | | | | |
# | *your choice* | | | | | | |

# %% [markdown] lang="en"
# ### Notes 3 · One paper in detail
#
# Guidance: choose one with `find_papers`, and read it closely.
#
# - Title, year, venue:
# - The problem in one sentence, without words from its abstract:
# - The idea in one sentence:
# - What goes in, what comes out, and the shapes on the way:
# - What was compared with what, and was the comparison fair (same data, same training, told or blind)?
# - One thing that the paper does not show and should:
# - What I would try:

# %% [markdown] lang="en"
# ## Report
#
# Answer in a few sentences each, in this cell.
#
# 1. **Degradations.** Choose one row of the playground. Which part of its equation makes it hard to undo?
#
#    *Your answer:*
#
# 2. **Numbers and eyes.** Where did your ranking part from SSIM's, and who is right? For which use of a picture would you trust the other one?
#
#    *Your answer:*
#
# 3. **Results.** Your filter gained several decibels. On which test photograph least, and why there? What would the filter have to know to do better?
#
#    *Your answer:*
#
# 4. **Think.** Deblurring asks for more high frequencies, denoising for fewer. Suppose one network has to do both. What could it look at to find out which is needed, and where would you let that act? (The course returns to this in lesson 03; keep today's answer and compare.)
#
#    *Your answer:*
