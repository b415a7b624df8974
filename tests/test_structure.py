"""The package's shape: who imports whom, what an import costs, what a built package carries."""

import ast
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

# A package imports only from those above it. Enter a new one where it belongs.
ORDER = [
    "text",
    "errors",
    "checks",
    "progress",
    "distributed",
    "files",
    "neurons",
    "models",
    "subjects",
    "sampling",
    "search",
    "methods",
    "evaluation",
    "comparison",
    "export",
    "cli",
]
# The embedded world stands beside the line. Its pictures and words need only these; its protocol
# and its reference are made for the evaluation, and know it.
TOYBOX_NEEDS = {"errors", "text", "files", "models"}
TOYBOX_HANDS = {"toybox.protocol", "toybox.reference"}
# Nothing else imports it: the core finds it by a registered name (`EMBEDDED`).
TOYBOX_USERS = {"cli"}
# `neurons.save(path)`, `a | b` and `a & b` are conveniences that import their modules when called.
CONVENIENCES = {
    ("neurons.concept_neurons", "neurons.neuronfile"),
    ("neurons.concept_neurons", "neurons.union"),
}

# The modules of the artefact that change or read a model; the others do without torch.
NEED_TORCH = {f"neurons.{name}" for name in ("projections", "changes", "blocks", "shutting")}
LIGHT = ("cones.neurons.concept_neurons", "cones.neurons.shutting", "cones.neurons.neuronfile")
HEAVY = ("diffusers", "transformers", "matplotlib", "typer", "rich", "PIL")


def module_name(path: Path) -> str:
    """`src/cones/methods/dreambooth.py` -> `methods.dreambooth`; a package's `__init__` is it."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in PACKAGE.rglob("*.py")}


def imported(source: str, package: str) -> set[str]:
    """The modules of cones that a source imports anywhere, inside functions too.

    Args:
        source: the text of a module.
        package: the package which that module is in, e.g. "methods"; what a relative import
            starts from.
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = ["cones", *package.split(".")] if package else ["cones"]
            base = above[: len(above) - node.level + 1] if node.level else []
            base = base + (node.module.split(".") if node.module else [])
            names = [".".join([*base, alias.name]) for alias in node.names]
        else:
            continue
        for name in names:
            first, *rest = name.split(".")
            while first == "cones" and rest and ".".join(rest) not in MODULES:
                rest.pop()
            if first == "cones":
                found.add(".".join(rest))
    return found


IMPORTS = {
    name: imported(path.read_text(), ".".join(path.relative_to(PACKAGE).parent.parts)) - {name}
    for name, path in MODULES.items()
}


def fault(module: str, other: str) -> str | None:
    """Why `module` may not import `other`; None if it may."""
    package, wanted = module.partition(".")[0], other.partition(".")[0]
    if package == wanted or module in ("", "__main__"):
        return None
    if package == "toybox":
        needs = TOYBOX_NEEDS | ({"evaluation", "subjects"} if module in TOYBOX_HANDS else set())
        return None if wanted in needs else f"{module} imports {other}"
    if wanted == "toybox":
        return None if package in TOYBOX_USERS else f"{module} imports {other}"
    if wanted not in ORDER or ORDER.index(wanted) > ORDER.index(package):
        return f"{module} imports {other or 'cones'}, which is not above it"
    return None


def test_the_order_is_what_is_on_disk() -> None:
    there = {name.partition(".")[0] for name in MODULES} - {"", "__main__"}
    assert there == {*ORDER, "toybox"}
    assert len([*PACKAGE.glob("*.py")]) <= 8


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_only_from_packages_above_its_own(module: str) -> None:
    found = [fault(module, other) for other in sorted(IMPORTS[module])]
    assert not [line for line in found if line]


def test_no_modules_import_each_other_in_a_circle() -> None:
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module in done:
            return
        for other in sorted(IMPORTS.get(module, ())):
            if (module, other) not in CONVENIENCES and "" not in (module, other):
                visit(other, (*path, module))
        done.add(module)

    for module in sorted(MODULES):
        visit(module, ())


@pytest.mark.parametrize(
    ("source", "package", "expected"),
    [
        ("import torch, cones.search.find", "", {"search.find"}),
        ("from cones.evaluation.metrics import x", "", {"evaluation.metrics"}),
        ("from cones import files, errors", "", {"files", "errors"}),
        ("from cones.neurons import codec, x", "", {"neurons.codec", "neurons"}),
        ("from . import codec", "neurons", {"neurons.codec"}),
        ("from ..search.find import x", "methods", {"search.find"}),
        ("def f():\n    import cones.cli", "", {"cli"}),
        ("import conesoft, torch", "", set()),
        ("import cones", "", {""}),
    ],
)
def test_imports_are_read(source: str, package: str, expected: set[str]) -> None:
    assert imported(source, package) == expected


def test_faults_are_found() -> None:
    assert fault("search.find", "neurons.codec") is None
    assert fault("neurons.codec", "search.find") == (
        "neurons.codec imports search.find, which is not above it"
    )
    assert fault("toybox.world", "search.find") and not fault("toybox.world", "errors")
    assert fault("toybox.world", "evaluation.scope")
    assert not fault("toybox.protocol", "evaluation.scope")
    assert fault("evaluation.protocol", "toybox.protocol") and fault("models.weights", "toybox")
    assert fault("search.find", "toybox.world") and not fault("cli.demo", "toybox.world")
    assert fault("search.find", "")


@pytest.mark.parametrize("path", [*PACKAGE.glob("cli/*.py")], ids=lambda p: p.name)
def test_commands_print_through_one_place(path: Path) -> None:
    """`cli/console.py`, which makes printable what files and users say."""
    calls = [ast.unparse(n.func) for n in ast.walk(ast.parse(path.read_text())) if is_call(n)]
    printing = {"print", "typer.echo", "typer.secho", "click.echo", "Console"} & set(calls)
    assert not printing or path.name == "console.py"


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


def import_seconds(before: str, imports: str) -> float:
    """The CPU time of some imports, the best of three, since the machine may be busy.

    Args:
        before: modules that do not count, imported first.
        imports: modules that do, with commas between.
    """
    code = (
        f"import time, {before}; start = time.process_time(); import {imports}; "
        "print(time.process_time() - start)"
    )
    return min(float(run_python("-c", code).stdout) for _ in range(3))


def test_importing_cones_costs_little() -> None:
    assert import_seconds("numpy, torch", "cones") < 0.3


def test_the_artefact_is_read_without_torch() -> None:
    names = {name for name in MODULES if name.startswith("neurons.")}
    assert names > NEED_TORCH
    imports = ", ".join(f"cones.{name}" for name in sorted(names - NEED_TORCH))
    run_python("-c", f"import sys, {imports}; assert 'torch' not in sys.modules")
    assert import_seconds("numpy", imports) < 0.3


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
