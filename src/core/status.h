// Failing: every check returns a status and leaves its text in a thread-local buffer (no allocation, no exception).
#pragma once

#include "core/float_environment.h"
#include "kilter/kilter.h"

namespace kilter {

// Records "op: message" (printf style) as this thread's last error and returns status.
[[nodiscard, gnu::format(printf, 3, 4)]] kilter_status fail(kilter_status status, const char* op, const char* format, ...);

// In a catch block: KILTER_OUT_OF_MEMORY for bad_alloc, else KILTER_INTERNAL.
[[nodiscard]] kilter_status fail_from_exception(const char* op) noexcept;

// Runs a C entry point's body: nothing escapes from it, and the caller's floating-point environment does not enter.
template <class F>
[[nodiscard]] kilter_status catching(const char* op, F&& body) noexcept {
  const FloatEnvironment environment;
  try {
    return body();
  } catch (...) {
    return fail_from_exception(op);
  }
}

}  // namespace kilter

#define KILTER_RETURN_IF_ERROR(expression)                                                \
  do {                                                                                    \
    if (const kilter_status status_ = (expression); status_ != KILTER_OK) return status_; \
  } while (0)
