# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown] lang="en"
# # 06 · DFPIR: the name of the damage puts the channels in order
#
# {{colab_badge}} {{kaggle_badge}}
#
# PromptIR (lesson 03) looks at the picture and guesses what is wrong with it. DFPIR (Tian et al., CVPR 2025) is *told*: with the picture comes a word, "rain" or
# "haze". And it uses the word in an unusual way. It does not add it to the features, and it does not multiply them by it. It takes the word to **put the
# channels into another order**, one order for rain, another for haze, and lets the rest of the network make of it what it can.
#
# In this lesson you
#
# 1. meet two places where tasks can be kept apart, the parameters and the features,
# 2. write the **channel shuffle**, and find out what it really is,
# 3. write the **attention mask**, the attention between two features, and the block; you plug them into a real DFPIR and train it,
# 4. see what the shipped model does, what a **wrong word** does to it, and what its features look like,
# 5. read the paper's ablation beside our own, over three seeds,
# 6. **investigate**: the order is made of indices, and indices have no gradient. Who in this network learns, and who does not? Does it matter what the words mean? You write a shuffle that *can* learn,
# 7. hold the paper against its code.
#
# Eight exercises, 19 points, and one open one. The whole lesson runs from top to bottom even when nothing is filled in: where your piece is missing, the
# reference piece steps in and the output says so.
#
# **Recorded run** means: trained before, for longer than a lesson can; its recipe, seeds and steps are named. **Live** means: made on your machine while you
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
import contextlib
import os
from functools import partial

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from IPython.display import display
from torch import nn

from course_lib import figures
from course_lib.datasets.mixture import setting_of
from course_lib.datasets.photos import load_photos
from course_lib.degradations.composite import DEGRADATIONS
from course_lib.doctor import usable_device
from course_lib.evaluation import restore
from course_lib.evaluation.five_tasks import KINDS, TASKS, classical_method, load_protocol, task_pairs
from course_lib.evaluation.protocol import centre_crop
from course_lib.evaluation.published import query
from course_lib.figures.dfpir import block_diagram, feature_maps, matrix_maps, places_diagram, run_dots, shuffle_map, silent_map
from course_lib.figures.prompts import embedding_map, neighbour_agreement, number_map
from course_lib.figures.style import line_style, new_figure, style
from course_lib.lab.harness import read_rows
from course_lib.metrics import psnr
from course_lib.models import create_model
from course_lib.models.layers import GDFN, LayerNorm
from course_lib.paths import data_root, shipped_weights
from course_lib.profiles import get_profile
from course_lib.prompts import PromptError, encode_words, refuse_other
from course_lib.training import Recipe, fit, load_recipe, load_weights
from course_lib.training.checkpoint import read_tensors
from course_lib.training.tasks import mixture
from course_lib.workbook.checks import check, provenance, source_key, use
from course_lib.workbook.records import begin, record

if DATA_DIR:
    os.environ["COURSE_DATA_DIR"] = DATA_DIR
settings = get_profile(PROFILE, "06_dfpir")
device = usable_device(DEVICE)
out = begin("06_dfpir", OUT_DIR, profile=PROFILE, seed=SEED, device=device)
torch.manual_seed(SEED)
print(f"profile {PROFILE}: {settings.steps} training steps on {device}; results go to {out.name}")


def shipped(name):
    """A model that the course ships, in eval mode."""
    return load_weights(shipped_weights(name)).to(device).eval()


def origin(name):
    """Where shipped weights come from, for a caption."""
    told = read_tensors(shipped_weights(name))[1]
    steps = [str(told.get("steps", "unknown"))]
    try:
        part = load_recipe(name)
        while part.start:  # a recipe may begin with another's weights
            part = load_recipe(part.start)
            steps.insert(0, str(part.steps))
    except ValueError:
        pass  # trained without a recipe file: the weights say all that is known
    return f"{name}, recorded run: recipe {told.get('recipe', 'none')}, seed {told.get('seed', 'none')}, {' + '.join(steps)} steps"


# %% [markdown] lang="en"
# ## 1 · Two places to keep tasks apart
#
# In lesson 03 you measured what happens when one network has several tasks. The lab's table is still there:

# %%
lab_03 = pd.DataFrame(read_rows(data_root() / "lab" / "results.csv"))
alone = lab_03[lab_03["experiment"].isin(["denoise only", "deblur only"])].groupby("task")["psnr"].mean()
together = lab_03[lab_03["experiment"] == "both"].groupby("task")["psnr"].mean()
for task in together.index:
    print(f"{task}: alone {alone[task]:.2f} dB, with the other task {together[task]:.2f} dB, so sharing one network costs {alone[task] - together[task]:.2f} dB")

# %% [markdown] lang="en"
# All weights serve all tasks, and that has its price. There are two places where one can do something about it.
#
# | place | idea | you know it from |
# |---|---|---|
# | **parameter space** | tasks get weights of their own, or their gradients are kept from fighting | adapters, norms of each task's own, gradient surgery (lesson 03) |
# | **feature space** | the weights stay the same for all, but what they *see* differs from task to task | prompts beside the features (lesson 03), and now DFPIR |
#
# DFPIR's authors call theirs a *feature perturbation*. Picture two tasks that want opposite things from channel 7. If the channels of a rainy picture come in another order than those of a hazy one, then the weight that follows no longer meets channel 7 twice.
# It meets channel 7 of the one and, say, channel 30 of the other. The quarrel about that weight is over, or at least it is another quarrel.
#
# The same five tasks and the same pictures as in lessons 03 and 05 (`data/protocol/five_tasks.json`):

# %%
def cut(image, side):
    """The middle of (1, 3, h, w), at most `side` pixels a side (0: all of it)."""
    return centre_crop(image, side=side) if side else image


pairs = {}  # task -> [(photograph, degraded, clean), ...]
for task in TASKS:
    chosen = list(task_pairs(task))[: settings.test_images]
    pairs[task] = [(name, cut(spoilt, settings.test_crop), cut(clean, settings.test_crop)) for name, spoilt, clean in chosen]
TITLES = [task.replace("_", " ") for task in TASKS]


def mean_psnr(images):
    """Task -> mean PSNR (dB) of `images`, task -> list of (1, 3, h, w), against the clean pictures of `pairs`."""
    return {task: float(np.mean([psnr(a.clamp(0, 1), c).item() for a, (_, _, c) in zip(images[task], pairs[task], strict=True)])) for task in images}


degraded = {task: [spoilt for _, spoilt, _ in pairs[task]] for task in TASKS}
input_psnr = mean_psnr(degraded)
one = 0  # which photograph is shown


def with_scores(images):
    """Heading -> picture `one` of each task, the PSNR in the heading."""
    clean = {task: pairs[task][one][2] for task in TASKS}
    return {f"{task.replace('_', ' ')}\n{psnr(images[task][one].clamp(0, 1), clean[task]).item():.2f} dB": images[task][one].clamp(0, 1) for task in TASKS}


record("five_tasks", figures.strip(with_scores(degraded), zoom=None, clean_key=None), "One photograph, five degradations. DFPIR gets each of them together with its name.")

# %% [markdown] lang="en"
# ### Words as vectors
#
# A network takes numbers, so a word must become a vector. DFPIR lets the text half of **CLIP** (Radford et al., 2021) do it: a Transformer that was trained on pairs of pictures and captions, so that texts which mean
# the same get vectors that point the same way. It is frozen: DFPIR never changes it.
#
# CLIP's weights are 354 MB. This course also brings an **offline** encoder, which needs no download: a text Transformer of the same form whose weights were drawn once from a seed and
# never trained. It knows no meaning at all. Which one was used stands in every output. Whether that makes a difference is one of the questions of section 6.
#
# The "word" of a task is a short sentence, the one that DFPIR's published code hands to CLIP. The cell below prints all five.
#
# **Predict:** CLIP has seen millions of captions. The offline encoder has seen nothing. Will its vectors for noise and for haze point in the same direction, in opposite directions, or at right angles?

# %%
ELSEWHERE = {"noise 25": "noise", "motion blur": "blur", "low light": "low_light"}  # what a task is called in training -> here
plan = load_recipe("dfpir_small")
said = {ELSEWHERE.get(task, task): text for task, text in plan.config["words"].items()}
WORDS = {task: said[task] for task in TASKS}  # task -> what the network is told
print("\n".join(f"{task:10} {text}" for task, text in WORDS.items()))
TOLD_BY = plan.config.get("encoder", "offline").partition(":")[0]  # the encoder of the shipped model
encoded = {TOLD_BY: encode_words(list(WORDS.values()), TOLD_BY)}  # encoder -> its vectors, in the order of TASKS
for name in [name for name in settings.encoders if name != TOLD_BY]:
    try:
        encoded[name] = encode_words(list(WORDS.values()), name)
    except (PromptError, ImportError) as error:
        print(f"{name}: not used here ({str(error).splitlines()[0]})")
cosines = {}
for name, own in encoded.items():
    unit = F.normalize(own.vectors, dim=1)
    cosines[f"{name}, {own.vectors.shape[1]} numbers a word"] = unit @ unit.T
record("word_cosines", number_map(cosines, TITLES, TITLES, label="cosine"), "Cosine between the vectors of the five sentences: 1 is the same direction, 0 a right angle.")

# %% [markdown] lang="en"
# The offline vectors all point to the same side: what they share is larger than what tells them apart. (In an untrained Transformer all texts go through the same random weights. CLIP's texts share a direction as well, for other reasons.) Where MiniLM is installed, a small encoder that was trained on what sentences mean, its map stands beside, with smaller cosines. Keep the picture in mind: *near each other, but not equal*.
# DFPIR does something with them that makes small differences large.

# %% [markdown] lang="en"
# ## 2 · The channel shuffle
#
# The features have $C$ channels. DFPIR first **doubles** them with a 1x1 convolution. A small network, the *guidance*, makes one number for each of the $2C$ channels out of the word. The channels are then
# **sorted by these numbers**, and a second 1x1 convolution **halves** them again:
#
# $$
# Q = \mathrm{Conv}_{2C \to C}\Big( \mathrm{shuffle}\big( \mathrm{Conv}_{C \to 2C}(F_n) \,\big|\, \mathrm{DGM}(P_e) \big) \Big)
# $$
#
# | paper | code | shape |
# |---|---|---|
# | $F_n$, features of the encoder | `x` | `(B, C, H, W)` |
# | $P_e$, the prompt | `text` | `(B, D)`, D = 512 |
# | $\mathrm{DGM}(P_e)$, the guidance | `guide` | `(B, N)`, N = 2C |
# | top-K of it, with K = N | `order` | `(B, N)` whole numbers |
# | $Q$ | the result | `(B, C, H, W)` |
#
# The paper says *top-K*. With K equal to all N nothing is left out: it is a sort. We write it in two steps, the order and the reordering.

# %% [markdown] lang="en"
# **Exercise 06-a (2 points, about 8 minutes).** Two functions.
#
# `channel_order(guide)`: from one number a channel to an order, for each image its own. Entry $j$ of a row is the index of the channel that *goes to place* $j$; the channel with the largest guide value
# comes first.
#
# `reorder(x, order)`: channel $j$ of image $b$ of the result is channel `order[b, j]` of image $b$ of `x`.
#
# | | shape | |
# |---|---|---|
# | `guide` | `(B, N)` | any numbers, no two alike in a row |
# | `order` | `(B, N)` | **int64**; every image has an order of its own |
# | `x`, result of `reorder` | `(B, N, H, W)` | training must pass through to `x` |
#
# <details><summary>Hint 1</summary>
#
# `topk(N, dim=1)` and `argsort(dim=1, descending=True)` both know the order. `topk` returns values *and* indices.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `x[:, order]` would give every image all orders. `x.gather(1, index)` picks along axis 1 with an index of the shape of `x`: bring `order` to `(B, N, 1, 1)` and `expand_as(x)`. A loop over the images does it, too.
#
# </details>

