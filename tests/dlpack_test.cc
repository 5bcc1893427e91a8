// kilter_tensor is DLPack's DLTensor, field for field.
#include <gtest/gtest.h>

#include <cstddef>
#include <type_traits>

#include "kilter/kilter.h"

#if __has_include(<dlpack/dlpack.h>)
#include <dlpack/dlpack.h>

namespace {

#define SAME_PLACE(ours, theirs)                                              \
  static_assert(offsetof(kilter_tensor, ours) == offsetof(DLTensor, theirs)); \
  static_assert(sizeof(kilter_tensor::ours) == sizeof(DLTensor::theirs));
SAME_PLACE(data, data)
SAME_PLACE(device, device)
SAME_PLACE(ndim, ndim)
SAME_PLACE(dtype, dtype)
SAME_PLACE(shape, shape)
SAME_PLACE(strides, strides)
SAME_PLACE(byte_offset, byte_offset)
#undef SAME_PLACE

static_assert(sizeof(kilter_tensor) == sizeof(DLTensor) && alignof(kilter_tensor) == alignof(DLTensor));
static_assert(offsetof(kilter_device, type) == offsetof(DLDevice, device_type) &&
              offsetof(kilter_device, id) == offsetof(DLDevice, device_id));
static_assert(sizeof(kilter_device) == sizeof(DLDevice) && sizeof(kilter_device::type) == sizeof(DLDevice::device_type));
static_assert(offsetof(kilter_dtype, code) == offsetof(DLDataType, code) && offsetof(kilter_dtype, bits) == offsetof(DLDataType, bits));
static_assert(offsetof(kilter_dtype, lanes) == offsetof(DLDataType, lanes) && sizeof(kilter_dtype) == sizeof(DLDataType));
static_assert(std::is_same_v<decltype(kilter_tensor::shape), decltype(DLTensor::shape)>);
static_assert(std::is_same_v<decltype(kilter_tensor::strides), decltype(DLTensor::strides)>);
static_assert(std::is_same_v<decltype(kilter_tensor::byte_offset), decltype(DLTensor::byte_offset)>);
static_assert(int(KILTER_DEVICE_CPU) == int(kDLCPU) && int(KILTER_DEVICE_METAL) == int(kDLMetal));
static_assert(int(KILTER_DEVICE_CUDA) == 2);  // kDLGPU until DLPack 0.5, then kDLCUDA
static_assert(int(KILTER_DEVICE_CUDA_HOST) == 3);
#if defined(DLPACK_VERSION) && DLPACK_VERSION >= 60
static_assert(int(KILTER_DEVICE_ROCM_HOST) == int(kDLROCMHost) && int(KILTER_DEVICE_CUDA_MANAGED) == int(kDLCUDAManaged));
#endif
static_assert(int(KILTER_FLOAT) == int(kDLFloat) && int(KILTER_BFLOAT) == int(kDLBfloat));

kilter_tensor as_kilter(const DLTensor& t) { return __builtin_bit_cast(kilter_tensor, t); }

TEST(DLPack, ATensorPassesAsItIs) {
  float memory[] = {99, 3, -3, 3, -3}, result[4] = {};
  int64_t shape[] = {2, 2};
  DLTensor x{};
  x.data = memory;
  x.device.device_type = kDLCPU;
  x.ndim = 2;
  x.dtype = {kDLFloat, 32, 1};
  x.shape = shape;
  x.strides = nullptr;
  x.byte_offset = 4;
  DLTensor y = x;
  y.data = result, y.byte_offset = 0;
  kilter_rms_norm_forward_args args{};
  args.struct_size = sizeof args;
  args.x = as_kilter(x), args.y = as_kilter(y);
  ASSERT_EQ(kilter_rms_norm_forward(&args, nullptr), KILTER_OK) << kilter_last_error();
  const float expected[] = {1, -1, 1, -1};
  for (int i = 0; i < 4; ++i) EXPECT_EQ(result[i], expected[i]);
}

}  // namespace

#else

TEST(DLPack, ATensorPassesAsItIs) { GTEST_SKIP() << "dlpack/dlpack.h is not installed"; }

#endif
