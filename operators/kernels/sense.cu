// The kernels of the encoding engine for NVIDIA GPUs, through CuPy RawModule (NVRTC; no compiler on the user's machine).
// Same meaning as reference.py; parity is tested on a GPU, and on the CPU by compiling this file as C++ with a shim.
//
// maps (sets, coils, x, y, z), image (sets, x, y, z), kspace (coils, x, y, z), whole arrays, C order. buffer is the slab
// (n, planes, y, z) that starts at coil c0 and plane x0. weights and mask are (1, y, z) or (x, y, z). One thread a voxel of
// the slab, consecutive threads along z: every access but the halves' seam is coalesced. weigh, load and combine
// conjugate, because a forward FFT does the work of the inverse; see reference.py.

struct __align__(8) complex64 { float re, im; };

struct Sizes {
    int sets, coils, nx, ny, nz;  // of maps, image and k-space
    int n, planes, c0, x0;        // of the slab
};

// Kernels take them one by one (in this order) and gather them.
#define SIZES int sets, int coils, int nx, int ny, int nz, int n, int planes, int c0, int x0
#define GATHER const Sizes s = {sets, coils, nx, ny, nz, n, planes, c0, x0}

__device__ inline long long first_index() { return (long long)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ inline long long index_step() { return (long long)gridDim.x * blockDim.x; }

struct Place { long long slab, volume; };  // of one voxel: in a coil of the buffer, and in a whole volume

// Voxel v of the slab; with shift, the volume is read or written with the halves of y and z exchanged.
__device__ inline Place place(const Sizes& s, long long v, int shift)
{
    const int z = (int)(v % s.nz);
    const int y = (int)((v / s.nz) % s.ny);
    const long long x = v / ((long long)s.nz * s.ny);
    const int zz = shift ? (z + s.nz / 2) % s.nz : z;
    const int yy = shift ? (y + s.ny / 2) % s.ny : y;
    return Place{v, ((s.x0 + x) * s.ny + yy) * s.nz + zz};
}

__device__ inline long long slab_size(const Sizes& s) { return (long long)s.planes * s.ny * s.nz; }
__device__ inline long long volume_size(const Sizes& s) { return (long long)s.nx * s.ny * s.nz; }

extern "C" __global__ void expand(
    const complex64* __restrict__ maps, const complex64* __restrict__ image, complex64* __restrict__ buffer,
    SIZES, int shift)
{
    GATHER;
    const long long slab = slab_size(s), volume = volume_size(s);
    for (long long v = first_index(); v < slab; v += index_step()) {
        const Place p = place(s, v, shift);
        for (int c = 0; c < s.n; ++c) {
            float re = 0.0f, im = 0.0f;
            for (int i = 0; i < s.sets; ++i) {
                const complex64 m = maps[((long long)i * s.coils + s.c0 + c) * volume + p.volume];
                const complex64 x = image[i * volume + p.volume];
                re += m.re * x.re - m.im * x.im;
                im += m.re * x.im + m.im * x.re;
            }
            buffer[c * slab + p.slab] = complex64{re, im};
        }
    }
}

extern "C" __global__ void combine(
    const complex64* __restrict__ maps, const complex64* __restrict__ buffer, complex64* __restrict__ image,
    SIZES, int shift)
{
    GATHER;
    const long long slab = slab_size(s), volume = volume_size(s);
    for (long long v = first_index(); v < slab; v += index_step()) {
        const Place p = place(s, v, shift);
        for (int i = 0; i < s.sets; ++i) {
            float re = 0.0f, im = 0.0f;
            for (int c = 0; c < s.n; ++c) {
                const complex64 m = maps[((long long)i * s.coils + s.c0 + c) * volume + p.volume];
                const complex64 k = buffer[c * slab + p.slab];
                re += m.re * k.re - m.im * k.im;
                im -= m.re * k.im + m.im * k.re;
            }
            complex64* out = image + i * volume + p.volume;
            *out = s.c0 == 0 ? complex64{re, im} : complex64{out->re + re, out->im + im};
        }
    }
}

extern "C" __global__ void weigh(
    complex64* __restrict__ buffer, const float* __restrict__ weights, SIZES, int per_plane)
{
    GATHER;
    const long long slab = slab_size(s), plane = (long long)s.ny * s.nz;
    for (long long v = first_index(); v < slab; v += index_step()) {
        const float w = weights[per_plane ? s.x0 * plane + v : v % plane];
        for (int c = 0; c < s.n; ++c) {
            complex64 k = buffer[c * slab + v];
            k.re *= w;
            k.im *= -w;
            buffer[c * slab + v] = k;
        }
    }
}

extern "C" __global__ void store(
    const complex64* __restrict__ buffer, const bool* __restrict__ mask, complex64* __restrict__ kspace,
    SIZES, int per_plane, float scale)
{
    GATHER;
    const long long slab = slab_size(s), volume = volume_size(s), plane = (long long)s.ny * s.nz;
    for (long long v = first_index(); v < slab; v += index_step()) {
        const Place p = place(s, v, 1);
        const float w = mask[per_plane ? p.volume : p.volume % plane] ? scale : 0.0f;
        for (int c = 0; c < s.n; ++c) {
            const complex64 k = buffer[c * slab + p.slab];
            kspace[(s.c0 + c) * volume + p.volume] = complex64{k.re * w, k.im * w};
        }
    }
}

extern "C" __global__ void load(
    const complex64* __restrict__ kspace, const bool* __restrict__ mask, complex64* __restrict__ buffer,
    SIZES, int per_plane, float scale)
{
    GATHER;
    const long long slab = slab_size(s), volume = volume_size(s), plane = (long long)s.ny * s.nz;
    for (long long v = first_index(); v < slab; v += index_step()) {
        const Place p = place(s, v, 1);
        const bool kept = mask[per_plane ? p.volume : p.volume % plane];
        for (int c = 0; c < s.n; ++c) {
            const complex64 k = kspace[(s.c0 + c) * volume + p.volume];
            buffer[c * slab + p.slab] = kept ? complex64{k.re * scale, -k.im * scale} : complex64{0.0f, 0.0f};
        }
    }
}
