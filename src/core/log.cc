#include "core/log.h"

#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "core/arguments.h"

namespace kilter {
namespace {

bool asked_for(const char* topic) {
  const char* value = std::getenv("KILTER_LOG");
  return value && std::strstr(value, topic);
}

}  // namespace

void log_dispatch(const Schema& schema, const void* problem, const char* impl) {
  static const bool enabled = asked_for("dispatch");
  if (!enabled) return;
  char sizes[200] = "";
  size_t used = 0;
  for (int i = 0; i < schema.size_count && used < sizeof sizes; ++i)
    used += size_t(std::snprintf(sizes + used, sizeof sizes - used, " %s=%" PRId64, schema.sizes[i].name,
                                 member<int64_t>(problem, schema.sizes[i].to)));
  const Field& t = schema.fields[schema.t];
  const bool cpu = std::strncmp(impl, "cpu:", 4) == 0;
  std::fprintf(stderr, "kilter: %s %s%s %s=%s: %s%s%s%s\n", schema.op, schema.direction == KILTER_FORWARD ? "forward" : "backward", sizes,
               t.name, dtype_name(member<View>(problem, t.to).dtype), impl, cpu ? " [" : "", cpu ? kilter_cpu_target() : "",
               cpu ? "]" : "");
}

}  // namespace kilter
