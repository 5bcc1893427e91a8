#pragma once

#include <gtest/gtest.h>

#include "kilter/kilter.h"

namespace kilter::test {

// A number of threads for the duration of a scope.
class WithThreads {
 public:
  explicit WithThreads(int threads) { EXPECT_EQ(kilter_set_num_threads(threads), KILTER_OK); }
  ~WithThreads() { EXPECT_EQ(kilter_set_num_threads(0), KILTER_OK); }
  WithThreads(const WithThreads&) = delete;
  WithThreads& operator=(const WithThreads&) = delete;
};

}  // namespace kilter::test
