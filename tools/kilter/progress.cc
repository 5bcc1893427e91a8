#include "kilter/progress.h"

#include <fmt/core.h>
#include <unistd.h>

#include <cstdio>

namespace kilter::cli {

Progress::Progress(size_t total) : total_(total), visible_(isatty(STDERR_FILENO) != 0) {}

Progress::~Progress() {
  if (visible_) fmt::print(stderr, "\r\x1b[K");
}

void Progress::step(const std::string& what) {
  ++done_;
  if (!visible_ || total_ == 0) return;
  constexpr int kWidth = 40;
  const int permille = int(done_ * 1000 / total_);
  if (permille == shown_) return;  // a terminal costs more than a small case
  shown_ = permille;
  const int filled = permille * kWidth / 1000;
  fmt::print(stderr, "\r\x1b[K[{}{}] {:3}%  {}", std::string(size_t(filled), '#'), std::string(size_t(kWidth - filled), '.'), permille / 10,
             what.substr(0, 60));
  std::fflush(stderr);
}

}  // namespace kilter::cli
