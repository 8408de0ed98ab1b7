"""The models: direct strides, energies, splittings, their priors and pair tables, and what PET's outputs mean."""
