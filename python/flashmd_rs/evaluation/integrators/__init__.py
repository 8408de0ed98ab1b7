"""What moves atoms in an evaluation: a model under the runtime, velocity Verlet, r-RESPA; one by its name."""

from flashmd_rs.reference import require_extra

require_extra()
