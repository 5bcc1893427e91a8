// In place of src/cuda/dependent_launch.cuh: launches do not overlap here.
#pragma once

namespace kilter::cuda {

inline void wait_for_predecessor(bool) {}
inline void let_successor_start(bool) {}
inline void prefetch(const char*, bool) {}

}  // namespace kilter::cuda
