"""Neurons of given subjects, chosen without a search."""

import numpy as np

from cones.models.backbone import Backbone
from cones.neurons.concept_neurons import ConceptNeurons, SubjectInfo
from cones.neurons.projections import projections, shapes

ROBOT, MUG = SubjectInfo("sks", "robot"), SubjectInfo("zas", "mug")


def some_neurons(backbone: Backbone, *subjects: SubjectInfo, step: int = 2) -> ConceptNeurons:
    sizes = shapes(projections(backbone))
    index = {layer: np.arange(0, out * into, step) for layer, (out, into) in sizes.items()}
    return ConceptNeurons(sizes, index, subjects=subjects)
