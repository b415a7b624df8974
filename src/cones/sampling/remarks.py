"""What seems unmeant in prompts, said before anything is drawn."""

from collections.abc import Iterator, Sequence

from cones.models.backbone import Backbone
from cones.neurons.concept_neurons import SubjectInfo
from cones.neurons.phrases import mentions
from cones.subjects.subject import many_subjects_warning
from cones.text import printable

MAX_SHOWN = 160  # characters of a prompt in a message


def remarks(
    backbone: Backbone,
    prompts: Sequence[str],
    negative_prompt: str,
    subjects: Sequence[SubjectInfo],
) -> Iterator[str]:
    """What to warn of.

    Args:
        backbone: what draws.
        prompts: what to draw.
        negative_prompt: what to steer away from; "" for none.
        subjects: those of the neurons and artifacts that are applied.

    Raises:
        InputError: the token of a subject is cut off in a prompt.
    """
    if remark := many_subjects_warning(len(subjects)):
        yield remark
    if remark := backbone.check_prompt(negative_prompt):
        yield remark
    if negative_prompt and not backbone.family.supports_negative_prompt:
        said = printable(repr(negative_prompt), MAX_SHOWN)
        yield f"negative prompt {said}: has no effect in {backbone.family.title}"
    yield from backbone.prompt_remarks(negative_prompt)
    for prompt in prompts:
        named = [subject for subject in subjects if mentions(prompt, subject.token)]
        if remark := backbone.check_prompt(prompt, [subject.token for subject in named]):
            yield remark
        yield from backbone.prompt_remarks(prompt)
        own = [subject.token for subject in subjects]
        if own and (remark := backbone.unowned_warning(prompt, own)):
            yield remark
        yield from _on_subjects(prompt, subjects, named)


def _on_subjects(
    prompt: str, subjects: Sequence[SubjectInfo], named: Sequence[SubjectInfo]
) -> Iterator[str]:
    """Which of the subjects a prompt does not name, or not as they were found with."""
    said = printable(repr(prompt), MAX_SHOWN)
    if subjects and not named:
        known = " or ".join(repr(each.phrase) for each in subjects)
        yield f"prompt {said}: names no subject of the neurons; say {known}"
    elif missing := [subject for subject in subjects if subject not in named]:
        unsaid = " and ".join(repr(each.phrase) for each in missing)
        yield f"prompt {said}: does not name {unsaid}; say so, or leave the neurons out"
    for subject in named:
        if not mentions(prompt, subject.class_noun):
            yield (
                f"prompt {said}: says {subject.token!r} without {subject.class_noun!r}; "
                f"say '{subject.phrase}', as it was found with"
            )
