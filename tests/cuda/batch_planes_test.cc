// instance_norm, batch_norm and its steps on a device against the float64 reference: shapes, layouts, types, features, no elements.
#include "batch_planes_run.h"

namespace kilter::test {
namespace {

void check(const BatchCase& c) {
  SCOPED_TRACE(c.text());
  if (!c.wide_x) BatchRun(c).forward();
  BatchRun(c).backward();
}
void check_steps(const BatchCase& c) {
  SCOPED_TRACE(c.text());
  BatchRun(c).steps();
}

class BatchPlanes : public PlanesOnDevice {};

// Several samples to a chunk, the last with fewer; several blocks to a plane; places that are samples.
constexpr int64_t kShapes[][3] = {{2, 8, 49}, {21, 6, 7}, {300, 16, 1}, {5, 33, 1}, {1, 2, 8300}, {2, 2, 8400}, {19, 1, 5}, {700, 2, 2}};
bool is_large(int64_t batch, int64_t channels, int64_t spatial) { return batch * channels * spatial > 10000; }

TEST_F(BatchPlanes, ShapesLayoutsTypes) {
  for (const auto& [batch, channels, spatial] : kShapes)
    for (const DType t : kPlaneTypes)
      for (const bool last : {false, true}) {
        if (is_large(batch, channels, spatial) && t != (last ? DType::f64 : DType::f32)) continue;
        BatchCase c = {.batch = batch, .channels = channels, .spatial = spatial, .t = t, .last = last};
        check(c);
        c.norm = Norm::instance;
        if (!is_large(batch, channels, spatial)) check(c);
      }
}

// So many samples of short runs that a thread has several.
TEST_F(BatchPlanes, ManySamples) { BatchRun({.batch = 65537, .channels = 9, .spatial = 2, .t = DType::f32}).forward(); }

TEST_F(BatchPlanes, Features) {
  int k = 0;
  for (const Norm norm : {Norm::batch, Norm::instance})
    for (const DType t : kPlaneTypes)
      for (const bool last : {false, true})
        for (const bool training : {true, false})
          for (const int32_t activation : {int32_t(KILTER_ACTIVATION_SILU), int32_t(KILTER_ACTIVATION_RELU), 0}) {
            const DType wide = t == DType::f64 ? DType::f64 : DType::f32;
            BatchCase c = {.norm = norm, .batch = 5, .channels = 16, .spatial = 20 + k % 3, .t = t, .last = last, .training = training};
            c.residual = k % 3 == 0 ? t : k % 3 == 1 ? wide : DType::none;
            c.activation = activation, c.running = k % 4 != 3, c.cumulative = k % 2, c.residual_out = k % 5 < 2, c.saved = k % 5 < 3,
            c.wide_x = k % 7 == 2;
            c.in_place = k % 4 == 1, c.gap = k % 4 == 1 ? 8 : k % 4 == 3 ? 3 : 0, c.shift = k % 5 == 1 ? 1 : 0;
            if (k++ % 9 == 4) c.batch = 70, c.spatial = 1, c.running = c.running && norm == Norm::batch;
            check(c);
          }
}

// Bits that fill bytes and that do not, of one place and channel and of several tiles; of samples that lie apart; in place.
TEST_F(BatchPlanes, Masks) {
  int k = 0;
  for (const auto& [batch, channels, spatial] : {std::array<int64_t, 3>{2, 8, 49},
                                                 {3, 5, 7},
                                                 {3, 24, 16},
                                                 {2, 12, 21},
                                                 {5, 33, 1},
                                                 {19, 1, 5},
                                                 {2, 70, 33},
                                                 {9, 264, 2},
                                                 {2, 3, 2900}})
    for (const DType t : kPlaneTypes)
      for (const bool last : {false, true}) {
        BatchCase c = {.batch = batch, .channels = channels, .spatial = spatial, .t = t, .last = last, .training = k % 3 != 2};
        c.activation = KILTER_ACTIVATION_RELU, c.mask = true, c.residual = k % 4 == 0 ? DType::none : t;
        c.gap = k % 5 == 1 ? 16 : k % 5 == 3 ? 3 : 0, c.shift = k % 7 == 3 ? 1 : 0, c.mask_gap = k % 3;
        SCOPED_TRACE(c.text());
        BatchRun run(c);
        run.forward(), run.backward_with_mask();
        c.in_place = true, c.saved = k++ % 2;
        BatchRun(c).forward();
      }
}

TEST_F(BatchPlanes, Steps) {
  int k = 0;
  for (const auto& [batch, channels, spatial] : kShapes)
    for (const DType t : kPlaneTypes) {
      BatchCase c = {.batch = batch, .channels = channels, .spatial = spatial, .t = t, .last = k % 2 == 1};
      c.activation = k % 3 == 0 ? int32_t(KILTER_ACTIVATION_SILU) : 0, c.residual = k % 3 < 2 ? t : DType::none, c.gap = k % 4 == 2 ? 5 : 0;
      c.offset = k % 2 ? 0.5 : 30;
      ++k;
      check_steps(c);
    }
}

// Running statistics stay, and are the statistics in inference; else those are none, and sums 0.
TEST_F(BatchPlanes, NoElements) {
  for (const DType t : {DType::f32, DType::f64})
    for (const Norm norm : {Norm::batch, Norm::instance})
      for (const auto& [batch, spatial] : {std::pair(0, 5), {3, 0}})
        for (const bool training : {true, false})
          check({.norm = norm, .batch = batch, .channels = 6, .spatial = spatial, .t = t, .training = training, .running = true});
  for (const DType t : {DType::f32, DType::f64}) check_steps({.batch = 0, .channels = 6, .spatial = 5, .t = t});
}

TEST_F(BatchPlanes, OneElementHasNoGradient) {
  for (const Norm norm : {Norm::batch, Norm::instance})
    for (const DType t : kPlaneTypes)
      for (const int32_t activation : {0, int32_t(KILTER_ACTIVATION_SILU)}) {
        BatchRun r({.norm = norm, .batch = norm == Norm::batch ? 1 : 3, .channels = 9, .spatial = 1, .t = t, .activation = activation});
        r.backward();
        for (const double d : r.v_["dx"].fetch()) EXPECT_EQ(d, 0);
      }
}

}  // namespace
}  // namespace kilter::test
