// Which side of the build a function belongs to. Kernels, number types and arithmetic are compiled from one
// source by g++ for simulated threads and by nvcc for real ones; no type changes its layout between the two.
#pragma once

#if defined(__CUDACC__)
/// Runs on the GPU alone, when nvcc compiles it. For kernel bodies, which take a Context.
#define DROUGHT_DEVICE __device__ __forceinline__
/// Runs on both sides whoever compiles it. For number types and arithmetic without a Context.
#define DROUGHT_ANYWHERE __host__ __device__ __forceinline__
#define DROUGHT_UNROLL _Pragma("unroll")
#else
#define DROUGHT_DEVICE inline
#define DROUGHT_ANYWHERE inline
#define DROUGHT_UNROLL
#endif