# %%
# exercise 06-a · 2 points · The order of the channels
def channel_order(guide):
    """guide (B, N) -> order (B, N), int64: for each image its channel indices, the largest guide value first."""
    ### BEGIN SOLUTION
    return guide.topk(guide.shape[1], dim=1).indices  # a top-K of all N: a sorted list, nothing is dropped
    ### END SOLUTION


def reorder(x, order):
    """x (B, N, H, W), order (B, N) -> (B, N, H, W): channel j of image b is channel order[b, j] of image b."""
    ### BEGIN SOLUTION
    return x.gather(1, order[:, :, None, None].expand_as(x))
    ### END SOLUTION

# %%
check("06-a", (channel_order, reorder))


# %% [markdown] lang="en"
# A photograph has three channels, so here is a shuffle that the eye can follow. Three copies of one picture, three guides.
#
# **Predict:** the guide $(0.1, 0.5, 0.9)$ for red, green and blue. Which colour will orange fur have? And is anything of the picture lost?

# %%
channel_order, reorder = use("06-a", (channel_order, reorder))
photograph = pairs["noise"][one][2]
guides = torch.tensor([[0.9, 0.5, 0.1], [0.1, 0.5, 0.9], [0.5, 0.1, 0.9]])
orders = channel_order(guides)
moved = reorder(photograph.expand(3, -1, -1, -1), orders)
back = reorder(moved, orders.argsort(dim=1))  # the order of an order undoes it
strip = {f"guide {tuple(round(v, 1) for v in g.tolist())}\norder {tuple(o.tolist())}": picture for g, o, picture in zip(guides, orders, moved, strict=True)}
display(record("colours", figures.strip(strip, zoom=None, clean_key=None), "Red, green and blue of one photograph in three orders.", piece=provenance("06-a")))
print(f"shuffled and shuffled back, the largest difference is {(back - photograph).abs().max().item():.1g}")

# %% [markdown] lang="en"
# Nothing is lost: a shuffle can be undone. It only changes *who meets whom*: the first weight of the next layer met red in the first picture and blue in the second.
#
# So why double the channels first? Write the two convolutions as matrices, $A$ of shape $2C \times C$ and $B$ of shape $C \times 2C$, and the shuffle of word $t$ as a permutation matrix $\Pi_t$ (one 1 in each row and column). Between the two
# convolutions stands no activation. So the whole thing is *one* matrix for each word:
#
# $$
# W_t = B\, \Pi_t\, A \qquad (C \times C)
# $$
#
# **The channel shuffle is a 1x1 convolution that each task has for itself**, made from shared parts. Now count. Five tasks that want five matrices ask for $5C^2$ numbers. Two matrices without doubling have $2C^2$; doubled, they have $4C^2$. With doubling the network is much freer to give each word what it
# wants, or to make all words alike if it likes that better. (The counting is ours. The paper's argument is its ablation, and we rerun it.)

# %% [markdown] lang="en"
# **Exercise 06-b (3 points, about 12 minutes).** The channel perturbation as a module. `__init__` makes four layers, under exactly these names, which are the library's, so that weights can be handed over:
#
# | part | what it is | size |
# |---|---|---|
# | `self.linear1` | linear layer | D -> D |
# | `self.linear2` | linear layer | D -> 2C |
# | `self.widen` | 1x1 convolution | C -> 2C |
# | `self.narrow` | 1x1 convolution | 2C -> C |
#
# All four have biases, as torch makes them by default. `channels` is C, `text_width` is D. And `forward`:
#
# $$
# g = \mathrm{linear}_2(\mathrm{linear}_1(\mathrm{text})), \qquad Q = \mathrm{narrow}\big(\mathrm{reorder}(\mathrm{widen}(x),\; \mathrm{order}(g))\big)
# $$
#
# Nothing stands between the two linear layers, there is no other activation and no residual. Each image has a text of its own. Use `channel_order` and `reorder` from above. You will notice that no gradient reaches `linear1` and `linear2`. That is so in the authors' code; leave it, section 6 comes back to it.
#
# <details><summary>Hint</summary>
#
# `nn.Linear(inputs, outputs)`, `nn.Conv2d(inputs, outputs, kernel_size=1)`.
#
# </details>

# %%
# exercise 06-b · 3 points · Degradation-guided channel perturbation
class ChannelPerturbation(nn.Module):
    """x (B, C, H, W), text (B, D) -> (B, C, H, W): widened to 2C channels, these reordered as the text says, narrowed to C."""

    def __init__(self, channels, text_width):
        super().__init__()
        ### BEGIN SOLUTION
        self.linear1 = nn.Linear(text_width, text_width)
        self.linear2 = nn.Linear(text_width, 2 * channels)
        self.widen = nn.Conv2d(channels, 2 * channels, kernel_size=1)
        self.narrow = nn.Conv2d(2 * channels, channels, kernel_size=1)
        ### END SOLUTION

    def forward(self, x, text):
        ### BEGIN SOLUTION
        guide = self.linear2(self.linear1(text))  # (B, 2C)
        return self.narrow(reorder(self.widen(x), channel_order(guide)))
        ### END SOLUTION

# %%
check("06-b", ChannelPerturbation)


# %% [markdown] lang="en"
# Is it really one matrix a word? Feed the module the $C$ unit vectors, one a "pixel": what comes out are the columns of $W_t$, plus the constant. If your module is what it should be, then $W_t$ and the constant alone must reproduce it on any features.
#
# **Predict:** fresh, random weights, five sentences whose vectors point to the same side. Will the five matrices look alike?

# %%
my_perturbation = use("06-b", ChannelPerturbation)
vectors = encoded[TOLD_BY].vectors  # (5, D), in the order of TASKS


def matrices_of(perturb, texts):
    """The linear map that each text's shuffle is: W (T, C, C) and the constant (T, C), found by feeding unit vectors."""
    C = perturb.narrow.weight.shape[0]
    texts = texts.to(perturb.narrow.weight.device)
    unit = torch.eye(C, device=texts.device)[None, :, :, None].expand(len(texts), -1, -1, -1)  # pixel i is unit vector i
    with torch.no_grad():
        constant = perturb(torch.zeros_like(unit[:, :, :1]), texts)  # (T, C, 1, 1)
        return (perturb(unit, texts) - constant)[..., 0], constant[:, :, 0, 0]


torch.manual_seed(SEED)
fresh = my_perturbation(16, vectors.shape[1])
W, constant = matrices_of(fresh, vectors)
some = torch.randn(len(TASKS), 16, 8, 8)
with torch.no_grad():
    as_one = torch.einsum("tij,tjhw->tihw", W, some) + constant[:, :, None, None]
    print(f"one matrix a word gives the module's result up to {(as_one - fresh(some, vectors)).abs().max().item():.1e}")
record(
    "own_matrices",
    matrix_maps({title: w.abs() for title, w in zip(TITLES, W, strict=True)}, label="magnitude", rows="channel out", columns="channel in"),
    "The 1x1 convolution that each word makes of the same two layers, C = 16, random weights.",
    piece=provenance("06-a", "06-b"),
)

# %% [markdown] lang="en"
# Five different matrices from vectors that were not very different. Sorting does that: it has no sense of *how much* larger a number is.
#
# Now the orders of a trained network, the shipped `dfpir_small`. This is the paper's Figure 7: each word's order as a strip of colours. The uppermost strip is the order before the shuffle, from dark to bright.
#
# **Predict:** it has been trained on the five tasks together. Will words for similar damages, noise and rain for example, have got similar orders?

# %%
dfpir = shipped("dfpir_small")
refuse_other(dfpir.config, encoded[TOLD_BY])  # stops here if its words were encoded by something else
PLACES = {1: "level 1", 2: "level 2", 3: "level 3", 4: "latent"}


def block_at(model, place):
    """The perturbation block of a place: 1, 2, 3 on the skips, 4 after the latent."""
    return getattr(model, f"shuffle{place}")


def orders_of(model, texts, place):
    """Orders (T, N) that a model's guidance makes of texts (T, D), by your function."""
    perturb = block_at(model, place).perturb
    with torch.no_grad():
        return channel_order(perturb.linear2(perturb.linear1(texts.to(device)))).cpu()


shown = {f"{PLACES[p]}: {block_at(dfpir, p).perturb.linear2.out_features} channels": orders_of(dfpir, vectors, p) for p in (1, 4)}
record("shuffle_maps", shuffle_map(shown, TITLES), f"Where the channels go, by word, at the first and the last place ({origin('dfpir_small')}). As the paper's Figure 7.", piece=provenance("06-a"))

# %% [markdown] lang="en"
# Beautiful, and hard to read: it looks like chance. Do not decide by eye. In section 6 you will measure it.

# %% [markdown] lang="en"
# ## 3 · The attention mask, and the block
#
# The shuffled features $Q$ now ask, and the original features $F_n$ answer. It is the attention of lesson 02, between channels, with two changes:
#
# - the **query** comes from the shuffled features, **key and value** from the original ones. So the block can look up what the shuffle has moved, and the values themselves are never shuffled;
# - a **mask**: each query channel listens only to its best keys. Of each row's $d$ scores the $\lfloor \gamma d \rfloor$ largest stay, $\gamma = 0.9$; the others get no weight at all.
#
# $$
# F_a = \mathrm{softmax}\big(\mathrm{mask}_\gamma(\hat Q \hat K^\top \cdot \tau)\big)\, V
# $$
#
# Why leave out a tenth? A softmax never says "no": every key gets some weight, also the ones that have nothing to do with the query. In sum this is a noise on the features. The mask cuts it off.

# %% [markdown] lang="en"
# **Exercise 06-c (2 points, about 8 minutes).** The mask and the softmax together.
#
# | | shape | |
# |---|---|---|
# | `scores` | `(B, n, d, d)` | a row a query channel, a column a key channel; may be large |
# | `gamma` | number in (0, 1] | the share that stays |
# | result | `(B, n, d, d)` | weights; each row adds up to 1 |
#
# In each row the `int(d * gamma)` **largest scores** stay, but at least one. All others become minus infinity *before* the softmax over the last axis, so that their weight is exactly 0. With `gamma` 1 it is the plain softmax.
#
# **Predict:** why minus infinity, and not 0?
#
# <details><summary>Hint</summary>
#
# `scores.topk(keep, dim=-1).indices` are the places that stay. Begin with a tensor full of `-torch.inf` and `scatter` the kept scores into it; or make a mask of True and False the same way and use `masked_fill`.
#
# </details>

# %%
# exercise 06-c · 2 points · The top-K mask
def masked_softmax(scores, gamma):
    """scores (B, n, d, d), gamma in (0, 1] -> weights (B, n, d, d): each row a softmax over its int(d * gamma) largest, 0 elsewhere."""
    ### BEGIN SOLUTION
    keep = max(1, int(scores.shape[-1] * gamma))
    kept = scores.topk(keep, dim=-1).indices  # (B, n, d, keep)
    masked = torch.full_like(scores, -torch.inf).scatter(-1, kept, scores.gather(-1, kept))
    return masked.softmax(dim=-1)
    ### END SOLUTION

# %%
check("06-c", masked_softmax)


# %% [markdown] lang="en"
# Now real scores: those of the shipped model on a rainy picture, at the first place. Your mask at three values of $\gamma$; crossed-out cells have no weight.
#
# **Predict:** the tenth that $\gamma = 0.9$ takes away are the *smallest* weights. How much of the attention is it: 10 %, more, or less?

# %%
masked_softmax = use("06-c", masked_softmax)
VECTOR = dict(zip(TASKS, vectors, strict=True))  # task -> the vector of its word


class Told(nn.Module):
    """A DFPIR together with the vector of a word, so that it is called like any blind model."""

    def __init__(self, model, vector):
        super().__init__()
        self.model, self.vector = model, vector

    def forward(self, image):
        return self.model(image, self.vector.to(image.device).expand(len(image), -1))


