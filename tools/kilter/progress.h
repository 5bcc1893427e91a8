// A progress bar on stderr; silent unless stderr is a terminal.
#pragma once

#include <cstddef>
#include <string>

namespace kilter::cli {

class Progress {
 public:
  explicit Progress(size_t total);
  ~Progress();  // clears the line
  void step(const std::string& what);

 private:
  size_t total_, done_ = 0;
  int shown_ = -1;
  bool visible_;
};

}  // namespace kilter::cli
