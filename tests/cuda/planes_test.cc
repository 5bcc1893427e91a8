// group_norm on a device against the float64 reference: layouts, odd sizes, types, features, offsets, special values.
#include "planes_run.h"

namespace kilter::test {
namespace {

void check(const PlaneCase& c) {
  SCOPED_TRACE(c.text());
  if (!c.wide_x) PlaneRun(c).forward();
  PlaneRun(c).backward();
}

class Planes : public PlanesOnDevice {};

TEST_F(Planes, ShapesLayoutsTypes) {
  const int64_t shapes[][4] = {{2, 32, 49, 4},  {3, 6, 1, 2},  {1, 1, 1, 1},   {2, 24, 64, 24},
                               {1, 16, 700, 1}, {5, 40, 9, 8}, {2, 264, 5, 3}, {1, 7, 33, 7}};
  for (const auto& [batch, channels, spatial, groups] : shapes)
    for (const DType t : kPlaneTypes)
      for (const bool last : {false, true})
        check({.batch = batch, .channels = channels, .spatial = spatial, .groups = groups, .t = t, .last = last});
}

TEST_F(Planes, SeveralChunks) {
  for (const DType t : kPlaneTypes)
    for (const bool last : {false, true}) {
      check({.batch = 2, .channels = 4, .spatial = 12345, .groups = 2, .t = t, .last = last});
      check({.batch = 1, .channels = 12, .spatial = 4100, .groups = 1, .t = t, .last = last, .activation = KILTER_ACTIVATION_SILU});
    }
}

// Channels last, so many places that chunks are of several batches.
TEST_F(Planes, LongChunks) {
  PlaneRun({.batch = 1, .channels = 12, .spatial = 700000, .groups = 2, .t = DType::f32, .last = true, .offset = 3}).forward();
}

TEST_F(Planes, Features) {
  int k = 0;
  for (const DType t : kPlaneTypes)
    for (const bool last : {false, true})
      for (const int32_t activation : {1, 2, 3, 0}) {
        const DType other = t == DType::f64 ? DType::f64 : DType::f32;
        check({.batch = 3,
               .channels = 24,
               .spatial = 20 + k % 3,
               .groups = 3,
               .t = t,
               .vectors = k % 2 ? t : other,
               .residual = k % 3 == 0   ? t
                           : k % 3 == 1 ? DType::f32
                                        : DType::none,
               .last = last,
               .modulated = k % 5 < 3,
               .residual_out = k % 4 < 2,
               .in_place = k % 3 == 1,
               .wide_x = k % 2 == 1,
               .activation = activation,
               .gap = k % 4 == 1   ? 8
                      : k % 4 == 3 ? 3
                                   : 0,
               .shift = k % 5 == 1 ? 1 : 0});
        ++k;
      }
}

TEST_F(Planes, OffsetsAndSizes) {
  for (const bool last : {false, true})
    for (const int64_t spatial : {30, 2600})
      for (const double spread : {1.0, 1e30, 1e-30, 1e-22})
        for (const double offset : {0.0, 1e4}) {
          PlaneCase c = {
              .batch = 2, .channels = 8, .spatial = spatial, .groups = 2, .last = last, .offset = offset * spread, .spread = spread};
          if (spread < 1) c.eps = 1e-70;
          check(c);
          c.activation = KILTER_ACTIVATION_GELU;
          check(c);
        }
}

TEST_F(Planes, SpecialValuesStayInTheirPlane) {
  for (const bool last : {false, true})
    for (const int64_t spatial : {1, 21, 2600})
      for (const double special : {double(NAN), double(INFINITY), -double(INFINITY)})
        PlaneRun({.batch = 2, .channels = 12, .spatial = spatial, .groups = 4, .last = last, .special = special}).forward();
}

TEST_F(Planes, NoElements) {
  for (const DType t : {DType::f32, DType::f64}) {
    check({.batch = 2, .channels = 4, .spatial = 0, .groups = 2, .t = t});
    check({.batch = 0, .channels = 4, .spatial = 3, .groups = 2, .t = t});
  }
}

// A sample's bits are those that it has by itself, wherever it lies.
TEST_F(Planes, BitsOfASampleAreItsOwn) {
  for (const DType t : {DType::f32, DType::bf16})
    for (const bool last : {false, true})
      for (const int64_t spatial : {7, 64, 5000}) {
        const PlaneCase alone = {.batch = 1,
                                 .channels = 16,
                                 .spatial = spatial,
                                 .groups = 4,
                                 .t = t,
                                 .last = last,
                                 .modulated = false,
                                 .activation = KILTER_ACTIVATION_SILU};
        PlaneCase many = alone;
        many.batch = 3, many.gap = 3, many.shift = 1;
        PlaneRun one(alone), three(many);
        for (const char* name : {"x", "dy"})
          std::copy_n(one.v_[name].host.begin(), one.v_[name].n, three.v_[name].host.begin() + one.v_[name].n);
        for (const char* name : {"x", "dy"}) three.v_[name].place(t, many.gap, many.shift);
        for (const char* name : {"weight", "bias"}) three.v_[name].host = one.v_[name].host, three.v_[name].place(DType::f32);
        one.forward(), three.forward(), one.backward(), three.backward();
        for (const char* name : {"y", "dx", "dscale", "dshift"}) {
          const std::vector<double> a = one.v_[name].fetch(), b = three.v_[name].fetch();
          EXPECT_TRUE(std::equal(a.begin(), a.end(), b.begin() + one.v_[name].n)) << name << ": " << alone.text();
        }
      }
}

}  // namespace
}  // namespace kilter::test
