// What KILTER_LOG asks for; nothing is printed without it.
#pragma once

#include "core/schema.h"

namespace kilter {

// KILTER_LOG=dispatch: one line per call, with its sizes, T and the implementation.
void log_dispatch(const Schema& schema, const void* problem, const char* impl);

}  // namespace kilter
