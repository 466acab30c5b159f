# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown] lang="en"
# # 03 · PromptIR: one model, many degradations
#
# {{colab_badge}} {{kaggle_badge}}
#
# Lesson 02 ended with a good denoiser that leaves blur as it is. One model a degradation means that somebody must choose the model. An **all-in-one** model
# has no chooser: the picture comes in, and the network itself must find out what is wrong with it. PromptIR (Potlapalli et al., NeurIPS 2023) does this with
# *prompts*: a few learnt maps that the network mixes to suit the picture.
#
# In this lesson you
#
# 1. measure what one Restormer for five degradations does well and badly,
# 2. write the **prompt generation** and the **prompt interaction** block, plug them into a real PromptIR, train them and restore pictures,
# 3. look at what the prompts have learnt, and **swap** them to see what they do,
# 4. write the contrastive half of **AirNet**, the other way to know a degradation,
# 5. go into the **task-interference lab**: do two tasks really pull one model in different directions, and what helps? You write gradient surgery and try a remedy of your own.
#
# Eight exercises, 18 points, and one open one. The whole lesson runs from top to bottom even when nothing is filled in: where your piece is missing, the
# reference piece steps in and the output says so.
#
# Results come in two kinds. **Recorded run** means: trained before, for longer than a lesson can; its recipe, seed and steps are named. **Live** means: made
# on your machine while you read. Live runs are short. They show that a thing works, not how good it can become.

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

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from IPython.display import display
from torch import nn

from course_lib import figures
from course_lib.datasets.mixture import MixtureDataset
from course_lib.datasets.photos import load_photos
from course_lib.degradations.composite import DEGRADATIONS
from course_lib.doctor import usable_device
from course_lib.evaluation import restore
from course_lib.evaluation.five_tasks import KINDS, TASKS, classical_method, load_protocol, task_pairs
from course_lib.evaluation.protocol import centre_crop
from course_lib.evaluation.published import query
from course_lib.figures.interference import gradient_map, kept_spectra, seed_dots, wanted_spectra
from course_lib.figures.prompts import embedding_map, mixture_figure, neighbour_agreement, number_map, tsne
from course_lib.figures.style import line_style, new_figure, style
from course_lib.lab.command import compare, load_queue, queue_file, read_table, summary
from course_lib.lab.gradients import WHOLE, fixed_batches, stages
from course_lib.lab.harness import Experiment, read_rows
from course_lib.lab.harness import build as build_lab
from course_lib.lab.harness import run as run_lab
from course_lib.lab.remedies import Joint, split_tasks, with_gradients
from course_lib.metrics import psnr
from course_lib.models import create_model
from course_lib.models.layers import TransformerBlock
from course_lib.models.promptir import watch_prompts
from course_lib.paths import data_root
from course_lib.profiles import get_profile
from course_lib.training import Recipe, fit, load_recipe, load_weights
from course_lib.training.tasks import mixture
from course_lib.workbook.checks import check, provenance, source_key, use
from course_lib.workbook.records import begin, record

if DATA_DIR:
    os.environ["COURSE_DATA_DIR"] = DATA_DIR
settings = get_profile(PROFILE, "03_promptir")
device = usable_device(DEVICE)
out = begin("03_promptir", OUT_DIR, profile=PROFILE, seed=SEED, device=device)
torch.manual_seed(SEED)
print(f"profile {PROFILE}: {settings.steps} training steps on {device}; results go to {out.name}")


def shipped(name):
    """A model that the course ships, in eval mode."""
    return load_weights(data_root() / "checkpoints" / f"{name}.safetensors").to(device)


def origin(name):
    """Where shipped weights come from, for a caption."""
    plan = part = load_recipe(name)
    steps = [str(plan.steps)]
    while part.start:  # a recipe may begin with another's weights
        part = load_recipe(part.start)
        steps.insert(0, str(part.steps))
    return f"{name}, recorded run: recipe {plan.hash()} (data/recipes/{name}.toml), seed {plan.seed}, {' + '.join(steps)} steps"


# %% [markdown] lang="en"
# ## 1 · From Restormer to prompts
#
# Five degradations, one clean photograph. Each has its own physics and its own statistics:
#
# | task | what happens | what a restorer must do |
# |---|---|---|
# | noise | a random number is added to every pixel | remove high frequencies, keep edges |
# | blur | each pixel becomes a mean along a path | bring high frequencies back |
# | rain | bright streaks lie over the picture | find thin structures, fill in behind them |
# | haze | distant things fade to a bright veil | raise contrast, more so far away |
# | low light | little light, and noise in the dark | multiply, then denoise |
#
# The pictures below come from the course's own test (`data/protocol/five_tasks.json`): every strength and every seed is fixed, so every model of this course
# meets the same pixels.
#
# **Predict before you run:** which of the five has the lowest PSNR? Is it also the hardest to repair?

# %%
def cut(image, side):
    """The middle of (1, 3, h, w), at most `side` pixels a side (0: all of it)."""
    return centre_crop(image, side=side) if side else image


pairs = {}  # task -> [(photograph, degraded, clean), ...]
for task in TASKS:
    chosen = list(task_pairs(task))[: settings.test_images]
    pairs[task] = [(name, cut(degraded, settings.test_crop), cut(clean, settings.test_crop)) for name, degraded, clean in chosen]


def mean_psnr(images):
    """Task -> mean PSNR (dB) of `images`, task -> list of (1, 3, h, w), against the clean pictures of `pairs`."""
    return {task: float(np.mean([psnr(a.clamp(0, 1), c).item() for a, (_, _, c) in zip(images[task], pairs[task], strict=True)])) for task in images}


def restored_by(network):
    """Task -> restored pictures, clipped to [0, 1], on the CPU."""
    return {task: [restore(network, d.to(device)).clamp(0, 1).cpu() for _, d, _ in pairs[task]] for task in TASKS}


degraded = {task: [d for _, d, _ in pairs[task]] for task in TASKS}
input_psnr = mean_psnr(degraded)
print({task: round(value, 2) for task, value in input_psnr.items()})

# %% [markdown] lang="en"
# The course ships `restormer_small`: the Restormer of lesson 02, trained on all five at once. It is **blind**. Nobody tells it which of the five it sees, and
# nothing in it is made to find out.
#
# **Predict:** on which task will it gain most? On which least?

# %%
blind = shipped("restormer_small")
by_blind = restored_by(blind)
one = 0  # which photograph is shown


def with_scores(images):
    """Heading -> picture `one` of each task, the PSNR in the heading."""
    clean = {task: pairs[task][one][2] for task in TASKS}
    return {f"{task.replace('_', ' ')}\n{psnr(images[task][one].clamp(0, 1), clean[task]).item():.2f} dB": images[task][one].clamp(0, 1) for task in TASKS}


record(
    "five_tasks",
    figures.grid([with_scores(degraded), with_scores(by_blind)], zoom=None, clean_key=None, titles=["degraded", "restormer_small"]),
    f"One photograph, five degradations, and what one blind Restormer makes of them ({origin('restormer_small')}).",
)

# %% [markdown] lang="en"
# A number means little without neighbours. So each task also gets a classical method that nobody trained (for noise and blur it is even *told* the strength),
# and noise gets the specialist of lesson 02.

# %%
protocol = load_protocol()
classical = {}
for task in TASKS:
    name, method = classical_method(task)
    own = protocol["tasks"][task]["photographs"]
    classical[task] = [method(d, own[photo]["parameters"]).clamp(0, 1) for photo, d, _ in pairs[task]]
specialist = shipped("restormer_small_denoise")
by_specialist = {"noise": [restore(specialist, d.to(device)).clamp(0, 1).cpu() for d in degraded["noise"]]}

rows = {"input": input_psnr, "classical": mean_psnr(classical), "restormer_small": mean_psnr(by_blind), "denoiser of lesson 02": mean_psnr(by_specialist)}
table = pd.DataFrame(rows).T.reindex(columns=list(TASKS))
table["average"] = table.mean(axis=1, skipna=False)
blind_table = table.round(2).reset_index(names="PSNR (dB)").astype(object).where(lambda t: t.notna(), "")
record("blind", blind_table, f"PSNR on the middle of {settings.test_images} test photographs, measured in this run. Classical methods: " + "; ".join(f"{t}: {classical_method(t)[0]}" for t in TASKS) + ".")

# %%
gap = rows["denoiser of lesson 02"]["noise"] - rows["restormer_small"]["noise"]
worst = min(TASKS, key=lambda t: rows["restormer_small"][t] - rows["input"][t])
print(f"noise: the specialist is {gap:+.2f} dB from the all-in-one model")
print(f"smallest gain of the all-in-one model: {worst}, {rows['restormer_small'][worst] - rows['input'][worst]:+.2f} dB")

# %% [markdown] lang="en"
# Read the table with care. Haze and low light start low and gain a lot, because most of their error is a wrong brightness: easy to see, easy to correct. Blur
# starts high and gains least; it may even lose. In the noise column the specialist wins. Part of this is budget: the denoiser had more steps, and all of them on noise. So the
# column does not *prove* that the tasks disturb each other. The lab in section 8 asks that question at equal budget. And in some columns a classical method, made for this one degradation, beats the network: a small blind
# model is no wonder.
#
# But one weakness can be read off the architecture. Restormer's convolutions have the same weights for every picture. Whatever the network does differently
# for haze and for noise must come from the attention maps and the gates alone. PromptIR gives it one more means: something that *changes with the
# degradation* and is mixed into the features on their way back to a picture.

