"""`import cones` gives the public names, late, whatever else was imported before."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest

import cones

SOURCE = Path(cones.__file__).read_text()


def run(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def _unimported() -> Iterator[None]:
    """As if cones had not been imported yet; afterwards all is as before."""
    before = ours()
    for module in before:
        del sys.modules[module]
    yield
    for module in ours():
        del sys.modules[module]
    sys.modules.update(before)


def ours() -> dict[str, ModuleType]:
    return {name: module for name, module in sys.modules.items() if name.split(".")[0] == "cones"}


@pytest.mark.parametrize("name", cones.__all__)
def test_every_name_is_there(name: str) -> None:
    assert not isinstance(getattr(cones, name), ModuleType)
    assert name in dir(cones)


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(SOURCE)
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    seen = {alias.name: node.module for node in imports for alias in node.names}
    assert seen == cones._HOME
    assert sorted({*seen, "__version__"}) == sorted(cones.__all__)


def test_the_version_is_the_installed_one() -> None:
    assert cones.__version__ == version("cones-diffusion")


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'cones' has no attribute 'found'"):
        cones.found  # type: ignore[attr-defined]  # noqa: B018


def test_no_public_name_is_a_module_too() -> None:
    """Else an import of the module would hide what the name stands for."""
    package = importlib.import_module("cones")
    modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
    assert not modules & set(package.__all__)


def test_importing_cones_imports_nothing_heavy() -> None:
    code = "import sys, cones; print(*{'torch', 'numpy', 'diffusers'} & sys.modules.keys())"
    assert run(code) == ""


def test_a_neuron_file_is_read_without_diffusers() -> None:
    code = (
        "import sys, cones; cones.load, cones.save, cones.shut; print('diffusers' in sys.modules)"
    )
    assert run(code) == "False"
