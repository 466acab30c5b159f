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
# of one picture. Restormer (Zamir et al., CVPR 2022) keeps attention and turns it by ninety degrees: *channels* attend to channels. The side of
# the map is then the number of channels, however large the picture is.
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

# %% [markdown] lang="zh" of="d7310ff665ea"
# # 02 · Restormer：让注意力在通道之间进行
#
# {{colab_badge}} {{kaggle_badge}}
#
# 一张 512 × 512 的照片有二十六万多个像素，也就是二十六万多个词元（token）。普通的注意力要让它们两两比较：一张图、一层网络，就要算 690 亿个分数。Restormer（Zamir 等，CVPR 2022）保留了注意力，但把它转了九十度：让*通道*去关注通道。这样一来，无论图像多大，注意力图的边长都只等于通道数，始终很小。
#
# 这一课里，你将
#
# 1. 先算出、再**实测**两种注意力各要付出多大的代价；
# 2. 亲手写出 Restormer 的两个部件 **MDTA** 和 **GDFN**，以及层级之间用的像素重排（pixel shuffle）与逆像素重排（pixel unshuffle）；
# 3. 把自己写的部件装进真正的模型，**训练它**，看它恢复从未见过的照片；
# 4. 看看它在哪里不再管用——这正是这门课后面各课存在的理由。
#
# 共六道练习，13 分。即使一道题都不做，整课也能从头运行到尾：你还没写的部件由参考实现顶上，并在输出里注明。

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

# %% [markdown] lang="zh" of="5da042b8de62"
# ## 1 · 一种退化，一张图
#
# 我们从最简单的退化开始：高斯白噪声，`degraded = clean + n`，其中 `n` 服从标准差为 $\sigma/255$ 的正态分布。论文里的 $\sigma$ 以 0～255 的灰度为单位；我们的图像取值在 $[0, 1]$ 之间。
#
# **运行之前先猜一猜：** 噪声的方差是 $(\sigma/255)^2$，而 PSNR 等于均方误差的 $-10\log_{10}$。那么当 $\sigma = 25$ 时，带噪图像的 PSNR 是多少？它和具体是哪张图有关系吗？

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
degraded = {name: gaussian_noise(clean[name], sigma, seeds=1000 + i, clip=False) for i, name in enumerate(names)}

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
# *large* part of the picture and adapt to what it finds there. Attention does both; a convolution with fixed weights does neither.

# %% [markdown] lang="zh" of="2b60e73db752"
# 无论哪张图，退化图像的 PSNR 都一样：噪声并不管自己落在什么内容上。但模型能挽回多少，就和图像有关了，你马上会看到：天空容易，毛发难。对邻近像素取平均的滤波器，会把噪声和细节一起抹掉。要把两者区分开，模型必须看到图像中*很大*的一片区域，并根据看到的内容调整自己。这两件事注意力都做得到，权重固定的卷积都做不到。

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

# %% [markdown] lang="zh" of="ecd423b501fa"
# ## 2 · 注意力的代价
#
# 记像素数为 $L = H \cdot W$，通道数为 $C$，注意力头数为 $n$。两种注意力都要做两次矩阵乘法：先求分数，再用注意力图去乘 V。
#
# | | 分数 | 一张注意力图的大小 | 注意力图的张数 |
# |---|---|---|---|
# | 词元注意力 | $L$ 个词元之间的 $QK^\top$ | $L \times L$ | $n$ |
# | 通道注意力（MDTA） | $C/n$ 个通道之间的 $QK^\top$ | $\frac{C}{n} \times \frac{C}{n}$ | $n$ |
#
# 一个 $a \times b$ 矩阵乘一个 $b \times c$ 矩阵，需要 $abc$ 次乘法。
#
# **练习 02-e（2 分，约 5 分钟）。** 对两种注意力分别计算：两次矩阵乘法合计需要多少次乘法，以及所有注意力图一共有多少个元素。返回整数。只算这两次矩阵乘法，前后的投影都不计。
#
# <details><summary>提示</summary>
#
# 每个注意力头有 $C/n$ 个通道。对词元注意力来说，每个头计算一次 $L \times C/n$ 乘 $C/n \times L$，一共有 $n$ 个头。换成通道注意力时，把两者的角色对调即可。
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

