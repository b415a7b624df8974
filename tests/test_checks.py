"""Numbers that are given as arguments: what is out of range or no number is refused in one line."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch

from cones.checks import (
    check_choice,
    check_count,
    check_density,
    check_number,
    check_seeds,
    check_some,
)
from cones.errors import InputError
from cones.methods.lora import LoraConfig
from cones.methods.method import RivalConfig
from cones.neurons.concept_neurons import ConceptNeurons
from cones.search.config import FindConfig, TuneConfig

NO_NUMBERS = [math.nan, math.inf, -math.inf, "1", None, True, [1], torch.tensor(1.0), 1j]


@pytest.mark.parametrize("value", [1, 1.0, np.float32(1), np.int64(1)])
def test_a_number_becomes_a_float(value: Any) -> None:
    found = check_number("rate", value, above=0, most=1)
    assert type(found) is float and found == 1


@pytest.mark.parametrize("value", [*NO_NUMBERS, -1, 3])
def test_what_is_no_number_in_range_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match=r"^rate: expected .*0 to 2, found ") as error:
        check_number("rate", value, least=0, most=2)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [*NO_NUMBERS, 0, 1.0, 1.5, 9])
def test_what_is_no_whole_number_in_range_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match=r"^steps: expected .*1 to 8, found "):
        check_count("steps", value, 1, 8)
    assert check_count("steps", np.int64(3)) == 3


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({}, "a finite number"),
        ({"least": 1}, "a finite number, at least 1"),
        ({"above": 0, "below": 1}, "more than 0 and less than 1"),
        ({"above": 0, "most": 2}, "more than 0 and at most 2"),
    ],
)
def test_a_refusal_says_what_is_expected(bounds: dict[str, float], expected: str) -> None:
    with pytest.raises(InputError) as error:
        check_number("rate", math.nan, **bounds, hint="take 1")  # type: ignore[arg-type]
    assert str(error.value) == f"rate: expected {expected}, found nan; take 1"


def test_what_was_found_is_short_and_on_one_line() -> None:
    for value in ("x" * 10**6, torch.zeros(50, 50), "\x1b[2J\n"):
        with pytest.raises(InputError) as error:
            check_number("rate", value)
        assert len(str(error.value)) < 120 and str(error.value).isprintable()


@pytest.mark.parametrize("seeds", [5, "12", [], [-1], [2**63], [0.5], range(10**9), iter(()), None])
def test_seeds_that_cannot_be(seeds: Any) -> None:
    with pytest.raises(InputError, match=r"^seeds?: expected"):
        check_seeds(seeds)


def test_seeds_and_lists_come_back_as_lists() -> None:
    assert check_seeds(iter((np.int64(3), 4))) == [3, 4]
    assert check_some("images", (each for each in "ab")) == ["a", "b"]
    with pytest.raises(InputError, match=r"^images: expected at most 2, found more$"):
        check_some("images", iter(range(10)), most=2)


def test_a_choice_is_one_of_those_known() -> None:
    assert check_choice("layers", "all", ("text", "all")) == "all"
    with pytest.raises(InputError, match=r"^layers: expected one of text, all, found 'none'$"):
        check_choice("layers", "none", ("text", "all"))


@pytest.mark.parametrize(
    ("density", "subjects", "message"),
    [
        (1, 1, "density: expected more than 0 and less than 1, found 1; 0.05 shuts 5 % of the"),
        (math.nan, 1, "density: expected more than 0 and less than 1, found nan; 0.05 shuts"),
        (
            0.5,
            2,
            "density: expected less than 0.5, since 2 subjects have as much each, found 0.5; they "
            "would shut every weight",
        ),
    ],
)
def test_densities_that_mean_nothing(density: float, subjects: int, message: str) -> None:
    with pytest.raises(InputError) as error:
        check_density(density, subjects)
    assert str(error.value).startswith(message)


def rival(**settings: Any) -> RivalConfig:
    return RivalConfig(**{"steps": 1, "rate": 0.1, **settings})


def lora(**settings: Any) -> LoraConfig:
    return LoraConfig(**{"steps": 1, "rate": 0.1, **settings})


DESCENT = ("steps", "rate", "batch", "prior_batch", "prior_weight", "prior_images", "seed")


@pytest.mark.parametrize("value", [math.nan, math.inf, -1, "3", 10**30])
@pytest.mark.parametrize(
    ("config", "name"),
    [
        *((config, name) for config in (FindConfig, TuneConfig, rival) for name in DESCENT),
        *((FindConfig, name) for name in ("density", "rho", "strength_in_loop")),
        (lora, "rank"),
    ],
)
def test_every_number_of_a_configuration_is_checked(
    config: Callable[..., Any], name: str, value: Any
) -> None:
    if value == 10**30 and name in ("steps", "rate", "prior_weight", "rho"):
        return  # long or useless, but no other number is meant
    with pytest.raises(InputError, match=f"^{name}: expected"):
        config(**{name: value})


@pytest.mark.parametrize("name", ["algorithm", "layers"])
def test_words_of_a_configuration_are_checked(name: str) -> None:
    with pytest.raises(InputError, match=f"^{name}: expected one of"):
        FindConfig(**{name: "best"})  # type: ignore[arg-type]


def test_numbers_of_numpy_in_a_configuration_can_be_written() -> None:
    config = FindConfig(density=np.float32(0.5), steps=np.int64(3), rate=np.float32(0.5))  # type: ignore[arg-type]
    assert json.loads(json.dumps(asdict(config)))["density"] == 0.5


@pytest.mark.parametrize("strength", [*NO_NUMBERS, -0.1, 2.1])
def test_a_strength_is_a_number(strength: Any) -> None:
    with pytest.raises(InputError, match=r"^strength: expected .*0 to 2, found"):
        ConceptNeurons({"a": (2, 2)}, {}, strength=strength)
