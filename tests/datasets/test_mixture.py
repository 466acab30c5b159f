"""All-in-one training data: sample n is a function of (seed, n), balances are exact, pairs are cropped alike."""

import pickle
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from course_lib.datasets.mixture import BALANCES, SETTINGS, MixtureDataset, Task, degrade_of, tasks_of
from course_lib.datasets.pairs import StepSampler, noise_of, pair_loader
from course_lib.degradations.composite import DEGRADATIONS
from course_lib.degradations.noise import gaussian_noise


def picture(seed, height=40, width=50):
    return (torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed)) * 255).round() / 255


@dataclass(frozen=True)
class File:
    """What a reader of folders hands over: a name and `load`."""

    name: str
    seed: int
    degraded: bool = True
    bigger: int = 0

    def load(self):
        clean = picture(self.seed)
        return (1 - picture(self.seed, 40 + self.bigger) if self.degraded else None), clean


IMAGES = [picture(i) for i in range(4)]
TASKS = [
    Task("noise", IMAGES, degrade_of("gaussian_noise", sigma=25.0), repeat=2, weight=1),
    Task("blur", IMAGES[:3], degrade_of("motion_blur", length=(3, 9)), repeat=3, weight=5),
    Task("negatives", [(1 - image, image) for image in IMAGES], repeat=1, weight=2),
    Task("files", [File("a.png", 7), File("b.png", 8)], repeat=4, weight=2),
]


def stages(step):
    return (16, 4) if step < 3 else (24, 6)


def batches(balance="balanced", seed=0, start=0, stop=6, rank=0, world=1, **options):
    return list(pair_loader(MixtureDataset(TASKS, seed, balance), StepSampler(stages, start, stop, rank, world), **options))


def same(one, other):
    return len(one) == len(other) and all(torch.equal(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True))


def test_shapes_types_and_labels():
    for degraded, clean, labels in batches():
        assert degraded.shape == clean.shape == (len(labels), 3, *clean.shape[2:]) and labels.dtype == torch.int64
        assert degraded.dtype == clean.dtype == torch.float32 and 0 <= degraded.min() and degraded.max() <= 1
    assert [len(labels) for _, _, labels in batches()] == [4, 4, 4, 6, 6, 6]


