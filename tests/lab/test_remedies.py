"""Remedies: closed forms of the projections, models that begin unchanged, gradients that arrive, labels that count."""

import copy

import pytest
import torch

from course_lib.lab.labels import TaskAware, told
from course_lib.lab.remedies import Joint, PCGrad, make_remedy, parameter_counts, project_conflicts, split_tasks, with_gradients
from course_lib.models import create_model
from course_lib.training.loop import l1_objective

TASKS = ["denoise", "deblur"]
BUILT_IN = ["task_norm", "adapters", "frequency_split"]


def batch_of(count=4, side=16):
    return torch.rand(count, 3, side, side), torch.rand(count, 3, side, side), torch.arange(count) % 2


def gradients(model):
    return torch.cat([p.grad.reshape(-1) for p in model.parameters() if p.grad is not None])


def test_projection_has_its_closed_form():
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 1.0])
    one, other = project_conflicts([a, b])
    assert one.tolist() == [0.5, 0.5]  # a - (-1 / 2) b
    assert other.tolist() == [0.0, 1.0]  # b - (-1 / 1) a
    kept = project_conflicts([a, torch.tensor([1.0, 2.0])])
    assert kept[0].tolist() == [1.0, 0.0] and kept[1].tolist() == [1.0, 2.0]


def test_the_order_of_three_tasks_counts_and_the_raw_gradients_serve():
    a, b, c = torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 1.0]), torch.tensor([-1.0, -1.0])
    orders = [[1, 2], [0, 2], [0, 1]]
    first = project_conflicts([a, b, c], orders)[0]
    # a -> (0.5, 0.5) by b; its product with c is -1, so c gives (0.5, 0.5) + 0.5 c = (0, 0)
    assert first.tolist() == [0.0, 0.0]
    tilted = [torch.tensor([1.0, 0.2]), b, c]
    assert not torch.allclose(project_conflicts(tilted, [[1, 2]] * 3)[0], project_conflicts(tilted, [[2, 1]] * 3)[0])


def test_two_tasks_never_oppose_each_others_raw_gradient():
    for _ in range(50):
        a, b = torch.randn(2, 6, dtype=torch.float64)
        one, other = project_conflicts([a, b])
        assert one @ b >= -1e-12 and other @ a >= -1e-12
        assert one.norm() <= a.norm() + 1e-12


def test_with_gradients_has_the_value_and_the_gradient():
    weights = [torch.nn.Parameter(torch.rand(2, 3)), torch.nn.Parameter(torch.rand(4))]
    wanted = torch.arange(10.0)
    loss = with_gradients(torch.tensor(0.25), weights, wanted)
    loss.backward()
    assert loss.item() == 0.25 and torch.equal(torch.cat([w.grad.reshape(-1) for w in weights]), wanted)
    with pytest.raises(ValueError, match="10 numbers"):
        with_gradients(loss, weights, torch.zeros(3))


def test_pcgrad_is_the_joint_gradient_without_a_conflict_and_projects_with_one(tiny):
    degraded, clean, _ = batch_of(2)
    same = (degraded[:1].expand(2, -1, -1, -1), clean[:1].expand(2, -1, -1, -1), torch.tensor([0, 1]))
    results = []
    for remedy in (Joint(), PCGrad()):
        model = copy.deepcopy(tiny)
        loss = remedy.loss(model, same, l1_objective)
        loss.backward()
        results.append((loss.item(), gradients(model)))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-5)
    assert torch.allclose(results[0][1], results[1][1], rtol=1e-4, atol=1e-7)

    weight = torch.nn.Linear(2, 1, bias=False)
    raw = torch.tensor([[2.0, 0.0], [-2.0, 2.0]])  # shares of a half: gradients (1, 0) and (-1, 1)
    loss = PCGrad().loss(weight, (raw, raw, torch.tensor([0, 1])), lambda model, batch: model(batch[0]).mean())
    loss.backward()
    assert torch.allclose(weight.weight.grad, torch.tensor([[0.5, 1.5]]))  # (0.5, 0.5) + (0, 1)


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_remedy_begins_as_the_plain_model_and_learns(name, tiny):
    image, clean, labels = batch_of()
    before = tiny(image)
    shared = parameter_counts(tiny)["total"]
    model = make_remedy(name).prepare(copy.deepcopy(tiny), TASKS)
    with told(model, labels):
        assert torch.allclose(model(image), before, atol=1e-5)
    with torch.no_grad():  # off the start, where a part behind a zero sees no gradient
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    make_remedy(name).loss(model, (image, clean, labels), l1_objective).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    counts = parameter_counts(model)
    assert counts["total"] == sum(p.numel() for p in model.parameters()) > shared
    assert counts["per_task"] == (0 if name == "frequency_split" else counts["total"] - shared)


@pytest.mark.parametrize("name", ["task_norm", "adapters"])
def test_each_image_gets_the_parts_of_its_own_task(name, tiny):
    image, _, labels = batch_of()
    model = make_remedy(name).prepare(tiny, TASKS).eval()
    with pytest.raises(RuntimeError, match="told"):
        model(image)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, TaskAware):
                for parameter in module.parameters(recurse=False):
                    parameter.add_(0.2 * torch.randn_like(parameter))
        with told(model, labels):
            mixed = model(image)
        with told(model, 0):
            zero = model(image)
        with told(model, 1):
            one = model(image)
    assert torch.allclose(mixed[::2], zero[::2], atol=1e-5) and torch.allclose(mixed[1::2], one[1::2], atol=1e-5)
    assert not torch.allclose(zero, one, atol=1e-3)


def test_adapters_leave_out_what_is_never_called():
    config = dict(dim=8, blocks=[1, 1, 1, 1], refinement_blocks=1, heads=[1, 2, 2, 4], prompt_widths=[8, 16, 32], prompt_sides=[8, 4, 2])
    model = make_remedy("adapters", {"rank": 1}).prepare(create_model("promptir", **config), TASKS)
    names = [name for name, module in model.named_modules() if isinstance(module, TaskAware)]
    assert any(name.endswith("qkv") for name in names) and any(name == "reduce_chan_level3" for name in names)
    assert not any(name.startswith(("chnl_reduce", "reduce_noise")) or name.endswith("attn.project_out") for name in names)


def test_what_is_no_remedy_is_refused():
    own = type("Own", (Joint,), {"name": "own"})
    assert make_remedy(own()).name == "own"
    for wrong, said in ((own, "not the class"), (object(), "derive it from Joint"), ("sgd", "unknown remedy")):
        with pytest.raises(ValueError, match=said):
            make_remedy(wrong)
    with pytest.raises(ValueError, match="rank"):
        make_remedy("adapters", {"rank": 0})
    with pytest.raises(ValueError, match="depth"):
        make_remedy("adapters", {"depth": 3})


def test_a_batch_splits_by_its_labels():
    batch = (torch.arange(4.0), torch.arange(4.0), torch.tensor([1, 0, 1, 1]))
    parts = split_tasks(batch)
    assert list(parts) == [0, 1] and parts[1][0].tolist() == [0.0, 2.0, 3.0]