# %% [markdown] lang="zh" of="f43f475e8682"
# 纸面上的计数是一回事，缓存、内存和底层库另有它们的脾气。所以我们就在这台机器上，实测整个注意力模块的一次前向计算。
#
# **先猜一猜：** 在双对数坐标下，$L^p$ 的代价是一条斜率为 $p$ 的直线。图上两条线的斜率分别会是多少？在 16 × 16 像素时，哪一种更快？

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

# %% [markdown] lang="zh" of="fdb741cb9b47"
# 词元注意力的线逐渐上翘，斜率趋于 2：边长变为 2 倍，时间变为 16 倍。通道注意力的线斜率一直在 1 附近。边长只有几十个像素或更小时，两者相差不大，那时看到的主要是额外开销，而不是真正的运算量。所以问题不在于*哪种注意力更好*，而在于：在图像恢复所要处理的尺寸上，*哪一种根本用得起*。MDTA 放弃了什么，也要说清楚：一张 $d \times d$ 的注意力图没法表达“把那边那一块窗口抄到这里来”。它对整幅图像的把握是统计意义上的：它看到的是，在整幅图像上各个通道之间如何相关。位置信息则来自卷积。

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

# %% [markdown] lang="zh" of="914e37a801fb"
# ## 3 · MDTA，逐步来
#
# 多 Dconv 头转置注意力（Multi-Dconv head transposed attention，MDTA）的输入是形状为 $(C, H, W)$ 的特征图 $X$：
#
# $$
# Q = W_d^Q W_p^Q X, \quad K = W_d^K W_p^K X, \quad V = W_d^V W_p^V X
# $$
#
# $$
# \mathrm{MDTA}(X) = W_p \left( \mathrm{softmax}\!\left(\hat{Q}\,\hat{K}^{\top} \cdot \tau \right) V \right)
# $$
#
# $W_p$ 是 1 × 1 卷积（混合各个通道），$W_d$ 是 3 × 3 逐通道卷积（depthwise convolution，查看相邻像素）。字母上的尖帽表示归一化：把每个**通道**看成由 $L$ 个像素组成的向量，再除以它自己的长度。于是 $\hat{Q}\hat{K}^\top$ 里存的就是通道之间的*余弦*。$\tau$ 是可学习的温度，每个注意力头一个，初始值为 1。
#
# | 论文 | 代码 | 形状 |
# |---|---|---|
# | $\hat{Q}, \hat{K}, V$ | `q, k, v` | `(B, n, d, L)`，其中 $d = C/n$ |
# | $\tau$（论文写作 $1/\alpha$） | `temperature` | `(n, 1, 1)` |
# | $\hat{Q}\hat{K}^\top\tau$ | `scores` | `(B, n, d, d)` |
#
# 论文与代码有两处不同：论文里是除以 $\alpha$，而且没有写出归一化这一步；官方代码则是乘以温度，并且做了归一化，所有公开的检查点因此也都如此。
#
# **练习 02-a（2 分，约 5 分钟）。** 写出分数的计算。
#
# <details><summary>提示</summary>
#
# `F.normalize(x, dim=...)` 沿某个轴除以欧几里得长度。像素在哪个轴上？
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
# The course ships a small Restormer that was trained longer than this lesson can. We take the first block of its second level (the first with two heads), feed it a noisy photograph, and look at a few channels and at
# the map that *your* function (or the reference) computes from them.
#
# **Predict:** will the map look like a diagonal (each channel minds its own business), like a flat grey (all the same), or like neither?

# %% [markdown] lang="zh" of="2cd4558e14f8"
# ### 训练好的模型里，注意力图长什么样
#
# 本课程附带一个小型 Restormer，它的训练时间比这一课里能做到的要长。我们取它第二层级的第一个块（从这里开始有两个注意力头），输入一张带噪照片，看看其中几个通道，以及*你的*函数（或参考实现）由这些通道算出的注意力图。
#
# **先猜一猜：** 这张图会像一条对角线（每个通道各管各的）、像一片均匀的灰色（处处相同），还是两者都不像？

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
# Neither: it is a chequerboard. Channels form camps. Inside a camp they show the same pattern and the cosine is near 1; between some camps the pattern is the negative of the other, and the cosine is near -1;
# the rest have little to do with each other. After the softmax a channel takes mostly from its own camp and least from its negative. Compare the maps with the channels above them. Another picture gives another
# map, with the same weights.

