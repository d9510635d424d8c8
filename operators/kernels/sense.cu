// Inner loops of the multicoil encoding on a slab of x positions, for CuPy RawKernel (compiled by NVRTC at first use).
// Plain reference: reference.py; parity is tested on a GPU, and on the CPU by compiling this file as C++ with a shim.
//
// Layout of a slab: `voxels` = slab length * y * z consecutive complex values per coil. Full arrays have
// `coil_stride` (and `set_stride`) complex values between coils (and map sets), so that slabs need no copies.

struct __align__(8) complex64 { float re, im; };

__device__ inline long long first_index() { return (long long)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ inline long long index_step() { return (long long)gridDim.x * blockDim.x; }

// out[c, v] = sum_s maps[s, c, v] * image[s, v]
extern "C" __global__ void coil_multiply(
    const complex64* __restrict__ image, const complex64* __restrict__ maps, complex64* __restrict__ out,
    long long voxels, int coils, int sets, long long image_set_stride, long long map_set_stride,
    long long map_coil_stride)
{
    for (long long v = first_index(); v < voxels; v += index_step()) {
        for (int c = 0; c < coils; ++c) {
            float re = 0.0f, im = 0.0f;
            for (int s = 0; s < sets; ++s) {
                const complex64 x = image[s * image_set_stride + v];
                const complex64 m = maps[s * map_set_stride + c * map_coil_stride + v];
                re += m.re * x.re - m.im * x.im;
                im += m.re * x.im + m.im * x.re;
            }
            out[c * voxels + v] = complex64{re, im};
        }
    }
}

// kspace[i] *= mask[i mod plane]; the mask carries the scale of the two unnormalised transforms
extern "C" __global__ void mask_multiply(
    complex64* __restrict__ kspace, const float* __restrict__ mask, long long total, long long plane)
{
    for (long long i = first_index(); i < total; i += index_step()) {
        const float m = mask[i % plane];
        complex64 k = kspace[i];
        k.re *= m;
        k.im *= m;
        kspace[i] = k;
    }
}

// out[s, v] = sum_c conj(maps[s, c, v]) * coil_images[c, v]
extern "C" __global__ void coil_combine(
    const complex64* __restrict__ coil_images, const complex64* __restrict__ maps, complex64* __restrict__ out,
    long long voxels, int coils, int sets, long long image_set_stride, long long map_set_stride,
    long long map_coil_stride)
{
    for (long long v = first_index(); v < voxels; v += index_step()) {
        for (int s = 0; s < sets; ++s) {
            float re = 0.0f, im = 0.0f;
            for (int c = 0; c < coils; ++c) {
                const complex64 k = coil_images[c * voxels + v];
                const complex64 m = maps[s * map_set_stride + c * map_coil_stride + v];
                re += m.re * k.re + m.im * k.im;
                im += m.re * k.im - m.im * k.re;
            }
            out[s * image_set_stride + v] = complex64{re, im};
        }
    }
}
