"""Networks. Those of direct models turn a graph into Legendre coefficients of the slow force and are chosen by name."""

from flashmd_train.backbones.backbone import Backbone
from flashmd_train.backbones.edgemp import EdgeMP
from flashmd_train.backbones.lookahead import LookaheadNet
from flashmd_train.backbones.painn import PaiNN
from flashmd_train.backbones.pet_forces import PETForces

BACKBONES: dict[str, type[Backbone]] = {
    "lookahead": LookaheadNet,
    "edgemp": EdgeMP,
    "painn": PaiNN,
    "pet": PETForces,
}
