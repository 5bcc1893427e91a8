#include "core/log.h"

#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "core/dtype.h"

namespace kilter {
namespace {

bool asked_for(const char* topic) {
  const char* value = std::getenv("KILTER_LOG");
  return value && std::strstr(value, topic);
}

}  // namespace

void log_dispatch(const kilter_query& query, const char* impl) {
  static const bool enabled = asked_for("dispatch");
  if (!enabled) return;
  const bool cpu = std::strncmp(impl, "cpu:", 4) == 0;
  std::fprintf(stderr, "kilter: %s %s rows=%" PRId64 " n=%" PRId64 " x=%s: %s%s%s%s\n", query.op,
               query.direction == KILTER_FORWARD ? "forward" : "backward", query.rows, query.n, dtype_name(dtype_of(query.x)), impl,
               cpu ? " [" : "", cpu ? kilter_cpu_target() : "", cpu ? "]" : "");
}

}  // namespace kilter
