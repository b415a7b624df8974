"""Shutting does exactly what it says, and leaves no trace."""

import subprocess
import sys
import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import tiny_unet
from torch import nn

from cones.errors import BaseModelError, BaseModelWarning, InputError
from cones.neurons.concept_neurons import BaseInfo, ConceptNeurons
from cones.neurons.projections import fingerprint, projections, shapes
from cones.neurons.shutting import matching_weights, shut

DTYPES = [torch.float16, torch.bfloat16, torch.float32]


class Attention(nn.Module):
    """What the layers' names need, and no more."""

    def __init__(self) -> None:
        super().__init__()
        self.attn2 = nn.Module()
        self.attn2.to_k = nn.Linear(5, 6, bias=False)
        self.attn2.to_v = nn.Linear(5, 3)


@pytest.fixture
def model() -> nn.Module:
    return Attention()


def bits(model: nn.Module) -> dict[str, torch.Tensor]:
    """All of a model's tensors, as they are in memory."""
    return {k: v.detach().clone().view(torch.uint8) for k, v in model.state_dict().items()}


def same_bits(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def some(model: object, density: float = 0.3, seed: int = 0, **more: object) -> ConceptNeurons:
    rng = np.random.default_rng(seed)
    sizes = shapes(projections(model))
    index = {k: np.flatnonzero(rng.random(o * i) < density) for k, (o, i) in sizes.items()}
    return ConceptNeurons(sizes, index, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("strength", [0, 0.3, 1, 1.5, 2])
def test_the_weights_are_as_specified(
    model: nn.Module, dtype: torch.dtype, strength: float
) -> None:
    before, neurons = bits(model.to(dtype)), some(model)
    theta = {k: w.detach().clone() for k, w in projections(model).items()}
    with shut(model, neurons, strength) as same:
        assert same is model
        for layer, weight in projections(model).items():
            mask = torch.from_numpy(neurons.masks()[layer])
            assert torch.equal(weight[~mask], theta[layer][~mask])
            assert torch.equal(weight[mask], theta[layer][mask] * (1 - strength))
    assert same_bits(bits(model), before)


def test_a_shut_weight_is_plus_zero(model: nn.Module) -> None:
    with shut(model, some(model, 1.0)):
        for weight in projections(model).values():
            assert not weight.detach().view(torch.int32).any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_tuned_weights_become_their_values(model: nn.Module, dtype: torch.dtype) -> None:
    before, neurons = bits(model.to(dtype)), some(model)
    values = {k: np.linspace(-1, 1, len(i), dtype=np.float32) for k, i in neurons.indices.items()}
    theta = {k: w.detach().clone() for k, w in projections(model).items()}
    tuned = replace(neurons, values=values)
    for strength in (1.0, 0.0):
        with shut(model, tuned, strength):
            for layer, weight in projections(model).items():
                index = torch.tensor(neurons.indices[layer])
                expected = torch.from_numpy(values[layer]).to(dtype)
                if strength == 0:
                    expected = theta[layer].view(-1)[index]
                assert torch.equal(weight.view(-1)[index], expected)
    assert same_bits(bits(model), before)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, GeneratorExit])
def test_an_exception_restores(model: nn.Module, error: type[BaseException]) -> None:
    before = bits(model)
    with pytest.raises(error), shut(model, some(model)):
        raise error
    assert same_bits(bits(model), before)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from([0.5, 1.0, 2.0])), max_size=4),
    st.sampled_from(DTYPES),
)
def test_nested_and_overlapping(layers: list[tuple[int, float]], dtype: torch.dtype) -> None:
    model = Attention().to(dtype)

    def nest(rest: list[tuple[int, float]]) -> None:
        before = bits(model)
        if rest:
            (seed, strength), *deeper = rest
            with shut(model, some(model, 0.5, seed), strength):
                nest(deeper)
        assert same_bits(bits(model), before)

    nest(layers)