@contextlib.contextmanager
def watched_scores(model):
    """Place -> the scores (B, n, d, d), before the mask, of every pass inside the `with`."""
    seen = {place: [] for place in PLACES}

    def spy(attn, place):
        weights = type(attn).weights

        def look(cosine):
            seen[place].append((cosine * attn.temperature).detach().cpu())
            return weights(attn, cosine)

        return look

    attentions = {place: block_at(model, place).attn for place in PLACES}
    for place, attn in attentions.items():
        attn.weights = spy(attn, place)
    try:
        yield seen
    finally:
        for attn in attentions.values():
            del attn.weights


with watched_scores(dfpir) as scores:
    for task in TASKS:
        restore(Told(dfpir, VECTOR[task]), pairs[task][one][1].to(device))
real = scores[1][TASKS.index("rain")][:, :1]  # (1, 1, d, d): the first head
record(
    "mask",
    matrix_maps({f"gamma {gamma:g}: {max(1, int(real.shape[-1] * gamma))} of {real.shape[-1]} stay": masked_softmax(real, gamma)[0, 0] for gamma in (0.5, 0.9, 1.0)}, label="weight", rows="query channel (shuffled)", columns="key channel (original)", blank_zero=True),
    f"Attention weights at level 1 on a rainy picture, by your mask at three values of gamma ({origin('dfpir_small')}).",
    piece=provenance("06-c"),
)

# %%
rows = {}
for place, title in PLACES.items():
    whole = torch.cat(scores[place]).softmax(dim=-1)
    for gamma in (0.5, 0.9):
        stays = masked_softmax(torch.cat(scores[place]), gamma) > 0
        rows.setdefault(f"{title} (d = {whole.shape[-1]})", {})[f"lost at gamma {gamma:g}"] = f"{1 - (whole * stays).sum(-1).mean().item():.1%}"
    rows[f"{title} (d = {whole.shape[-1]})"]["largest weight of a row"] = f"{whole.amax(-1).mean().item():.2f}"
mass = pd.DataFrame(rows).T.reset_index(names="place")
record("mask_mass", mass, f"Share of the attention that the mask takes away, and the largest weight, mean over rows and five pictures ({origin('dfpir_small')}). Even weights would be 1/d.", piece=provenance("06-c"))

# %% [markdown] lang="en"
# Compare the columns with 50 % and 10 %. The nearer they come to these, the more *even* the weights are, and the less the mask has to choose from. Cosines lie between -1 and 1, and a softmax of such small numbers is nearly flat unless the temperature grows in training.

# %% [markdown] lang="en"
# **Exercise 06-d (3 points, about 15 minutes).** Attention between two features. `__init__` makes seven parts under these names (C is `channels`, n is `heads`):
#
# | part | what it is | size | begins at |
# |---|---|---|---|
# | `self.temperature` | `nn.Parameter` | `(n, 1, 1)` | ones |
# | `self.scale` | `nn.Parameter` | `(1,)` | 0.2 |
# | `self.q` | 1x1 convolution | C -> C | |
# | `self.q_dwconv` | 3x3 depthwise, padding 1 | C -> C | |
# | `self.kv` | 1x1 convolution | C -> 2C | |
# | `self.kv_dwconv` | 3x3 depthwise, padding 1 | 2C -> 2C | |
# | `self.project_out` | 1x1 convolution | C -> C | |
#
# None of the convolutions has a bias. Keep `heads` and `gamma`, too. `forward(shuffled, x)`:
#
# 1. the query is made of `shuffled` by `q` and `q_dwconv`; key and value of `x` by `kv` and `kv_dwconv`, key the first half of the channels, value the second;
# 2. split each into n heads of d = C/n channels (head 0 has the first d) and its pixels into one axis: `(B, n, d, L)`;
# 3. divide each channel of query and key by its length *along the pixels*;
# 4. scores = query times key transposed, times `temperature`: `(B, n, d, d)`; 06-c's `masked_softmax` with `self.gamma`;
# 5. weights times value, times `scale`; back to `(B, C, H, W)`; `project_out`. No residual.
#
# <details><summary>Hint</summary>
#
# Depthwise is `groups=` the number of channels. `F.normalize(q, dim=-1)` divides by the length. `t.chunk(2, dim=1)` halves the channels. Use `.reshape`, not `.view`: the network keeps its maps channels-last in memory.
#
# </details>

