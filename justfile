# Everyday commands; `just --list` shows them.

# Build the core into the source tree of the active environment.
build:
    maturin develop --release

# A manylinux wheel in dist/, and the demo from it in an empty environment of each Python ≥ 3.11 at hand. Needs 'maturin[zig]'.
wheel:
    maturin build --release --locked --zig --compatibility manylinux_2_28 -i python3.11 -m rust/flashmd-py/Cargo.toml --out dist
    for python in 3.11 3.12 3.13 3.14; do if command -v python$python; then python$python -m venv --clear dist/empty && dist/empty/bin/pip install -q dist/*.whl && dist/empty/bin/flashmd-rs demo --time-ps 0.5 --output-dir dist/demo; fi; done

# Tests of the package and of the core.
test:
    python -m pytest -q
    cargo test -q -p flashmd --locked

# Formatters, linters, type checks.
lint:
    cargo fmt --all --check
    cargo clippy -q --workspace --all-targets --locked -- -D warnings
    ruff check .
    ruff format --check .
    mypy
    python -m mypy.stubtest flashmd_rs._core --ignore-missing-stub

# Put everything into the formatters' shape.
format:
    cargo fmt --all
    ruff format .
    ruff check --fix .

# The documentation as a site in site/; needs '.[docs]'.
docs:
    python -m mkdocs build --strict

# The page of benches, on a quiet machine; what is measured is in benches/README.md. Needs '.[bench]' and './training[peer]'.
speed:
    python -m pytest benches --benchmark-only --benchmark-json benchmark.json
    python benches/table.py benchmark.json
    python benches/kernels.py --pet --repeats 7 --threads 1
    python benches/kernels.py --pet --repeats 7 --threads 2
    python benches/simulation.py

# Instructions of the core against their budgets. Needs Valgrind.
instructions:
    python benches/instructions.py

# Fuzz loader, kernels, cell or neighbors for some seconds; needs cargo-fuzz and a nightly toolchain.
fuzz target seconds="1800":
    mkdir -p fuzz/corpus/{{target}}
    cargo +nightly fuzz run {{target}} fuzz/corpus/{{target}} fuzz/seeds/{{target}} -- -max_total_time={{seconds}} -timeout=30

# The neighbour search against others, and how everything but the network grows; needs '.[bench]'.
neighbors:
    python benches/neighbors.py compare
    python benches/neighbors.py memory
    python benches/scaling.py run

# The physics page of the README: OpenMM, the bundled model, docs/validation/water.md.
water:
    python benches/water.py reference
    python benches/water.py study
    python benches/water.py page

# NVE of the bundled symplectic models against their references: the tables of docs/validation/nve.md; needs '.[evaluate]', and
# runs/aluminium-direct.onnx of training/configs/aluminium-direct.yaml and runs/symplectic.onnx of docs/how-to/metatrain.md.
nve:
    flashmd-rs evaluate verlet:0.5 respa:2 respa:3 respa:4 water water:global water:species water:molecule water-nve water-nve:metropolis --folder docs/validation/evaluation/water-64 --config examples/systems/water/system.yaml --structure-args molecules=64 --openmm-args molecules=64 --nve-ps 20 --nvt-ps 20
    flashmd-rs evaluate verlet:0.5 water-nve --folder docs/validation/evaluation/water-258 --config examples/systems/water/system.yaml --structure-args molecules=258 --openmm-args molecules=258 --nve-ps 50 --seeds 12
    flashmd-rs evaluate verlet:0.5 water-nve --folder docs/validation/evaluation/water-64-starts --config examples/systems/water/system.yaml --structure-args molecules=64 --openmm-args molecules=64 --nve-ps 50 --seeds 7
    flashmd-rs evaluate water-nve --folder docs/validation/evaluation/water-258-bath --config examples/systems/water/system.yaml --structure-args molecules=258 --openmm-args molecules=258 --nve-ps 0 --nvt-ps 40 --seeds 6
    flashmd-rs evaluate verlet:0.5 water-nve runs/symplectic.onnx --folder docs/validation/evaluation/water-64-symplectic --config examples/systems/water/system.yaml --structure-args molecules=64 --openmm-args molecules=64 --nve-ps 0.25
    flashmd-rs evaluate verlet:10 aluminium --folder docs/validation/evaluation/aluminium-256 --config examples/systems/aluminium/system.yaml --structure-args cells=4 --temperature-k 500 --nve-ps 50 --seeds 3
    flashmd-rs evaluate verlet:24 runs/aluminium-direct.onnx --folder docs/validation/evaluation/aluminium-256-opponents --config examples/systems/aluminium/system.yaml --structure-args cells=4 --temperature-k 500 --nve-ps 50

# The water study at its default scale, about an hour on two cores of its own; a rerun goes on.
study:
    flashmd-train study docs/validation/study

# All that a change must pass, from a clean clone.
ci:
    bash .ci/run