# %% [markdown] lang="en"
# ## 2 · Prompt generation
#
# A prompt block holds $N$ learnt maps, the **prompt components** $P_1 \dots P_N$, each with $P$ channels and $S \times S$ places. They are parameters, like
# the weights of a convolution: the same for every picture. What changes with the picture is the mixture:
#
# $$
# w = \mathrm{softmax}(W \,\mathrm{GAP}(F) + b), \qquad
# P = \mathrm{Conv}_{3\times3}\!\Big(\mathrm{resize}\Big(\sum_{c=1}^{N} w_c\, P_c\Big)\Big)
# $$
#
# $F$ are the features at this place of the decoder. GAP, *global average pooling*, is the mean over all pixels: one number a channel. From these few numbers a
# linear layer guesses how much of each component this picture needs.
#
# | paper | code | shape |
# |---|---|---|
# | $F_l$ | `x` | `(B, C, H, W)` |
# | $w$ | `weights` | `(B, N)`, a row adds up to 1 |
# | $P_c$ | `prompt_param` | `(1, N, P, S, S)` |
# | $P$ | the prompt | `(B, P, H, W)` |
#
# **Predict:** pooling throws away *where* things are. Why is that no loss for noise or haze? For which degradation would it be one?

# %% [markdown] lang="en"
# **Exercise 03-a (2 points, about 5 minutes).** Which prompt does an image need? Let the image say it. From the features $F$ with $C$ channels:
#
# $$
# w = \mathrm{softmax}\Big( W\, \frac{1}{HW} \sum_{y,x} F_{:,y,x} + b \Big)
# $$
#
# | | shape | |
# |---|---|---|
# | `features` | `(B, C, H, W)` | any height and width |
# | `weight`, `bias` | `(N, C)`, `(N,)` | a linear layer, one row a component |
# | result | `(B, N)` | the weights of the N components; each row adds up to 1 |
#
# So: the mean over the pixels, the linear layer, the softmax over the components of one image. (The paper draws a 1x1 convolution in place of the linear
# layer. After the mean there is one pixel, and the two are the same.)
#
# <details><summary>Hint</summary>
#
# `F.linear(pooled, weight, bias)` is `pooled @ weight.T + bias`. The mean leaves `(B, C)`, and the softmax runs along the axis of length N.
#
# </details>

# %%
# exercise 03-a · 2 points · The weights of the prompt
def prompt_weights(features, weight, bias):
    """features (B, C, H, W), weight (N, C), bias (N,) -> weights of the components (B, N)."""
    ### BEGIN SOLUTION
    pooled = features.mean(dim=(2, 3))  # (B, C)
    scores = F.linear(pooled, weight, bias)  # (B, N)
    return scores.softmax(dim=1)
    ### END SOLUTION

# %%
check("03-a", prompt_weights)


# %% [markdown] lang="en"
# A softmax does two things here. It makes the weights positive with sum one, so the prompt stays as large as its components are. And it makes the components
# *compete*: more of one is less of the others.

# %% [markdown] lang="en"
# **Exercise 03-b (2 points, about 5 minutes).** Mix the components by these weights, and bring the mixture to the size of the features:
#
# $$
# P = \mathrm{resize}_{h \times w}\Big( \sum_{n=1}^{N} w_n P_n \Big)
# $$
#
# | | shape | |
# |---|---|---|
# | `weights` | `(B, N)` | use them as they come |
# | `components` | `(N, P, S, S)` | learned maps of P channels, square |
# | `size` | `(h, w)` | often not square |
# | result | `(B, P, h, w)` | one mixture an image |
#
# The resizing is bilinear with `align_corners=False`, without antialiasing. You may resize before or after the sum: both are linear, so the result is the same.
# Which is cheaper?
#
# <details><summary>Hint</summary>
#
# `torch.einsum("bn,npij->bpij", weights, components)` is the sum. `F.interpolate(x, size, mode="bilinear", align_corners=False)` resizes the last two axes.
#
# </details>

# %%
# exercise 03-b · 2 points · Mixing the components
def mix_prompt(weights, components, size):
    """weights (B, N), components (N, P, S, S), size (h, w) -> prompt (B, P, h, w)."""
    ### BEGIN SOLUTION
    mixed = torch.einsum("bn,npij->bpij", weights, components)  # (B, P, S, S)
    return F.interpolate(mixed, tuple(size), mode="bilinear", align_corners=False)
    ### END SOLUTION

# %%
check("03-b", mix_prompt)


# %% [markdown] lang="en"
# Now look at real ones. `promptir_small` has the same trunk as `restormer_small` and saw the same pictures for as many steps; only the prompts are new. Your two functions (or the
# reference) read its features and mix its components, for a noisy and for a hazy picture.
#
# **Predict:** will the five components look like pictures, like textures, or like nothing you know? Will the two pictures get different weights?

# %%
weights_of, mix = use("03-a", prompt_weights), use("03-b", mix_prompt)
prompted = shipped("promptir_small")
block = prompted.prompt1  # the prompt of the largest maps
components = block.prompt_param.detach()[0]  # (N, P, S, S)

seen = {}
hook = block.register_forward_pre_hook(lambda module, inputs: seen.setdefault("features", []).append(inputs[0].detach()))
shown = {"noise": pairs["noise"][one][1], "haze": pairs["haze"][one][1]}
with torch.no_grad():
    for image in shown.values():
        restore(prompted, image.to(device))
hook.remove()

guessed, mixed = {}, {}
for name, features in zip(shown, seen["features"], strict=True):
    w = weights_of(features.contiguous(), block.linear_layer.weight.detach(), block.linear_layer.bias.detach())
    guessed[name], mixed[name] = w[0].cpu(), mix(w, components, tuple(features.shape[-2:]))[0].cpu()
record(
    "mixture",
    mixture_figure(components.cpu(), guessed, mixed),
    f"Channel 0 of the five components of prompt1, the weights of two pictures, and the mixture that these weights make ({origin('promptir_small')}).",
    piece=provenance("03-a", "03-b"),
)

# %%
start = torch.rand(components.shape, generator=torch.Generator().manual_seed(SEED))  # how such components begin
for name, values in (("before training (uniform random)", start), ("after training", components.cpu())):
    top, bottom = values.chunk(2, dim=-2)
    print(f"components {name}: mean {values.mean():.3f}, standard deviation {values.std():.3f}; upper half {top.mean():.3f}, lower half {bottom.mean():.3f}")

# %% [markdown] lang="en"
# They look like noise, and they *are* nearly the noise that they began as: compare the two lines above. Training has moved them only a little. What it has drawn in, if anything, is a slow change from the upper to the lower half, which says something about *place* and nothing about a degradation. And look at the bars: the weights are close to one fifth each. A mean of five noise maps with equal weights is a
# flatter noise map, nearly the same for both pictures. So keep a question in mind for section 5: does the network *use* what its prompts say?
#
# Now the whole block, as it goes into the network. You write both the parameters and the pass through them.

# %% [markdown] lang="en"
# **Exercise 03-c (3 points, about 15 minutes).** Now the whole block, the one that goes into the network. This time you write `__init__`, too. It makes four parts, under
# exactly these names, because the shipped weights are found by them:
#
# | part | what it is | shape of its parameters |
# |---|---|---|
# | `self.prompt_param` | the components, an `nn.Parameter` that starts at `torch.rand` | `(1, N, P, S, S)` |
# | `self.linear_layer` | `nn.Linear` | weight `(N, features)`, bias `(N,)` |
# | `self.softmax` | `nn.Softmax`, a submodule, so that others can watch the weights pass | - |
# | `self.conv3x3` | a 3x3 convolution with padding 1 and **without** bias | `(P, P, 3, 3)` |
#
# with `width` = P, `components` = N and `side` = S. And `forward`:
#
# $$
# \mathrm{prompt} = \mathrm{conv}_{3\times3}\Big( \mathrm{resize}_{H \times W}\Big( \sum_n w_n P_n \Big) \Big), \qquad w = \mathrm{softmax}(\mathrm{linear}(\mathrm{mean}(x)))
# $$
#
# The weights `(B, N)` must go through `self.softmax`, once a pass: later you will put other weights in their place there.
#
# <details><summary>Hint 1</summary>
#
# A tensor that an optimiser shall find is wrapped: `nn.Parameter(torch.rand(1, components, width, side, side))`. `self.prompt_param[0]` has no leading 1.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `forward` is 03-a with the layers of the module, then 03-b with `size = x.shape[-2:]`, then the convolution. Use `.reshape` rather than `.view`: the network keeps
# its maps in another memory layout (channels last), for which `.view` may stop.
#
# </details>

# %%
# exercise 03-c · 3 points · The prompt generation block
class PromptGenBlock(nn.Module):
    """Prompt generation, features (B, features, H, W) -> prompt (B, width, H, W)."""

    def __init__(self, features, width, components, side):
        super().__init__()
        ### BEGIN SOLUTION
        self.prompt_param = nn.Parameter(torch.rand(1, components, width, side, side))
        self.linear_layer = nn.Linear(features, components)
        self.softmax = nn.Softmax(dim=1)
        self.conv3x3 = nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False)
        ### END SOLUTION

    def forward(self, x):
        ### BEGIN SOLUTION
        weights = self.softmax(self.linear_layer(x.mean(dim=(2, 3))))  # (B, N)
        mixed = torch.einsum("bn,npij->bpij", weights, self.prompt_param[0])  # (B, P, S, S)
        resized = F.interpolate(mixed, x.shape[-2:], mode="bilinear", align_corners=False)  # (B, P, H, W)
        return self.conv3x3(resized)
        ### END SOLUTION

# %%
check("03-c", PromptGenBlock)


# %% [markdown] lang="en"
# ## 3 · Prompt interaction
#
# A prompt that nobody reads is worth nothing. PromptIR puts it *beside* the features, as further channels, and lets a Transformer block mix the two:
#
# $$
# \hat F = \mathrm{Conv}_{1\times1}\big(\mathrm{GDFN}(\mathrm{MDTA}([F;\, P]))\big)
# $$
#
# Remember from lesson 02 that MDTA's attention is *between channels*. So a feature channel can attend to a prompt channel, and the other way round. The 1 x 1 convolution
# brings the number of channels down again.
#
# **Predict:** suppose that the prompt were the same for every picture. What could this block still do with it?

