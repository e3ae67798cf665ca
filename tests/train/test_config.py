"""Settings: the paper's numbers, order of precedence, and what is refused."""

import json
from pathlib import Path

import pytest

from mtml_deploy.errors import DataError
from mtml_train.config import VARIANTS, TrainConfig
from mtml_train.settings import (
    RECIPES,
    build_config,
    from_plain,
    parse_setting,
    read_toml,
    to_plain,
)


def toml(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_recipe_paper_holds_the_numbers_of_the_paper() -> None:
    config = build_config("paper", None, {})
    assert (config.backbone, config.weights) == ("resnet50", "imagenet")
    assert (config.image_sides, config.scale_sides) == ((224, 224), (160, 160))
    assert config.consensus_dim == 1024
    assert (config.lr, config.beta1, config.beta2) == (1e-4, 0.9, 0.999)
    assert (config.batch_size, config.epochs) == (8, 150)
    assert (config.consensus_weight, config.temperature, config.detach_consensus) == (1, 1, False)
    assert config.branches == ("identity", "scale", "gray", "orientation")


def test_each_variant_is_named_by_its_branches() -> None:
    letters = {"S": "scale", "G": "gray", "O": "orientation"}
    named = {name: branches for name, branches in VARIANTS.items() if name != "single"}
    assert set(named) == {f"MTML-{name}" for name in ("S", "O", "G", "SG", "OG", "OSG")}
    assert VARIANTS["single"] == ("identity",)  # what they are compared with
    for name, branches in named.items():
        assert branches[0] == "identity"
        assert set(branches[1:]) == {letters[letter] for letter in name.removeprefix("MTML-")}
        assert len(branches) == len(name.removeprefix("MTML-")) + 1


def test_the_scale_view_follows_the_image_size() -> None:
    assert TrainConfig(image_size=32).scale_sides == (23, 23)  # 32 x 5/7 = 22.86
    assert TrainConfig(image_size=32, scale_size=16).scale_sides == (16, 16)
    tall = TrainConfig(image_size=(256, 128))
    assert tall.image_sides == (256, 128)
    assert tall.scale_sides == (183, 91)  # 182.86 and 91.43
    assert TrainConfig(image_size=(256, 128), scale_size=(96, 48)).scale_sides == (96, 48)


def test_a_flag_wins_over_the_file_and_the_file_over_the_recipe(tmp_path: Path) -> None:
    file = toml(tmp_path, "epochs = 7\nbatch_size = 32\n")
    config = build_config("strong", file, {"batch_size": 16})
    assert config.batch_size == 16  # flag
    assert config.epochs == 7  # file
    assert config.sampler == "pk-once"  # recipe
    assert config.image_size == 224  # default


def test_the_recipe_strong_has_what_was_measured_to_help() -> None:
    config = build_config("strong", None, {})
    assert (config.neck, config.last_stride, config.jitter) == ("bn", 1, 0.0)
    assert (config.sampler, config.triplet_on) == ("pk-once", "branches")
    assert (config.optimizer, config.lr, config.weight_decay) == ("adam", 1e-3, 5e-4)
    assert (config.erase, config.pad, config.label_smoothing) == (0.0, 0.05, 0.1)


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_every_recipe_survives_json(recipe: str) -> None:
    config = build_config(recipe, None, {"data": ("veri:a", "csv:b"), "image_size": (96, 64)})
    plain = json.loads(json.dumps(to_plain(config)))
    assert TrainConfig(**from_plain(plain, where="here")) == config  # type: ignore[arg-type]


def test_an_unknown_recipe_is_refused() -> None:
    with pytest.raises(DataError, match="no recipe 'papre'; there are: paper, strong"):
        build_config("papre", None, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rate = 1", "unknown setting 'learning_rate'; known: accumulate"),
        ("epochs = 1.5", "epochs must be an integer, found 1.5"),
        ("epochs = true", "epochs must be an integer, found True"),
        ("lr = true", "lr must be a number, found True"),
        ("triplet_margin = true", 'triplet_margin must be a number or "soft", found True'),
        ('lr = "fast"', "lr must be a number, found 'fast'"),
        ("skip_bad = 1", "skip_bad must be true or false, found 1"),
        ("image_size = [256, 128, 3]", "image_size must be one number for a square, or HEIGHT,WI"),
        ("image_size = [true, 128]", "image_size must be one number for a square, or HEIGHT,WIDTH"),
        ('scale_size = "wide"', "HEIGHT,WIDTH such as 256,128, found 'wide'"),
        ("variant = 3", "variant must be a string, found 3"),
        ("data = [1]", "data must be a list of strings, found"),
        ("[train]\nepochs = 1", "unknown setting 'train'"),
        ("epochs = ", "cannot read settings"),
    ],
)
def test_a_file_with_a_fault_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = toml(tmp_path, text)
    with pytest.raises(DataError) as error:
        read_toml(file)
    assert message in str(error.value)
    assert str(file) in str(error.value)


def test_a_file_that_is_not_utf8_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b'backbone = "\xe9"')
    for name in ("latin.toml", "absent.toml"):
        with pytest.raises(DataError, match=f"cannot read settings from .*{name}"):
            read_toml(tmp_path / name)


