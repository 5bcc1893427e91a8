// Every header of include/kilter/device compiles by NVRTC, by itself, with no include path but include/.
#include <gtest/gtest.h>
#include <nvrtc.h>

#include <string>
#include <tuple>
#include <vector>

namespace {

const std::vector<std::string> kHeaders = {
#include "device_headers.inc"
};

// The compiler's complaints; empty if there are none.
std::string compile(const std::string& source, const std::string& arch) {
  nvrtcProgram program = nullptr;
  if (nvrtcCreateProgram(&program, source.c_str(), "test.cu", 0, nullptr, nullptr) != NVRTC_SUCCESS) return "no program";
  const std::string arch_option = "--gpu-architecture=" + arch;
  const char* const options[] = {arch_option.c_str(), "--std=c++20", "--fmad=false", "--include-path=" KILTER_INCLUDE_FOLDER};
  const nvrtcResult result = nvrtcCompileProgram(program, 4, options);
  std::string log;
  if (size_t size = 0; nvrtcGetProgramLogSize(program, &size) == NVRTC_SUCCESS && size > 1) {
    log.resize(size);
    (void)nvrtcGetProgramLog(program, log.data());
    log.pop_back();  // the zero
  }
  size_t size = 0;
  if (result == NVRTC_SUCCESS && log.empty() && (nvrtcGetCUBINSize(program, &size) != NVRTC_SUCCESS || size == 0)) log = "no code";
  if (result != NVRTC_SUCCESS && log.empty()) log = nvrtcGetErrorString(result);
  (void)nvrtcDestroyProgram(&program);
  return log;
}

class Nvrtc : public ::testing::TestWithParam<std::tuple<std::string, std::string>> {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Nvrtc);

TEST_P(Nvrtc, HeaderCompilesByItself) {
  const auto& [header, arch] = GetParam();
  const std::string complaints = compile("#include <" + header + ">\n#include <" + header + ">\n", arch);
  EXPECT_TRUE(complaints.empty()) << complaints;
}

INSTANTIATE_TEST_SUITE_P(Headers, Nvrtc, ::testing::Combine(::testing::ValuesIn(kHeaders), ::testing::Values("sm_80", "sm_90")),
                         [](const auto& info) {
                           std::string name = std::get<0>(info.param) + "_" + std::get<1>(info.param);
                           for (char& c : name)
                             if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
                           return name;
                         });

TEST(NvrtcHeaders, Exist) { EXPECT_FALSE(kHeaders.empty()); }

TEST(NvrtcHeaders, NormalizeRowsOfAKernel) {
  const std::string kernel = R"(
#include <kilter/device/rows.cuh>
using namespace kilter::device;
template <class T>
__device__ void norms(T* x, T* y, int n, float eps) {
  extern __shared__ float4 shared[];
  const auto value = [&](long long i) { return float(x[i]); };
  const LayerNormStatistics ln = layer_norm_statistics(value, n, eps, shared);
  for_own_elements(n, [&](long long i) { y[i] = T(affine(normalize(value(i), ln), 2.0f, 1.0f)); });
  const RmsNormStatistics rms = rms_norm_statistics(value, n, eps, shared);
  for_own_elements(n, [&](long long i) { y[n + i] = T(affine(normalize(value(i), rms), 2.0f)); });
}
extern "C" __global__ void k(float* a, kilter::device::half* b, bfloat16* c, int n, float eps) {
  norms(a, a, n, eps), norms(b, b, n, eps), norms(c, c, n, eps);
}
)";
  for (const char* const arch : {"sm_80", "sm_90"}) EXPECT_EQ(compile(kernel, arch), "");
}

// What the tests above rest on: good code passes, a header of the C++ library is not found.
TEST(NvrtcHeaders, HaveNoOtherIncludePath) {
  EXPECT_EQ(
      compile("#include <kilter/version.h>\n__global__ void k(float* p) { p[0] = __shfl_xor_sync(0xFFFFFFFFu, p[1], 1); }\n", "sm_90"), "");
  for (const char* const arch : {"sm_80", "sm_90"}) {
    EXPECT_NE(compile("#include <vector>\n", arch), "");
    EXPECT_NE(compile("#include <cuda_fp16.h>\n", arch), "");
  }
}

}  // namespace