# %%
# exercise 06-d · 3 points · Attention between two features
class AttentionPerturbation(nn.Module):
    """shuffled, x (B, C, H, W) each -> (B, C, H, W): query from the shuffled feature, key and value from the original one."""

    def __init__(self, channels, heads, gamma=0.9):
        super().__init__()
        ### BEGIN SOLUTION
        self.heads, self.gamma = heads, gamma
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.scale = nn.Parameter(torch.full((1,), 0.2))
        self.q = nn.Conv2d(channels, channels, kernel_size=1, bias=False)
        self.q_dwconv = nn.Conv2d(channels, channels, kernel_size=3, padding=1, groups=channels, bias=False)
        self.kv = nn.Conv2d(channels, 2 * channels, kernel_size=1, bias=False)
        self.kv_dwconv = nn.Conv2d(2 * channels, 2 * channels, kernel_size=3, padding=1, groups=2 * channels, bias=False)
        self.project_out = nn.Conv2d(channels, channels, kernel_size=1, bias=False)
        ### END SOLUTION

    def forward(self, shuffled, x):
        ### BEGIN SOLUTION
        B, C, H, W = x.shape
        q = self.q_dwconv(self.q(shuffled))  # (B, C, H, W)
        k, v = self.kv_dwconv(self.kv(x)).chunk(2, dim=1)  # each (B, C, H, W)
        q, k, v = (t.reshape(B, self.heads, C // self.heads, H * W) for t in (q, k, v))  # (B, n, d, L)
        scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1) * self.temperature  # (B, n, d, d)
        out = masked_softmax(scores, self.gamma) @ v * self.scale  # (B, n, d, L)
        return self.project_out(out.reshape(B, C, H, W))
        ### END SOLUTION

# %%
check("06-d", AttentionPerturbation)


# %% [markdown] lang="en"
# **Exercise 06-e (2 points, about 5 minutes).** The block puts the pieces together. `__init__` is given; write `forward`:
#
# $$
# Q = \mathrm{perturb}(x, \mathrm{text}), \qquad F_a = \mathrm{attn}\big(\mathrm{norm}_1(Q),\, \mathrm{norm}_2(x)\big), \qquad \mathrm{out} = F_a + \mathrm{ffn}\big(\mathrm{norm}_3(F_a)\big)
# $$
#
# One residual, around the feed-forward network. **None from `x`**: whatever is to reach the decoder must come through the attention. (The paper has one more; the code, whose weights there are, has not. See section 7.) Leave `x` itself unchanged.

# %%
# exercise 06-e · 2 points · The block
class DGPB(nn.Module):
    """x (B, C, H, W), text (B, D) -> (B, C, H, W). `perturbation(channels, text_width)` and `attention(channels, heads)` make its two pieces."""

    def __init__(self, channels, heads, text_width, perturbation, attention):
        super().__init__()
        self.perturb = perturbation(channels, text_width)  # (x, text) -> shuffled
        self.norm1, self.norm2, self.norm3 = (LayerNorm(channels) for _ in range(3))
        self.attn = attention(channels, heads)  # (shuffled, x) -> (B, C, H, W)
        self.ffn = GDFN(channels)

    def forward(self, x, text):
        ### BEGIN SOLUTION
        shuffled = self.perturb(x, text)
        out = self.attn(self.norm1(shuffled), self.norm2(x))
        return out + self.ffn(self.norm3(out))
        ### END SOLUTION

# %%
check("06-e", DGPB)


# %% [markdown] lang="en"
# Here is the block with the shapes of a real pass, batch left out. Green is what the word steers. Look at the dashed arrow: along it go *indices*.

# %%
my_attention, my_block = use("06-d", AttentionPerturbation), use("06-e", DGPB)


def build(config, perturbation=my_perturbation):
    """A fresh DFPIR made of your pieces."""
    torch.manual_seed(SEED)
    block = partial(my_block, perturbation=perturbation, attention=my_attention)
    return create_model("dfpir", **config, text_width=vectors.shape[1], block=block)


model = build(settings.config).to(device)
patch = pairs["noise"][0][2][..., :64, :64].to(device)
passed = {"text": (vectors.shape[1],), "input": tuple(patch.shape[1:])}  # part of the network -> the shape of its output
hooks = [part.register_forward_hook(lambda m, i, o, name=name: passed.update({name: tuple(o.shape[1:])})) for name, part in model.named_children()]
with torch.no_grad():
    model(patch, VECTOR["noise"].to(device)[None])
for hook in hooks:
    hook.remove()
heads, (C, H, w), N = settings.config["heads"][0], passed["shuffle1"], block_at(model, 1).perturb.widen.out_channels
shapes = {
    "text": passed["text"], "guide": (N,), "x": passed["encoder_level1"], "doubled": (N, H, w), "shuffled": (N, H, w), "halved": (C, H, w),
    "query": (heads, C // heads, H * w), "key": (heads, C // heads, H * w), "attention": (heads, C // heads, C // heads), "out": passed["shuffle1"],
}  # fmt: skip
record("block", block_diagram(shapes), "The block at level 1 with the shapes of a real pass. Green: steered by the word. Dashed: indices, along which no gradient comes back.", piece=provenance("06-b", "06-d", "06-e"))

# %% [markdown] lang="en"
# ### Four places
#
# The encoder is Restormer's and hears nothing of the word. The blocks stand between encoder and decoder: one after the latent, and one on each of the three skips. So the encoder must serve all tasks in one way, and the decoder gets its features in the word's order.
#
# **Predict:** where has the network more to lose if the word is wrong, at the latent or at the skip of full resolution?

# %%
record("dataflow", places_diagram(passed), "Data flow of the DFPIR of this lesson, with the shapes of a real forward pass. Green: the four blocks, the only places that hear the word.", piece=provenance("06-b", "06-d", "06-e"))

# %%
layers = figures.layer_table(model, patch, VECTOR["noise"].to(device)[None], depth=1)
whole, of_blocks = layers["parameters"].iloc[0], layers[layers["module"].str.contains("shuffle")]["parameters"].sum()
print(f"{whole:,} parameters; the four blocks have {of_blocks:,} of them, {of_blocks / whole:.0%}")
record("layers", layers, "The stages of the model: shapes of a real forward pass, parameters, multiply-adds.", piece=provenance("06-b", "06-d", "06-e"))

# %% [markdown] lang="en"
# If your pieces follow the names above, then weights of the library's own blocks must fit them, and the two networks must give the same picture, whichever word they are told. That is a hard test.

# %%
torch.manual_seed(SEED + 1)
reference = create_model("dfpir", **settings.config, text_width=vectors.shape[1]).to(device).eval()
twin = build(settings.config).to(device).eval()
twin.load_state_dict(reference.state_dict())
with torch.no_grad():
    distance = max((twin(patch, vector.to(device)[None]) - reference(patch, vector.to(device)[None])).abs().max().item() for vector in vectors)
print(f"the library's weights in a model of {provenance('06-b', '06-d', '06-e')}: largest difference over the five words {distance:.1e}")

# %% [markdown] lang="en"
# ### Train it
#
# One picture of each task a step, each with the vector of its word. The loop is the one behind `course train`; the loss is L1.
#
# **Predict:** this network is told the name of the damage, PromptIR was not. Will it be ahead after a hundred steps? And what can it *not* do with the name in so short a time?

# %%
of_label = [ELSEWHERE.get(task.name, task.name) for task in setting_of("five-task").tasks]
label_vectors = torch.stack([VECTOR[task] for task in of_label])  # (5, D), in the order of the labels of the training data


def told_loss(network, batch):
    """L1 between the restored pictures, each with its word, and the clean ones."""
    image, clean, label = batch[:3]
    return F.l1_loss(network(image, label_vectors.to(image)[label]), clean)


validation = {task: [] for task in TASKS}  # two small pictures a task: enough to see a curve
for task, (kind, fixed) in KINDS.items():
    for index, image in enumerate(list(load_photos("validation").values())[:2]):
        clean = cut(image[None], settings.validation_crop)
        validation[task].append((DEGRADATIONS[kind].sample(index, **fixed).apply(clean, [4000 + index], clip=task != "noise"), clean))


def validate(network):
    """Task -> mean PSNR (dB) on the small validation pictures."""
    return {task: float(np.mean([psnr(restore(Told(network, VECTOR[task]), d.to(device)).clamp(0, 1).cpu(), c).item() for d, c in items])) for task, items in validation.items()}


def lesson_recipe(name, steps):
    """The recipe of a live run of this lesson."""
    return Recipe(
        name=name, model="dfpir", config=settings.config, tasks="five-task", seed=SEED, steps=steps, patches=(settings.patch,), batches=(settings.batch,),
        learning_rate=settings.learning_rate, final_learning_rate=1e-6, warmup=min(settings.warmup, steps // 2), clip_norm=1.0, ema_decay=settings.ema_decay,
        precision=settings.precision, log_every=settings.log_every, validate_every=max(1, steps // settings.validations), checkpoint_seconds=30,
    )  # fmt: skip


recipe, train_photos = lesson_recipe("dfpir_lesson", settings.steps), list(load_photos("train").values())
# The folder carries a fingerprint of your code: change a piece, and a new run starts instead of the old one going on.
folder = out / "training" / f"dfpir-{source_key(my_perturbation, my_attention, my_block)}"
run = fit(model, recipe, mixture(recipe, train_photos), None, folder, device=device, validate=validate, objective=told_loss)
print(f"{run.steps} steps in {run.seconds:.0f} s with {provenance('06-b', '06-d', '06-e')}")
record("training_seconds", run.seconds, "Seconds of training.", piece=provenance("06-b", "06-d", "06-e"))

# %%
log, loss = pd.read_csv(folder / "validation.csv"), pd.read_csv(run.log)
with style():
    figure = new_figure(9, 3.8)
    left, right = figure.subplots(1, 2)
    left.plot(loss["step"], loss["loss"], color="0.3")
    left.set(xlabel="step", ylabel="training loss (L1)", ylim=(0, None))
    for index, task in enumerate(TASKS):
        part = log[log["task"] == task]
        inputs = float(np.mean([psnr(d.clamp(0, 1), c).item() for d, c in validation[task]]))
        right.plot(part["step"], part["psnr"] - inputs, label=f"{task.replace('_', ' ')} (input {inputs:.1f} dB)", markersize=4, **line_style(index))
    right.set(xlabel="step", ylabel="gain over the input (dB)")
    right.axhline(0, color="0.6", linewidth=0.8)
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
record("training_curve", figure, f"Live, {run.steps} steps from random weights: the loss, and what each task gains on small validation pictures, told its name.", piece=provenance("06-b", "06-d", "06-e"))

# %% [markdown] lang="en"
# ## 4 · What the shipped model does
#
# `dfpir_small` has the trunk of `restormer_small`, and saw the same pictures for as many steps as `promptir_small`. One thing must be said before any number: **DFPIR is told the damage, the other two are not.** The papers' tables put such models side by side. It is not the same task.
#
# **Predict:** how much is the name worth? On which task most?

# %%
def restored_by(network, words=None):
    """Task -> restored pictures, clipped to [0, 1], on the CPU. `words`: task -> vector for a network that is told."""
    return {task: [restore(Told(network, words[task]) if words else network, d.to(device)).clamp(0, 1).cpu() for d in degraded[task]] for task in TASKS}


protocol, classical = load_protocol(), {}
for task in TASKS:
    own = protocol["tasks"][task]["photographs"]
    method = classical_method(task)[1]
    classical[task] = [method(d, own[name]["parameters"]).clamp(0, 1) for name, d, _ in pairs[task]]
promptir = shipped("promptir_small")
by_dfpir, by_live = restored_by(dfpir, VECTOR), restored_by(run.model, VECTOR)
rows = {
    "input": input_psnr,
    "classical": mean_psnr(classical),
    f"live DFPIR, {run.steps} steps, told": mean_psnr(by_live),
    "restormer_small, blind": mean_psnr(restored_by(shipped("restormer_small"))),
    "promptir_small, blind": mean_psnr(restored_by(promptir)),
    "dfpir_small, told": mean_psnr(by_dfpir),
}
table = pd.DataFrame(rows).T.reindex(columns=list(TASKS))
table["average"] = table.mean(axis=1)
record("degraded_psnr", table.loc["input", "average"], "Mean PSNR of the degraded test pictures over the five tasks.")
record("restored_psnr", table.loc[f"live DFPIR, {run.steps} steps, told", "average"], "The same after the model trained in this lesson.", piece=provenance("06-b", "06-d", "06-e"))
record("results", table.round(2).reset_index(names="PSNR (dB)"), f"The middle of {settings.test_images} test photographs, measured in this run. Live row: {provenance('06-b', '06-d', '06-e')}. {origin('dfpir_small')}.", piece=provenance("06-b", "06-d", "06-e"))

# %%
record(
    "restored",
    figures.grid([with_scores(degraded), with_scores(by_live), with_scores(by_dfpir)], zoom=None, clean_key=None, titles=["degraded", "live", "dfpir_small"]),
    f"The same photograph: degraded, after {run.steps} live steps, and by the shipped DFPIR, each told the right word ({origin('dfpir_small')}).",
    piece=provenance("06-b", "06-d", "06-e"),
)

# %% [markdown] lang="en"
# The live row first. In a hundred steps rain, haze and low light gain, and noise and blur do not yet, as with PromptIR in lesson 03. Being told the name does not replace the learning: the word says *what* is wrong, and not what to do about it.
#
# Then the shipped rows, column by column and not only by the average. Where would you expect the name to be worth most? Where the picture itself is ambiguous: is it a dark picture or a picture of something dark, is it haze or a pale wall? Where the damage is plain to see, as noise is, a blind network knows as much. Hold the columns against this, and believe the columns. And remember that it is one seed each; section 8 has three.

# %% [markdown] lang="en"
# ### The wrong word
#
# In lesson 03 the swapped prompts of PromptIR changed nothing. That was the test of *whether a network listens*. The same test here: each picture is restored with each of the five words. Two more columns:
#
# - `clean`: a text that was never trained,
# - `in short`: the right thing in one word, "haze" in place of "hazy degradation with normal haze". Never trained, either.
#
# **Predict:** what will the text for haze do to a noisy picture? Will the short form do as well as the sentence? With which encoder would you expect it to?

# %%
SHORT = dict(zip(TASKS, TITLES, strict=True))  # task -> "noise", "blur", "rain", "haze", "low light"
others = encode_words(["clean", *SHORT.values()], TOLD_BY)
given = [*TASKS, "clean", "in short"]


def vector_for(task, word):
    """The vector of a column of the table below, for a picture of a task."""
    return VECTOR[word] if word in VECTOR else others["clean" if word == "clean" else SHORT[task]]


changes, kept = torch.zeros(len(TASKS), len(given)), {}
for i, task in enumerate(TASKS):
    for j, word in enumerate(given):
        results = [restore(Told(dfpir, vector_for(task, word)), d.to(device)).clamp(0, 1).cpu() for d in degraded[task][: settings.swap_images]]
        scores_of = [psnr(a, c).item() - psnr(b, c).item() for a, b, (_, _, c) in zip(results, by_dfpir[task], pairs[task], strict=False)]
        changes[i, j], kept[task, word] = float(np.mean(scores_of)), results[0]
scale = max(0.5, float(changes.abs().max()))
record(
    "wrong_words",
    number_map({"change of PSNR (dB) against the right word": changes + 0.0}, TITLES, given, label="dB", limits=(-scale, scale), row_label="the picture has", column_label="it is told"),
    f"Wrong words for dfpir_small, {min(settings.swap_images, settings.test_images)} photographs a task, measured in this run ({origin('dfpir_small')}).",
)

# %%
wrong = changes[:, : len(TASKS)].clone().fill_diagonal_(float("nan"))
print(f"a wrong one of the five words: {np.nanmean(wrong.numpy()):+.2f} dB in the mean, from {np.nanmin(wrong.numpy()):+.2f} to {np.nanmax(wrong.numpy()):+.2f}")
print(f"'clean', never trained: {changes[:, -2].mean():+.2f} dB; the right thing in short, never trained: {changes[:, -1].mean():+.2f} dB")
i, j = divmod(int(changes[:, : len(TASKS)].argmin()), len(TASKS))
worst = {
    "degraded": degraded[TASKS[i]][0], f"told {TITLES[i]} (right)": by_dfpir[TASKS[i]][0], f"told {TITLES[j]}": kept[TASKS[i], TASKS[j]],
    "told in short": kept[TASKS[i], "in short"], "clean": pairs[TASKS[i]][0][2],
}  # fmt: skip
record("wrong_pictures", figures.strip(worst, zoom=None), f"The wrong word that hurts most: a picture with {TITLES[i]} ({origin('dfpir_small')}).")

# %% [markdown] lang="en"
# The diagonal is zero because every picture is compared with itself. In lesson 03 the whole matrix of PromptIR was nearly zero: that network did not listen to its prompts. How far from zero is this one? That is the first thing a channel shuffle has over a prompt beside the features: *it cannot be ignored*. Every channel that the decoder gets has gone through it.
#
# Now the last column. "Haze" and "hazy degradation with normal haze" say the same thing. If the network knew what words mean, the short form would cost little. It knows five orders, and a new text, however good, makes a sixth. A wrong one of the five orders at least is one that the decoder has met in training, with other pictures.

# %% [markdown] lang="en"
# ### Did it learn to use the shuffle, or to undo it?
#
# Each word is a matrix $W_t$ (section 2). Training could go two ways. It could make the five matrices *different in a useful way*. Or it could make them *alike*, so that the shuffle no longer matters. One number tells how alike they are, the share of their power that is in their mean:
#
# $$
# s = \frac{\lVert \frac{1}{T} \sum_t W_t \rVert^2}{\frac{1}{T} \sum_t \lVert W_t \rVert^2}
# $$
#
# All alike: 1. Five unrelated ones: 1/5.
#
# **Predict:** before training it must be about 0.2 (why?). And after?

# %%
def in_common(W):
    """Share of the power of (T, C, C) matrices that is in their mean."""
    return (W.mean(0).square().sum() / W.square().sum((1, 2)).mean()).item()


torch.manual_seed(SEED)
untrained = create_model("dfpir", **dfpir.config).to(device)
rows = {}
for place, title in PLACES.items():
    before, after = (matrices_of(block_at(m, place).perturb, vectors)[0] for m in (untrained, dfpir))
    moved = orders_of(untrained, vectors, place).shape[1]
    rows[f"{title} ({moved} channels)"] = {"before training": round(in_common(before), 3), "dfpir_small": round(in_common(after), 3)}
record("in_common", pd.DataFrame(rows).T.reset_index(names="share in common"), f"How alike the five words' matrices are: 1 all alike, 0.2 unrelated. Untrained: random weights of the same size. {origin('dfpir_small')}.")

# %% [markdown] lang="en"
# Read it as follows. If the right column has stayed near 0.2, training has left the five matrices as strangers: the network lives with five different 1x1 convolutions and *uses* them, which the table of wrong words shows from the outside. If it has moved towards 1, training has been undoing the shuffle. Remember the count of section 2. For five matrices to be alike, four differences of $C^2$ numbers each must vanish; `widen` and `narrow` have $4C^2$ numbers in all. So undoing the shuffle exactly would leave them free to do hardly anything else.
#
# One caution: $W_t$ is what the *query* is made of. Key and value come from the features as they were. So even with five unrelated matrices the decoder gets the same values, mixed differently.

# %% [markdown] lang="en"
# ### Features on their way through the block
#
# The paper's Figure 6 shows feature maps before and after the block. Here they are for the first place, the skip at full resolution. Each map is the mean magnitude over the channels, stretched to its own range: compare shapes, not brightness.
#
# **Predict:** a shuffle moves whole channels, and a mean over all channels does not care about their order. Where can the picture in the third column then differ from the second?

# %%
def block_features(network, place, image, vector):
    """What passes a block: features before it, after the shuffle, after the attention, after the block; (C, h, w) each."""
    block, seen = block_at(network, place), {}
    parts = {"before": block, "shuffled": block.perturb, "attention": block.attn, "after": block}
    hooks = [parts["before"].register_forward_pre_hook(lambda m, i: seen.update(before=i[0][0].cpu()))]
    hooks += [parts[name].register_forward_hook(lambda m, i, o, name=name: seen.update({name: o[0].cpu()})) for name in ("shuffled", "attention", "after")]
    restore(Told(network, vector), image.to(device))
    for hook in hooks:
        hook.remove()
    return {name: seen[name] for name in parts}


feature_rows = {}
for task in TASKS:
    seen = block_features(dfpir, 1, pairs[task][one][1], VECTOR[task])
    feature_rows[task] = {"degraded": pairs[task][one][1][0]} | {"from the encoder": seen["before"], "shuffled, halved": seen["shuffled"], "attention": seen["attention"], "after the block": seen["after"]}
record("features", feature_maps(feature_rows), f"Feature maps at level 1, mean magnitude over the channels, each on its own scale ({origin('dfpir_small')}). As the paper's Figure 6.")

# %% [markdown] lang="en"
# A mean over the channels does not care about their order, and yet the third column is not the second: the halving *adds channels up with weights*, and which channels meet which weights is what the shuffle decides. From the third to the fourth column something else happens. The attention's result is a mixture of the **original** channels; the shuffled ones only ask. And nothing of the encoder's features goes around the block: what is not in the last column, the decoder does not get from this skip.

# %% [markdown] lang="en"
# ### t-SNE, with a trap in it
#
# The paper's Figure 3 lays the features of PromptIR and of DFPIR out by t-SNE: DFPIR's fall into one clean cluster for each damage, PromptIR's overlap. That is taken as a sign that DFPIR tells the tasks apart better. Before you believe it, think: **what goes into the two networks?** PromptIR sees a picture. DFPIR sees a picture *and the name of the cluster*.
#
# So we draw it in four ways. Every photograph of the course in five damages; the pooled features after the deepest prompt or block.
#
# | panel | what the network is told |
# |---|---|
# | PromptIR | nothing |
# | DFPIR | the right word (the paper's figure) |
# | DFPIR | one and the same word for all pictures |
# | DFPIR | for each picture one of the five words, drawn at random |
#
# **Predict:** which of the four show clusters of damages? In the last one, do the clusters follow the damage or the word?

# %%
everything = {name: image for split in ("test", "validation", "train") for name, image in load_photos(split).items()}
chosen = list(everything)[: settings.embed_images]
spoilt, labels, photographs = [], [], []  # one entry a picture
for number, (task, (kind, _)) in enumerate(KINDS.items()):
    for index, name in enumerate(chosen):
        seed = 60_000 + 1000 * number + index
        clean = cut(everything[name][None], settings.embed_crop)
        spoilt.append(DEGRADATIONS[kind].sample(seed).apply(clean, [seed], clip=task != "noise"))
        labels.append(task)
        photographs.append(name)
spoilt = torch.cat(spoilt)
random_words = [TASKS[i] for i in torch.randint(len(TASKS), (len(labels),), generator=torch.Generator().manual_seed(SEED))]


def pooled(network, part, words=None):
    """Mean over the pixels of what a part of the network gives, (pictures, channels), each channel at mean 0 and deviation 1."""
    kept = []
    hook = part.register_forward_hook(lambda m, i, o: kept.append(o.mean((2, 3)).cpu()))
    with torch.no_grad():
        for start in range(0, len(spoilt), 8):
            images = spoilt[start : start + 8].to(device)
            network(images, *([torch.stack([VECTOR[w] for w in words[start : start + 8]]).to(device)] if words else []))
    hook.remove()
    found = torch.cat(kept)
    return (found - found.mean(0)) / found.std(0).clamp_min(1e-6)


clouds = {
    "PromptIR, blind": pooled(promptir, promptir.interact3),
    "DFPIR, the right word": pooled(dfpir, dfpir.shuffle4, labels),
    "DFPIR, one word for all": pooled(dfpir, dfpir.shuffle4, ["rain"] * len(labels)),
    "DFPIR, a random word each": pooled(dfpir, dfpir.shuffle4, random_words),
}
before_block = pooled(dfpir, dfpir.latent, labels)
no_training = pooled(untrained.eval(), untrained.shuffle4, labels)  # random weights, the right word

# %%
from sklearn.manifold import TSNE


def lay_out(points):
    """(n, d) -> (n, 2) by scikit-learn's t-SNE."""
    return torch.as_tensor(TSNE(perplexity=min(15.0, (len(points) - 1) / 3), init="pca", random_state=SEED).fit_transform(points.numpy()))


by_damage = {name: neighbour_agreement(x, labels, photographs) for name, x in clouds.items()}
record(
    "tsne",
    embedding_map({f"{name}\nsame damage: {by_damage[name]:.0%}": lay_out(x) for name, x in clouds.items()}, labels),
    f"t-SNE of {len(labels)} spoilt pictures; colour is the damage. Share in the title: how often the nearest neighbour has the same damage, measured before the drawing, among other photographs; chance is 20 %. promptir_small and dfpir_small, recorded runs.",
)

# %%
told_random = clouds["DFPIR, a random word each"]
agreement = pd.DataFrame(
    [{"features": name, "same damage": f"{share:.0%}", "same word": ""} for name, share in by_damage.items()]
    + [{"features": "DFPIR, before the block (it has not heard a word yet)", "same damage": f"{neighbour_agreement(before_block, labels, photographs):.0%}", "same word": ""}]
    + [{"features": "DFPIR, untrained, the right word", "same damage": f"{neighbour_agreement(no_training, labels, photographs):.0%}", "same word": ""}]
)
agreement.loc[agreement["features"] == "DFPIR, a random word each", "same word"] = f"{neighbour_agreement(told_random, random_words, photographs):.0%}"
record("neighbours", agreement, "How often the nearest neighbour, among the other photographs, has the same damage, or was told the same word. Chance is 20 %.")

# %% [markdown] lang="en"
# Now read titles and table together.
#
# - *The right word*: every damage has its cluster. But each cluster also has its own order of channels, and pooled features in another order are simply somewhere else. The last row of the table is a network with random weights, told the right word: it has learned nothing at all.
# - *One word for all* is the fair partner of the blind PromptIR: both must find the damage in the picture. Compare these two shares.
# - *A random word each* decides it. If the clusters were damages, the neighbours would share the damage. What do they share?
# - *Before the block* is what DFPIR's encoder knows by itself.
#
# The lesson is older than DFPIR: when a label goes into a network, clusters that follow the label prove nothing. Shuffle the labels and draw again.

# %% [markdown] lang="en"
# ## 5 · The ablation, ours and the paper's
#
# What does each part bring? The paper's Table 3 takes them away one by one, on three tasks, with a network of 31 million parameters. We do the same with a very small one on the five tasks, three seeds each (queue `data/lab/dfpir.toml`; `course lab dfpir` repeats it, about two minutes a run). PSNR of one cannot be compared with PSNR of the other. What can be compared is the *order* of the rows, and *whether a difference is larger than the spread over the seeds*. The paper prints one number a row and no spread.

# %%
lab_file = data_root() / "lab" / "dfpir" / "results.csv"
lab_runs = pd.DataFrame(read_rows(lab_file)) if lab_file.is_file() else pd.DataFrame(columns=["experiment", "seed", "task", "psnr", "input_psnr", "steps", "recipe", "commit"])
lab_tasks = list(dict.fromkeys(lab_runs["task"]))


def seeds_of(name):
    """Seed -> PSNR in the mean over the tasks, of the recorded runs of an experiment; only seeds that have all tasks."""
    own = lab_runs[lab_runs["experiment"] == name]
    return {seed: rows["psnr"].mean() for seed, rows in own.groupby("seed") if len(rows) == len(lab_tasks)}


def recorded(names):
    """Where recorded runs come from, for a caption."""
    rows = lab_runs[lab_runs["experiment"].isin(names)]
    if rows.empty:
        return "Recorded runs: none yet"
    said = {key: ", ".join(sorted({str(v) for v in rows[key]})) for key in ("seed", "steps", "commit")}
    return f"Recorded runs (queue data/lab/dfpir.toml): {said['steps']} steps, seeds {said['seed']}, commit {said['commit']}"


def verdict(name, against):
    """Difference of the means in dB and what the spread over the seeds says about it; the spread is the larger of the two."""
    a, b = list(seeds_of(name).values()), list(seeds_of(against).values())
    if not a or not b:
        return "not run yet"
    difference = np.mean(a) - np.mean(b)
    if min(len(a), len(b)) < 2:
        return f"{difference:+.2f} dB, one seed: no spread"
    spread = max(np.std(a, ddof=1), np.std(b, ddof=1))
    return f"{difference:+.2f} dB, spread {spread:.2f}: " + ("smaller than the spread" if abs(difference) <= spread else "better" if difference > 0 else "worse")


def recorded_table(rows, against, printed=None):
    """Rows label -> experiment as a table: seeds, mean, spread, and the difference to one of them; printed figures in a column of their own."""
    made = []
    for label, name in rows.items():
        values = list(seeds_of(name).values())
        row = {"row": label, "seeds": len(values), "mean (dB)": f"{np.mean(values):.2f}" if values else "not run yet", "spread": f"{np.std(values, ddof=1):.2f}" if len(values) > 1 else "-"}
        row[f"against {against}"] = "" if label == against else verdict(name, rows[against])
        made.append(row | ({"printed, paper": f"{printed[label]:.2f}" if label in printed else "-"} if printed else {}))
    return pd.DataFrame(made)


print(recorded(set(lab_runs["experiment"])))

# %%
ROWS = {  # row of the paper's Table 3 -> experiment of the lab; CA is plain channel attention
    "baseline": "baseline",
    "CA": "ca",
    "CA + CAAPM": "ca+caapm",
    "DGCPM": "dgcpm",
    "DGCPM + CAAPM": "dgcpm+caapm",
}
GAMMAS = {"gamma 0.5": "gamma 0.5", "gamma 0.9": "dgcpm+caapm", "gamma 1.0": "gamma 1.0"}
SHUFFLES = {"shuffle of 2C channels": "dgcpm+caapm", "shuffle of C channels": "shuffle in C"}
printed = {row.method: row.psnr for row in query(setting="three-task", data="average") if row.table == "DFPIR Table 3"}


def recorded_dots(rows, against, printed=None):
    """The figure of recorded runs by label -> experiment; None when none of them has been run."""
    values = {label: list(seeds_of(name).values()) for label, name in rows.items()}
    return run_dots(values, against=against, printed=printed) if any(values.values()) else None


def show_recorded(name, rows, against, caption, printed=None):
    """Keep and show the figure and the table of recorded runs, and say what is missing."""
    figure = recorded_dots(rows, against, printed)
    if figure is not None:
        display(record(f"{name}_dots", figure, f"{caption} {recorded(set(rows.values()))}."))
    display(record(f"{name}_table", recorded_table(rows, against, printed), f"{caption} Mean PSNR over {', '.join(lab_tasks) or 'the tasks'}. {recorded(set(rows.values()))}."))
    missing = [label for label, experiment in rows.items() if len(seeds_of(experiment)) < 3]
    print("fewer than three seeds recorded so far:", "; ".join(f"{label} ({len(seeds_of(rows[label]))})" for label in missing) or "none")


# %% [markdown] lang="en"
# **Predict:** CA is plain channel attention: the word gives each channel a factor between 0 and 1. DGCPM is the shuffle, CAAPM the masked attention. Which of the four additions will bring most over the baseline? In the baseline nobody is told the word; keep that in mind, too.

# %%
show_recorded("components", ROWS, "baseline", "Components, as in the paper's Table 3; the paper's column is on three tasks and other data.", printed)

# %% [markdown] lang="en"
# How to read it.
#
# - **CA against the baseline** is what it is worth to be *told* at all: plain channel attention does nothing but pass the word on, in the plainest way.
# - **DGCPM against CA** is the paper's point: both are told the same word; one scales channels, the other reorders them. In the paper it is 0.15 dB.
# - **CAAPM** changes two things at once. It brings attention, and it takes away the way around: without CAAPM the block's output is the perturbed feature, with it nothing of `x` goes by. A small network that is trained for some hundred steps must first learn to let its own features through.
# - Where the verdict says *smaller than the spread*, three seeds cannot tell the rows apart, and neither could one.
#
# And the paper's column? Its rows are 0.15 to 0.9 dB apart, one number each, no seeds named. Whether 0.15 dB is more than the next seed would give, the table does not say.

# %% [markdown] lang="en"
# Now $\gamma$, the share of scores that stays. The paper: 32.67 dB at 0.5, 32.88 at 0.9, 32.83 at 1.0, all the rest alike.
#
# **Predict:** between $\gamma = 0.9$ and 1.0 the paper has 0.05 dB. With our spread over seeds, could we see such a difference?

# %%
show_recorded("gammas", GAMMAS, "gamma 0.9", "The share of the scores that stays.", printed)

# %% [markdown] lang="en"
# Where two rows differ by less than the spread, nothing has been found out about $\gamma$, here or there. Remember section 3: the tenth that is masked carries only a few percent of the attention. A change that small can hardly matter much.
#
# And the claim of section 2, that the shuffle needs a doubled space: shuffle $C$ channels instead of $2C$, all else alike.

# %%
show_recorded("doubling", SHUFFLES, "shuffle of 2C channels", "The shuffle in C and in 2C channels.")

# %% [markdown] lang="en"
# This is the test of the claim that the shuffle needs the doubled space. Note what else differs: a shuffle in $C$ also has half as many numbers in `widen` and `narrow`. If the verdict is *smaller than the spread*, then at this size and budget the doubling is not what counts, whatever its reason.

# %% [markdown] lang="en"
# ## 6 · The investigation
#
# ### 6.1 Who learns nothing?
#
# The guidance network is there to *learn* which order suits which word. It has two layers with weights and biases, the optimiser is handed all of them, and training runs. Does it learn?
#
# A gradient comes back along the way that the values went forward: through sums, products, functions with a slope. From the guide to the picture the way leads through `topk(...).indices`. An index has no slope. Move a guide value by a little: the order stays exactly as it was. Move it a little more: it jumps. The derivative is zero, except where it does not exist.
#
# Do not believe it; find out. And find out *for every parameter*, because a network can have others that never learn.

# %% [markdown] lang="en"
# **Exercise 06-f (2 points, about 12 minutes).** A detective for any model. `silent_parameters(model, loss_of)` returns the names of the parameters that learn nothing.
#
# - `loss_of(model)` runs the model on **another batch at every call** and returns a loss that you can differentiate. Make four passes, that is four calls.
# - *Silent* is a parameter that may learn (`requires_grad`) and whose gradient is `None` **or exactly zero in each of the four**. A tiny gradient is a gradient. (Why several passes? A ReLU may be silent for one batch by accident.)
# - Parameters with `requires_grad=False` are not silent, they were told not to learn: leave them out. A shared parameter counts once, by the name that `named_parameters()` gives it.
# - Leave the model as it was: its `.grad` (there may be gradients from before, or `None`), its modes (some parts may be in eval mode), `requires_grad`, and of course its weights. The passes run in the mode that the model is in.
#
# Returns a list of names, in any order.
#
# <details><summary>Hint</summary>
#
# `torch.autograd.grad(loss, parameters, allow_unused=True)` gives the gradients as a tuple, `None` where the loss does not reach, and does not touch `.grad`. `gradient.any()` is True when one number is not zero.
#
# </details>

# %%
# exercise 06-f · 2 points · Who learns nothing?
def silent_parameters(model, loss_of):
    """Names of the parameters whose gradient is None or exactly zero in each of four passes; `loss_of(model)` gives another loss at each call."""
    ### BEGIN SOLUTION
    learning = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    silent = set(learning)
    for _ in range(4):
        gradients = torch.autograd.grad(loss_of(model), list(learning.values()), allow_unused=True)  # leaves every .grad alone
        silent -= {name for name, gradient in zip(learning, gradients, strict=True) if gradient is not None and gradient.any()}
    return [name for name in learning if name in silent]
    ### END SOLUTION

# %%
check("06-f", silent_parameters)


# %% [markdown] lang="en"
# The suspect is the model that you have just trained.
#
# **Predict:** how many of its parameters have learned nothing in all these steps? Name them before you run.

# %%
find_silent = use("06-f", silent_parameters)
stream = mixture(lesson_recipe("detective", 4), train_photos)


def fresh_loss(data, patch=32):
    """A `loss_of` for models that are told: every call takes the next five samples of `data`, one a task."""
    place = iter(range(10**6))

    def loss_of(network):
        items = [data[next(place), patch] for _ in range(5)]
        batch = [torch.stack([item[k] for item in items]) for k in (0, 1)] + [torch.tensor([item[2] for item in items])]
        return told_loss(network, [part.to(device) for part in batch])

    return loss_of


suspect = run.model
silent = find_silent(suspect, fresh_loss(stream))
count = {name: p.numel() for name, p in suspect.named_parameters()}
print(f"{sum(count[name] for name in silent):,} of {sum(count.values()):,} parameters learn nothing, {sum(count[name] for name in silent) / sum(count.values()):.0%}:")
print("\n".join(f"  {name}: {count[name]:,}" for name in silent))

# %% [markdown] lang="en"
# A picture of it: all parameters of the four blocks, the size of their gradient by colour.

# %%
of_blocks = {name: p for name, p in suspect.named_parameters() if name.startswith("shuffle")}
with torch.enable_grad():
    gradients = torch.autograd.grad(fresh_loss(stream, settings.patch)(suspect), list(of_blocks.values()), allow_unused=True)
columns = {f"shuffle{place}\n({title})": {} for place, title in PLACES.items()}
for name, gradient in zip(of_blocks, gradients, strict=True):
    place, _, part = name.partition(".")
    columns[f"{place}\n({PLACES[int(place[-1])]})"][part] = None if gradient is None else gradient.square().mean().sqrt().item()
record("silent", silent_map(columns), f"Gradients in the four blocks of the model trained here, one batch. Found silent by {provenance('06-f')}: {len(silent)} tensors.", piece=provenance("06-b", "06-d", "06-e", "06-f"))

# %% [markdown] lang="en"
# So the guidance learns nothing. Its weights stay as the random numbers of the first second, to the last bit. In a network as small as this one it is the larger part of all parameters, which is why the shipped `dfpir_small` has a narrower one. Is it only our small copy? The published size, with the library's own blocks, which follow the authors' code:

# %% tags=["nbval-check-output"]
torch.manual_seed(0)
published = create_model("dfpir").requires_grad_(True)
mean_out = published(torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)), VECTOR["rain"][None]).mean()
names, parameters = zip(*published.named_parameters(), strict=True)
reached = torch.autograd.grad(mean_out, parameters, allow_unused=True)
dead = {name: p.numel() for name, p, g in zip(names, parameters, reached, strict=True) if g is None}
print(f"DFPIR, published size: {sum(p.numel() for p in parameters):,} parameters")
print(f"without a gradient: {sum(dead.values()):,} in {len(dead)} tensors, all of the guidance: {all('.perturb.linear' in name for name in dead)}")

# %% [markdown] lang="en"
# (The attention's mask is made of indices as well, and yet its parameters learn. Why? The scores that stay go on into the softmax *as values*. Only the choice has no slope. In the shuffle the guide is *nothing but* choice.)

# %% [markdown] lang="en"
# One more case for the detective, the other well-known way to use words. **InstructIR** (Conde et al., ECCV 2024) takes a whole sentence, and its block multiplies each channel by a number between 0 and 1 that it reads off the sentence's vector $e$:
#
# $$
# \mathrm{ICB}(x) = x + \mathrm{block}\big( (\gamma x + \beta)\, \sigma(W e + b) \big)
# $$
#
# A product has a slope. So here $W$ should learn. But $\gamma$ and $\beta$ begin at 0, so that a fresh block passes $x$ on.
#
# **Predict:** what does the detective say of a fresh InstructIR? And after one step of training?

# %%
torch.manual_seed(SEED)
instructir = create_model("instructir", width=8, blocks=[1, 1], middle_blocks=1, decoder_blocks=[1, 1], text_width=vectors.shape[1]).to(device)
optimizer, loss_of = torch.optim.AdamW(instructir.parameters(), 1e-3), fresh_loss(stream)
for step in range(3):
    silent_now = find_silent(instructir, loss_of)
    of_words = [name for name in silent_now if ".fc." in name]
    print(f"InstructIR after {step} steps: {len(silent_now)} of {len(list(instructir.parameters()))} tensors silent, {len(of_words)} of them read the words")
    optimizer.zero_grad()
    loss_of(instructir).backward()
    optimizer.step()

# %% [markdown] lang="en"
# Silent at the beginning is not silent for ever: what stands behind a factor of 0 gets a gradient of exactly 0, until the factor has moved. That is what *exactly zero* is for in your function, and why a detective looks twice. In DFPIR the guidance has no factor that could move. It stays silent.

# %% [markdown] lang="en"
# ### 6.2 One word, one permutation
#
# If the guidance never changes and the words' vectors never change, then each word has **one fixed order**, the same for every picture, in training and in use. "Degradation-guided shuffle" then is: *a random permutation, drawn once, looked up by the word*. That is a strong sentence. Two small tools to test it.

# %% [markdown] lang="en"
# **Exercise 06-g (2 points, about 6 minutes).**
#
# `same_places(order_a, order_b)`: for each image the share of places that hold the same channel in both orders; float `(B,)`, between 0 and 1.
#
# `is_permutation(order)`: for each image whether its row holds each of $0 \dots N-1$ exactly once; bool `(B,)`. A row may hold anything: repeated, negative or too large numbers.
#
# <details><summary>Hint</summary>
#
# A sorted permutation is $0, 1, 2, \dots$ `.all(dim=1)` asks a whole row.
#
# </details>

# %%
# exercise 06-g · 2 points · One prompt, one permutation
def same_places(order_a, order_b):
    """order_a, order_b (B, N), int64 -> (B,) in [0, 1]: for each image the share of places that hold the same channel."""
    ### BEGIN SOLUTION
    return (order_a == order_b).float().mean(dim=1)
    ### END SOLUTION


def is_permutation(order):
    """order (B, N), int64 -> (B,), bool: whether each row holds each of 0 ... N - 1 exactly once."""
    ### BEGIN SOLUTION
    every = torch.arange(order.shape[1], device=order.device)
    return (order.sort(dim=1).values == every).all(dim=1)
    ### END SOLUTION

# %%
check("06-g", (same_places, is_permutation))


# %%
same, permuted = use("06-g", (same_places, is_permutation))
all_permutations = all(bool(permuted(orders_of(dfpir, vectors, place)).all()) for place in PLACES)
before, after = ([orders_of(network, vectors, place) for place in PLACES] for network in (build(settings.config).to(device), run.model))
moved = min(same(a, b).min().item() for a, b in zip(before, after, strict=True))
print(f"every order of dfpir_small is a permutation: {all_permutations}")
print(f"orders before and after {run.steps} live steps: {moved:.0%} of the places agree at least, in every word and place")


def every_pair(orders):
    """Share of equal places between all pairs of orders (T, N) -> (T, T)."""
    T = len(orders)
    return same(orders.repeat_interleave(T, 0), orders.repeat(T, 1)).view(T, T)


def rank_correlation(orders):
    """Spearman's correlation between the places of the channels in orders (T, N) -> (T, T)."""
    return torch.corrcoef(orders.argsort(dim=1).double())


orders = {place: orders_of(dfpir, vectors, place) for place in PLACES}
panels = {f"{PLACES[p]}, {orders[p].shape[1]} channels\nequal places (chance {1 / orders[p].shape[1]:.3f})": every_pair(orders[p]) for p in (1, 4)}
display(record("order_distances", number_map(panels, TITLES, TITLES, label="share of equal places", limits=(0, 1)), f"How far two words' orders agree, place by place ({origin('dfpir_small')}).", piece=provenance("06-a", "06-g")))
ranks = {f"{PLACES[p]}: rank correlation": rank_correlation(orders[p]).float() for p in (1, 4)}
record("order_ranks", number_map(ranks, TITLES, TITLES, label="correlation", limits=(-1, 1)), f"Whether a channel that stands far in front for one word does so for the other, too ({origin('dfpir_small')}).", piece=provenance("06-a"))

# %% [markdown] lang="en"
# Two maps, two answers. *Place by place* two words agree more often than chance would have it, and still in few channels, at the latent in hardly any. For the 1x1 convolution that follows, whose weights belong to places, they are strangers. But the *ranks* agree well: a channel that stands far in front for one word stands rather in front for the others. That comes from the common direction of the vectors (section 1), through a guidance that is linear. So the orders are not independent draws. They are one common order, shaken, differently for each word.
#
# ### What a little noise on the word does
#
# A fixed random permutation would not be bad in itself. But this one hangs on the *exact* vector of the word. We add noise to the vectors, a fraction of their length, and count the places that stay.
#
# **Predict:** with 5 % of noise, and a guidance that is a smooth (linear!) function, will 95 % of the places stay? Will it be better at the latent, with its many channels, or worse?

# %%
def places_kept(perturb, texts, level, draws):
    """Share of places that keep their channel when noise of `level` times the vector's length is added, mean over words and draws."""
    with torch.no_grad():
        clear = channel_order(perturb.linear2(perturb.linear1(texts)))
        kept_share = []
        for draw in range(draws):
            noise = torch.randn(texts.shape, generator=torch.Generator().manual_seed(draw))
            noisy = texts + level * texts.norm(dim=1, keepdim=True) * noise / noise.norm(dim=1, keepdim=True)
            kept_share.append(same(channel_order(perturb.linear2(perturb.linear1(noisy))), clear).mean().item())
    return float(np.mean(kept_share))


curves = {}
for name, network, places in (("dfpir_small", dfpir, (1, 4)), ("published size, untrained", published, (1, 4))):
    for place in places:
        perturb = block_at(network, place).perturb.cpu()
        curves[f"{name}, {PLACES[place]}: {perturb.linear2.out_features} channels"] = [places_kept(perturb, vectors, level, settings.noise_draws) for level in settings.noise_levels]
dfpir.to(device)
with style():
    figure = new_figure(8.5, 3.4)
    axes = figure.subplots()
    for index, (name, values) in enumerate(curves.items()):
        axes.plot([100 * level for level in settings.noise_levels], values, label=name, markersize=5, **line_style(index))
    axes.axvline(5, color="0.6", linewidth=0.8, linestyle=":")
    axes.set(xscale="log", xlabel="noise on the vector (% of its length)", ylabel="share of places that stay", ylim=(0, 1))
    axes.set_xticks([0.1, 1, 5, 10, 50], ["0.1", "1", "5", "10", "50"])
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", frameon=False)
display(record("noise_on_words", figure, f"Places that keep their channel when the word's vector gets noise; mean over five words and {settings.noise_draws} draws. Encoder: {TOLD_BY}.", piece=provenance("06-a", "06-g")))
print({name: f"{places_kept(block_at(dfpir, place).perturb.cpu(), vectors, 0.05, settings.noise_draws):.0%}" for place, name in PLACES.items()}, "stay at 5 % noise")
dfpir.to(device)

# %%
noisy_table = {}
for level in (0.0, 0.01, 0.05, 0.2):
    noise = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(SEED))
    shaken = vectors + level * vectors.norm(dim=1, keepdim=True) * noise / noise.norm(dim=1, keepdim=True)
    scores_of = {task: [psnr(restore(Told(dfpir, shaken[k]), d.to(device)).clamp(0, 1).cpu(), c).item() for _, d, c in pairs[task][: settings.swap_images]] for k, task in enumerate(TASKS)}
    noisy_table[f"{level:.0%} noise"] = {task: float(np.mean(values)) for task, values in scores_of.items()}
noisy_table = pd.DataFrame(noisy_table).T
noisy_table["average"] = noisy_table.mean(axis=1)
record("noisy_words", noisy_table.round(2).reset_index(names="PSNR (dB)"), f"Restored with a shaken vector of the right word, {min(settings.swap_images, settings.test_images)} photographs a task ({origin('dfpir_small')}).")

# %% [markdown] lang="en"
# The guidance is linear, the guide values move by about 5 %, and yet most channels change their place. The values of $N$ channels lie close together, about $1/N$ of their range apart. So it takes little to exchange neighbours, and the more channels, the less. Read the four curves at the dotted line.
#
# The table says what that does to the pictures: the exchanged channels are mostly neighbours in *rank*, but the weights after them do not know that.
#
#
# This has a practical side. Whoever uses the published weights needs the *very* text encoder, to the digit. CLIP comes in two forms that differ in one activation function (`ViT-B-32` and `ViT-B-32-quickgelu`); the wrong one gives slightly different vectors, another permutation, and a network that restores worse without any error message. Half precision does the same. That is why each checkpoint of this course names its encoder and refuses another:

# %%
try:
    refuse_other(dfpir.config, "open_clip:another")
except PromptError as error:
    print(error)

# %% [markdown] lang="en"
# ### 6.3 A shuffle that learns
#
# Can it be mended? We need a shuffle whose forward pass is a sort, and which has a slope nevertheless. **SoftSort** (Prillo and Eisenschlos, ICML 2020) writes the sort as a matrix. With $g$ the guide and $s$ the same values sorted, from large to small:
#
# $$
# P_{ij} = \mathrm{softmax}_j\!\left( -\frac{|s_i - g_j|}{\tau} \right)
# $$
#
# Row $i$ asks: which channel has the $i$-th largest value? The softmax answers "mostly this one, a little of its neighbours". For $\tau \to 0$ it is the hard permutation; for larger $\tau$ it is blurred, and has a slope.
#
# **Straight-through** (Bengio et al., 2013) takes the best of both: the *values* of the hard matrix, the *slope* of the soft one.

# %% [markdown] lang="en"
# **Exercise 06-h (3 points, about 15 minutes).** `soft_reorder(x, guide, tau)`:
#
# - $P$ as above, `(B, N, N)`: row $i$ is place $i$, column $j$ is channel $j$; the sorted values $s_i$ carry gradient, too;
# - a matrix with the **values** of the hard permutation matrix (one 1 in each row) and the **slope** of $P$;
# - the result is this matrix times the channels: exactly the hard reorder of 06-a, `(B, N, H, W)`. `x` gets the gradient of the hard reorder, the guide gets the gradient that it would get through $P\,x$.
#
# | | shape | |
# |---|---|---|
# | `x` | `(B, N, H, W)` | |
# | `guide` | `(B, N)` | used as it is, not normalised |
# | `tau` | number > 0 | |
#
# <details><summary>Hint 1</summary>
#
# `falling, order = guide.sort(dim=1, descending=True)`. With `falling[:, :, None] - guide[:, None, :]` all differences stand in one `(B, N, N)` tensor. `F.one_hot(order, N)` is the hard matrix.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `hard + (soft - soft.detach())`: the bracket is zero, so the value is that of `hard`; the slope is that of `soft`. The product with the channels is `torch.einsum("bij,bjhw->bihw", P, x)`.
#
# </details>

# %%
# exercise 06-h · 3 points · A shuffle that learns
def soft_reorder(x, guide, tau):
    """x (B, N, H, W), guide (B, N), tau > 0 -> (B, N, H, W): the hard reorder, with the slope of the soft sort's matrix P for the guide."""
    ### BEGIN SOLUTION
    falling, order = guide.sort(dim=1, descending=True)
    hard = F.one_hot(order, guide.shape[1]).to(guide.dtype)  # (B, N, N): row = place, column = channel
    soft = (-(falling[:, :, None] - guide[:, None, :]).abs() / tau).softmax(dim=-1)  # (B, N, N)
    P = hard + (soft - soft.detach())  # the values of hard, the slope of soft
    return torch.einsum("bij,bjhw->bihw", P, x)
    ### END SOLUTION

# %%
check("06-h", soft_reorder)


# %% [markdown] lang="en"
# How sharp should it be? Below, $P$ of the word "rain" at level 1 for three $\tau$, in units of the guide's own standard deviation. The columns are put into the hard order, so that a perfect permutation shows as a diagonal.
#
# **Predict:** a very small $\tau$ gives the truest matrix. What is wrong with it as a slope?

# %%
with torch.no_grad():
    perturb = block_at(dfpir, 1).perturb
    guide = perturb.linear2(perturb.linear1(VECTOR["rain"].to(device)[None])).cpu()
    g, spread = guide[0], guide.std().item()
    falling, order = g.sort(descending=True)
    panels = {f"tau = {share:g} deviations": (-(falling[:, None] - falling[None]).abs() / (share * spread)).softmax(dim=-1) for share in (1.0, 0.1, 0.01)}
record("soft_matrix", matrix_maps(panels, label="share", rows="place", columns="channel, in its hard order", limit=1.0), f"SoftSort's matrix at level 1 for the word rain, {len(g)} channels ({origin('dfpir_small')}).")

# %% [markdown] lang="en"
# Now into the network. The perturbation below is yours with one line changed: it calls `soft_reorder`. The detective of 6.1 has another look, and then the network trains for a short while.
#
# **Predict:** is anything silent now? And after the training, will the words still have the orders that they began with?

# %%
learning_reorder = use("06-h", soft_reorder)


class LearningPerturbation(nn.Module):
    """06-b with a shuffle that has a slope; the guide is brought to mean 0 and deviation 1, so that one tau suits all places."""

    def __init__(self, channels, text_width, tau=0.1):
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(text_width, text_width), nn.Linear(text_width, 2 * channels)
        self.widen, self.narrow = nn.Conv2d(channels, 2 * channels, 1), nn.Conv2d(2 * channels, channels, 1)
        self.tau = tau

    def forward(self, x, text):
        guide = self.linear2(self.linear1(text))
        guide = (guide - guide.mean(1, keepdim=True)) / guide.std(1, keepdim=True)
        return self.narrow(learning_reorder(self.widen(x), guide, self.tau))


def short_training(kind):
    """A fresh network with perturbation `kind`, trained for a few steps; the second call for the same code reads the first one's weights."""
    plan = lesson_recipe("dfpir_short", settings.learn_steps)
    where = out / "training" / f"short-{source_key(kind, learning_reorder, my_attention, my_block)}"
    return fit(build(settings.config, kind), plan, mixture(plan, train_photos), None, where, device=device, objective=told_loss, progress=False, say=lambda line: None).model


learner = build(settings.config, LearningPerturbation).to(device)
print("silent parameters with the shuffle that learns:", find_silent(learner, fresh_loss(stream)) or "none")
at_start, learned = {place: orders_of(learner, vectors, place) for place in PLACES}, short_training(LearningPerturbation)
rows = [
    {"place": f"{title} ({at_start[place].shape[1]} channels)", "places that kept their channel": f"{same(at_start[place], orders_of(learned, vectors, place)).mean():.0%}"}
    for place, title in PLACES.items()
]
record("orders_learn", pd.DataFrame(rows), f"Live, {settings.learn_steps} steps with the shuffle that learns: orders before and after, mean over the five words.", piece=provenance("06-a", "06-g", "06-h"))

# %% [markdown] lang="en"
# Nothing is silent any more, and the orders move: with a slope, the guidance does what its name says. Whether the new orders are *better* a few dozen steps cannot say. Two things speak for caution. The straight-through slope is not the slope of what was computed, so a step against it need not lower the loss. And each exchange of two channels is a jump for all layers behind, so fast changes of the order are a disturbance for everybody else. The recorded runs below have a row for it.

# %% [markdown] lang="en"
# ### 6.4 Does it matter what the words mean?
#
# If each word is just a label for a random permutation, then the *meaning* of the words cannot matter: CLIP's knowledge that "haze" and "fog" are near each other has no way into the network. That can be tested. The same small network, the same steps, three seeds; only the vectors differ.
#
# | vectors | what they are | the question |
# |---|---|---|
# | five sentences | by the offline encoder: they tell the tasks apart, without meaning | - |
# | five random vectors | drawn from a seed, one a task | does it matter that it is *text*? |
# | one text for all | the same vector for every task, so the same order | does it matter to be *told*? |
# | learned | vectors *and* guidance learn, through the slope of 06-h | is a learned order better than a random one? |
# | nobody is told | the baseline, Restormer | do the blocks do anything at all? |
#
# Two rows are missing, and you can say why without running them. *Shuffled words*: the right sentences, dealt to the wrong tasks from the start of training. If the order is a fixed random one, what would change? *CLIP or MiniLM*: their vectors mean something. Which way could the meaning take into the network? (The queue takes `encoder = "minilm"` where it is installed.)
#
# **Predict:** put the five rows in an order before you run.

# %%
MEANING = {
    "five sentences": "dgcpm+caapm", "five random vectors": "random vectors", "one text for all": "one text for all", "learned": "learned straight-through",
    "nobody is told": "baseline",
}  # fmt: skip
show_recorded("meaning", MEANING, "five sentences", "The same network with other vectors for the five tasks.")

# %% [markdown] lang="en"
# Take the rows in pairs.
#
# - **Five sentences and five random vectors.** If they differ by less than the spread, then that the vectors come from *text* brings nothing. With a guidance that never learns it could hardly be otherwise.
# - **Five sentences and one text for all.** The same block, the same attention, the same number of weights, but nobody is told. This is the control that the paper does not have. The difference is what the *name* brings. What is left over the baseline is what the *block* brings, or costs.
# - **Learned against random.** The honest test of "guided".
#
# Then write down what follows, as you would in a review: which sentence of the paper would you ask the authors to change, and which experiment would you ask for?

# %% [markdown] lang="en"
# ## 7 · Trap box: the paper against its code
#
# The official weights follow the *code*, so the library does too (`form="code"`), and `form="paper"` builds what the paper writes.
#
# | | the paper | the code | what happens |
# |---|---|---|---|
# | guidance | is learned | indices only, no gradient | a fixed random permutation a word (section 6) |
# | mask | 0/1, *times* the scores, before the softmax | minus infinity | a score of 0 is not "no weight": $e^0 = 1$. Often it is *more* than a negative score had |
# | what stays | the largest of each column | the largest of each row | by columns a row may keep all or nothing |
# | scores | cosines divided by $\sqrt d$ | times a learned temperature | much flatter weights |
# | output | no factor | a learned factor, 0.2 at first | the block begins five times weaker |
# | residual | `x +` the attention | none | nothing of the skip goes by: the encoder's features reach the decoder only through the attention's values |
# | training | 80 epochs, then 5 of larger patches | 500 epochs planned, one stage | two different recipes |
# | the best epoch | - | is chosen on the **test sets**, every 2000 to 3000 steps | the test score is too good |
# | the prompt | "degradation-aware" | written into the test script, one for each test set | the model is told the answer; blind rivals are not |
#
# The second and third you can see. One head of real scores, and the same $\gamma = 0.5$ in three ways:

# %%
gamma = 0.5
scores_shown = real[0, 0]
d, keep = len(scores_shown), max(1, int(len(scores_shown) * 0.5))
by_column = torch.zeros_like(scores_shown, dtype=torch.bool).scatter(0, scores_shown.topk(keep, dim=0).indices, True)
panels = {
    "code: rows, minus infinity": masked_softmax(real, gamma)[0, 0],
    "columns, minus infinity": scores_shown.masked_fill(~by_column, -torch.inf).softmax(-1).nan_to_num(0),
    "paper: columns, times 0": (scores_shown * by_column).softmax(-1),
}
display(record("mask_traps", matrix_maps(panels, label="weight", rows="query channel", columns="key channel", blank_zero=True), f"One mask, three readings, gamma = 0.5, level 1, a rainy picture ({origin('dfpir_small')}).", piece=provenance("06-c")))
print(f"by columns a row keeps between {int(by_column.sum(1).min())} and {int(by_column.sum(1).max())} of {d} scores")
print(f"negative scores: {(scores_shown < 0).float().mean():.0%}; times 0 raises every one of those it masks")

# %% [markdown] lang="en"
# ## 8 · Where it stands
#
# First the shipped models, one seed each, on the course's five tasks (`course leaderboard`, recorded).

# %%
board_file = data_root() / "leaderboard.csv"
board = pd.read_csv(board_file)
board = board[board["dataset"].astype(str).str.contains("five") & (board["kind"].isin(["input", "classical", "ours"]))]
told_names = {"input": "input", "classical": "classical method"}
board = board.assign(model=[told_names.get(kind, name) for kind, name in zip(board["kind"], board["model"], strict=True)])
places = board.pivot_table(index="model", columns="task", values="psnr", sort=False).rename_axis(columns=None)
places["average"] = places.mean(axis=1, skipna=False)
shown_board = places.round(2).reset_index(names="PSNR (dB)").astype(object).where(lambda t: t.notna(), "")
if "dfpir_small" not in places.index:
    print("dfpir_small is not in data/leaderboard.csv yet; `course leaderboard --measure` puts it there")
record("leaderboard", shown_board, "The course's five tasks, PSNR measured by the course (recorded: data/leaderboard.csv). dfpir_small is told the damage, the others are blind.")

# %% [markdown] lang="en"
# One seed each cannot say which is better. So here is the same comparison at the ablation's budget, three seeds:

# %%
PLACE = {"restormer, blind": "baseline", "promptir, blind": "promptir", "dfpir, told": "dgcpm+caapm"}
show_recorded("place", PLACE, "restormer, blind", "Three models at one budget.")

# %% [markdown] lang="en"
# Same trunk, same pictures, same steps. The verdicts are about a very small network after a few hundred steps, and DFPIR is told what the two others must find out. A model that is told and yet is not ahead would say something; so would one that is ahead by less than *one text for all* was behind.
#
# And what the papers print, in a table of its own: larger models, other data, and DFPIR told the damage.

# %%
printed_rows = [row for method in ("Restormer", "PromptIR", "InstructIR", "DFPIR") for row in query(setting="five-task", method=method)]
printed_table = pd.DataFrame([{"method": row.method, "set": row.data, "PSNR": row.psnr, "source": row.source} for row in printed_rows])
shown_printed = printed_table.pivot_table(index="method", columns="set", values="PSNR", sort=False).rename_axis(columns=None).reset_index(names="PSNR (dB)")
record("published", shown_printed, "Published, five tasks, not measured here. Sources: " + "; ".join(f"{m}: {s}" for m, s in printed_table.groupby("method", sort=False)["source"].first().items()) + ".")

# %% [markdown] lang="en"
# ## 9 · Your own guidance (open, no points)
#
# What would *you* let a word do to the features? Write `MyPerturbation`; it takes the place of `ChannelPerturbation`, and the block, the network and the training stay the same. Ideas:
#
# - factors instead of an order: $x \cdot \sigma(\text{linear}(\text{text}))$, which is what InstructIR (Conde et al., ECCV 2024) does with its instructions; it has a slope everywhere;
# - a factor *and* a constant for each channel;
# - a shuffle of groups of channels, or one that moves only a quarter of them;
# - one fixed random order for all tasks: a control that everybody should run.
#
# Say first what you expect, and which result would prove you wrong.

# %%
class MyPerturbation(nn.Module):
    """Your idea, in one sentence. Left as it is, x goes through unchanged and the word has no effect."""

    def __init__(self, channels, text_width):
        super().__init__()
        ### BEGIN HIDDEN
        # A worked example: a factor and a constant for each channel, read off the word; both begin at "no change".
        self.film = nn.Linear(text_width, 2 * channels)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)
        ### END HIDDEN

    def forward(self, x, text):
        ### BEGIN HIDDEN
        factor, constant = self.film(F.normalize(text, dim=1) * text.shape[1] ** 0.5)[:, :, None, None].chunk(2, dim=1)
        return x * (1 + factor) + constant
        ### END HIDDEN
        return x