# %% [markdown] lang="en"
# **Exercise 03-d (3 points, about 10 minutes).** A prompt does nothing by itself. It must meet the features, and the meeting place is a Transformer block on both:
#
# $$
# \mathrm{PIM}(x, p) = W_{1\times1}\, \mathrm{TransformerBlock}\big([\,x\,;\,p\,]\big)
# $$
#
# | | shape |
# |---|---|
# | `x`, `prompt` | `(B, features, H, W)`, `(B, width, H, W)` |
# | `[x; prompt]` along the channels, x first | `(B, features + width, H, W)` |
# | after `self.block` | the same |
# | after `self.reduce`, a 1x1 convolution **without** bias | `(B, out_channels, H, W)` |
#
# The block is Restormer's, with the MDTA and the GDFN of lesson 02: `TransformerBlock(dim, heads)`; leave its other arguments alone. It holds its own residuals, so
# add none. The names `block` and `reduce` are those of the shipped weights. Why a Transformer block? Because its channels attend to each other: features can look
# up prompts.
#
# <details><summary>Hint</summary>
#
# `torch.cat([a, b], dim=1)` joins along the channels. `dim` of the block is the number of channels after that.
#
# </details>

# %%
# exercise 03-d · 3 points · Prompt interaction
class PromptInteraction(nn.Module):
    """Prompt interaction, x (B, features, H, W) and prompt (B, width, H, W) -> (B, out_channels, H, W)."""

    def __init__(self, features, width, out_channels, heads):
        super().__init__()
        ### BEGIN SOLUTION
        self.block = TransformerBlock(features + width, heads)
        self.reduce = nn.Conv2d(features + width, out_channels, kernel_size=1, bias=False)
        ### END SOLUTION

    def forward(self, x, prompt):
        ### BEGIN SOLUTION
        both = torch.cat([x, prompt], dim=1)  # (B, features + width, H, W)
        return self.reduce(self.block(both))
        ### END SOLUTION

# %%
check("03-d", PromptInteraction)


# %% [markdown] lang="en"
# ## 4 · Plug in, train, restore
#
# PromptIR has three such pairs: at the latent (level 4), after decoder level 3 and after decoder level 2. There is none at full resolution, and none in the encoder:
# the encoder looks first, then the decoder is told.
#
# The library takes the pieces as arguments, so the model below is built from **yours** wherever your check passed.

# %%
my_prompt, my_interaction = use("03-c", PromptGenBlock), use("03-d", PromptInteraction)


def build(config):
    """A fresh PromptIR made of your pieces."""
    torch.manual_seed(SEED)
    return create_model("promptir", **config, prompt=my_prompt, interaction=my_interaction)


model = build(settings.config).to(device)
patch = pairs["noise"][0][2][..., :64, :64].to(device)
record(
    "dataflow",
    figures.dataflow_diagram(model, patch),
    "Data flow of the PromptIR of this lesson, drawn from the shapes of a real forward pass. The prompts enter on the way up.",
    piece=provenance("03-c", "03-d"),
)

# %%
layers = figures.layer_table(model, patch, depth=1)
whole, of_prompts = layers["parameters"].iloc[0], layers[layers["module"].str.contains("prompt|interact")]["parameters"].sum()
print(f"{whole:,} parameters; prompts and interactions have {of_prompts:,} of them, {of_prompts / whole:.0%}")
record("layers", layers, "The stages of the model: shapes of a real forward pass, parameters, multiply-adds.", piece=provenance("03-c", "03-d"))

# %% [markdown] lang="en"
# If your blocks follow the paper and use its names, the shipped weights must fit them. That is a hard test: load them and compare with the library's model.

# %%
twin = build(prompted.config)
load_weights(data_root() / "checkpoints" / "promptir_small.safetensors", twin).to(device)
with torch.no_grad():
    distance = (twin(patch) - prompted(patch)).abs().max().item()
print(f"the shipped weights in a model of {provenance('03-c', '03-d')}: largest difference to the library's {distance:.1e}")

# %% [markdown] lang="en"
# Now train your model on all five tasks at once, from random weights. One picture of each task a step; the loop is the one behind `course train`. The model of the quick profile is smaller than the shipped one, and
# a minute is short: the shipped one had an hour.
#
# **Predict:** after a minute, which task will have gained most? Is there a task that will be *worse* than its input?