# %% [markdown] lang="zh" of="7cea59ab7858"
# 两者都不像：它像一个棋盘。通道分成了几个阵营：同一阵营里的通道呈现相同的图案，余弦接近 1；有些阵营之间图案正好相反，余弦接近 -1；其余的彼此没有多少关系。经过 softmax 之后，每个通道主要从自己的阵营里取信息，从与自己相反的阵营里取得最少。把注意力图和上方的通道对照着看看。换一张图，同样的权重会给出另一张注意力图。

# %% [markdown] lang="en"
# ### What the temperature does
#
# Cosines lie between -1 and 1. A softmax over numbers so close together is nearly flat. The temperature stretches them.
#
# **Predict:** with the 16 channels that a head has here, how much weight does the strongest channel get at temperature 1? At 10?

# %% [markdown] lang="zh" of="7df6a07fa762"
# ### 温度起什么作用
#
# 余弦的取值在 -1 到 1 之间。对这样一组彼此接近的数做 softmax，结果几乎是平的。温度的作用就是把它们的差距拉开。
#
# **先猜一猜：** 这里每个注意力头有 16 个通道，温度为 1，最强的那个通道能分到多少权重？温度为 10 呢？

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

# %% [markdown] lang="zh" of="58b8dd161a47"
# 图中的 “channels that share the weight”（分享权重的通道数）是把注意力图一行的熵取指数得到的：假如权重由若干个通道平分，它就是所需的通道个数。在 1 的左边，注意力图把所有通道平均；往右走得很远，它就只照抄一个通道。虚线是训练选出的值，训练从 1 开始。
#
# **练习 02-b（3 分，约 10 分钟）。** 现在来写完整的 MDTA。各层已经建好，你来写 `forward`。请用上面的 `channel_scores`（你自己的函数通过检查后，它就是你写的那个）。
#
# <details><summary>提示 1</summary>
#
# `self.qkv_dwconv(self.qkv(x))` 有 3C 个通道：依次是 q、k、v。用 `chunk(3, dim=1)` 把它们分开。
#
# </details>
#
# <details><summary>提示 2</summary>
#
# 第 0 个注意力头占有最前面的 C/n 个通道：只用一次普通的 reshape，就能把 `(B, C, H, W)` 变成 `(B, n, C/n, H*W)`。最后按原路变回去，再经过 `project_out`。
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
# In code both paths are made by one convolution with twice the channels, `project_in`, then `dwconv`, and the result is cut into two halves: the first half goes through gelu and is the gate, the second is the value. The hidden width is `int(C * 2.66)`:
# two paths of 2.66 C cost about what one path of 4 C (the usual Transformer) does.
#
# **Predict:** what does the gate do in a patch of clear sky, and what on an edge?
#
# **Exercise 02-c (2 points, about 5 minutes).** Write `forward`.

# %% [markdown] lang="zh" of="18633776c6d6"
# ## 4 · GDFN：给每个像素一道门控
#
# 块的后半部分逐个像素地处理，同时看一眼相邻像素。它计算两条支路，由其中一条决定另一条能通过多少：
#
# $$
# \mathrm{GDFN}(X) = W_p^0 \left( \mathrm{gelu}(W_d^1 W_p^1 X) \odot W_d^2 W_p^2 X \right)
# $$
#
# 在代码里，两条支路由同一个通道数加倍的卷积 `project_in` 一起算出，再经过 `dwconv`，然后把结果切成两半：前一半经过 gelu，作为门控；后一半是被门控的值。隐藏宽度是 `int(C * 2.66)`：两条 2.66 C 宽的支路，代价与一条 4 C 宽的支路（普通 Transformer 的做法）大致相当。
#
# **先猜一猜：** 在一片晴空里，门控会怎么做？在边缘上呢？
#
# **练习 02-c（2 分，约 5 分钟）。** 写出 `forward`。

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
# lost in the sorting: the pair is a permutation. (A 3 x 3 convolution before it halves the channels, so that a level has twice the channels of the one above and not four times.)
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

