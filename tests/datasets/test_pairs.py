"""Training pairs: sample n is a function of (seed, n), whatever the batch, the worker or the process."""

import pytest
import torch

from course_lib.datasets.pairs import PairDataset, StepSampler, noise_of, pair_loader

IMAGES = [torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(i)) for i in range(3)]


def stages(step):
    return (16, 4) if step < 3 else (24, 2)


def batches(seed=0, start=0, stop=6, **options):
    sampler = StepSampler(stages, start, stop, options.pop("rank", 0), options.pop("world", 1))
    return list(pair_loader(PairDataset(IMAGES, noise_of((5, 50)), seed), sampler, **options))


def same(one, other):
    return len(one) == len(other) and all(torch.equal(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True))


def test_shapes_follow_the_stages():
    assert [tuple(degraded.shape) for degraded, _ in batches()] == [(4, 3, 16, 16)] * 3 + [(2, 3, 24, 24)] * 3


def test_workers_change_nothing():
    assert same(batches(), batches(workers=2))


def test_any_start_goes_on_with_the_same_batches():
    whole = batches()
    for start in range(7):
        assert same(whole[start:], batches(start=start))


def test_processes_together_see_one_process_batches():
    whole, parts = batches(), [batches(rank=rank, world=2) for rank in range(2)]
    for step, pair in enumerate(whole):
        for index in range(2):
            merged = torch.stack([parts[n % 2][step][index][n // 2] for n in range(len(pair[index]))])
            assert torch.equal(merged, pair[index])
    with pytest.raises(ValueError, match="2 does not divide between 3"):
        batches(start=3, world=3)


def test_seeds_and_samples_differ_and_global_state_plays_no_part():
    first = batches()
    torch.manual_seed(99)
    assert same(first, batches()) and not same(first, batches(seed=1))
    crops = torch.cat([clean for _, clean in first[:3]])
    assert len({tuple(crop.flatten()[:20].tolist()) for crop in crops}) == len(crops)


def test_crops_are_crops_turned_and_flipped_of_every_image():
    dataset = PairDataset(IMAGES, lambda clean, rng: clean, 0)
    windows = {}
    for index, image in enumerate(dataset.images):
        for turn in range(4):
            for flip in (False, True):
                turned = torch.rot90(image.float() / 255, turn, (1, 2))
                turned = turned.flip(2) if flip else turned
                for patch in turned.unfold(1, 8, 1).unfold(2, 8, 1).permute(1, 2, 0, 3, 4).reshape(-1, 3 * 64):
                    windows.setdefault(tuple(patch[:6].tolist()), (index, turn, flip))
    seen = {windows[tuple(dataset[(n, 8)][1].flatten()[:6].tolist())] for n in range(200)}  # KeyError: not a crop at all
    assert {index for index, _, _ in seen} == {0, 1, 2}
    assert len({(turn, flip) for _, turn, flip in seen}) == 8


def test_bigger_images_count_more():
    small, big = torch.zeros(3, 16, 16), torch.ones(3, 48, 16)
    dataset = PairDataset([small, big], lambda clean, rng: clean, 0)
    share = sum(float(dataset[(n, 8)][1].mean()) for n in range(800)) / 800
    assert share == pytest.approx(0.75, abs=0.05)


def test_noise_is_drawn_between_its_limits():
    clean = torch.full((3, 64, 64), 0.5)
    dataset = PairDataset([clean], noise_of((10, 40)), 0)
    levels = [255 * float((degraded - target).std()) for degraded, target in (dataset[(n, 64)] for n in range(40))]
    assert 9 < min(levels) < 16 and 34 < max(levels) < 42
    fixed = PairDataset([clean], noise_of(25), 0)[(0, 64)]
    assert 255 * float((fixed[0] - fixed[1]).std()) == pytest.approx(25, rel=0.02)


def test_errors():
    with pytest.raises(ValueError, match="no training images"):
        PairDataset([], noise_of(25), 0)
    with pytest.raises(ValueError, match="40x50, smaller than the 48x48"):
        PairDataset(IMAGES, noise_of(25), 0)[(0, 48)]
