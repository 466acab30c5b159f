"""The all-in-one settings of the field by name: which tasks, in which order, on which sets, with which balance."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TaskSetting:
    """A task as the papers set it: our kind of degradation, the sets they train and test on, the repeat factor and samples an epoch."""

    name: str
    kind: str
    parameters: dict[str, float | tuple[float, float]]
    train: tuple[str, ...]
    test: str
    repeat: int
    samples: int


@dataclass(frozen=True)
class Setting:
    """Tasks in the order of the labels, and where the figures are from."""

    name: str
    tasks: tuple[TaskSetting, ...]
    source: str


def setting_of(name: str) -> Setting:
    """The setting of that name. Raises ValueError naming the others."""
    if name not in SETTINGS:
        raise ValueError(f"unknown setting {name!r}; choose one of {', '.join(SETTINGS)}")
    return SETTINGS[name]


def _noise(sigma: int) -> TaskSetting:
    # 5,144 images (400 of BSD, 4,744 of WED), each three times
    return TaskSetting(f"noise {sigma}", "gaussian_noise", {"sigma": float(sigma)}, ("BSD400", "WED"), "CBSD68", 3, 15_432)


def _rain(repeat: int) -> TaskSetting:
    return TaskSetting("rain", "rain", {}, ("Rain100L",), "Rain100L", repeat, 200 * repeat)


_HAZE = TaskSetting("haze", "haze", {}, ("RESIDE-OTS",), "SOTS-outdoor", 1, 72_135)

SETTINGS: dict[str, Setting] = {
    "three-task": Setting(
        "three-task",
        (_noise(15), _noise(25), _noise(50), _rain(120), _HAZE),
        "PromptIR (Potlapalli et al., NeurIPS 2023), its published code: 142,431 samples an epoch, shuffled, no balancing",
    ),
    "five-task": Setting(
        "five-task",
        (
            _HAZE,
            _rain(80),
            _noise(25),
            TaskSetting("motion blur", "motion_blur", {}, ("GoPro",), "GoPro", 30, 63_090),
            TaskSetting("low light", "low_light", {}, ("LOL-v1",), "LOL-v1", 60, 29_100),
        ),
        "order and sets of the five-task tables (IDR, Zhang et al., CVPR 2023); repeats of DFPIR's published code, which also trains on "
        "noise 15 and 50 and so has 226,621 samples an epoch; with noise 25 alone they are 195,757",
    ),
}
"""The all-in-one settings of the field. Labels of `three-task` are PromptIR's: noise 15, 25, 50, rain, haze."""
