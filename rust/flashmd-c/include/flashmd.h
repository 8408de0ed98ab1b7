/* flashmd: molecular dynamics in long strides of a learned model.
 *
 * Units are those of ASE: Å, eV and u, so that momenta are in √(eV·u); fs and K where a name says so. Positions and
 * momenta of N atoms are 3·N numbers x0 y0 z0 x1 …, a cell is three lattice vectors, one after the other.
 *
 * What fails returns NULL or -1 and leaves a sentence in flashmd_error(). A simulation belongs to one thread at a time.
 * The first flashmd_create sets ORT_DISABLE_TELEMETRY=1, so that ONNX Runtime sends nothing home: where other threads read the
 * environment meanwhile, set it before they begin.
 */
#ifndef FLASHMD_H
#define FLASHMD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct flashmd_simulation flashmd_simulation;

/* Without a thermostat, models of kinds "direct" and "driven" do not keep the energy; those of other kinds do. */
typedef enum { FLASHMD_NVE = 0, FLASHMD_LANGEVIN = 1, FLASHMD_BUSSI = 2 } flashmd_thermostat;

typedef struct {
    const char *onnxruntime;       /* absolute path of libonnxruntime, the same for all of a process */
    const char *model;             /* path of the .onnx file */
    uint32_t threads;              /* of the network, at least 1 */
    uint64_t seed;                 /* of all random numbers */
    int32_t thermostat;            /* a flashmd_thermostat */
    double temperature_K;          /* of the thermostat */
    double time_constant_fs;       /* of the thermostat */
    bool ignore_domain;            /* go on where a state is out of what the model was trained on; else it is an error */
} flashmd_options;

/* The atoms at the start. */
typedef struct {
    size_t count;
    const uint8_t *numbers;        /* atomic numbers [N] */
    const double *masses;          /* [N], u */
    const double *positions;       /* [N][3], Å */
    const double *momenta;         /* [N][3], √(eV·u) */
    const double *cell;            /* [3][3], Å; NULL where no axis is periodic */
    bool periodic[3];
} flashmd_atoms;

/* A simulation at step 0, or NULL. Everything given is copied. */
flashmd_simulation *flashmd_create(const flashmd_options *options, const flashmd_atoms *atoms);

/* Moves the atoms by so many strides: 0, or -1. After a failure they are where they last were sound. */
int flashmd_step(flashmd_simulation *simulation, uint64_t strides);

/* Copies positions (unwrapped), momenta and cell to the caller's arrays; any may be NULL: 0, or -1. */
int flashmd_get(const flashmd_simulation *simulation, double *positions, double *momenta, double *cell);

/* Puts the atoms where the caller has moved them; what is NULL stays: 0, or -1. */
int flashmd_set(flashmd_simulation *simulation, const double *positions, const double *momenta, const double *cell);

/* Strides done, and the length of one, fs; 0 for NULL. */
uint64_t flashmd_steps(const flashmd_simulation *simulation);
double flashmd_stride_fs(const flashmd_simulation *simulation);

/* Kinetic temperature without the motion of the centre of mass, K; 0 for NULL. */
double flashmd_temperature_K(const flashmd_simulation *simulation);

/* Ends it; NULL does nothing. */
void flashmd_free(flashmd_simulation *simulation);

/* What failed last on this thread, UTF-8; valid until the next failure on it. Empty if nothing has. */
const char *flashmd_error(void);

#ifdef __cplusplus
}
#endif

#endif
