"""What moves atoms in an evaluation: a model under the runtime, velocity Verlet, r-RESPA; one by its name."""
