// What a norm of planes puts together: its functions from the family's tables, and the CPU's entries.
#pragma once

#include "core/dispatch.h"
#include "cpu/entry.h"
#include "families/planewise/reference.h"
#include "families/planewise/schema.h"
