"""Recipes: what is read, what is refused and how it is said."""

import pytest
import torch

from course_lib.training import Recipe, RecipeError, load_recipe, run, save_weights
from course_lib.training.recipe import recipe_folder


def write(folder, text):
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_becomes_a_recipe(tmp_path):
    stages = "patches = [16, 32]\nbatches = [4, 2]\nstage_ends = [0.5, 1.0]\n"
    recipe = load_recipe(write(tmp_path, "steps = 7\nsigma = [5, 50]\nconfig = { dim = 8 }\n" + stages))
    assert (recipe.name, recipe.steps, recipe.config) == ("mine", 7, {"dim": 8})
    assert [recipe.stage(step) for step in range(7)] == [(16, 4)] * 4 + [(32, 2)] * 3


def test_shipped_recipes_load_by_name():
    names = [path.stem for path in recipe_folder().glob("*.toml")]
    assert "restormer_small_denoise" in names
    for name in names:
        assert load_recipe(name).name == name


def test_the_hash_knows_every_field():
    base = Recipe()
    assert base.hash() == Recipe().hash() and len(base.hash()) == 12
    assert base.replace(seed=1).hash() != base.hash() != base.replace(config={"dim": 8}).hash()


@pytest.mark.parametrize(
    "text, words",
    [
        ("stpes = 5", "unknown field stpes"),
        ("steps = ", "not valid TOML"),
        ('steps = "many"', "steps must be a whole number"),
        ("steps = 2.5", "steps must be a whole number"),
        ("steps = true", "steps must be a whole number"),
        ("steps = 0", "steps"),
        ("learning_rate = -1.0", "learning_rate"),
        ('sigma = "high"', "sigma must be"),
        ("sigma = [1, 2, 3]", "sigma is a number or"),
        ("sigma = [50, 5]", "sigma is a number or"),
        ("patches = 64", "patches must be a list"),
        ("patches = []", "patches must be a list"),
        ("patches = [20]", "patches must divide by 8"),
        ("patches = [0]", "patches must divide by 8"),
        ("patches = [16, 24]", "one length"),
        ("batches = [0]", "batches must be positive"),
        ("stage_ends = [0.5]", "stage_ends must rise to 1.0"),
        ('precision = "int4"', "precision is one of auto, fp32, bf16, fp16"),
        ("ema_decay = 1.0", "ema_decay must lie in"),
        ('config = "big"', "config must be a table"),
    ],
)
def test_errors_name_file_and_field(tmp_path, text, words):
    path = write(tmp_path, text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert str(path) in str(caught.value) and words in str(caught.value)


def test_an_unknown_recipe_says_which_exist(tmp_path):
    for name in ("nope", str(tmp_path / "nope.toml")):
        with pytest.raises(RecipeError, match="nope.*restormer_small_denoise"):
            load_recipe(name)


def test_an_unknown_model_or_keyword_says_what_exists(tmp_path):
    with pytest.raises(ValueError, match="unknown model 'unet'; there are .*restormer"):
        run.train(Recipe(model="unet"), tmp_path / "a", device="cpu")
    with pytest.raises(ValueError, match="widht"):
        run.train(Recipe(config={"widht": 3}), tmp_path / "b", device="cpu")


def test_training_data_that_is_not_there_says_where_it_was_sought(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))
    with pytest.raises(RecipeError, match=f"{tmp_path}/BSDS500.*COURSE_DATA_DIR"):
        run.training_images(Recipe(data="bsds"))
    with pytest.raises(RecipeError, match="none of photos, bsds, published, nor a folder"):
        run.training_images(Recipe(data="nowhere"))
    (tmp_path / "BSDS500" / "test").mkdir(parents=True)
    with pytest.raises(RecipeError, match="must not be trained on"):
        run.training_images(Recipe(data="bsds"))


def test_bsds_training_leaves_out_what_is_tested_on(bench):
    if not (bench / "BSDS500" / "train_overlapping_Rain100L.txt").is_file():
        pytest.skip("no BSDS500 in the benchmark folder")
    assert len(run.training_images(Recipe(data="bsds"))) == 333


def test_each_stage_may_have_a_cosine_of_its_own():
    recipe = Recipe(steps=150, warmup=10, patches=(32, 64), batches=(4, 2), stage_ends=(100, 150), stage_rates=(1e-3, 2e-4))
    alone = Recipe(steps=100, warmup=10, learning_rate=1e-3)
    assert [recipe.learning_rate_at(step) for step in range(100)] == [alone.learning_rate_at(step) for step in range(100)]
    tail = Recipe(steps=50, learning_rate=2e-4)
    assert [recipe.learning_rate_at(100 + step) for step in range(50)] == [tail.learning_rate_at(step) for step in range(50)]
    assert [recipe.stage(step) for step in (0, 99, 100, 149)] == [(32, 4), (32, 4), (64, 2), (64, 2)]
    # in steps or as fractions; without rates one cosine runs over both stages, and a recipe of before keeps its hash
    halves = Recipe(steps=10, patches=(32, 64), batches=(4, 2), stage_ends=(0.5, 1.0))
    assert [halves.stage(step) for step in range(10)] == [halves.replace(stage_ends=(5, 10)).stage(step) for step in range(10)]
    assert halves.learning_rate_at(5) == Recipe(steps=10).learning_rate_at(5)
    assert load_recipe("restormer_small_denoise").hash() == "6d90b4a45d20"  # as in its card and its weights


@pytest.mark.parametrize("fields", [dict(stage_rates=(1e-3,)), dict(stage_rates=(1e-3, 0.0)), dict(stage_rates=(1e-3, 1e-4), warmup=5)])
def test_stage_rates_that_do_not_fit(fields):
    with pytest.raises(RecipeError, match="stage_rates are positive, one a stage, and warmup ends in the first"):
        Recipe(steps=10, patches=(32, 64), batches=(4, 2), stage_ends=(5, 10), **fields)
    with pytest.raises(RecipeError, match="rise to 1.0, or to steps"):
        Recipe(steps=10, patches=(32, 64), batches=(4, 2), stage_ends=(5, 12))


def test_a_recipe_may_begin_with_the_weights_of_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = dict(dim=8, blocks=[1, 1, 1, 1], refinement_blocks=1, heads=[1, 1, 1, 1])
    first = Recipe(name="first", config=config, seed=5)
    second = Recipe(name="second", config=config, start="first")
    with pytest.raises(RecipeError, match="second begins with the weights 'first'.*runs/train/first.*`course train first` makes them"):
        run._model(second)
    made = run._model(first)
    save_weights(made, tmp_path / "runs/train/first/final.safetensors")
    begun = run._model(second)
    assert begun.training and all(torch.equal(a, b) for a, b in zip(begun.parameters(), made.parameters(), strict=True))
    assert torch.equal(next(run._model(second.replace(start="runs/train/first/final.safetensors")).parameters()), next(made.parameters()))
    assert first.hash() != first.replace(start="x").hash() and run.start_weights(Recipe(start="restormer_small_denoise")).is_file()