# %% [markdown] lang="zh" of="4c09754e91ba"
# ## 5 · 改变分辨率，一个像素也不丢
#
# Restormer 在四种分辨率上工作。在不同分辨率之间切换时，它既不用步幅（stride），也不用池化。*逆像素重排*（pixel unshuffle）把每个 2 × 2 的像素小块分到四个通道里，*像素重排*（pixel shuffle）再把它们排回去。重新排列本身什么都不丢：这一对操作只是一个置换。（它前面的 3 × 3 卷积先把通道数减半，所以下一层级的通道数是上一层级的两倍，而不是四倍。）
#
# 逆像素重排的第 $c r^2 + i r + j$ 个输出通道，存放的是通道 $c$ 里行偏移为 $i$、列偏移为 $j$ 的那些像素：
#
# $$
# y_{c r^2 + i r + j}(h, w) = x_c(r h + i,\; r w + j)
# $$
#
# **练习 02-d（2 分，约 10 分钟）。** 用 `reshape` 和 `permute`（或 einops）写出这两个操作，要对任意倍数都成立。
#
# <details><summary>提示</summary>
#
# 把高度拆成 `(H // r, r)`，把宽度拆成 `(W // r, r)`：一共六个轴。把两个长度为 `r` 的轴移到通道轴后面，再合并。
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
# Blocks of MDTA and GDFN on four levels, three steps down and three up, with the encoder's maps handed across. At full resolution the decoder keeps 2 C channels. The last convolution predicts what to *add* to the degraded
# picture: with nothing learnt, the best guess is to change nothing.
#
# The library takes the pieces as arguments, so the model below is built from **yours** wherever your check passed.

# %% [markdown] lang="zh" of="da4703a92b78"
# ## 6 · 整个网络
#
# 网络由 MDTA 和 GDFN 组成的块搭成，分四个层级，先逐级向下，再逐级向上；编码器的特征图直接传给解码器中对应的层级。在全分辨率上，解码器保留 2 C 个通道。最后一个卷积预测的是要*加*到退化图像上的量：在什么都没学到的时候，最好的猜测就是什么都不改。
#
# 课程的代码库把这些部件当作参数传入，所以凡是你通过了检查的部件，下面的模型用的就是**你自己**写的那个。

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

# %% [markdown] lang="zh" of="b375802ab9c8"
# 论文发布的模型有多大？下一个单元来数一数；它的输出已与官方代码核对。

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

# %% [markdown] lang="zh" of="4204139cdb64"
# 课程代码库用另一种次序实现了同样的数学：把注意力图先乘进最后的投影里，于是对像素的两遍遍历变成一遍；较宽的特征图则每次只算几行，好让它们留在处理器的缓存里。这样做能带来多少提升，可以用 `course bench restormer` 来测。自己写过一遍之后，再花一个晚上读读 `course_lib/models/layers.py`，会很有收获。

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

# %% [markdown] lang="zh" of="40f2e9a364be"
# ## 7 · 用逐渐变大的图像块训练
#
# 小图像块便宜，可以多看一些；大图像块则能体现出整图注意力需要的东西。Restormer 从小图像块开始，逐步增大，同时减少每一步的图像数：这就是*渐进式学习*（progressive learning）。论文给出的安排如下：
#
# | 迭代次数 | 92k | 64k | 48k | 36k | 36k | 24k |
# |---|---|---|---|---|---|---|
# | 图像块边长 | 128 | 160 | 192 | 256 | 320 | 384 |
# | 每块 GPU 的图像数 | 8 | 5 | 4 | 2 | 1 | 1 |
#
# **练习 02-f（2 分，约 5 分钟）。** 给定一个由若干阶段 `[iterations, patch, batch]` 组成的列表，返回某一步对应的 `[patch, batch]`。步数从 0 开始数；最后一个阶段结束之后，沿用它的取值。

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