# %%
recipe = Recipe(
    name="promptir_lesson", model="promptir", config=settings.config, tasks="five-task", seed=SEED, steps=settings.steps,
    patches=(settings.patch,), batches=(settings.batch,), learning_rate=settings.learning_rate, final_learning_rate=1e-6,
    warmup=settings.warmup, clip_norm=1.0, ema_decay=settings.ema_decay, precision=settings.precision,
    log_every=settings.log_every, validate_every=max(1, settings.steps // settings.validations), checkpoint_seconds=30,
)  # fmt: skip
validation = {task: [] for task in TASKS}  # two small pictures a task: enough to see a curve
for task, (kind, fixed) in KINDS.items():
    for index, image in enumerate(list(load_photos("validation").values())[:2]):
        clean = cut(image[None], settings.validation_crop)
        validation[task].append((DEGRADATIONS[kind].sample(index, **fixed).apply(clean, [4000 + index], clip=task != "noise"), clean))


def validate(network):
    """Task -> mean PSNR (dB) on the small validation pictures."""
    return {task: float(np.mean([psnr(restore(network, d.to(device)).clamp(0, 1).cpu(), c).item() for d, c in items])) for task, items in validation.items()}


# The folder carries a fingerprint of your code: change a piece, and a new run starts instead of the old one going on.
folder = out / "training" / f"promptir-{source_key(my_prompt, my_interaction)}"
run = fit(model, recipe, mixture(recipe, list(load_photos("train").values())), None, folder, device=device, validate=validate)
print(f"{run.steps} steps in {run.seconds:.0f} s with {provenance('03-c', '03-d')}")
record("training_seconds", run.seconds, "Seconds of training.", piece=provenance("03-c", "03-d"))

# %%
log = pd.read_csv(folder / "validation.csv")
with style():
    figure = new_figure(9, 3.8)
    left, right = figure.subplots(1, 2)
    loss = pd.read_csv(run.log)
    left.plot(loss["step"], loss["loss"], color="0.3")
    left.set(xlabel="step", ylabel="training loss (L1)", ylim=(0, None))
    for index, task in enumerate(TASKS):
        part = log[log["task"] == task]
        inputs = float(np.mean([psnr(d.clamp(0, 1), c).item() for d, c in validation[task]]))
        right.plot(part["step"], part["psnr"] - inputs, label=f"{task.replace('_', ' ')} (input {inputs:.1f} dB)", markersize=4, **line_style(index))
    right.set(xlabel="step", ylabel="gain over the input (dB)")
    right.axhline(0, color="0.6", linewidth=0.8)
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
record("training_curve", figure, f"Live, {run.steps} steps from random weights: the loss, and what each task gains on small validation pictures.", piece=provenance("03-c", "03-d"))

# %%
trained = restored_by(run.model)
by_prompted = restored_by(prompted)
rows = {
    "input": mean_psnr(degraded),
    f"live, {run.steps} steps": mean_psnr(trained),
    "restormer_small (recorded)": mean_psnr(by_blind),
    "promptir_small (recorded)": mean_psnr(by_prompted),
}
table = pd.DataFrame(rows).T.reindex(columns=list(TASKS))
table["average"] = table.mean(axis=1)
record("degraded_psnr", table.loc["input", "average"], "Mean PSNR of the degraded test pictures over the five tasks.")
record("restored_psnr", table.loc[f"live, {run.steps} steps", "average"], "The same after the model trained in this lesson.", piece=provenance("03-c", "03-d"))
record(
    "results",
    table.round(2).reset_index(names="PSNR (dB)"),
    f"The middle of {settings.test_images} test photographs, five tasks, measured in this run. Live row: {provenance('03-c', '03-d')}. {origin('promptir_small')}.",
    piece=provenance("03-c", "03-d"),
)

# %%
record(
    "before_after",
    figures.grid([with_scores(degraded), with_scores(trained), with_scores(by_prompted)], zoom=None, clean_key=None, titles=["degraded", "live", "promptir_small"]),
    f"The same photograph: degraded, after {run.steps} live steps, and by the shipped PromptIR (recorded run).",
    piece=provenance("03-c", "03-d"),
)

# %% [markdown] lang="en"
# Look at the rows and at the pictures together. Low light, haze and rain gain first: part of their error is a wrong brightness (streaks make a picture brighter, too), and brightness is the easiest to correct. The noise has hardly gone yet. Blur needs structure, and for structure a minute is too short: it ends *below* its input, because a network that has not learnt
# much returns a slightly damaged picture. The shipped model shows what more steps bring with the same kind of network, and where it still has little to show.
#
# One more comparison is in this table, the honest one for this lesson's title: `restormer_small` against `promptir_small`. Same trunk, same pictures, same number of steps; the second one has the prompts and almost half as many parameters again. Is it better on average? On every task? And is the difference larger than what another seed would
# give? One run each cannot say. Section 8 uses three seeds for that reason.

# %% [markdown] lang="en"
# ## 5 · What the prompts learn
#
# Nobody told the prompt blocks which degradation a picture has. Did they find out? We take all photographs of the course (the shipped models never saw one of them), spoil each in the five ways, with a new strength and seed
# each time, and read the weights with `watch_prompts`.
#
# **Predict:** five components, five tasks. Will each task get a component of its own?

# %%
everything = {name: image for split in ("test", "validation", "train") for name, image in load_photos(split).items()}
chosen = list(everything)[: settings.embed_images]
spoilt, labels, photographs = [], [], []  # one entry a picture
for number, (task, (kind, _)) in enumerate(KINDS.items()):
    for index, name in enumerate(chosen):
        seed = 50_000 + 1000 * number + index
        clean = cut(everything[name][None], settings.embed_crop)
        spoilt.append(DEGRADATIONS[kind].sample(seed).apply(clean, [seed], clip=task != "noise"))
        labels.append(task)
        photographs.append(name)
spoilt = torch.cat(spoilt)

features = {name: [] for name in ("prompt1", "prompt2", "prompt3")}
hooks = [
    getattr(prompted, name).register_forward_pre_hook(lambda module, inputs, name=name: features[name].append(inputs[0].mean((2, 3)).detach().cpu()))
    for name in features
]
with torch.no_grad(), watch_prompts(prompted) as watched:
    for part in spoilt.split(8):
        prompted(part.to(device))
for hook in hooks:
    hook.remove()
weights = {name: torch.cat(watched[name]) for name in features}  # (pictures, N) each
features = {name: torch.cat(parts) for name, parts in features.items()}
own_weights = {name: torch.stack([w[[label == task for label in labels]].mean(0) for task in TASKS]) for name, w in weights.items()}
record(
    "prompt_weights",
    number_map({f"{name}, side {prompted.config['prompt_sides'][int(name[-1]) - 1]}": own_weights[name] for name in ("prompt3", "prompt2", "prompt1")}, TASKS, list("01234"), label="mean weight", limits=(0, 1), column_label="component"),
    f"Mean weights of the components for each degradation, {len(chosen)} photographs each; prompt3 stands at the latent, prompt1 nearest to the picture ({origin('promptir_small')}).",
)

# %%
for name in ("prompt3", "prompt2", "prompt1"):
    apart = (own_weights[name] - own_weights[name].mean(0)).abs().sum(1) / 2  # how much weight would have to move
    print(f"{name}: " + ", ".join(f"{task.replace('_', ' ')} {value:.2f}" for task, value in zip(TASKS, apart.tolist(), strict=True)))

# %% [markdown] lang="en"
# Read the map row by row. If each degradation had a component of its own, every row would show one bright cell, each in another column. It does not look like that. At the latent (prompt3) the weights do move with the degradation. At prompt2 they move much less, and at prompt1 all rows are nearly alike: five components, about one fifth for each, whatever the picture has. The lines above
# say it in numbers: the part of the weight that one degradation has in other components than the mean of all. 0 means no difference at all.

# %% [markdown] lang="en"
# A mean can hide much. t-SNE (van der Maaten and Hinton, 2008) lays all pictures out on a plane so that near neighbours stay near. Far distances and the sizes of clusters mean
# little, and it finds *some* pattern in anything. So we also print a number that needs no drawing: how often is the nearest neighbour, **among the other photographs**, spoilt in the same way? By chance
# this is one in five.
#
# **Predict:** which tells the degradations apart better: the five weights, or the features from which they were computed?

# %%
points = {"weights of all three prompts": torch.cat(list(weights.values()), 1), "pooled features at the latent": F.normalize(features["prompt3"] - features["prompt3"].mean(0), dim=1)}
agreement = {name: neighbour_agreement(x, labels, photographs) for name, x in points.items()}
record(
    "prompt_tsne",
    embedding_map({f"{name}\nnearest neighbour agrees: {agreement[name]:.0%}": tsne(x, seed=SEED) for name, x in points.items()}, labels),
    f"t-SNE of {len(labels)} spoilt pictures as promptir_small sees them (recorded run). The share in the title is measured before the drawing; chance is 20 %.",
)

# %% [markdown] lang="en"
# One or two degradations stand apart, the ones that change every pixel strongly; the others lie among each other. The two numbers in the titles are well above chance and far from 100 %.
#
# Now a thought about information. The weights are computed *from* the features. So they cannot know anything that the features do not know already. What a prompt block can add is not information but a *short way*: five numbers that speak for the whole picture, put beside every pixel.

# %% [markdown] lang="en"
# ### Swap the prompts and see
#
# That the weights differ does not say that they *matter*. The test is to interfere: restore a noisy picture with the mean weights of haze. `watch_prompts(model, replace=...)` puts other weights in the place of the network's own, at all three
# prompts.
#
# **Predict:** what will a noisy picture look like when the network is made to believe that it is hazy?

# %%
swaps = [*TASKS, "all alike", "no prompt"]
even = {name: torch.full_like(w[0], 1 / w.shape[1]) for name, w in own_weights.items()}


def swapped(task, image):
    """Restored with the mean weights of another task, with all weights alike, or with the prompts set to zero."""
    if task == "no prompt":
        hooks = [getattr(prompted, name).register_forward_hook(lambda module, inputs, prompt: 0 * prompt) for name in own_weights]
        result = restore(prompted, image.to(device))
        for hook in hooks:
            hook.remove()
        return result.clamp(0, 1).cpu()
    given = even if task == "all alike" else {name: w[TASKS.index(task)] for name, w in own_weights.items()}
    with watch_prompts(prompted, replace=given):
        return restore(prompted, image.to(device)).clamp(0, 1).cpu()


changes, kept = torch.zeros(len(TASKS), len(swaps)), {}
for i, task in enumerate(TASKS):
    for j, other in enumerate(swaps):
        results_of = [swapped(other, image) for _, image, _ in pairs[task][: settings.swap_images]]
        scores = [psnr(result, clean).item() - psnr(own, clean).item() for result, own, (_, _, clean) in zip(results_of, by_prompted[task], pairs[task], strict=False)]
        changes[i, j], kept[task, other] = float(np.mean(scores)), results_of[0]
scale = max(0.5, float(changes.abs().max()))  # half a decibel at least: nothing shall look large only because all is small
record(
    "swaps",
    number_map({"change of PSNR (dB) against the network's own weights": changes + 0.0}, TASKS, swaps, label="dB", digits=3, limits=(-scale, scale), row_label="the picture has", column_label="it is restored with the weights of"),
    f"Swapped prompts on promptir_small (recorded run), {min(settings.swap_images, settings.test_images)} photographs a task, measured in this run. Last column: all prompts set to zero.",
)
print(f"largest change by swapped weights: {changes[:, :6].abs().max():.3f} dB; by no prompt at all: {changes[:, 6].abs().max():.3f} dB")

# %%
i, j = divmod(int(changes[:, : len(TASKS)].abs().argmax()), len(TASKS))
own, other, clean = by_prompted[TASKS[i]][0], kept[TASKS[i], TASKS[j]], pairs[TASKS[i]][0][2]
with style():
    figure = new_figure(9, 2.6)
    panels = figure.subplots(1, 3, width_ratios=[1, 1, 1])
    for panel, (title, image) in zip(panels, ((f"{TASKS[i].replace('_', ' ')}: own weights", own), (f"weights of {TASKS[j].replace('_', ' ')}", other)), strict=False):
        panel.imshow(image[0].permute(1, 2, 0))
        panel.set_title(f"{title}, {psnr(image, clean).item():.2f} dB")
    shown = panels[2].imshow((own - other).abs().mean(1)[0] * 255, cmap="magma", vmin=0, vmax=max(1.0, float((own - other).abs().mean(1).max() * 255)))
    panels[2].set_title("their difference")
    figure.colorbar(shown, ax=panels[2], label="grey levels of 255")
    for panel in panels:
        panel.set_axis_off()
record("swap_pictures", figure, f"The swap that changes most: {TASKS[i].replace('_', ' ')} restored with its own weights and with those of {TASKS[j].replace('_', ' ')}; right, where the two differ (promptir_small, recorded run).")

# %% [markdown] lang="en"
# Did you expect more? The matrix is nearly white. With the weights of any other degradation the small network restores the picture as before, to the second decimal, and the difference must be looked for with a magnifying glass. Only the last column has colour: with *no prompt at all* some tasks lose, and some may even gain. So this network uses
# its prompts as a constant, a learnt bias, and not as a message about the degradation.
#
# That is worth more than a pretty picture. t-SNE showed that the weights *carry* the degradation; the swap shows that the network does not *listen*. Showing that something is encoded is not showing that it is used; only an intervention does. Why does it not listen here? Three possible reasons, all testable, none proved by this lesson:
#
# - **Budget.** The published model trained for hundreds of thousands of steps with batches of 32; this one for some thousand with batches of 5. Its components have hardly left their random start.
# - **Size.** A small decoder has little room to do different things for different prompts.
# - **Need.** The features know the degradation anyway (t-SNE), and the attention maps adapt to it. Then a prompt has nothing to add.
#
# With a larger model (profile gpu) repeat this section and see which of them holds. The swap costs two lines.

# %% [markdown] lang="en"
# ## 6 · Trap box: the code is not the paper
#
# Whoever builds on PromptIR meets these. The official weights follow the *code*, so the library follows it too and says so.
#
# | | paper | official code | what happens |
# |---|---|---|---|
# | sizes | follow the width $C$ | prompt widths 64, 128, 320 and inputs 96, 192, 384 are written as numbers | only $C = 48$ fits |
# | `decoder` flag | - | `PromptIR()` has `decoder=False`: the prompts are left out, the layers sized for them are not | the forward pass crashes; always pass `decoder=True` |
# | heads | - | all three interaction blocks have the heads of level 3 (4), not those of their own levels | slightly different attention, silently |
# | after the interaction | 1 x 1 and 3 x 3 convolution | 1 x 1 only | fewer parameters |
# | dead modules | - | six 1 x 1 convolutions are built and never called | parameters that never learn; training on several GPUs stops unless told to look for them |
#
# The first is arithmetic. The official linear layer of the deepest prompt expects 384 numbers:

# %%
for width in (48, 32, 24, 16):
    print(f"C = {width}: the latent has 8 C = {8 * width:3d} channels, the official linear layer expects 384: {'fits' if 8 * width == 384 else 'does not fit'}")

# %% [markdown] lang="en"
# The last can be *counted*. A parameter that the loss does not reach has no gradient after a backward pass: its `.grad` stays `None`. Not zero: `None`. The library switches these modules off for
# learning; the next cell switches them on again, as in the official code, and counts.
#
# **Predict:** of 35.6 million parameters, how many never learn anything?

# %% tags=["nbval-check-output"]
published = create_model("promptir").requires_grad_(True)
published(torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))).mean().backward()
dead = {name: p.numel() for name, p in published.named_parameters() if p.grad is None}
print(f"PromptIR, published size: {sum(p.numel() for p in published.parameters()):,} parameters")
print(f"without a gradient: {sum(dead.values()):,} in {len(dead)} tensors")
print("\n".join(f"  {name}: {count:,}" for name, count in dead.items()))