# %% [markdown] lang="en"
# Three networks from the same start, the same pictures, a few dozen steps: the shuffle of 06-b, the one that learns, and yours. Each is told the right words.
#
# **Predict:** after so few steps, will the differences be larger than the spread of the recorded tables?

# %%
rows, crops = {}, {task: [(d, c) for _, d, c in ((n, cut(d, settings.own_crop), cut(c, settings.own_crop)) for n, d, c in pairs[task][:2])] for task in TASKS}
for name, kind in (("shuffle (06-b)", my_perturbation), ("shuffle that learns", LearningPerturbation), ("your own", MyPerturbation)):
    network = short_training(kind)
    rows[name] = {task: float(np.mean([psnr(restore(Told(network, VECTOR[task]), d.to(device)).clamp(0, 1).cpu(), c).item() for d, c in crops[task]])) for task in TASKS}
rows["input"] = {task: float(np.mean([psnr(d.clamp(0, 1), c).item() for d, c in crops[task]])) for task in TASKS}
own_table = pd.DataFrame(rows).T
own_table["average"] = own_table.mean(axis=1)
written = any(True for _ in MyPerturbation(4, 8).parameters())
if not written:
    print("MyPerturbation is not written yet: in its row the word has no effect")
record("own_guidance", own_table.round(2).reset_index(names="PSNR (dB)"), f"Live, {settings.learn_steps} steps, one seed ({SEED}): it shows that the three run, not which is better. Own: {'written' if written else 'not written, the word has no effect'}.", piece=provenance("06-b", "06-d", "06-e", "06-h"))

