"""The registered models against their published sizes, and how a model of the user's is made."""

import pytest
import torch
from torch import nn

from turncoat.errors import SpecError
from turncoat.learning.models import Recipe, build_model, seeded
from turncoat.registry import entries, make
from turncoat.spelling import parse

MODELS = sorted(entries("model"))
IMAGES, COLOURS = (1, 28, 28), (3, 32, 32)

SIZES = [
    ("softmax", IMAGES, 7_850),
    ("mlp", IMAGES, 79_510),
    ("mlp(hidden=7)", (64,), 64 * 7 + 7 + 70 + 10),
    ("cnn", IMAGES, 1_199_882),
    ("cnn(dropout=channel)", IMAGES, 1_199_882),
    ("cnn", COLOURS, 1_626_442),
    ("mnistnet", IMAGES, 21_840),
    ("cifarnet", COLOURS, 3_420_802),
    ("fallcnn", COLOURS, 1_310_922),
    ("lenet5", IMAGES, 61_706),
    ("lenet5", COLOURS, 62_006),
    ("alexnet", COLOURS, 23_272_266),
    ("alexnet_small", COLOURS, 1_094_058),
    ("point", (2,), 2),
]


def built(spelling, shape, classes=10, seed=0):
    return build_model(make("model", parse(spelling)), shape, classes, seed)


def size(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(("spelling", "shape", "parameters"), SIZES)
def test_number_of_parameters(spelling, shape, parameters):
    assert size(built(spelling, shape)) == parameters


@pytest.mark.parametrize("name", [name for name in MODELS if name != "point"])
def test_its_summary_tells_its_size(name):
    sizes = [parameters for spelling, _, parameters in SIZES if spelling == name]
    assert f"{sizes[0]:,}" in entries("model")[name].summary


def test_every_model_is_tested():
    assert {parse(spelling).name for spelling, _, _ in SIZES} == set(MODELS)


@pytest.mark.parametrize(("spelling", "shape", "parameters"), [case for case in SIZES if case[0] != "point"])
def test_one_output_for_each_class(spelling, shape, parameters):
    model = built(spelling, shape, classes=4)
    assert model(torch.zeros(3, *shape)).shape == (3, 4)


@pytest.mark.parametrize("name", ["cnn", "mnistnet", "cifarnet", "fallcnn", "alexnet_small", "softmax", "mlp"])
@pytest.mark.parametrize("shape", [(1, 16, 16), (2, 17, 21), (3, 40, 19)])
def test_adapts_to_images_of_other_sizes(name, shape):
    assert built(name, shape, classes=3)(torch.zeros(2, *shape)).shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "shape", "hint"),
    [
        ("cnn", (64,), "images of channels x height x width, from 6x6 up"),
        ("mnistnet", (1, 8, 8), "from 16x16 up"),
        ("cifarnet", (3, 15, 32), "from 16x16 up"),
        ("alexnet", (3, 15, 15), "from 16x16 up"),
        ("fallcnn", (3, 3, 3), "from 4x4 up"),
        ("lenet5", (1, 30, 30), "28x28, padded by 2, or 32x32"),
        ("lenet5", (784,), "28x28, padded by 2, or 32x32"),
        ("point", (1, 8, 8), "vectors"),
    ],
)
def test_shapes_that_do_not_fit(name, shape, hint):
    with pytest.raises(SpecError, match=hint):
        built(name, shape)


@pytest.mark.parametrize("spelling", ["mlp(hidden=0)", "mlp(hidden=ten)", "cnn(dropout=rows)"])
def test_wrong_parameters(spelling):
    with pytest.raises(SpecError, match=r"must be|hidden takes int"):
        make("model", parse(spelling))


def test_spelling_round_trip():
    for spelling in ("mlp(hidden=7)", "cnn(dropout=channel)", "cnn"):
        assert str(make("model", parse(spelling))) == spelling


def test_dropout_of_elements_or_channels():
    kinds = [{type(m) for m in built(s, IMAGES).modules()} for s in ("cnn", "cnn(dropout=channel)")]
    assert nn.Dropout2d not in kinds[0]
    assert nn.Dropout2d in kinds[1]


def test_lenet_pads_small_images_only():
    first, second = (next(iter(built("lenet5", shape).children())) for shape in (IMAGES, COLOURS))
    assert isinstance(first, nn.Conv2d)
    assert isinstance(second, nn.Conv2d)
    assert (first.padding, second.padding) == ((2, 2), (0, 0))


def test_point_starts_at_zero_and_returns_itself():
    model = built("point", (3,), classes=0)
    assert torch.equal(model(torch.ones(5, 3)), torch.zeros(5, 3))


def test_the_seed_decides_and_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    one, same, other = (built("mlp", (20,), seed=seed) for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(next(one.parameters()), next(other.parameters()))


def test_initial_parameters_are_pytorchs():
    with seeded(5):
        plain = nn.Sequential(nn.Flatten(), nn.Linear(20, 10))
    ours = built("softmax", (20,), seed=5)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), plain.parameters(), strict=True))


def test_seeded_puts_the_generator_back_after_an_error():
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError), seeded(1):
        torch.rand(3).view(2)
    assert torch.equal(torch.get_rng_state(), before)


class Own(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.layer = nn.Linear(shape[0], classes)


class Fixed(nn.Linear):
    def __init__(self):
        super().__init__(4, 3)


def test_own_classes_and_functions():
    assert size(build_model(Own, (4,), 3, 0)) == 15
    assert size(build_model(Fixed, (4,), 3, 0)) == 15
    assert size(build_model(lambda classes: nn.Linear(2, classes), (4,), 3, 0)) == 9
    assert size(build_model(lambda width=5: nn.Linear(width, 1), (4,), 3, 0)) == 6
    first, again = (nn.utils.parameters_to_vector(build_model(Fixed, (4,), 3, 7).parameters()) for _ in range(2))
    assert torch.equal(first, again)


def test_own_module_is_copied_with_its_parameters():
    module = Fixed()
    model = build_model(module, (4,), 3, 0)
    assert model is not module
    assert isinstance(model, Fixed)
    assert torch.equal(model.weight, module.weight)
    assert model.weight.data_ptr() != module.weight.data_ptr()


def test_what_is_no_model():
    with pytest.raises(SpecError, match=r"an nn.Module or a function"):
        build_model(3, (4,), 3, 0)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="returned a int"):
        build_model(lambda: 3, (4,), 3, 0)  # type: ignore[arg-type,return-value]
    with pytest.raises(SpecError, match="missing a required argument: 'width'"):
        build_model(lambda width, classes: nn.Linear(width, classes), (4,), 3, 0)


def test_recipes_are_components():
    for name, entry in entries("model").items():
        recipe = entry.load()()
        assert isinstance(recipe, Recipe)
        assert (str(recipe), recipe.source) == (name, entry.source)
        assert entry.source