# %% [markdown] lang="en"
# Half a percent: harmless for the result, and yet nobody noticed for a long time. The habit is worth more than the number: after building any model, run one backward pass and list the parameters with
# `grad is None`. In your own code this finds the layer that you defined and forgot to call.

# %%
del published

# %% [markdown] lang="en"
# ## 7 · AirNet: knowing the degradation by contrast
#
# AirNet (Li et al., CVPR 2022) came first and thinks the other way round. PromptIR learns about degradations only as far as it helps to restore. AirNet has a separate **encoder** with a loss of its own, *contrast*:
#
# - two crops of the **same** spoilt picture are a positive pair: their content differs, their degradation is the same;
# - crops of **other** pictures are negatives.
#
# To tell which crop belongs to which, the encoder must look at what the two crops share. The restorer then reads the encoder's features in every block.
#
# The machinery is MoCo (He et al., CVPR 2020). The query crop goes through the encoder, the key crop through a *slow copy* of it, and a **queue** keeps the keys of earlier batches as negatives, so that there are many of them without a
# large batch. With unit vectors $q$, $k^+$ and queue columns $k_i$,
#
# $$
# \ell = -\log \frac{\exp(q \cdot k^+ / \tau)}{\exp(q \cdot k^+ / \tau) + \sum_i \exp(q \cdot k_i / \tau)}
# $$
#
# This is a cross-entropy whose right class is always number 0: `F.cross_entropy` takes the logits of the next exercise.
#
# **Predict:** two pictures with the *same* kind of degradation are negatives for each other here. Is that good or bad for telling kinds apart?

# %% [markdown] lang="en"
# **Exercise 03-e (2 points, about 10 minutes).** AirNet learns what degradations look like by contrast. Two crops of one spoilt image make a pair, `query` and `key`: they should be
# alike. The `queue` holds keys of earlier batches: from those the query should differ. Alike is measured by the cosine, and the logits of "which key is mine?" are
#
# $$
# \ell_b = \frac{1}{\tau} \big[\; \hat q_b \cdot \hat k_b, \;\; \hat q_b \cdot n_1, \; \dots, \; \hat q_b \cdot n_K \;\big], \qquad \hat q = \frac{q}{\lVert q \rVert}
# $$
#
# | | shape | |
# |---|---|---|
# | `query`, `key` | `(B, D)` | of any length; you normalise each row |
# | `queue` | `(D, K)` | one key a **column**, of length 1 already |
# | result | `(B, 1 + K)` | the own key first, so the right class is always 0 |
#
# No gradient may reach `key`: the encoder that made it learns in another way (next exercise). `temperature` is $\tau$, 0.07 when it is left out.
#
# <details><summary>Hint</summary>
#
# `F.normalize(x, dim=1)` divides each row by its length. The first column is `(query * key).sum(dim=1, keepdim=True)`. `.detach()` cuts a tensor off the graph.
#
# </details>

# %%
# exercise 03-e · 2 points · Contrast with a queue
def contrastive_logits(query, key, queue, temperature=0.07):
    """query, key (B, D), queue (D, K) of unit columns -> logits (B, 1 + K), the positive pair first."""
    ### BEGIN SOLUTION
    query = F.normalize(query, dim=1)
    key = F.normalize(key.detach(), dim=1)
    positive = (query * key).sum(dim=1, keepdim=True)  # (B, 1)
    negative = query @ queue  # (B, K)
    return torch.cat([positive, negative], dim=1) / temperature
    ### END SOLUTION

# %%
check("03-e", contrastive_logits)


# %% [markdown] lang="en"
# **Exercise 03-f (1 point, about 5 minutes).** The queue holds keys of many batches ago. If the key encoder changed quickly, old and new keys would not be comparable. So it
# follows the query encoder slowly, with a momentum $m$ near 1:
#
# $$
# \theta_{\mathrm{slow}} \leftarrow m\, \theta_{\mathrm{slow}} + (1 - m)\, \theta_{\mathrm{fast}}
# $$
#
# `slow` and `fast` are lists of tensors of the same shapes, the weights of two networks. Write **into** the tensors of `slow`; leave `fast` alone. This is no step of
# learning, so torch must not record it. Return nothing (or `slow`).
#
# <details><summary>Hint</summary>
#
# A method whose name ends in `_` works in place: `a.mul_(2).add_(b, alpha=3)` makes a into 2a + 3b. `a = 2 * a + 3 * b` makes a *new* tensor and only calls it a.
# Everything under `with torch.no_grad():` goes unrecorded.
#
# </details>

# %%
# exercise 03-f · 1 point · The slow encoder
def momentum_update(slow, fast, momentum):
    """Lists of tensors: each of `slow` becomes momentum * slow + (1 - momentum) * fast, in place and without a graph."""
    ### BEGIN SOLUTION
    with torch.no_grad():
        for follower, leader in zip(slow, fast, strict=True):
            follower.mul_(momentum).add_(leader, alpha=1 - momentum)
    ### END SOLUTION

# %%
check("03-f", momentum_update)


# %% [markdown] lang="en"
# How slow is slow? The next cell lets the fast weights jump from 0 to 1 and shows how the slow ones follow.
#
# **Predict:** with momentum 0.999, after how many steps is the slow copy half way?

# %%
follow = use("03-f", momentum_update)
horizon = 2000
with style():
    figure = new_figure(9, 2.8)
    axes = figure.subplots()
    for index, momentum in enumerate((0.9, 0.99, 0.999)):
        slow, fast, way = [torch.zeros(1)], [torch.ones(1)], [0.0]
        for _ in range(horizon):
            follow(slow, fast, momentum)
            way.append(slow[0].item())
        half = next(step for step, value in enumerate(way) if value >= 0.5)
        axes.semilogx(range(1, horizon + 1), way[1:], label=f"momentum {momentum:g}: half way after {half} steps", markevery=0.1, markersize=4, **line_style(index))
    axes.axhline(1, color="0.6", linewidth=0.8)
    axes.set(xlabel="step after the jump", ylabel="slow weights", ylim=(-0.02, 1.08))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", frameon=False)
record("momentum", figure, "The slow copy after a jump of the fast weights from 0 to 1. AirNet uses 0.999.", piece=provenance("03-f"))

# %% [markdown] lang="en"
# Now the trained encoder. We take two crops of each of some pictures, one through the query encoder and one through the key encoder, and let your function compare every query with every key.
#
# **Predict:** in the matrix below the pictures are sorted by degradation. Where will it be red: on the diagonal only, or in blocks?

# %%
airnet = shipped("airnet_small")
logits_of = use("03-e", contrastive_logits)
count = min(settings.contrast_images, len(chosen))
order = [place for task in TASKS for place in [i for i, label in enumerate(labels) if label == task][:count]]
half = settings.embed_crop // 2
crops = spoilt[order]
with torch.no_grad():
    q = torch.cat([airnet.encoder.encoder_q.eval()(part.to(device))[2] for part in crops[..., :half].split(16)]).cpu()
    k = torch.cat([airnet.encoder.encoder_k.eval()(part.to(device))[2] for part in crops[..., half:].split(16)]).cpu()