# %% [markdown] lang="en"
# One seed and a few dozen steps decide nothing. To test an idea properly, give it the budget and the three seeds of the recorded runs: raise `learn_steps`, repeat with `SEED` 0, 1 and 2, and believe a difference only when it is larger than the spread.

# %% [markdown] lang="en"
# ## Report
#
# Answer in a few sentences each, in this cell. The PDF of this notebook carries your answers, the figures, and the result of every check.
#
# 1. **Data flow.** Follow the word "rain" from its letters to the restored picture, with shapes. Where does it act on a feature, and where only on an order?
#
#    *Your answer:*
#
# 2. **The shuffle.** Why is it a 1x1 convolution for each task? Does the shipped model use it, or undo it? Name the numbers that you base this on.
#
#    *Your answer:*
#
# 3. **Who learns.** Which parameters get no gradient, and what follows for the paper's sentence that the order is *learned* from the degradation? What did your shuffle with a slope change?
#
#    *Your answer:*
#
# 4. **Meaning.** Use the recorded runs: does it matter what the words mean? Which control decides it?
#
#    *Your answer:*
#
# 5. **Fair comparison.** DFPIR is told the damage, PromptIR is not. Write the sentence with which you would report both in one table, and one experiment that would make the comparison fair.
#
#    *Your answer:*
