// KILTER_LOG=dispatch: one line on stderr per call, naming the implementation that runs.  Otherwise the library is silent.
#pragma once

#include "kilter/kilter.h"

namespace kilter {

void log_dispatch(const kilter_query& query, const char* impl);

}  // namespace kilter
