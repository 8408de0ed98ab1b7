/* What tests/test_embedding.py compares with Python: reads atoms, moves them as the arguments say, prints where they are.
 *
 *   interface LIBONNXRUNTIME MODEL THERMOSTAT KELVIN STRIDES [SHIFT STRIDES [IGNORE_DOMAIN]]
 *
 * Standard input: count and flags of periodic axes, then cell, numbers, masses, positions and momenta. With a SHIFT, atom 0
 * is put SHIFT Å further along x after the first strides. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flashmd.h"

static double *read_numbers(size_t count) {
    double *numbers = malloc(count * sizeof *numbers);
    for (size_t i = 0; i < count; i++)
        if (scanf("%lf", &numbers[i]) != 1) exit(3);
    return numbers;
}

static int fail(flashmd_simulation *simulation) {
    fprintf(stderr, "%s\n", flashmd_error());
    flashmd_free(simulation);
    return 1;
}

static void print(const char *name, const double *numbers, size_t count) {
    printf("%s", name);
    for (size_t i = 0; i < count; i++) printf(" %.17g", numbers[i]);
    printf("\n");
}

int main(int argc, char **argv) {
    if (argc < 6) return 2;
    int flags[3];
    flashmd_atoms atoms = {0};
    if (scanf("%zu %d %d %d", &atoms.count, &flags[0], &flags[1], &flags[2]) != 4) return 3;
    for (int k = 0; k < 3; k++) atoms.periodic[k] = flags[k];
    double *cell = read_numbers(9), *kinds = read_numbers(atoms.count);
    uint8_t *numbers = malloc(atoms.count);
    for (size_t i = 0; i < atoms.count; i++) numbers[i] = (uint8_t)kinds[i];
    atoms.cell = cell;
    atoms.numbers = numbers;
    atoms.masses = read_numbers(atoms.count);
    double *positions = read_numbers(3 * atoms.count), *momenta = read_numbers(3 * atoms.count);
    atoms.positions = positions;
    atoms.momenta = momenta;

    flashmd_options options = {.threads = 1, .seed = 3, .time_constant_fs = 100.0};
    options.onnxruntime = argv[1];
    options.model = argv[2];
    options.thermostat = atoi(argv[3]);
    options.temperature_K = atof(argv[4]);
    options.ignore_domain = argc > 8 && atoi(argv[8]);
    if (flashmd_step(NULL, 1) != -1 || !strstr(flashmd_error(), "NULL")) return 4;

    flashmd_simulation *simulation = flashmd_create(&options, &atoms);
    /* What was given is copied. */
    memset(positions, 0, 3 * atoms.count * sizeof *positions);
    if (!simulation) return fail(simulation);
    flashmd_atoms too_many = atoms;
    too_many.count = (size_t)-1;
    if (flashmd_create(&options, &too_many) || !strstr(flashmd_error(), "atoms; wanted their number")) return 5;
    int failed = flashmd_step(simulation, strtoull(argv[5], NULL, 10));
    if (!failed && argc > 7) {
        if (flashmd_get(simulation, positions, NULL, NULL)) return fail(simulation);
        positions[0] += atof(argv[6]);
        if (flashmd_set(simulation, positions, NULL, NULL)) return fail(simulation);
        failed = flashmd_step(simulation, strtoull(argv[7], NULL, 10));
    }
    if (flashmd_get(simulation, positions, momenta, cell)) return fail(simulation);
    print("positions", positions, 3 * atoms.count);
    print("momenta", momenta, 3 * atoms.count);
    print("cell", cell, 9);
    printf("steps %llu\n", (unsigned long long)flashmd_steps(simulation));
    if (failed) return fail(simulation);
    flashmd_free(simulation);
    return 0;
}
