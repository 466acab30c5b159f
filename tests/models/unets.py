"""An independent U-Net of the older and of the newer generation, which computes with the official names alone."""

import math

import torch
import torch.nn.functional as F


class Official:
    """The official forward pass from a state dict `s`, `prefix` before every key; `new`: the DDPM network of today."""

    def __init__(self, s, prefix="", new=False, heads=4):
        self.s, self.prefix, self.new, self.heads = s, prefix, new, heads

    def __getitem__(self, key):
        return self.s[self.prefix + key]

    def __contains__(self, key):
        return self.prefix + key in self.s

    def conv(self, name, x, **more):
        return F.conv2d(x, self[name + ".weight"], self[name + ".bias"] if name + ".bias" in self else None, **more)

    def linear(self, name, x):
        return F.linear(x, self[name + ".weight"], self[name + ".bias"])

    def norm(self, name, x):
        g = self[name + ".g"]
        if self.new:
            return x / x.square().sum(1, keepdim=True).sqrt() * g * math.sqrt(x.shape[1])
        return (x - x.mean(1, keepdim=True)) / (x.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt() * g

    def half_block(self, name, x, scale=None, shift=None):
        weight = self[name + ".proj.weight"]
        if self.new:
            x = self.norm(name + ".norm", F.conv2d(x, weight, self[name + ".proj.bias"], padding=1))
        else:
            mean, var = weight.mean((1, 2, 3), keepdim=True), weight.var((1, 2, 3), unbiased=False, keepdim=True)
            x = F.conv2d(x, (weight - mean) / (var + 1e-5).sqrt(), self[name + ".proj.bias"], padding=1)
            x = F.group_norm(x, 8, self[name + ".norm.weight"], self[name + ".norm.bias"])
        if scale is not None:
            x = x * (scale + 1) + shift
        return x * x.sigmoid()

    def block(self, name, x, time):
        scale, shift = self.linear(name + ".mlp.1", time * time.sigmoid())[:, :, None, None].chunk(2, 1)
        y = self.half_block(name + ".block2", self.half_block(name + ".block1", x, scale, shift))
        return y + (self.conv(name + ".res_conv", x) if name + ".res_conv.weight" in self else x)

    def attention(self, name, x):
        inner, norm = (name, name + ".norm") if self.new else (name + ".fn.fn", name + ".fn.norm")
        qkv = self.conv(inner + ".to_qkv", self.norm(norm, x))
        q, k, v = (part.unflatten(1, (self.heads, -1)).flatten(3) for part in qkv.chunk(3, 1))  # (B, n, d, L)
        full = inner + ".to_out.weight" in self
        if self.new:
            memory = self[inner + ".mem_kv"].transpose(-1, -2) if full else self[inner + ".mem_kv"]  # (2, n, d, m)
            k, v = (torch.cat([m[None].repeat(len(x), 1, 1, 1), part], -1) for m, part in zip(memory, (k, v), strict=True))
        scale = q.shape[2] ** -0.5
        if full:
            weights = torch.einsum("bndi,bndj->bnij", q * scale, k).softmax(-1)
            out = torch.einsum("bnij,bndj->bndi", weights, v)
            return x + self.conv(inner + ".to_out", out.flatten(1, 2).view(len(x), -1, *x.shape[2:]))
        v = v if self.new else v / q.shape[-1]
        context = torch.einsum("bndl,bnel->bnde", k.softmax(-1), v)
        out = torch.einsum("bnde,bndl->bnel", context, q.softmax(2) * scale)
        out = self.conv(inner + ".to_out.0", out.flatten(1, 2).view(len(x), -1, *x.shape[2:]))
        return x + self.norm(inner + ".to_out.1", out)

    def time(self, t):
        half = self["time_mlp.1.weight"].shape[1] // 2
        angles = torch.as_tensor(t, dtype=torch.float64)[:, None] * torch.tensor([10000 ** (-i / (half - 1)) for i in range(half)])
        embedded = torch.cat([angles.sin(), angles.cos()], 1).to(self["time_mlp.1.weight"].dtype)
        return self.linear("time_mlp.3", F.gelu(self.linear("time_mlp.1", embedded)))

    def levels(self, name):
        return len({key.split(".")[len(self.prefix.split("."))] for key in self.s if key.startswith(f"{self.prefix}{name}.")})

    def encode(self, x, t):
        x = start = self.conv("init_conv", x, padding=3)
        time, skips, last = self.time(t), [], self.levels("downs") - 1
        for k in range(last + 1):
            skips.append(x := self.block(f"downs.{k}.0", x, time))
            skips.append(x := self.attention(f"downs.{k}.2", self.block(f"downs.{k}.1", x, time)))
            if k == last:
                x = self.conv(f"downs.{k}.3", x, padding=1)
            elif self.new:
                x = self.conv(f"downs.{k}.3.1", F.pixel_unshuffle(x, 2))
            else:
                x = self.conv(f"downs.{k}.3", x, stride=2, padding=1)
        x = self.block("mid_block2", self.attention("mid_attn", self.block("mid_block1", x, time)), time)
        return x, start, time, skips

    def decode(self, name, x, time, skips):
        last = self.levels(name) - 1
        for k in range(last + 1):
            for place in (0, 1):
                x = self.block(f"{name}.{k}.{place}", torch.cat([x, skips.pop()], 1) if skips else x, time)
            x = self.attention(f"{name}.{k}.2", x)
            if k == last:
                return self.conv(f"{name}.{k}.3", x, padding=1)
            x = self.conv(f"{name}.{k}.3.1", x.repeat_interleave(2, 2).repeat_interleave(2, 3), padding=1)

    def __call__(self, x, t):
        x, start, time, skips = self.encode(x, t)
        x = torch.cat([self.decode("ups", x, time, skips), start], 1)
        return self.conv("final_conv", self.block("final_res_block", x, time))
