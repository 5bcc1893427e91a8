#include "core/status.h"

#include <cstdarg>
#include <cstdio>
#include <exception>
#include <new>

namespace kilter {
namespace {
thread_local char last_error[1024] = "";
}

kilter_status fail(kilter_status status, const char* op, const char* format, ...) {
  int used = std::snprintf(last_error, sizeof last_error, "%s: ", op);
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(last_error + used, sizeof last_error - size_t(used), format, arguments);
  va_end(arguments);
  return status;
}

kilter_status fail_from_exception(const char* op) noexcept {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    return fail(KILTER_OUT_OF_MEMORY, op, "host memory: expected what the call needs, got none");
  } catch (const std::exception& e) {
    return fail(KILTER_INTERNAL, op, "expected no exception, got %s", e.what());
  } catch (...) {
    return fail(KILTER_INTERNAL, op, "expected no exception, got an unknown one");
  }
}

}  // namespace kilter

extern "C" {

const char* kilter_last_error(void) noexcept { return kilter::last_error; }

int kilter_version(void) noexcept { return KILTER_VERSION_MAJOR * 10000 + KILTER_VERSION_MINOR * 100 + KILTER_VERSION_PATCH; }

const char* kilter_status_name(kilter_status status) noexcept {
  switch (status) {
    case KILTER_OK:
      return "KILTER_OK";
    case KILTER_INVALID_ARGUMENT:
      return "KILTER_INVALID_ARGUMENT";
    case KILTER_UNSUPPORTED:
      return "KILTER_UNSUPPORTED";
    case KILTER_OVERLAP:
      return "KILTER_OVERLAP";
    case KILTER_WORKSPACE_TOO_SMALL:
      return "KILTER_WORKSPACE_TOO_SMALL";
    case KILTER_OUT_OF_MEMORY:
      return "KILTER_OUT_OF_MEMORY";
    case KILTER_DEVICE_ERROR:
      return "KILTER_DEVICE_ERROR";
    case KILTER_PENDING_DEVICE_ERROR:
      return "KILTER_PENDING_DEVICE_ERROR";
    case KILTER_IO:
      return "KILTER_IO";
    case KILTER_TRUNCATED:
      return "KILTER_TRUNCATED";
    case KILTER_BAD_FORMAT:
      return "KILTER_BAD_FORMAT";
    case KILTER_INTERNAL:
      return "KILTER_INTERNAL";
  }
  return "KILTER_UNKNOWN_STATUS";
}

}  // extern "C"