logits = logits_of(q, k, F.normalize(k, dim=1).T, 0.07)[:, 1:]  # (pictures, keys)
cosine = logits * 0.07
with style():
    figure = new_figure(5.6, 4.8)
    axes = figure.subplots()
    shown = axes.imshow(cosine, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    middle = [count * (t + 0.5) - 0.5 for t in range(len(TASKS))]
    names = [task.replace("_", " ") for task in TASKS]
    axes.set_xticks(middle, names)
    axes.set_yticks(middle, names, rotation=90, va="center")
    axes.tick_params(length=0)
    for t in range(1, len(TASKS)):
        axes.axhline(count * t - 0.5, color="black", linewidth=0.8)
        axes.axvline(count * t - 0.5, color="black", linewidth=0.8)
    axes.set(xlabel="keys: right half of each picture", ylabel="queries: left half")
    figure.colorbar(shown, ax=axes, label="cosine of query and key", shrink=0.85)
record("contrast", figure, f"Every query against every key, {count} pictures a degradation ({origin('airnet_small')}).", piece=provenance("03-e"))

# %%
kinds = torch.arange(len(TASKS)).repeat_interleave(count)
best = logits.argmax(1)
same = kinds[:, None] == kinds
print(f"the most similar key is of the same picture: {(best == torch.arange(len(best))).float().mean():.0%} (chance {1 / len(best):.0%})")
print(f"the most similar key is of the same degradation: {(kinds[best] == kinds).float().mean():.0%} (chance 20%)")
print(f"mean cosine inside a degradation {cosine[same].mean():.2f}, between two {cosine[~same].mean():.2f}")

# %% [markdown] lang="en"
# Compare the three lines of numbers with your prediction. The loss rewards "same picture", and nothing in it mentions "same degradation". Two noisy pictures are even pushed apart. If blocks show nevertheless, then because two crops of one picture share its degradation more surely than its content, and the encoder finds that easiest to use.
# Whatever else the two halves share, colours and brightness for example, serves just as well, and the encoder will use that too: look for thin diagonals in the blocks *off* the main diagonal. There the photograph is the same and the degradation is another.

# %%
with torch.no_grad():
    embedding = torch.cat([airnet.embed(part.to(device)) for part in spoilt.split(16)]).cpu()
views = {"AirNet's embedding": F.normalize(embedding - embedding.mean(0), dim=1), "PromptIR's weights": points["weights of all three prompts"]}
agreement = {name: neighbour_agreement(x, labels, photographs) for name, x in views.items()}
record(
    "airnet_tsne",
    embedding_map({f"{name}\nnearest neighbour agrees: {agreement[name]:.0%}": tsne(x, seed=SEED) for name, x in views.items()}, labels),
    f"The same {len(labels)} pictures in AirNet's embedding and in PromptIR's prompt weights (both recorded runs). Chance is 20 %.",
)

# %% [markdown] lang="en"
# Both maps come from the same pictures, so the two shares in the titles can be compared. AirNet's encoder was *asked* to tell pictures apart; PromptIR's weights are five numbers that nobody asked anything. A clear map is not yet a better restoration: what counts is whether the restorer uses it. In AirNet the code goes into every block, through the
# offsets of a deformable convolution and through a modulation of the channels, so it can hardly be ignored. Section 9 has the restoration of both.

# %% [markdown] lang="en"
# ## 8 · The lab: do tasks disturb each other?
#
# "Deblurring wants high frequencies, denoising removes them: so one model cannot do both well." It sounds right. Is it? The lab makes it an experiment: one small Restormer (0.46 million parameters), two tasks (noise of $\sigma = 25$, Gaussian
# blur of $\sigma = 1.5$ pixels), equal budget, three seeds. The recipe is `data/lab/interference.toml`; `course lab` repeats everything.
#
# ### 8.1 What the tasks ask for
#
# The spectrum of a picture says how much power it has at each frequency: slow changes left, fine detail right. 0.5 cycles per pixel is the finest pattern a picture can hold.
#
# **Predict:** noise adds the same power at every frequency. Blur multiplies every frequency by a factor. Draw the two panels before you look.

# %%
results = read_rows(data_root() / "lab" / "results.csv")
spectra, cosines = read_table(data_root() / "lab" / "spectra.csv"), read_table(data_root() / "lab" / "gradients.csv")
two = ["denoise", "deblur"]


def recorded(rows):
    """Where rows of the lab's results come from, for a caption."""
    seeds, steps, commits = ({str(row[key]) for row in rows} for key in ("seed", "steps", "commit"))
    return f"Recorded runs: queue data/lab/interference.toml, commit {', '.join(sorted(commits))}, {', '.join(sorted(steps))} steps, seeds {', '.join(sorted(seeds))}"


print(recorded(results))
record("wanted_spectra", wanted_spectra(spectra, two), "Power of the clean and the degraded validation pictures, and of the change that restores them. Computed from the pictures alone: no model is in it.")

# %% [markdown] lang="en"
# Both tasks must change the picture most *relative to what is there* on the right: noise has buried the fine detail, blur has taken it away. Above 0.3 cycles per pixel the blurred picture holds less than a millionth of the power. So a denoiser must turn
# the high frequencies **down** and a deblurrer must turn the middle ones **up**. A fixed linear filter cannot do both. A network can, *if* it finds out which of the two it has before it. That is the sentence to test.
#
# ### 8.2 The cosine of two gradients
#
# One step of training moves the weights of a layer against the gradient of the loss. With two tasks there are two gradients $g_a$ and $g_b$ for the same weights. To first order, a small step for task $b$ changes the loss of $a$ by
#
# $$
# \Delta L_a \approx -\eta\, \langle g_a, g_b \rangle
# $$
#
# If the inner product is positive, learning $b$ helps $a$. If it is negative, learning $b$ unlearns $a$: the gradients are in **conflict**. Divided by the lengths it is a cosine between -1 and 1.

# %% [markdown] lang="en"
# **Exercise 03-g (2 points, about 10 minutes).** Do two tasks pull the weights the same way? Task a gives the gradient $g_a$, task b the gradient $g_b$, of the same weights.
#
# $$
# \cos(a, b) = \frac{g_a \cdot g_b}{\lVert g_a \rVert\, \lVert g_b \rVert}
# $$
#
# +1: a step for one helps the other as well. 0: they do not meet. Below 0: they **conflict**, a step for one undoes the other.
#
# | | |
# |---|---|
# | `first`, `second` | two lists with one entry a layer, in the same order: a tensor of any shape, or `None` |
# | `None` | the loss does not reach this layer, so its gradient is **zero** there. Where both are `None`, nothing is known about the shape, and nothing is lost by leaving the layer out |
# | result | a 0-d tensor: the cosine of the two lists, each joined to *one* long vector |
# | a list that is zero (or `None`) everywhere | has no direction: NaN |
#
# <details><summary>Hint</summary>
#
# The dot product and the squared lengths of long vectors are sums over their pieces. `.flatten()` and `.reshape(-1)` work for every memory layout, `.view(-1)` does not.
# 0 divided by 0 is NaN in torch without your help; a small number added to the denominator would hide it.
#
# </details>

# %%
# exercise 03-g · 2 points · Do two tasks agree?
def gradient_cosine(first, second):
    """Two lists of tensors or None, layer by layer -> 0-d tensor, the cosine of the two as flat vectors; NaN for a zero gradient."""
    ### BEGIN SOLUTION
    product, first_square, second_square = torch.zeros(3, dtype=torch.float64)
    for a, b in zip(first, second, strict=True):
        if a is not None:
            first_square = first_square + a.double().square().sum()
        if b is not None:
            second_square = second_square + b.double().square().sum()
        if a is not None and b is not None:  # zeros add nothing to the product
            product = product + (a.double() * b.double()).sum()
    return product / (first_square.sqrt() * second_square.sqrt())
    ### END SOLUTION

# %%
check("03-g", gradient_cosine)


# %% [markdown] lang="en"
# First live: a fresh model, a few steps on both tasks, and *your* function every few steps on one fixed batch a task.
#
# **Predict:** at step 0 the model gives back its input with small changes. Will the two gradients agree, disagree, or be unrelated?

# %%
cosine_of = use("03-g", gradient_cosine)
experiments = {experiment.name: experiment for experiment in load_queue(queue_file())[0]}
both = experiments["both"]
train_images = list(load_photos("train").values())
lab_tasks = [task.task(train_images) for task in both.tasks]
probe = fixed_batches(lab_tasks, seed=8000)


def cosines_now(network, step):
    """One row a layer, and one for the whole model: the cosine of the two tasks' gradients, by your function."""
    groups = stages(network)
    every = [p for group in groups.values() for p in group]
    found = {}
    for task, (image, clean, _) in probe.items():
        found[task] = dict(zip(every, torch.autograd.grad(F.l1_loss(network(image), clean), every, allow_unused=True), strict=True))
    (a, first), (b, second) = found.items()
    groups[WHOLE] = every
    return [
        dict(step=step, layer=layer, task_a=a, task_b=b, cosine=float(cosine_of([first[p] for p in group], [second[p] for p in group])))
        for layer, group in groups.items()
    ]


live, _ = build_lab(both, SEED)
optimizer = torch.optim.AdamW(live.parameters(), both.recipe.learning_rate)
data, live_rows = MixtureDataset(lab_tasks, SEED), []
for step in range(settings.live_steps + 1):
    if step % settings.live_every == 0:
        live_rows += cosines_now(live, step)
    items = [data[4 * step + i, 64] for i in range(4)]
    loss = F.l1_loss(live(torch.stack([item[0] for item in items])), torch.stack([item[1] for item in items]))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
record("gradients_live", gradient_map({"noise and blur": live_rows}), f"Live, {settings.live_steps} steps on the CPU, seed {SEED}: cosine of the two tasks' gradients, layer by layer.", piece=provenance("03-g"))

# %% [markdown] lang="en"
# Now the recorded runs: the same measurement every 100 steps of longer trainings, mean over the seeds. The colours are stretched to ±0.6.
#
# **Predict:** will the layers near the picture (top and bottom of the map) or the deep ones (middle) come into conflict first? What will prompts change?

# %%
panels = {name: [row for row in cosines if row["experiment"] == name] for name in ("both", "both + prompts")}
panels = {f"{name} ({len({row['seed'] for row in rows})} seeds)": rows for name, rows in panels.items() if rows}
joint_rows = [row for row in results if row["experiment"] in ("both", "both + prompts")]
record("gradients_recorded", gradient_map(panels, limit=0.6), f"Cosine of the gradients of noise and blur by layer over training, mean over the seeds. {recorded(joint_rows)}.")

# %%
at_end = {name: [row for row in rows if row["step"] == max(r["step"] for r in rows)] for name, rows in panels.items()}
for name, rows in at_end.items():
    layers_only = [row for row in rows if row["layer"] != WHOLE]
    whole_model = [row for row in rows if row["layer"] == WHOLE]
    print(
        f"{name}, last step: {np.mean([row['cosine'] < 0 for row in layers_only]):.0%} of the layers in conflict; whole model cosine "
        f"{np.mean([row['cosine'] for row in whole_model]):+.2f}; the gradient of {whole_model[0]['task_a']} is "
        f"{np.mean([row['norm_ratio'] for row in whole_model]):.1f} times as long as that of {whole_model[0]['task_b']}"
    )

# %% [markdown] lang="en"
# Three things can be read off.
#
# 1. At the very start the two tasks agree (dark blue). Both first want the same: a network that passes the picture through. The live map shows the same beginning.
# 2. Then the agreement goes. After some hundred steps the cosine of the whole model is near zero: the tasks are not enemies, they are *strangers*. Real conflict (red) is weak and sits in the middle of the network, in the second and third level, not at its two ends, where both tasks need the same edges and the same output.
# 3. With prompts there is less red. That fits the story of the paper. But look at the last number of the printed lines: the gradient of denoising is two to three times as long as that of deblurring. When two gradients are added, the long one decides. *Length*, not only direction, may be the trouble.
#
# A cosine from one small batch is a noisy estimate; trust the pattern over many cells, not one cell.

# %% [markdown] lang="en"
# ### 8.3 What the models do to the frequencies
#
# The next figure asks of every frequency: how much power has the restored picture, compared with the clean one? At 0 dB it has the right amount; below, too little; above, too much. (The *right amount* may still be in the wrong place.)
#
# **Predict:** the model for both tasks: will it be as good as each specialist, in between, or will it favour one?

# %%
compared = ["denoise only", "deblur only", "both", "both + prompts"]
record("kept_spectra", kept_spectra(spectra, two, compared), f"Power of the restored validation pictures over the clean ones', mean over the seeds. {recorded([row for row in results if row['experiment'] in compared])}.")

# %% [markdown] lang="en"
# The right panel is the answer to this lesson's question, in this small setting. At 0.2 cycles per pixel the blurred picture has lost 15 dB; the deblurrer brings all but 4 of them back. The model for both lies next to the *degraded input*: it hardly deblurs at all. And it does not come out in between. It has become a denoiser that lets blurred pictures pass.
#
# The left panel shows the other side. All denoisers keep *less* high frequency than the clean picture has: where a detail cannot be told from noise, the mean of all possible details is the safest answer, and a mean is smooth. The joint model smooths a little less than the specialist at the finest frequencies. (Where all curves of the right panel rise again, beyond 0.4, there is almost
# no power at all: the clean picture itself is far below what it has on the left.)

# %% [markdown] lang="en"
# ### 8.4 Alone, together, with prompts, with remedies
#
# Cosines and spectra explain; PSNR decides. Same number of steps, same images a step, same learning rate; a model of one task sees only that task. All in one table, with the spread over the seeds: a difference that is smaller than the
# spread is no result.
#
# The remedies, all from the literature, in one harness (`course_lib/lab/remedies.py`, `parts.py`):
#
# | remedy | idea | told the task? |
# |---|---|---|
# | prompts | PromptIR's blocks in the same trunk | no |
# | `pcgrad` | gradient surgery: remove from each gradient what opposes the other | in training |
# | `task_norm` | every norm gets a scale and shift of each task's own | yes, in use too |
# | `adapters` | low-rank additions to the 1 x 1 convolutions, one pair a task | yes, in use too |
# | `bands` | split features into low and high frequencies, weigh them by the picture | no |

# %%
lab = pd.DataFrame(summary(results))
verdicts = {(row["experiment"], row["task"]): row for row in compare(results, "both")}
hashes = {row["experiment"]: row["recipe"] for row in results}
lab_table = pd.DataFrame(
    [
        {
            "experiment": row.experiment, "task": row.task, "seeds": row.seeds, "mean (dB)": round(row.psnr, 2),
            "spread (dB)": "-" if row.spread != row.spread else f"{row.spread:.2f}", "gain (dB)": f"{row.gain:+.2f}",
            "against both": "" if row.experiment == "both" else f"{verdicts[row.experiment, row.task]['difference']:+.2f}: {verdicts[row.experiment, row.task]['verdict']}",
            "parameters": f"{row.parameters / 1e6:.2f} M", "recipe": hashes[row.experiment],
        }
        for row in lab.itertuples()
    ]
)  # fmt: skip
record("lab_table", lab_table, f"{recorded(results)}. Gain: over the degraded input. Spread: standard deviation over the seeds.")

# %%
record("lab_seeds", seed_dots(results, two, against="both"), f"Every dot is one seed, the bar their mean; grey: the range of plain joint training. {recorded(results)}.")

# %%
queued = [name for name in experiments if name not in set(lab["experiment"])]
helped = [f"{n} on {t} ({v['difference']:+.2f} dB)" for (n, t), v in verdicts.items() if v["verdict"] == "better" and n not in ("denoise only", "deblur only")]
hurt = [f"{n} on {t} ({v['difference']:+.2f} dB)" for (n, t), v in verdicts.items() if v["verdict"] == "worse"]
print("remedies better than plain joint training by more than the spread:", "; ".join(helped) or "none")
print("worse by more than the spread:", "; ".join(hurt) or "none")
print("one seed only, no verdict:", "; ".join(sorted({n for (n, _), v in verdicts.items() if v["verdict"].startswith("one seed")})) or "none")
if queued:
    print("in the queue, not recorded yet:", "; ".join(queued))

# %% [markdown] lang="en"
# Read the verdicts, not the third digit.
#
# - **The tasks do disturb each other here.** Joint training costs about half a decibel of noise and two and a half decibels of blur: it ends at the blurred input. Both are well beyond the spread.
# - **But the comparison is not only about conflict.** At equal budget the joint model sees only half as many blurred pictures as the specialist. Part of the loss is that. To separate the two one would train the joint model twice as long. It is the first thing to check before one believes any story about frequencies.
# - **Prompts and the other remedies:** the lines printed above say which differences are larger than the spread, and which are not. With three seeds a spread is itself a rough estimate. Where a remedy is *told the task* (`task_norm`, `adapters`), it has an advantage that a blind model does not have, in use as well as in training: compare such rows with the specialists rather than with `both`.
# - 0.46 million parameters and 800 steps are little. A result from here is a result about *here*.

# %% [markdown] lang="en"
# ### 8.5 Gradient surgery
#
# PCGrad (Yu et al., NeurIPS 2020) acts on the conflict itself. When two gradients point against each other, it takes out of each the part that works against the other. What is left is
# at a right angle to the other gradient: to first order it neither helps nor harms that task. Without a conflict nothing is changed.

# %% [markdown] lang="en"
# **Exercise 03-h (3 points, about 15 minutes).** *Gradient surgery* (PCGrad, Yu et al. 2020, algorithm 1): where two tasks conflict, cut from each gradient the part that works against the
# other. Task $i$ starts with $g = g_i$ and meets the others, one after another. For each other task $j$:
#
# $$
# \text{if } g \cdot g_j < 0: \qquad g \leftarrow g - \frac{g \cdot g_j}{\lVert g_j \rVert^2}\, g_j
# $$
#
# Two things are easily got wrong. $g$ is the gradient of task $i$ *as it is now*, after the projections before. $g_j$ is the other's **raw** gradient, as it came in, even if
# task $j$ has had its turn.
#
# | | |
# |---|---|
# | `gradients` | list of T flat tensors `(P,)`, one a task; leave them as they are |
# | `orders` | list of T lists: `orders[i]` names the tasks in the order in which task i meets them. It may name i itself: skip it |
# | result | list of T tensors `(P,)` of the same dtype |
#
# **Predict:** after the projection, what is the dot product of $g$ with $g_j$?
#
# <details><summary>Hint</summary>
#
# Keep two things apart: the list that came in, which you only read, and the result, which you build. `a @ b` is the dot product of flat tensors, `b @ b` the squared length.
# Where there is no conflict, do nothing (also no division: $g_j$ could be zero).
#
# </details>

# %%
# exercise 03-h · 3 points · Gradient surgery
def project_conflicts(gradients, orders):
    """Flat gradients (P,) of T tasks, and for each the order in which it meets the others -> list of T projected gradients."""
    ### BEGIN SOLUTION
    projected = []
    for i, g in enumerate(gradients):
        for j in orders[i]:
            if j == i:
                continue
            other = gradients[j]  # raw, whatever has been done for task j
            product = g @ other
            if product < 0:
                g = g - product / (other @ other) * other
        projected.append(g)
    return projected
    ### END SOLUTION

# %%
check("03-h", project_conflicts)


# %%
project = use("03-h", project_conflicts)
with style():
    figure = new_figure(9, 2.9)
    for axes, (a, b) in zip(figure.subplots(1, 2), (((1.0, 0.2), (-0.6, 0.7)), ((1.0, 0.2), (0.5, 0.7))), strict=True):
        pair = [torch.tensor(a), torch.tensor(b)]
        done = project(pair, [[1], [0]])
        arrows = [(pair[0], "C0", "-", "raw 1"), (pair[1], "C1", "-", "raw 2"), (done[0], "C0", "--", "projected"), (done[1], "C1", "--", "projected")]
        for vector, colour, dash, _ in arrows:
            axes.annotate("", tuple(vector.tolist()), (0, 0), arrowprops=dict(arrowstyle="->", color=colour, linestyle=dash, linewidth=2, shrinkA=0, shrinkB=0))
        total = done[0] + done[1]
        axes.annotate("", tuple(total.tolist()), (0, 0), arrowprops=dict(arrowstyle="->", color="0.2", linewidth=1.2, shrinkA=0, shrinkB=0))
        axes.text(total[0] + 0.05, total[1], "the step", fontsize=8, color="0.2", va="center")
        cos = float(F.cosine_similarity(pair[0], pair[1], dim=0))
        axes.set(xlim=(-0.9, 2.1), ylim=(-0.15, 1.5), title=f"cosine {cos:+.2f}: " + ("in conflict" if cos < 0 else "no conflict, nothing changes"))
        axes.set_aspect("equal")
        axes.set(xticks=[], yticks=[])
record("surgery", figure, "Two gradients (solid), what is left of them (dashed), and the sum that the step uses (thin).", piece=provenance("03-h"))

# %% [markdown] lang="en"
# In the lab a remedy is a class with two methods: `prepare(model, tasks)` may change the model, `loss(model, batch, objective)` gives the loss of one step. A gradient that you made by hand becomes a loss by `with_gradients`.

# %%
class Surgery(Joint):
    """PCGrad with your projection."""

    name = "your pcgrad"
    version = source_key(project)  # the lab trains again when your code changes

    def loss(self, model, batch, objective):
        learning = [p for p in model.parameters() if p.requires_grad]
        flat, total = [], 0.0
        for part in split_tasks(batch).values():  # one task after the other
            share = len(part[0]) / len(batch[0])
            own = super().loss(model, part, objective) * share
            gradients = torch.autograd.grad(own, learning, allow_unused=True)
            flat.append(torch.cat([(torch.zeros_like(p) if g is None else g).reshape(-1) for g, p in zip(gradients, learning, strict=True)]))
            total = total + own.detach()
        orders = [torch.randperm(len(flat)).tolist() for _ in flat]
        return with_gradients(total, learning, torch.stack(project(flat, orders)).sum(0))


# %% [markdown] lang="en"
# ### 8.6 Your own remedy (open, no points)
#
# Look again at what the lab printed: is *conflict* really the trouble, or is it that one gradient is several times as long as the other? Or that the deblurrer of a joint model sees only half as many blurred pictures? Choose one idea and build it. `Joint` trains on the plain sum;
# write only what differs. Ideas:
#
# - give both gradients the same length before they are added;
# - weigh the losses, and change the weights over training;
# - a loss for the task that loses out, for example on the differences between neighbouring pixels;
# - add a small part to the model in `prepare`, as `course_lib/lab/parts.py` does.
#
# Say first what you expect, and what result would prove you wrong.

# %%
class MyRemedy(Joint):
    """Your idea, in one sentence. Left as it is, this is plain joint training."""

    name = "own remedy"
    version = 1  # raise it when you change code that this class calls

    ### BEGIN HIDDEN
    # A worked example: both gradients get the same length, so that neither task drowns the other.
    def loss(self, model, batch, objective):
        learning = [p for p in model.parameters() if p.requires_grad]
        flat, total = [], 0.0
        for part in split_tasks(batch).values():
            own = super().loss(model, part, objective) * (len(part[0]) / len(batch[0]))
            gradients = torch.autograd.grad(own, learning, allow_unused=True)
            flat.append(torch.cat([(torch.zeros_like(p) if g is None else g).reshape(-1) for g, p in zip(gradients, learning, strict=True)]))
            total = total + own.detach()
        lengths = torch.stack([g.norm() for g in flat])
        equal = [g * (lengths.mean() / length.clamp_min(1e-12)) for g, length in zip(flat, lengths, strict=True)]
        return with_gradients(total, learning, torch.stack(equal).sum(0))

    ### END HIDDEN


# %% [markdown] lang="en"
# All three in the same harness, live, for a few dozen steps: plain joint training, your surgery, your remedy. They start from the same weights and see the same pictures.
#
# **Predict:** after so few steps, will the differences be larger than the spread between seeds in the table above?

# %%
short = both.recipe.replace(steps=settings.lab_steps, warmup=min(both.recipe.warmup, settings.lab_steps // 4), ema_decay=0.0)
written = any(name in vars(MyRemedy) for name in ("prepare", "loss"))
rows = []
for name, remedy in (("both", "none"), ("both + your pcgrad", Surgery()), ("both + own remedy", MyRemedy())):
    experiment = Experiment(name, short, both.tasks, remedy, crop=settings.lab_crop)
    rows += run_lab(experiment, SEED, out / "lab", images=train_images, device="cpu", progress=False, say=lambda line: None)
own_table = pd.DataFrame(rows).pivot_table(index="experiment", columns="task", values="psnr", sort=False)[two].rename_axis(columns=None)
own_table.loc["degraded input"] = [next(row["input_psnr"] for row in rows if row["task"] == task) for task in two]
if not written:
    print("MyRemedy is not written yet: its row is plain joint training once more")
record(
    "own_remedy",
    own_table.round(2).reset_index(names="PSNR (dB)"),
    f"Live, {settings.lab_steps} steps, one seed ({SEED}), the middle {settings.lab_crop} pixels of the validation pictures: it shows that the remedies run, not which is better. Surgery by {provenance('03-h')}; own remedy: {'written' if written else 'not written, plain joint training'}.",
    piece=provenance("03-h"),
)

# %% [markdown] lang="en"
# One seed and a few dozen steps decide nothing: put the numbers beside the spread of the recorded table. To test an idea properly, give it the budget of the others and three seeds. It takes about a quarter of an hour on one core:
#
# ```python
# from course_lib.lab.command import run_queue
# run_queue([Experiment("both + own remedy", both.recipe, both.tasks, MyRemedy(), probe_every=100)], "runs/lab-own", seeds=[0, 1, 2])
# ```
#
# Then compare with `both` by `compare(rows, "both")`, and believe a difference only when it is larger than the spread.

# %% [markdown] lang="en"
# ## 9 · Results, ours and published
#
# Two tables, on purpose not one. The first was **measured by the course** on its own small models. The second is **printed in papers**: models ten to a hundred times larger, trained on other data for hundreds of times as long. PSNR of one cannot be compared
# with PSNR of the other; what can be compared is the *order* and the *shape*: which task is hard, what a blind model loses, what prompts add.

# %%
def board_table(rows):
    """PSNR of leaderboard rows: a line a model, a column a task or set, input and classical method first."""
    told = {"input": "input", "classical": "classical method"}
    rows = rows.assign(model=[told.get(kind, model) for kind, model in zip(rows["kind"], rows["model"], strict=True)])
    return rows.pivot_table(index="model", columns="column", values="psnr", sort=False).rename_axis(columns=None)


def said(rows, column):
    """The different entries of a column, for a caption."""
    return ", ".join(sorted({f"{value:g}" if isinstance(value, float) else str(value) for value in rows[column].dropna()} - {""})) or "none stated"


board_file = data_root() / "leaderboard.csv"
if board_file.is_file():
    board = pd.read_csv(board_file)
    of_course = board["dataset"].astype(str).str.contains("five")
    task, place = (board[key].astype(str).str.replace("_", " ") for key in ("task", "dataset"))
    board["column"] = np.where(of_course, task, np.where(task.str.startswith("sigma") & ~place.str.contains("sigma"), place + ", " + task, place))
    for name, title, rows in (("five_tasks", "The course's five tasks", board[of_course]), ("real_sets", "Real sets", board[~of_course])):
        if rows.empty:
            continue
        measured = board_table(rows)
        if name == "five_tasks":
            measured["average"] = measured.mean(axis=1, skipna=False)
        ours = rows[rows["kind"] == "ours"]
        below = ours[ours["psnr"] < ours["input_psnr"]]
        shown_table = measured.round(2).reset_index(names="PSNR (dB)").astype(object).where(lambda t: t.notna(), "")
        display(record(f"leaderboard_{name}", shown_table, f"{title}, PSNR measured by the course (recorded: data/leaderboard.csv, seed {said(ours, 'seed')}, {said(ours, 'steps')} steps, commit {said(ours, 'commit')})."))
        print("below its own input:", "; ".join(f"{row.model} on {row.column} ({row.psnr - row.input_psnr:+.2f} dB)" for row in below.itertuples()) or "none")
else:
    print("data/leaderboard.csv is not there yet; `course leaderboard --measure` makes it")

# %%
published_rows = [row for method in ("Restormer", "AirNet", "PromptIR") for row in query(setting="five-task", method=method)]
printed = pd.DataFrame([{"method": row.method, "set": row.data, "PSNR": row.psnr, "source": row.source} for row in published_rows])
printed_table = printed.pivot_table(index="method", columns="set", values="PSNR", sort=False).rename_axis(columns=None).reset_index(names="PSNR (dB)")
record("published", printed_table, "Published, five tasks, not measured here. Sources: " + "; ".join(f"{m}: {s}" for m, s in printed.groupby("method", sort=False)["source"].first().items()) + ". PromptIR's row is a third party's retraining: its authors print no five-task figures.")

# %% [markdown] lang="en"
# Compare within a table, never across. In the first, all three had as many training steps on as many samples (7600, the last ones on larger patches); `airnet_small` is by far the smallest of the three, and yet a step costs it the most. And mind the line under it that names what ended *below its own input*. Three questions for the second one:
#
# - PromptIR's row and Restormer's row come from different sources. Who trained the Restormer, and for how long, decides half of the difference. In the three-task setting DFPIR's authors retrained Restormer and got 31.98 dB on average, and PromptIR printed 32.06: a difference of 0.08 dB (`data/published/three_tasks.csv`). Another source has the same Restormer at 30.75.
# - Which task has the lowest figures in both tables? What do these tasks have in common?
# - Our own models lose most against the published ones where the data is real. Why should a model that was trained on artificial rain or blur know real rain or blur?

# %% [markdown] lang="en"
# ## Report
#
# Answer in a few sentences each, in this cell. The PDF of this notebook carries your answers, the figures, and the result of every check.
#
# 1. **Data flow.** Follow a prompt from its components to the restored picture: which shapes, where does the picture decide, where does it not?
#
#    *Your answer:*
#
# 2. **What the prompts know.** Use the map of the weights, the t-SNE and the swaps. Which of the three shows that prompts are *used*, and which only that they *differ*?
#
#    *Your answer:*
#
# 3. **Two ways to know a degradation.** PromptIR learns it through the restoration loss, AirNet by contrast. Name one advantage of each, with a number from this lesson.
#
#    *Your answer:*
#
# 4. **Think.** "Deblurring wants high frequencies, denoising removes them, so one model cannot do both." What do the cosines, the spectra and the table say for this sentence, and what against it? What would you measure next?
#
#    *Your answer:*
#
# 5. **Your remedy.** What did you expect, what did you see, and how many seeds and steps would convince you?
#
#    *Your answer:*
