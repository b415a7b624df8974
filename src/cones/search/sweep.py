"""Searches for many subjects, one after another: which there are, and which are done."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path

from cones.errors import InputError, NeuronFileError
from cones.files.writing import shown
from cones.neurons.neuronfile import load
from cones.search.identity import KEY, Identity, differences, read_identity
from cones.subjects.folders import own_token, photographs_hash, subject_folders, warn_of_twins

log = logging.getLogger("cones")

TOKEN = "sks"  # where a model has no rare words


@dataclass(frozen=True)
class Task:
    """The search for one subject.

    Attributes:
        name: the folder's path below the tree, with "-" for "/".
        folder: of its photographs.
        token: what prompts are to call it; empty where that is not known yet.
    """

    name: str
    folder: Path
    token: str = ""


def tasks(tree: Path, tokens: Sequence[str] = ()) -> list[Task]:
    """Return the subjects of a tree of folders, in the order of `subject_folders`.

    Args:
        tree: a folder.
        tokens: dealt out in turn; one is that of all, none are for `deal` to give. A folder whose
            name tells its own, as kohya's "10_sks robot" does, has that, with a warning.

    Raises:
        InputError: there is no subject, or two have the same name.
    """
    folders: dict[str, Path] = {}
    for folder in subject_folders(tree):
        name = "-".join(folder.relative_to(tree).parts) or tree.absolute().name
        if name in folders:
            raise InputError(
                f"{shown(folders[name])} and {shown(folder)}: are both called {name}, and so would "
                "be their neuron files; rename one"
            )
        folders[name] = folder
    warn_of_twins(_hashes(folders.values()))
    found = [Task(name, folder, _told_token(folder) or "") for name, folder in folders.items()]
    return [
        task if task.token or not tokens else replace(task, token=tokens[number % len(tokens)])
        for number, task in enumerate(found)
    ]


def _hashes(folders: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """Yield the folders that can be read, with the hashes of their photographs."""
    for folder in folders:
        with suppress(InputError):  # said when it is searched
            yield folder, photographs_hash(folder)


def deal(todo: Sequence[Task], paths: Sequence[Path], rare: Sequence[str]) -> list[Task]:
    """Give the subjects a token each, so that their neurons can be united.

    One whose neuron file is there keeps the file's token, whatever came into the tree since.

    Args:
        todo: some may have theirs already.
        paths: of their neuron files.
        rare: words that are free in the model; used anew if they do not suffice.
    """
    known = [task.token or _found_token(path) for task, path in zip(todo, paths, strict=True)]
    free = cycle([word for word in rare if word not in known] or [*rare] or [TOKEN])
    return [
        replace(task, token=token or next(free)) for task, token in zip(todo, known, strict=True)
    ]


def _found_token(path: Path) -> str:
    """Return the token of a neuron file; empty where there is none that can be read."""
    try:
        return load(path).subjects[0].token
    except (NeuronFileError, InputError, IndexError):
        return ""


def _told_token(folder: Path) -> str | None:
    token = own_token(folder)
    if token is not None:
        log.warning(
            "%s: is named as kohya's folders are: its token is %s, whatever --token says, and its "
            "repeats do nothing here",
            shown(folder),
            token,
        )
    return token


def is_done(path: Path, wanted: Identity) -> bool:
    """Return whether a neuron file is that of a search; False where there is none.

    Raises:
        InputError: it is of another search.
        NeuronFileError: it is no neuron file, or is damaged.
    """
    if not path.exists():
        return False
    if told := differences(read_identity(load(path).info.get(KEY, "")), wanted):
        raise InputError(
            f"{shown(path)}: is of another search: {told}; add --overwrite, or name another --out"
        )
    return True
