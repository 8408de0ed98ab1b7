/* 256 atoms of aluminium at 600 K, in strides of a model:
 *
 *   cargo build --release -p flashmd-c
 *   cc -I rust/flashmd-c/include rust/flashmd-c/examples/aluminium.c -L target/release -lflashmd_c -lm -o aluminium
 *   LD_LIBRARY_PATH=target/release ./aluminium LIBONNXRUNTIME MODEL.onnx
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "flashmd.h"

enum { CELLS = 4, ATOMS = 4 * CELLS * CELLS * CELLS };

static const double LATTICE_A = 4.05, MASS_U = 26.9815385, KELVIN = 600.0, KB_EV = 8.617330337217213e-5;

/* A standard normal number: Box and Muller. */
static double normal(void) {
    double u = (rand() + 1.0) / (RAND_MAX + 2.0), v = (rand() + 1.0) / (RAND_MAX + 2.0);
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

int main(int argc, char **argv) {
    static const double basis[4][3] = {{0, 0, 0}, {0, .5, .5}, {.5, 0, .5}, {.5, .5, 0}};
    static double positions[ATOMS][3], momenta[ATOMS][3], masses[ATOMS];
    static uint8_t numbers[ATOMS];
    const double edge = CELLS * LATTICE_A, cell[9] = {edge, 0, 0, 0, edge, 0, 0, 0, edge};

    if (argc != 3) {
        fprintf(stderr, "usage: aluminium LIBONNXRUNTIME MODEL.onnx\n");
        return 2;
    }
    for (int i = 0; i < ATOMS; i++) {
        const int corner = i / 4, at[3] = {corner / (CELLS * CELLS), corner / CELLS % CELLS, corner % CELLS};
        for (int k = 0; k < 3; k++) {
            positions[i][k] = LATTICE_A * (at[k] + basis[i % 4][k]);
            momenta[i][k] = sqrt(MASS_U * KB_EV * KELVIN) * normal();
        }
        masses[i] = MASS_U;
        numbers[i] = 13;
    }

    const flashmd_options options = {
        .onnxruntime = argv[1],
        .model = argv[2],
        .threads = 1,
        .seed = 1,
        .thermostat = FLASHMD_BUSSI,
        .temperature_K = KELVIN,
        .time_constant_fs = 100.0,
    };
    const flashmd_atoms atoms = {
        .count = ATOMS,
        .numbers = numbers,
        .masses = masses,
        .positions = *positions,
        .momenta = *momenta,
        .cell = cell,
        .periodic = {true, true, true},
    };
    flashmd_simulation *simulation = flashmd_create(&options, &atoms);
    if (!simulation || flashmd_step(simulation, 100)) {
        fprintf(stderr, "%s\n", flashmd_error());
        flashmd_free(simulation);
        return 1;
    }
    printf("%d atoms, %llu strides of %g fs: %.1f K\n", ATOMS, (unsigned long long)flashmd_steps(simulation),
           flashmd_stride_fs(simulation), flashmd_temperature_K(simulation));
    flashmd_free(simulation);
    return 0;
}
