"""The graph a network is given, and what all networks do with it: gathers along edges, distances, cutoffs."""
