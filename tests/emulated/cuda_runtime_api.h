// As much of CUDA's runtime, and of its language, as kilter uses, on the host: in place of the toolkit's header of this name the
// device code compiles as C++, and a launch runs it (emulator.h).  "Device memory" is the host's.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "emulator.h"

#define __device__
#define __host__
#define __global__
#define __forceinline__ inline
#define __noinline__
#define __grid_constant__
#define __align__(n) alignas(n)
#define __launch_bounds__(...)
#define __shared__ static thread_local  // a block is a thread of the host
#define __CUDA_ARCH_LIST__ 900

// ---- types

struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline uint32_t __funnelshift_r(uint32_t low, uint32_t high, uint32_t bits) {
  return uint32_t((uint64_t(high) << 32 | low) >> (bits & 31));
}
inline uint32_t __funnelshift_l(uint32_t low, uint32_t high, uint32_t bits) {
  return uint32_t((uint64_t(high) << 32 | low) << (bits & 31) >> 32);
}
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline float __uint_as_float(unsigned v) { return __builtin_bit_cast(float, v); }
inline unsigned __float_as_uint(float v) { return __builtin_bit_cast(unsigned, v); }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline int __ffs(int v) { return __builtin_ffs(v); }
inline int __ffsll(long long v) { return __builtin_ffsll(v); }
template <class T>
T __ldg(const T* p) {
  return *p;
}

// ---- threads

using emulated::blockDim, emulated::blockIdx, emulated::gridDim, emulated::threadIdx;
inline void __syncthreads() { emulated::meet_block(); }
inline int __syncthreads_and(int v) { return emulated::count_block(!v) == 0; }
inline int __syncthreads_or(int v) { return emulated::count_block(v) != 0; }
inline void __syncwarp(unsigned mask = 0xFFFFFFFFu) { emulated::meet_warp(mask); }
inline void __threadfence_block() {}
template <class T>
T __shfl_sync(unsigned mask, T v, int lane, int width = 32) {
  const int first = int(threadIdx.x & 31) & ~(width - 1);
  return emulated::exchange_warp(mask, v)[first + (lane & (width - 1))];
}
template <class T>
T __shfl_xor_sync(unsigned mask, T v, int bits) {
  return emulated::exchange_warp(mask, v)[(threadIdx.x & 31) ^ unsigned(bits)];
}
inline int __any_sync(unsigned mask, int v) {
  int any = 0;
  const auto all = emulated::exchange_warp(mask, v);
  for (int k = 0; k < 32; ++k) any |= (mask >> k & 1) && all[k];
  return any;
}
inline unsigned __ballot_sync(unsigned mask, int v) {
  const auto all = emulated::exchange_warp(mask, int(v != 0));
  unsigned bits = 0;
  for (int k = 0; k < 32; ++k) bits |= unsigned(mask >> k & 1 && all[k]) << k;
  return bits;
}
inline int __all_sync(unsigned mask, int v) { return !__any_sync(mask, !v); }
// Only one thread of the host runs at a time.
template <class T>
T atomicAdd(T* p, T v) {
  const T old = *p;
  *p = old + v;
  return old;
}
template <class T>
T atomicMax(T* p, T v) {
  const T old = *p;
  if (old < v) *p = v;
  return old;
}
template <class T>
T atomicExch(T* p, T v) {
  const T old = *p;
  *p = v;
  return old;
}

// ---- runtime

using dim3 = emulated::Dim;
using cudaStream_t = struct emulated_stream*;
using cudaGraph_t = struct emulated_graph*;
using cudaGraphNode_t = struct emulated_node*;
enum cudaError_t { cudaSuccess, cudaErrorNotSupported = 801 };
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost };
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount, cudaDevAttrComputeCapabilityMajor, cudaDevAttrComputeCapabilityMinor };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize, cudaFuncAttributeNonPortableClusterSizeAllowed };
enum cudaLaunchAttributeID { cudaLaunchAttributeClusterDimension, cudaLaunchAttributeProgrammaticStreamSerialization };
enum { cudaStreamNonBlocking = 1, cudaStreamCaptureModeThreadLocal = 1 };
enum cudaGraphNodeType { cudaGraphNodeTypeKernel };
struct cudaKernelNodeParams {
  void* func;
  dim3 gridDim, blockDim;
};
struct cudaLaunchAttribute {
  cudaLaunchAttributeID id;
  struct {
    struct {
      unsigned x, y, z;
    } clusterDim;
    int programmaticStreamSerializationAllowed;
  } val;
};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
  cudaLaunchAttribute* attrs;
  unsigned numAttrs;
};

inline const char* cudaGetErrorString(cudaError_t e) { return e == cudaSuccess ? "no error" : "not emulated"; }
inline cudaError_t cudaPeekAtLastError() { return cudaSuccess; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaGetDeviceCount(int* count) { return *count = 1, cudaSuccess; }
inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
inline cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }
inline cudaError_t cudaDeviceGetAttribute(int* v, cudaDeviceAttr a, int) {
  *v = a == cudaDevAttrMultiProcessorCount ? 132 : a == cudaDevAttrComputeCapabilityMajor ? 9 : 0;
  return cudaSuccess;
}
template <class F>
cudaError_t cudaFuncSetAttribute(F*, cudaFuncAttribute, int) {
  return cudaSuccess;
}
inline cudaError_t cudaMalloc(void** p, size_t bytes) {
  *p = emulated::allocate(bytes);
  return cudaSuccess;
}
inline cudaError_t cudaFree(void* p) {
  emulated::release(p);
  return cudaSuccess;
}
inline cudaError_t cudaMemset(void* p, int v, size_t bytes) {
  std::memset(p, v, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t) {
  return cudaMemcpy(to, from, bytes, kind);
}

template <class... P, class... A>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(P...), A&&... args) {
  unsigned cluster = 1;
  for (unsigned k = 0; k < config->numAttrs; ++k)
    if (config->attrs[k].id == cudaLaunchAttributeClusterDimension) cluster = config->attrs[k].val.clusterDim.x;
  emulated::run({config->gridDim, config->blockDim, cluster, config->dynamicSmemBytes}, [&] { kernel(P(args)...); });
  return cudaSuccess;
}

// What lists launches without making them has no use here.
inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t*, unsigned) { return cudaErrorNotSupported; }
inline cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaErrorNotSupported; }
inline cudaError_t cudaStreamBeginCapture(cudaStream_t, int) { return cudaErrorNotSupported; }
inline cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t*) { return cudaErrorNotSupported; }
inline cudaError_t cudaGraphGetNodes(cudaGraph_t, cudaGraphNode_t*, size_t*) { return cudaErrorNotSupported; }
inline cudaError_t cudaGraphNodeGetType(cudaGraphNode_t, cudaGraphNodeType*) { return cudaErrorNotSupported; }
inline cudaError_t cudaGraphKernelNodeGetParams(cudaGraphNode_t, cudaKernelNodeParams*) { return cudaErrorNotSupported; }
inline cudaError_t cudaFuncGetName(const char**, const void*) { return cudaErrorNotSupported; }
inline cudaError_t cudaGraphDestroy(cudaGraph_t) { return cudaErrorNotSupported; }