# %% [markdown] lang="zh" of="5658cd7131e4"
# 现在开始训练。训练配方由所选的档位（profile）决定；训练循环就是 `course train` 所用的那一个（读一读 `course_lib/training/loop.py`，它很短）。训练会自动保存进度：停下这个单元，再运行一次，它就会接着训练。
#
# **先猜一猜：** 退化图像的 PSNR 约为 20.2 dB。一个有 135 万个参数的网络，训练几分钟之后能达到多少 dB？最初的一百步会是什么样子？

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

# %% [markdown] lang="zh" of="fd39f0e70816"
# ## 8 · 恢复前后
#
# **先猜一猜：** 测试照片里，哪一张提升最多，哪一张最少？先仔细看看它们。

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

# %% [markdown] lang="zh" of="d5b2b23b3bad"
# 图片让人信服，而对照行选得恰当的表格才给人信息。除了刚训练好的模型，表里还有：未经处理的输入；一种谁也没有训练过的经典方法（非局部均值，对相似的图像块取平均）；以及课程附带的模型，它训练的步数多得多，用的也是另外的照片。

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

# %% [markdown] lang="zh" of="c267bbc9e779"
# 要诚实地读这张表。如果你训练的时间很短，那么 2005 年提出、又被告知了噪声水平的非局部均值，就是一个不容小看的对手。附带的模型则说明，同样的架构，多一些耐心能换来什么。论文发布的 Restormer 有它的二十倍大，用了四个数据集，训练了 300,000 步；表里没有哪一行能与它相比，而且它的数值是在另外的图像上测得的。

# %%
record(
    "errors",
    figures.difference({"clean": clean[first], "degraded": degraded[first].clamp(0, 1), "trained here": restored[first], "shipped": by_shipped[first]}),
    "What is left of the error, on one colour scale.",
    piece=provenance("02-b", "02-c", "02-d"),
)

# %% [markdown] lang="en"
# The noise was the same everywhere; the error that is left is not. It sits on texture and edges: there the model could not tell noise from detail and chose caution.

# %% [markdown] lang="zh" of="e010d4460054"
# 噪声在各处都一样，剩下的误差却不是。误差集中在纹理和边缘上：在那些地方，模型分不清噪声和细节，于是选择了谨慎。

# %% [markdown] lang="en"
# ## 9 · A model of one trade
#
# The shipped model is a good denoiser for noise levels that it saw. What does it do with a noise it never saw, and with a picture that has no noise but is *blurred*?
#
# **Predict:** will the blurred picture come out sharper, unchanged, or worse than before?

# %% [markdown] lang="zh" of="9993c6831af8"
# ## 9 · 只会一门手艺的模型
#
# 在见过的噪声水平上，课程附带的模型是个不错的去噪器。那么，遇到从未见过的噪声，或者一张没有噪声、却*模糊*的图像，它会怎么做？
#
# **先猜一猜：** 模糊的图像经过它之后，会变清晰、没有变化，还是比原来更差？

# %%
trials = {
    "noise 15": gaussian_noise(clean[first], 15, seeds=7, clip=False),
    "noise 50": gaussian_noise(clean[first], 50, seeds=7, clip=False),
    "noise 90 (never seen)": gaussian_noise(clean[first], 90, seeds=7, clip=False),
    "motion blur": motion_blur(clean[first], length=9, angle=30),
    "motion blur, then noise 25": gaussian_noise(motion_blur(clean[first], length=9, angle=30), 25, seeds=7, clip=False),
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
    "A denoiser outside its trade: stronger noise than it ever saw leaves blotches, and blur stays.",
)

# %% [markdown] lang="en"
# Look at the gains and at the pictures. Inside its trade the denoiser is good. Noise stronger than any it was trained on still falls a good deal, but coloured blotches stay. Blur stays blur: the gain is about zero,
# because nothing in its training ever asked it to sharpen.
#
# This is what *single-degradation* restoration means: one model, one trade. Blur wants high frequencies *added*, noise wants them *removed*, and the weights of this model know only the second. One could train a model per
# degradation and keep a shelf of them; but somebody then has to say which one a picture needs, and the picture with both, in the last row, needs two. Training one Restormer on everything is the obvious next step, and lesson 03 shows what goes wrong
# when one does (the tasks pull the shared weights in different directions) and what prompts do about it.

