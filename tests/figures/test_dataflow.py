"""Tracing a model: shapes, parameters and multiply-adds against hand counts, and the U drawn from them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course_lib.figures import dataflow_diagram, layer_table, trace
from course_lib.figures.diagram import find_stages, pick_rows, place, skip_pairs


def conv(a, b, **kwargs):
    return nn.Conv2d(a, b, 3, padding=1, bias=False, **kwargs)


class FakeU(nn.Module):
    """An encoder-decoder with Restormer's names, four levels and concatenated skips."""

    def __init__(self, dim=4):
        super().__init__()
        widths = [dim, 2 * dim, 4 * dim, 8 * dim]
        self.patch_embed = conv(3, dim)
        for i in (1, 2, 3):
            setattr(self, f"encoder_level{i}", nn.Sequential(*[conv(widths[i - 1], widths[i - 1]) for _ in range(i)]))
            setattr(self, f"down{i}_{i + 1}", nn.Sequential(conv(widths[i - 1], widths[i] // 4), nn.PixelUnshuffle(2)))
        self.latent = nn.Sequential(conv(8 * dim, 8 * dim), nn.Dropout(0.5))
        for i in (3, 2, 1):
            setattr(self, f"up{i + 1}_{i}", nn.Sequential(conv(widths[i] if i > 1 else 2 * dim, 4 * widths[i - 1]), nn.PixelShuffle(2)))
            if i > 1:
                setattr(self, f"reduce_chan_level{i}", nn.Conv2d(2 * widths[i - 1], widths[i - 1], 1))
            width = widths[i - 1] if i > 1 else 2 * dim
            setattr(self, f"decoder_level{i}", nn.Sequential(*[conv(width, width) for _ in range(i)]))
        self.refinement = nn.Sequential(conv(2 * dim, 2 * dim), conv(2 * dim, 2 * dim))
        self.output = conv(2 * dim, 3)

    def forward(self, image):
        e1 = self.encoder_level1(self.patch_embed(image))
        e2 = self.encoder_level2(self.down1_2(e1))
        e3 = self.encoder_level3(self.down2_3(e2))
        x = self.latent(self.down3_4(e3))
        x = self.decoder_level3(self.reduce_chan_level3(torch.cat([self.up4_3(x), e3], 1)))
        x = self.decoder_level2(self.reduce_chan_level2(torch.cat([self.up3_2(x), e2], 1)))
        x = self.decoder_level1(torch.cat([self.up2_1(x), e1], 1))
        return self.output(self.refinement(x)) + image


class Wrapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = FakeU()

    def forward(self, image):
        return self.net(image)


class Added(nn.Module):
    """A U whose skips are added, with a ModuleList a level and no telling names."""

    def __init__(self):
        super().__init__()
        self.first = conv(3, 8)
        self.lefts = nn.ModuleList([conv(8, 8), conv(8, 8)])
        self.downs = nn.ModuleList([conv(8, 8, stride=2), conv(8, 8, stride=2)])
        self.middle = conv(8, 8)
        self.ups = nn.ModuleList([nn.ConvTranspose2d(8, 8, 2, 2), nn.ConvTranspose2d(8, 8, 2, 2)])
        self.rights = nn.ModuleList([conv(8, 8), conv(8, 8)])
        self.last = conv(8, 3)

    def forward(self, x):
        x, skips = self.first(x), []
        for left, down in zip(self.lefts, self.downs, strict=True):
            skips.append(left(x))
            x = down(skips[-1])
        x = self.middle(x)
        for up, right in zip(self.ups, self.rights, strict=True):
            x = right(up(x) + skips.pop())
        return self.last(x)


class Attention(nn.Module):
    """Attention by functions, a weight used without calling its module, and one module called twice."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(8, 24, bias=False)
        self.unused = nn.Linear(8, 8)
        self.borrowed = nn.Linear(8, 8, bias=False)

    def forward(self, tokens):
        q, k, v = self.qkv(tokens).chunk(3, -1)
        x = F.scaled_dot_product_attention(q, k, v) + (q @ k.mT).softmax(-1) @ v
        return F.linear(self.qkv(x)[..., :8], self.borrowed.weight)


def by_name(rows):
    return {row.name: row for row in rows}


def stages_of(model, image):
    return find_stages(pick_rows(trace(model, image)), tuple(image.shape))


def test_shapes_parameters_and_multiply_adds_by_hand():
    model = FakeU()
    rows = by_name(trace(model, torch.rand(1, 3, 32, 48)))
    assert rows["encoder_level2"].inputs == rows["encoder_level2"].outputs == ((1, 8, 16, 24),)
    assert rows["latent"].outputs == ((1, 32, 4, 6),) and rows["reduce_chan_level3"].inputs == ((1, 32, 8, 12),)
    assert rows["patch_embed"].multiply_adds == 32 * 48 * 4 * 3 * 9
    assert rows["encoder_level2"].multiply_adds == 2 * 16 * 24 * 8 * 8 * 9
    assert rows["down1_2"].blocks == 1 and rows["encoder_level2"].blocks == 2 and rows["encoder_level2"].parameters == 2 * 8 * 8 * 9
    whole = rows[""]
    assert whole.parameters == sum(p.numel() for p in model.parameters())
    assert whole.multiply_adds == sum(r.multiply_adds for r in rows.values() if r.depth == 1)


def test_attention_by_functions_counts_and_uncalled_modules_are_listed():
    n, c = 10, 8
    rows = by_name(trace(Attention(), torch.rand(1, n, c), depth=1))
    linear = n * c * 3 * c
    assert rows["qkv"].calls == 2 and rows["qkv"].multiply_adds == 2 * linear
    assert rows[""].multiply_adds == 2 * linear + 4 * n * n * c + n * c * c
    assert rows["unused"].calls == 0 and rows["unused"].parameters == 72 and rows["unused"].inputs == ()


def test_depth_limits_rows_not_counts():
    image = torch.rand(1, 3, 16, 16)
    shallow, deep = trace(FakeU(), image, depth=1), trace(FakeU(), image, depth=2)
    assert {r.depth for r in shallow} == {0, 1} and {r.depth for r in deep} == {0, 1, 2}
    assert shallow[0].multiply_adds == deep[0].multiply_adds


def test_tracing_leaves_the_model_as_it_was():
    model = FakeU().train()
    model.latent.eval()
    before = [m.training for m in model.modules()]
    with pytest.raises(RuntimeError):
        trace(model, torch.rand(1, 5, 16, 16))
    trace(model, torch.rand(1, 3, 16, 16))
    assert [m.training for m in model.modules()] == before
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(p.grad is None for p in model.parameters())


def test_layer_table_nests_children_under_their_parent():
    table = layer_table(FakeU(), torch.rand(3, 16, 16))
    names = list(table["module"])
    assert names[0] == "(model)" and names[names.index("encoder_level2") + 1] == "  encoder_level2.0"
    assert table.loc[names.index("latent"), "output"] == "1×32×2×2"
    assert "softmax" in table.attrs["not_counted"]
    with pytest.raises(ValueError, match="expected"):
        layer_table(FakeU(), torch.rand(16, 16))


@pytest.mark.parametrize("model", [FakeU(), Wrapped()])
def test_encoder_decoder_becomes_a_u(model):
    stages = stages_of(model, torch.rand(1, 3, 32, 32))
    levels = {s.row.name.removeprefix("net."): s.level for s in stages}
    assert levels == {
        "patch_embed": 0, "encoder_level1": 0, "encoder_level2": 1, "encoder_level3": 2, "latent": 3,
        "decoder_level3": 2, "decoder_level2": 1, "decoder_level1": 0, "refinement": 0, "output": 0,
    }  # fmt: skip
    arrows = {s.row.name.removeprefix("net."): [r.name.removeprefix("net.") for r in s.via] for s in stages}
    assert arrows["decoder_level3"] == ["up4_3", "reduce_chan_level3"] and arrows["latent"] == ["down3_4"]
    pairs = [(a.row.name[-6:], b.row.name[-6:], concat) for a, b, concat in skip_pairs(stages)]
    assert pairs == [(f"level{i}", f"level{i}", True) for i in (1, 2, 3)]


def test_boxes_mirror_and_never_share_a_place():
    stages = stages_of(FakeU(), torch.rand(1, 3, 32, 32))
    place(stages)
    spot = {s.row.name: (s.x, s.y) for s in stages}
    assert len(set(spot.values())) == len(stages)
    for i in (1, 2, 3):
        (x1, y1), (x2, y2) = spot[f"encoder_level{i}"], spot[f"decoder_level{i}"]
        assert y1 == y2 and spot["latent"][0] - x1 == x2 - spot["latent"][0] > 0
    assert spot["latent"][1] == min(y for _, y in spot.values())


def test_added_skips_are_not_called_concatenated():
    stages = stages_of(Added(), torch.rand(1, 3, 16, 16))
    assert [s.level for s in stages] == [0, 0, 1, 2, 1, 0, 0]
    pairs = [(a.row.name, b.row.name, concat) for a, b, concat in skip_pairs(stages)]
    assert pairs == [("lefts.0", "rights.1", False), ("lefts.1", "rights.0", False)]
    texts = [t.get_text() for t in dataflow_diagram(Added(), torch.rand(3, 16, 16)).axes[0].texts]
    assert "same resolution" in texts and "skip, concat" not in texts


def test_diagram_states_the_traced_shapes():
    figure = dataflow_diagram(FakeU(), torch.rand(3, 32, 48))
    text = "\n".join(t.get_text() for t in figure.axes[0].texts)
    for part in ("encoder_level2 ×2\n8×16×24", "latent\n32×4×6", "input 3×32×48", "skip, concat", "up4_3\nreduce_chan_level3"):
        assert part in text
    assert figure._suptitle.get_text() == "Data flow of FakeU"
    assert all(t.get_fontsize() >= 8 for t in figure.axes[0].texts)


def test_labels_do_not_overlap():
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = dataflow_diagram(FakeU(48), torch.rand(3, 128, 128))
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [(t.get_text(), t.get_window_extent(renderer)) for t in figure.axes[0].texts if t.get_text()]
    clashes = [(a, b) for i, (a, x) in enumerate(boxes) for b, y in boxes[i + 1 :] if x.overlaps(y)]
    assert not clashes
    assert all(x.x0 >= 0 and x.x1 <= figure.bbox.width for _, x in boxes)


def test_other_models_run_from_left_to_right():
    model = nn.Sequential(*[layer for _ in range(4) for layer in (conv(3, 3), nn.ReLU())])
    assert stages_of(model, torch.rand(1, 3, 16, 16)) is None
    text = "\n".join(t.get_text() for t in dataflow_diagram(model, torch.rand(3, 16, 16)).axes[0].texts)
    assert text.count("Conv2d") == 4 and "7\n3×16×16" in text
    with pytest.raises(ValueError, match="nothing to draw"):
        dataflow_diagram(nn.Identity(), torch.rand(3, 8, 8))