def test_types_that_are_taken(tmp_path: Path) -> None:
    found = read_toml(toml(tmp_path, 'lr = 1\ndata = "veri:x"\nflip = 0.25\nskip_bad = true\n'))
    assert found == {"lr": 1.0, "data": ("veri:x",), "flip": 0.25, "skip_bad": True}
    assert type(found["lr"]) is float


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "epochs is 1 or more, found 0"),
        ({"max_steps": -2}, "max_steps is -1 or more"),
        ({"image_size": 31}, "image_size is 32 or more"),
        ({"image_size": (256, 31)}, "image_size is 32 or more, found 256,31"),
        ({"image_size": (4097, 128)}, "image_size is 4096 or less, found 4097,128"),
        ({"scale_size": (96, 0)}, "scale_size is 1 or more, found 96,0"),
        ({"scale_size": -1}, "scale_size is 0 or more, found -1"),
        ({"flip": 1.5}, "flip is 0..1, found 1.5"),
        ({"lr": 0.0}, "lr and temperature are above 0"),
        ({"temperature": 0.0}, "lr and temperature are above 0"),
        ({"lr": float("nan")}, "lr must be a finite number, found nan"),
        ({"consensus_weight": float("inf")}, "consensus_weight must be a finite number"),
        ({"batch_size": 8, "accumulate": 3}, "batch_size 8 is not a multiple of accumulate 3"),
        ({"triplet_weight": 1.0}, 'triplet_weight needs sampler "pk" or "pk-once"'),
        ({"variant": "MTML-GO"}, "variant is one of MTML-S, .*found 'MTML-GO'"),
        ({"amp": "fp8"}, "amp is one of none, fp16, bf16"),
        ({"warmup_steps": 9, "warmup_epochs": 1.0}, "warmup_steps 9 takes the place of warmup_epo"),
        ({"momentum": 1.0}, "momentum is above 0 and below 1, found 1.0"),
        ({"ema": 1.0}, "ema is 0 or more and below 1, found 1.0"),
        ({"optimizer": "lion"}, "optimizer is one of adamw, adam, sgd; found 'lion'"),
        ({"neck": "ln"}, "neck is one of none, bn; found 'ln'"),
        ({"last_stride": 3}, "last_stride is 2 or less, found 3"),
        ({"identity_loss": "sphere"}, "identity_loss is one of softmax, cosface, arcface, circle"),
        ({"identity_scale": 0.0}, "identity_scale is above 0, found 0.0"),
        ({"identity_margin": 1.5}, "identity_margin is 0..1, found 1.5"),
        ({"triplet_margin": -0.1}, 'triplet_margin is 0 or more, or "soft"; found -0.1'),
        ({"triplet_margin": "hard"}, "triplet_margin is 0 or more, or \"soft\"; found 'hard'"),
    ],
)
def test_an_impossible_value_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        build_config("paper", None, values)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("flip=0.25", {"flip": 0.25}),
        ("triplet-weight=1", {"triplet_weight": 1.0}),
        ("sampler=pk", {"sampler": "pk"}),
        ("triplet_margin=soft", {"triplet_margin": "soft"}),
        ("triplet_margin=1", {"triplet_margin": 1.0}),
        ('backbone="resnet18"', {"backbone": "resnet18"}),
        ("detach_consensus=true", {"detach_consensus": True}),
        ("data=veri:a=b", {"data": ("veri:a=b",)}),
        ("val=", {"val": ""}),
        ("image_size=96", {"image_size": 96}),
        ("image_size=256,128", {"image_size": (256, 128)}),
        ("image_size=[256, 128]", {"image_size": (256, 128)}),
        ("image_size=64, 64", {"image_size": 64}),
    ],
)
def test_one_setting_as_text(text: str, expected: dict[str, object]) -> None:
    assert parse_setting(text) == expected


def test_one_setting_as_text_with_a_fault() -> None:
    with pytest.raises(DataError, match="write NAME=VALUE"):
        parse_setting("flip")
    with pytest.raises(DataError, match="unknown setting 'flop'"):
        parse_setting("flop=1")
    with pytest.raises(DataError, match="epochs must be an integer, found 'ten'"):
        parse_setting("epochs=ten")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epochs=99999999999999999999", "epochs must be an integer, found 99999999999999999999"),
        ("lr=0x" + "f" * 400, "lr must be a number, found"),
        ("seed=0x" + "f" * 5000, "seed must be an integer, found a number of thousands of digits"),
        ("image_size=100000", "image_size is 4096 or less, found 100000"),
        ("image_size=0x" + "f" * 5000, "image_size must be one number for a square, or HEIGHT"),
        ("workers=2000", "workers is 1024 or less"),
        ("beta1=1", "beta1 is 0 or more and below 1"),
        ("beta2=-0.5", "beta2 is 0 or more and below 1"),
        ("lr=" + "[" * 100_000, "lr must be a number, found"),
        ("lr=" + "{a=" * 2000, "lr must be a number, found"),
    ],
)
def test_a_number_that_no_run_can_use(text: str, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        build_config("paper", None, parse_setting(text))
    assert len(str(caught.value)) < 5000


def test_a_deep_file(tmp_path: Path) -> None:
    (tmp_path / "deep.toml").write_text("lr = " + "[" * 100_000)
    with pytest.raises(DataError, match="nested too deeply"):
        read_toml(tmp_path / "deep.toml")