# %% [markdown] lang="zh" of="aea6bafa31f4"
# 看看各行的增益，也看看图像。在自己的本行里，这个去噪器表现不错；比训练时更强的噪声也能减轻不少，但会留下彩色的斑块；模糊依旧是模糊：增益几乎为零，因为训练从来没有要求它去锐化。
#
# 这就是*单退化*图像恢复的含义：一个模型，一门手艺。去模糊要*增加*高频，去噪要*去掉*高频，而这个模型的权重只会后者。当然可以为每种退化各训练一个模型，摆满一个架子；但那样就得有人来判断一张图需要哪一个，而表格的最后一行（先模糊、再加噪声）同时需要两个。用所有退化来训练同一个 Restormer，是顺理成章的下一步；第 03 课会展示这样做会出什么问题（各个任务把共享的权重拉向不同的方向），以及提示（prompt）如何应对。

# %% [markdown] lang="en"
# ## 10 · Pictures of any size
#
# MDTA is linear in the pixels, but linear still grows: a 12-megapixel photograph does not fit many machines at once. So large pictures are restored in tiles. That brings two troubles: a pixel at the border
# of a tile lacks its neighbours, and the attention map of each tile is computed from that tile alone. Overlap is the remedy for the first.
#
# **Predict:** where will tiles without overlap differ from the picture restored at once?

# %% [markdown] lang="zh" of="00e42f492df3"
# ## 10 · 任意大小的图像
#
# MDTA 的代价与像素数成线性关系，但线性也还是会增长：一张 1200 万像素的照片，许多机器一次装不下。所以大图要分块恢复。分块会带来两个问题：分块边界上的像素缺少相邻像素；每个分块的注意力图又只由这一块自己算出。让分块互相重叠，可以解决第一个问题。
#
# **先猜一猜：** 没有重叠的分块结果，会在哪些地方与整图一次恢复的结果不同？

# %%
whole = middle(photos[first], settings.big_side)
noisy = gaussian_noise(whole, sigma, seeds=3, clip=False).to(device)
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
# Two things are to be seen. The bright grid on the left is the missing neighbours at the borders, and overlap removes it. The texture *inside* the tiles stays on the right: each tile has its own attention
# map, computed from its own pixels, and no overlap changes that. On average it is well under one grey level here, most in a tile whose content is unlike the rest of the picture, and it is the price of bounded memory.
#
# Try it on your own photograph: `course_lib.images.load_image("path")[None]` gives the tensor, `restore_tiled(shipped, ...)` the result.

# %% [markdown] lang="zh" of="1f828001e890"
# 有两点值得注意。左图中明亮的网格，来自分块边界处缺失的相邻像素，重叠可以消除它。而分块*内部*的纹理，在右图里依然存在：每个分块都有自己的注意力图，由它自己的像素算出，多少重叠都改变不了这一点。平均下来，这里的差异远不到一个灰度级，内容与整幅图像差别最大的那个分块里最明显；这就是把内存限制住所付的代价。
#
# 拿自己的照片试试吧：`course_lib.images.load_image("path")[None]` 给出张量，`restore_tiled(shipped, ...)` 给出结果。

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

# %% [markdown] lang="zh" of="f70bc4deb920"
# ## 报告
#
# 请直接在这个单元里作答，每题几句话即可。由这个 notebook 生成的 PDF 会包含你的回答、各幅图，以及每一项检查的结果。
#
# 1. **数据流。** 对照各层的表格，跟着一个 3 × 64 × 64 的图像块走完整个网络：特征图在哪里最宽，在哪里最深？为什么解码器第一层级的宽度是编码器第一层级的两倍？
#
#    *你的回答：*
#
# 2. **新在哪里。** 说出 Restormer 对普通 Transformer 块所做的两处改动，以及每一处改动的用途。
#
#    *你的回答：*
#
# 3. **结果。** 把结果表中你的那一行与相邻的几行作比较。哪张照片最难？剩下的误差在哪里？
#
#    *你的回答：*
#
# 4. **思考。** 在第 9 节里，去噪器对模糊无能为力。假设你用噪声和模糊一起训练同一个 Restormer：它的哪些部分可以两者共用，两个任务又会在哪里产生分歧？
#
#    *你的回答：*
