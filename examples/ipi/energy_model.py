"""An energy model as a potential of i-PI: `<pes>custom</pes>`, with this file as `<pes_path>`."""

from ipi.pes._ase import ASEDriver

from flashmd_rs import Model

__DRIVER_NAME__ = "flashmd_rs"
__DRIVER_CLASS__ = "EnergyModel"


class EnergyModel(ASEDriver):
    """Energies, forces and stresses of a model of kind ``energy``."""

    def __init__(self, model, *args, **kwargs):
        self.model = model
        super().__init__(*args, **kwargs)

    def check_parameters(self):
        """Open the model."""
        super().check_parameters()
        self.ase_calculator = Model(self.model, device="cpu", threads=1).calculator()