def test_several_are_united(model: nn.Module) -> None:
    a, b = some(model, seed=1), some(model, seed=2, strength=2.0)
    with shut(model, a | b):
        united = bits(model)
    with shut(model, [a, b]):
        assert same_bits(bits(model), united)
    with shut(model, a | b, 2), shut(model, a, 0):
        assert same_bits(bits(model), united)
    with pytest.raises(InputError, match="no neurons to shut"), shut(model, []):
        pass


def test_no_trace_in_autograd(model: nn.Module) -> None:
    weights = projections(model).values()
    versions = [weight._version for weight in weights]
    addresses = [weight.data_ptr() for weight in weights]
    with shut(model, some(model)):
        assert all(w.is_leaf and w.grad_fn is None and w.requires_grad for w in weights)
        model.get_submodule("attn2.to_k")(torch.ones(1, 5)).sum().backward()
    assert [weight._version for weight in weights] == versions
    assert [weight.data_ptr() for weight in weights] == addresses
    assert torch.equal(model.get_parameter("attn2.to_k.weight").grad, torch.ones(6, 5))


def test_weights_that_move_meanwhile_are_restored(model: nn.Module) -> None:
    before = bits(model)
    with shut(model, some(model)):
        for parameter in model.parameters():  # as .to() of another device and back
            parameter.data = parameter.data.clone()
    assert same_bits(bits(model), before)


@pytest.mark.parametrize("strength", [-0.1, 2.1, float("nan"), float("inf")])
def test_a_strength_out_of_range_is_refused(model: nn.Module, strength: float) -> None:
    message = r"^strength: expected 0 to 2, found"
    with pytest.raises(InputError, match=message), shut(model, some(model), strength):
        pass


def test_neurons_of_another_layout_are_refused(model: nn.Module) -> None:
    before = bits(model)
    other = Attention()
    other.attn2.to_v = nn.Linear(5, 4)
    neurons = some(other, base=BaseInfo("sd2"))
    with pytest.raises(BaseModelError) as caught, shut(model, neurons):
        pass
    assert str(caught.value) == (
        "attn2.to_v: expected the shape (4, 5) of the neurons' base model (sd2), found (3, 5) in "
        "Attention; load that base model, or find the neurons in this one"
    )
    fewer = ConceptNeurons({"attn2.to_k": (6, 5)}, {})
    with pytest.raises(BaseModelError, match=r"^attn2.to_v: expected the shape none"):
        matching_weights(model, fewer)
    more = ConceptNeurons({**neurons.shapes, "z": (1, 1)}, {})
    with pytest.raises(BaseModelError, match=r"^attn2.to_v: "):
        matching_weights(model, more)
    assert same_bits(bits(model), before)


def test_a_fine_tune_is_a_warning_and_the_base_is_none(model: nn.Module) -> None:
    base = BaseInfo("base", fingerprint(projections(model)))
    neurons = some(model, base=base)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with shut(model, neurons), shut(model, neurons):  # hashed before, not within
            pass
        with shut(Attention(), replace(neurons, base=BaseInfo())):
            pass
    said = r"found in base \(.{8}\), this model is Attention \(.{8}\), .*find them again"
    with pytest.warns(BaseModelWarning, match=said) as caught, shut(Attention(), neurons):
        pass
    assert caught[0].filename == __file__


def test_a_unet_draws_otherwise_and_then_as_before() -> None:
    unet = tiny_unet()
    inputs = (torch.randn(1, 4, 16, 16), torch.tensor([500]), torch.randn(1, 7, 32))
    pipeline, neurons = SimpleNamespace(unet=unet), some(unet)
    with torch.no_grad():
        before = unet(*inputs).sample
        with shut(pipeline, neurons):
            during = unet(*inputs).sample
        assert not torch.equal(during, before)
        assert torch.equal(unet(*inputs).sample, before)
    everything = shapes(projections(unet, "all"))
    assert len(matching_weights(unet, ConceptNeurons(everything, {}))) == len(everything)


def test_it_needs_no_diffusers() -> None:
    code = (
        "import sys, cones.neurons.shutting, cones.neurons.neuronfile; "
        "assert 'diffusers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    code = (
        "import sys, cones.neurons.concept_neurons, cones.neurons.codec; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
