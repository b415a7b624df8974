"""The package's shape: who imports whom, what an import costs, what a built package carries."""

import ast
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from typing import TypeGuard

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "cones"

# A module imports only from those above it. Enter a new module where it belongs.
ORDER = [
    "text",
    "errors",
    "checks",
    "paths",
    "prompts",
    "processes",
    "strict_json",
    "locks",
    "files",
    "textfiles",
    "filekinds",
    "finite",
    "layers",
    "changes",
    "blocks",
    "codec",
    "quaternary",
    "arrays",
    "container",
    "neurons",
    "origin",
    "neuronfile",
    "union",
    "summary",
    "overlap",
    "shutting",
    "colours",
    "pngtext",
    "png",
    "imagefiles",
    "listing",
    "photos",
    "folders",
    "pictures",
    "families",
    "backbone",
    "devices",
    "modelfiles",
    "modelfolders",
    "loading",
    "pretrained",
    "subject",
    "generate",
    "loss",
    "gradstats",
    "selection",
    "identity",
    "checkpoint",
    "search",
    "reconstruct",
    "prior",
    "objective",
    "recommend",
    "find",
    "many",
    "combine",
    "tune",
    "attention",
    "methods",
    "outputs",
    "evaluate",
    "gate",
    "export",
    "app",
    "demo",
    "commands",
    "cli",
]
# The embedded world stands beside the line: it needs only these, and the backbone finds it by name.
TOYBOX_NEEDS = {"errors", "text", "files", "textfiles", "toybox"}
TOYBOX_USERS = {"prompts", "demo", "evaluate", "gate", "loading", "toybox"}
# `neurons.save(path)`, `a | b` and `a & b` are conveniences that import their modules when called.
EXCEPTIONS = {("neurons", "neuronfile"), ("neurons", "union")}

LIGHT = ("cones.neurons", "cones.shutting", "cones.neuronfile")
HEAVY = ("diffusers", "transformers", "matplotlib", "typer", "rich", "PIL")


def module_of(path: Path) -> str:
    """`src/cones/methods/dreambooth.py` -> `methods`; `src/cones/find.py` -> `find`.

    The toybox's gate is a program on the whole package, so it has a place of its own.
    """
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "gate" if parts == ("toybox", "gate") else parts[0]


def imported_modules(source: str, package: list[str]) -> set[str]:
    """The modules of cones that a source imports anywhere, inside functions too.

    Args:
        source: the text of a module.
        package: the package which that module is in, e.g. `["cones", "methods"]`; what a
            relative import starts from.
    """
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = base + (node.module.split(".") if node.module else [])
            # From cones itself the names are the modules (or public names, which no module uses).
            inside = [alias.name for alias in node.names] if base == ["cones"] else [""]
            names.update(".".join([*base, name]).rstrip(".") for name in inside)
    return {name.split(".")[1] if "." in name else "" for name in names if is_ours(name)}


def is_ours(name: str) -> bool:
    return name == "cones" or name.startswith("cones.")


def faults(module: str, imports: set[str]) -> list[str]:
    """Why `module` may not import what it imports, one line each."""
    if module == "toybox":
        return [f"toybox imports {name}" for name in sorted(imports - TOYBOX_NEEDS)]
    found = []
    for name in sorted(imports - {module}):
        if (module, name) in EXCEPTIONS:
            continue
        if name == "toybox":
            if module not in TOYBOX_USERS:
                found.append(f"{module} imports toybox; only {sorted(TOYBOX_USERS)} do")
        elif name not in ORDER:
            found.append(f"{module} imports {name or 'cones'}, which is no module in ORDER")
        elif ORDER.index(name) > ORDER.index(module):
            found.append(f"{module} imports {name}, which comes after it")
    return found


SOURCES = sorted(p for p in PACKAGE.rglob("*.py") if p.parent != PACKAGE or p.name[:2] != "__")


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_imports_only_from_those_above_it(path: Path) -> None:
    module = module_of(path)
    assert module in {*ORDER, "toybox"}, (
        f"src/cones/{module} is not in ORDER of tests/test_structure.py: add it where it belongs"
    )
    package = ["cones", *path.relative_to(PACKAGE).parent.parts]
    found = faults(module, imported_modules(path.read_text(), package))
    assert not found, "; ".join(found)


@pytest.mark.parametrize(
    ("source", "package", "expected"),
    [
        ("import torch, cones.find", ["cones"], {"find"}),
        ("from cones.evaluate.metrics import x", ["cones"], {"evaluate"}),
        ("from cones import codec, errors", ["cones"], {"codec", "errors"}),
        ("from . import codec", ["cones"], {"codec"}),
        ("from .codec import x", ["cones"], {"codec"}),
        ("from ..find import x", ["cones", "methods"], {"find"}),
        ("from .dreambooth import x", ["cones", "methods"], {"methods"}),
        ("def f():\n    import cones.app", ["cones"], {"app"}),
        ("import conesoft, torch", ["cones"], set()),
        ("import cones", ["cones"], {""}),
    ],
)
def test_imports_are_read(source: str, package: list[str], expected: set[str]) -> None:
    assert imported_modules(source, package) == expected


def test_faults_are_found() -> None:
    assert not faults("find", {"errors", "selection", "find"})
    assert faults("neurons", {"find"}) == ["neurons imports find, which comes after it"]
    assert faults("toybox", {"errors", "find"}) == ["toybox imports find"]
    assert faults("find", {"toybox"}) and not faults("prompts", {"toybox"})
    assert faults("find", {""})


@pytest.mark.parametrize("path", [*PACKAGE.glob("commands/*.py")], ids=lambda p: p.name)
def test_commands_print_through_one_place(path: Path) -> None:
    """`commands/common.py`, which makes printable what files and users say."""
    calls = [ast.unparse(n.func) for n in ast.walk(ast.parse(path.read_text())) if is_call(n)]
    printing = {"print", "typer.echo", "typer.secho", "click.echo", "Console"} & set(calls)
    assert not printing or path.name == "common.py"


def is_call(node: ast.AST) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call)


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    return done


def test_a_neuron_file_is_applied_without_the_finder() -> None:
    code = (
        f"import sys, {', '.join(LIGHT)}\n"
        f"print(*sorted({{m.split('.')[0] for m in sys.modules}} & set({HEAVY})))"
    )
    assert run_python("-c", code).stdout.split() == []


def test_importing_cones_costs_little() -> None:
    """Under 0.3 s without torch and numpy, the best of three, since the machine may be busy."""

    def seconds() -> float:
        report = run_python("-X", "importtime", "-c", "import numpy, torch; import cones").stderr
        # "import time: self [us] | cumulative | name"; nested modules are in the cumulative time.
        match = re.search(r"\|\s*(\d+) \| cones$", report, re.MULTILINE)
        assert match, report[-2000:]
        return int(match[1]) / 1e6

    assert min(seconds() for _ in range(3)) < 0.3


@pytest.mark.slow
def test_the_built_package_carries_everything(tmp_path: Path) -> None:
    """A wheel holds every module, the type marker and the embedded world's weights."""
    source = tmp_path / "source"
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for path in [*ROOT.glob("pyproject.toml"), *ROOT.glob("LICENSE"), *ROOT.glob("README.md")]:
        shutil.copy(path, source)
    arguments = ["-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    run_python(*arguments, "-w", str(tmp_path), str(source))
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    files = {p for p in (source / "src" / "cones").rglob("*") if p.is_file()}
    assert {p.relative_to(source / "src").as_posix() for p in files} - held == set()


def test_the_command_is_installed() -> None:
    assert (Path(sysconfig.get_path("scripts")) / "cones").exists()
