"""Backbones: modules that turn a graph into slow-force modes, chosen by name."""

from flashmd_train.backbones.edgemp import EdgeMP
from flashmd_train.backbones.painn import PaiNN
from flashmd_train.backbones.staged import Staged

BACKBONES = {"staged": Staged, "edgemp": EdgeMP, "painn": PaiNN}