@pytest.mark.parametrize("balance", BALANCES)
def test_workers_processes_and_restarts_change_nothing(balance):
    whole = batches(balance)
    assert same(whole, batches(balance, workers=2))
    assert same(whole[2:], batches(balance, start=2))
    parts = [batches(balance, rank=rank, world=2, workers=rank) for rank in range(2)]
    for step, batch in enumerate(whole):
        for index in range(3):
            merged = torch.stack([parts[n % 2][step][index][n // 2] for n in range(len(batch[index]))])
            assert torch.equal(merged, batch[index])


@pytest.mark.parametrize("balance", BALANCES)
def test_sample_n_depends_on_the_seed_and_n_alone(balance):
    dataset = MixtureDataset(TASKS, 3, balance)
    forwards = [dataset[(n, 16)] for n in range(60)]
    np.random.seed(1)
    torch.manual_seed(1)
    again = pickle.loads(pickle.dumps(dataset))  # what a spawned worker gets
    backwards = [again[(n, 16)] for n in reversed(range(60))][::-1]
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) and a[2] == b[2] for a, b in zip(forwards, backwards, strict=True))
    assert [dataset.choose(n)[0] for n in range(60)] == [label for *_, label in forwards]
    other = MixtureDataset(TASKS, 4, balance)
    assert sum(torch.equal(other[(n, 16)][1], forwards[n][1]) for n in range(60)) < 3


@pytest.mark.parametrize("batch", [1, 3, 4, 5, 7, 8, 10])
def test_balanced_batches_hold_each_task_equally_and_the_remainder_rotates(batch):
    dataset = MixtureDataset(TASKS, 0)
    extra = Counter()
    for step in range(12):
        counts = Counter(dataset.choose(step * batch + i)[0] for i in range(batch))
        assert all(counts[task] in (batch // 4, -(-batch // 4)) for task in range(4))
        extra.update({task: counts[task] - batch // 4 for task in range(4)})
    assert max(extra.values()) == min(extra.values()), "over whole rounds every task has had the remainder equally often"


def test_balanced_draws_a_tasks_images_evenly():
    dataset = MixtureDataset(TASKS, 0)
    counts = Counter(dataset.choose(4 * n)[1] for n in range(2000))
    assert set(counts) == {0, 1, 2, 3} and all(abs(count - 500) < 100 for count in counts.values())


def test_repeat_shows_each_image_exactly_repeat_times_an_epoch():
    dataset = MixtureDataset(TASKS, 0, "repeat")
    assert dataset.epoch == 4 * 2 + 3 * 3 + 4 * 1 + 2 * 4 == 29
    expected = {(place, image): task.repeat for place, task in enumerate(TASKS) for image in range(len(task.images))}
    orders = []
    for epoch in range(3):
        orders.append([dataset.choose(29 * epoch + n) for n in range(29)])
        assert Counter(orders[-1]) == expected
    assert orders[0] != orders[1] != orders[2], "each epoch is shuffled anew"
    assert dataset.expected_shares() == {"noise": 8 / 29, "blur": 9 / 29, "negatives": 4 / 29, "files": 8 / 29}


def test_weights_are_probabilities():
    dataset = MixtureDataset(TASKS, 0, "weights")
    counts = Counter(dataset.choose(n)[0] for n in range(4000))
    for place, (task, share) in enumerate(dataset.expected_shares().items()):
        assert abs(counts[place] - 4000 * share) < 5 * (4000 * share * (1 - share)) ** 0.5, task
    never = MixtureDataset([replace(TASKS[0], weight=0), *TASKS[1:]], 0, "weights")
    assert all(never.choose(n)[0] for n in range(300))


def test_pairs_are_cropped_turned_and_flipped_alike():
    for tasks in (TASKS[2:3], TASKS[3:4]):
        dataset = MixtureDataset(tasks, 0)
        crops = [dataset[(n, 16)] for n in range(30)]
        assert all(torch.allclose(degraded, 1 - clean, atol=1e-6) for degraded, clean, _ in crops)
        assert len({tuple(clean.flatten()[:9].tolist()) for _, clean, _ in crops}) > 25


def test_crops_are_windows_of_the_images_in_all_eight_positions():
    windows = {}
    for turn in range(4):
        for flip in (False, True):
            turned = torch.rot90(IMAGES[0], turn, (1, 2))
            turned = turned.flip(2) if flip else turned
            for patch in turned.unfold(1, 8, 1).unfold(2, 8, 1).permute(1, 2, 0, 3, 4).reshape(-1, 192):
                windows[tuple((patch[:6] * 255).round().tolist())] = (turn, flip)
    dataset = MixtureDataset([Task("pair", [(IMAGES[0], IMAGES[0])])], 0)
    seen = {windows[tuple((dataset[(n, 8)][1].flatten()[:6] * 255).round().tolist())] for n in range(120)}  # KeyError: not a crop
    assert len(seen) == 8


def test_labels_are_the_place_or_what_the_task_says():
    merged = [replace(TASKS[0], label=0), replace(TASKS[1], label=0), replace(TASKS[2], label=7), TASKS[3]]
    assert [MixtureDataset(merged, 0)[(n, 16)][2] for n in range(5)] == [0, 0, 7, 3, 0]


def test_the_degradation_is_the_tasks_own():
    seen = []

    def spy(clean, rng):
        seen.append(clean)
        return gaussian_noise(clean[None], 25, int(rng.integers(2**63)))[0]

    for degrade in (spy, noise_of(25)):
        dataset = MixtureDataset([Task("noise", [torch.full((3, 64, 64), 0.5)], degrade), TASKS[2]], 0)
        degraded, clean, label = dataset[(0, 64)]
        assert label == 0 and float((degraded - clean).std()) == pytest.approx(25 / 255, rel=0.03)
    assert len(seen) == 1


def test_a_drawn_parameter_stays_between_its_ends():
    own = degrade_of("motion_blur", length=(3, 9))
    drawn = [own.draw(np.random.default_rng(n)) for n in range(100)]
    assert 3 <= min(p.length for p in drawn) < 4 and 8 < max(p.length for p in drawn) <= 9
    assert len({p.angle for p in drawn}) == 100
    qualities = {degrade_of("jpeg", quality=(20, 22)).draw(np.random.default_rng(n)).quality for n in range(60)}
    assert qualities == {20, 21, 22}


def test_a_file_without_a_twin_is_degraded():
    degrade = degrade_of("gaussian_noise", sigma=10.0)
    degraded, clean, _ = MixtureDataset([Task("noise", [File("a.png", 7, degraded=False)], degrade)], 0)[(0, 32)]
    assert float((degraded - clean).std()) == pytest.approx(10 / 255, rel=0.1)


@pytest.mark.parametrize("name", list(SETTINGS))
def test_settings_train_by_name(name, photos):
    setting = SETTINGS[name]
    assert all(task.kind in DEGRADATIONS for task in setting.tasks)
    dataset = MixtureDataset(tasks_of(name, list(photos.values())[:2]), 0)
    assert dataset.names == [task.name for task in setting.tasks]
    sampler = StepSampler(lambda step: (48, 5), 0, 2)
    for degraded, clean, labels in pair_loader(dataset, sampler):
        assert sorted(labels.tolist()) == list(range(5))
        assert torch.isfinite(degraded).all() and all(not torch.equal(a, b) for a, b in zip(degraded, clean, strict=True))


def test_published_counts():
    three, five = SETTINGS["three-task"], SETTINGS["five-task"]
    assert [task.name for task in three.tasks] == ["noise 15", "noise 25", "noise 50", "rain", "haze"]
    assert [task.samples for task in three.tasks] == [15_432, 15_432, 15_432, 24_000, 72_135]
    assert sum(task.samples for task in three.tasks) == 142_431
    assert [task.repeat for task in three.tasks] == [3, 3, 3, 120, 1]
    assert [task.name for task in five.tasks] == ["haze", "rain", "noise 25", "motion blur", "low light"]
    assert [task.samples for task in five.tasks] == [72_135, 16_000, 15_432, 63_090, 29_100]
    assert sum(task.samples for task in five.tasks) + 2 * 15_432 == 226_621, "DFPIR trains on noise 15 and 50 too"
    assert [task.test for task in five.tasks] == ["SOTS-outdoor", "Rain100L", "CBSD68", "GoPro", "LOL-v1"]


def test_an_epoch_of_promptir():
    """With as many images as PromptIR had, the balance `repeat` deals out its 142,431 samples, and `weights` its shares."""
    sizes = {"noise 15": 5144, "noise 25": 5144, "noise 50": 5144, "rain": 200, "haze": 72_135}
    tasks = tasks_of("three-task", {name: [File("x.png", 0)] * size for name, size in sizes.items()})
    dataset = MixtureDataset(tasks, 0, "repeat")
    counts = Counter(dataset.choose(n)[0] for n in range(0, dataset.epoch, 97))
    assert dataset.epoch == 142_431
    assert counts[4] / sum(counts.values()) == pytest.approx(72_135 / 142_431, abs=0.05)
    few = MixtureDataset(tasks_of("three-task", IMAGES), 0, "weights").expected_shares()
    assert few == pytest.approx(dataset.expected_shares())


def test_one_list_for_every_task_is_held_once():
    dataset = MixtureDataset(tasks_of("five-task", IMAGES), 0)
    assert len({id(image) for task in dataset.tasks for image in task.images}) == len(IMAGES)


def test_errors():
    noise = degrade_of("gaussian_noise")
    for tasks, said in (
        ([], "no tasks"),
        ([Task("rain", [], noise)], "'rain' holds no images"),
        ([TASKS[0], TASKS[0]], "two tasks are called 'noise'"),
        ([replace(TASKS[0], repeat=0)], "repeat must be a whole number"),
        ([replace(TASKS[0], weight=-1.0)], "weight must be"),
        ([replace(TASKS[0], weight=0.0)], "every task has weight 0"),
        ([Task("clean", IMAGES)], "image 0: a clean image alone needs a `degrade`"),
        ([Task("pair", [(IMAGES[0], IMAGES[1]), (IMAGES[0], picture(0, 41))])], "'pair', image 1: .* 40x50 and 41x50"),
        ([Task("raw", [(IMAGES[0] * 1.2, IMAGES[0])])], "outside"),
        ([Task("grey", [IMAGES[0][:1]], noise)], r"\(3, H, W\)"),
    ):
        with pytest.raises(ValueError, match=said):
            MixtureDataset(tasks, 0)
    with pytest.raises(ValueError, match="balanced, repeat, weights"):
        MixtureDataset(TASKS, 0, "even")
    for file, patch, said in (
        (File("b.png", 1), 48, "image b.png is 40x50, smaller than the 48x48 patch"),
        (File("c.png", 1, bigger=2), 16, "image c.png: .* 42x50 and 40x50"),
        (File("d.png", 1, degraded=False), 16, "image d.png: no degraded twin"),
    ):
        with pytest.raises(ValueError, match=said):
            MixtureDataset([Task("files", [file])], 0)[(0, patch)]


def test_errors_of_degradations_and_settings():
    for call, said in (
        (lambda: degrade_of("sleet"), "unknown kind of degradation 'sleet'"),
        (lambda: degrade_of("motion_blur", width=3), "no parameter 'width'"),
        (lambda: degrade_of("motion_blur", length=(3, 900)), "from 0 to 64"),
        (lambda: degrade_of("motion_blur", length=(9, 3)), "lower end comes first"),
        (lambda: tasks_of("six-task", IMAGES), "three-task, five-task"),
        (lambda: tasks_of("five-task", {"haze": IMAGES}), "'rain' has no source"),
        (
            lambda: tasks_of("three-task", {task.name: IMAGES for task in SETTINGS["three-task"].tasks} | {"snow": IMAGES}),
            "'snow' is not one",
        ),
    ):
        with pytest.raises(ValueError, match=said):
            call()
