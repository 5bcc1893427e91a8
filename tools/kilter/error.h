// How a command fails: exit codes and the exception that carries one.  Apart from command.h, whose libraries take long to compile.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "kilter/kilter.h"

namespace kilter::cli {

enum ExitCode : int {
  kExitOk = 0,
  kExitUsage = 2,
  kExitBadFile = 3,
  kExitUnsupported = 4,
  kExitCheckFailed = 5,
  kExitInvalidArgument = 6,
  kExitIo = 7,  // or the device, or memory
  kExitInternal = 8
};

// Ends the command: one line on stderr (with --json: an object on stdout) and the exit code.
struct Error : std::runtime_error {
  Error(ExitCode code, kilter_status status, const std::string& message) : std::runtime_error(message), code(code), status(status) {}
  ExitCode code;
  kilter_status status;
};

// "tensor: where: expected ..., got: " and the system's reason; an I/O error.
[[noreturn]] void throw_io(const std::string& tensor, const std::string& where, const std::string& expected, int error);

ExitCode exit_code_of(kilter_status status);

// Throws kilter_last_error() unless KILTER_OK.
void require(kilter_status status);

// Throws KILTER_OUT_OF_MEMORY if this machine (or its memory limit) cannot hold that many bytes more.  Memory that is only
// promised would otherwise end in the kernel killing the process.
void require_memory(int64_t bytes, const std::string& what);

}  // namespace kilter::cli
