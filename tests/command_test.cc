// How the command line ends: from a status or an exception to the exit code and the report.  What no sound library gives to
// any arguments, an internal error, is thrown here.
#include "kilter/command.h"

#include <gtest/gtest.h>

#include <new>
#include <stdexcept>

#include "core/status.h"

namespace kilter::cli {
namespace {

struct Outcome {
  int code;
  std::string out, err;
};

Outcome run_guarded(State state, const std::function<void()>& body) {
  ::testing::internal::CaptureStdout();
  ::testing::internal::CaptureStderr();
  const int code = guarded(state, body);
  std::fflush(stdout);
  Outcome o{code, ::testing::internal::GetCapturedStdout(), ::testing::internal::GetCapturedStderr()};
  EXPECT_EQ(state.exit_code, code);
  return o;
}

TEST(Command, EveryStatusHasItsExitCode) {
  const std::pair<kilter_status, ExitCode> codes[] = {{KILTER_OK, kExitOk},
                                                      {KILTER_INVALID_ARGUMENT, kExitInvalidArgument},
                                                      {KILTER_UNSUPPORTED, kExitUnsupported},
                                                      {KILTER_OVERLAP, kExitInvalidArgument},
                                                      {KILTER_WORKSPACE_TOO_SMALL, kExitInvalidArgument},
                                                      {KILTER_OUT_OF_MEMORY, kExitIo},
                                                      {KILTER_DEVICE_ERROR, kExitIo},
                                                      {KILTER_PENDING_DEVICE_ERROR, kExitIo},
                                                      {KILTER_IO, kExitIo},
                                                      {KILTER_TRUNCATED, kExitBadFile},
                                                      {KILTER_BAD_FORMAT, kExitBadFile},
                                                      {KILTER_INTERNAL, kExitInternal}};
  int next = KILTER_OK;
  for (const auto& [status, code] : codes) {
    EXPECT_EQ(status, next++);  // none is left out
    EXPECT_EQ(exit_code_of(status), code) << kilter_status_name(status);
  }
  EXPECT_EQ(next, KILTER_INTERNAL + 1);
  EXPECT_EQ(exit_code_of(static_cast<kilter_status>(next)), kExitInternal);
}

TEST(Command, ASoundEndKeepsTheCommandsOwnCode) {
  const Outcome o = run_guarded({.exit_code = kExitCheckFailed}, [] {});
  EXPECT_EQ(o.code, kExitCheckFailed);
  EXPECT_EQ(o.out + o.err, "");
}

TEST(Command, ExceptionsBecomeInternalErrors) {
  const std::function<void()> bodies[] = {[] { throw std::logic_error("not thought of"); }, [] { throw 42; }};
  for (const auto& body : bodies) {
    const Outcome o = run_guarded({.json = true, .command = "run"}, body);
    EXPECT_EQ(o.code, 8);
    const Json error = Json::parse(o.out)["error"];
    EXPECT_EQ(error["command"], "run");
    EXPECT_EQ(error["status"], "KILTER_INTERNAL");
    EXPECT_EQ(error["exit_code"], 8);
    const std::string message = error["message"];
    EXPECT_NE(message.find(o.err.find("not thought of") != std::string::npos ? "not thought of" : "unexpected"), std::string::npos)
        << message;
    EXPECT_EQ(o.err, "kilter run: " + message + "\n");
  }
}

// What the library itself makes of an exception inside a call.
TEST(Command, AnInternalErrorOfTheLibraryIsOneHere) {
  const Outcome o = run_guarded(
      {.command = "run"}, [] { require(catching("layer_norm", []() -> kilter_status { throw std::logic_error("broken invariant"); })); });
  EXPECT_EQ(o.code, 8);
  EXPECT_EQ(o.err, "kilter run: layer_norm: expected no exception, got broken invariant\n");
  EXPECT_EQ(o.out, "");
}

TEST(Command, MemoryThatRunsOutIsNotInternal) {
  EXPECT_EQ(run_guarded({}, [] { throw std::bad_alloc(); }).code, kExitIo);
  const Outcome o = run_guarded({}, [] { require(catching("rms_norm", []() -> kilter_status { throw std::bad_alloc(); })); });
  EXPECT_EQ(o.code, kExitIo);
  EXPECT_EQ(o.err, "kilter: rms_norm: host memory: expected what the call needs, got none\n");
}

TEST(Command, ErrorsCarryTheirOwnCode) {
  const Outcome o = run_guarded({.json = true}, [] { throw Error(kExitBadFile, KILTER_TRUNCATED, "x.npy: too short"); });
  EXPECT_EQ(o.code, kExitBadFile);
  EXPECT_TRUE(Json::parse(o.out)["error"]["command"].is_null());
  EXPECT_EQ(Json::parse(o.out)["error"]["status"], "KILTER_TRUNCATED");
}

}  // namespace
}  // namespace kilter::cli
