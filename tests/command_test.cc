// How the command line ends: from a status or an exception to the exit code and the report.  What no sound library gives to
// any arguments, an internal error, is thrown here.  So are the answers of file systems and control groups that no machine has
// all at once.
#include "kilter/command.h"

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <new>
#include <stdexcept>

#include "core/status.h"
#include "kilter/files.h"
#include "kilter/memory.h"
#include "kilter/text.h"

namespace {

// What the calls below answer, in place of the C library's.
struct Faults {
  int unknown = 0;                         // errno of the calls that this file system does not know
  int renames = 0, first = -1, last = -1;  // of those that were made, which fail
  bool rename_fails() {
    const int which = renames++;
    if (which < first || which > last) return false;
    errno = EBUSY;
    return true;
  }
  bool lacks() const {
    errno = unknown;
    return unknown != 0;
  }
} faults;

}  // namespace

extern "C" {
int fsync(int fd) { return faults.lacks() ? -1 : int(syscall(SYS_fsync, fd)); }
int fchmod(int fd, mode_t mode) noexcept { return faults.lacks() ? -1 : int(syscall(SYS_fchmod, fd, mode)); }
int renameat2(int from, const char* a, int to, const char* b, unsigned flags) noexcept {
  return faults.lacks() || faults.rename_fails() ? -1 : int(syscall(SYS_renameat2, from, a, to, b, flags));
}
int renameat(int from, const char* a, int to, const char* b) noexcept {
  return faults.rename_fails() ? -1 : int(syscall(SYS_renameat2, from, a, to, b, 0));
}
}

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

// A folder of its own, gone at the end.
class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "kilter_command_XXXXXX").string();
    if (!::mkdtemp(name.data())) throw std::runtime_error("no temporary folder");
    path_ = name;
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::string path(const std::string& name = "") const { return (path_ / name).string(); }
  void put(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name) << text;
  }
  std::map<std::string, std::string> contents() const {
    std::map<std::string, std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) {
      std::ifstream file(entry.path());
      found[entry.path().filename()] = std::string(std::istreambuf_iterator<char>(file), {});
    }
    return found;
  }

 private:
  std::filesystem::path path_;
};

using Contents = std::map<std::string, std::string>;

// Four outputs, of which the second and the last are new; their contents are their names.
std::string write_outputs(const Folder& folder) {
  try {
    OutputFiles out;
    const std::string names[] = {"a", "b", "c", "d"};
    for (const std::string& name : names) out.declare(name, folder.path(name), {});
    for (size_t i = 0; i < 4; ++i) out.write(i, "new ", names[i].data(), 1);
    faults.renames = 0;
    out.commit();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, kExitIo);
    return error.what();
  }
  return "";
}

const Contents kBefore = {{"a", "old a"}, {"c", "old c"}}, kAfter = {{"a", "new a"}, {"b", "new b"}, {"c", "new c"}, {"d", "new d"}};

TEST(OutputFiles, AreWrittenWhereCallsAreUnknown) {
  for (const int error : {0, EINVAL, ENOSYS, EOPNOTSUPP}) {
    const Folder folder;
    for (const auto& [name, text] : kBefore) folder.put(name, text);
    faults = {.unknown = error};
    EXPECT_EQ(write_outputs(folder), "") << error;
    faults = {};
    EXPECT_EQ(folder.contents(), kAfter);
  }
}

TEST(OutputFiles, AreAllAsBeforeWhicheverCannotBeReplaced) {
  for (const int unknown : {0, ENOSYS}) {
    int fails = 0;
    for (bool failed = true; failed; ++fails) {
      const Folder folder;
      for (const auto& [name, text] : kBefore) folder.put(name, text);
      faults = {.unknown = unknown, .first = fails, .last = fails};
      const std::string message = write_outputs(folder);
      failed = !message.empty();
      faults = {};
      EXPECT_EQ(folder.contents(), failed ? kBefore : kAfter) << message;
      EXPECT_EQ(message.find("expected a file that can be replaced, got: ") != std::string::npos, failed) << message;
    }
    EXPECT_EQ(fails - 1, unknown ? 6 : 4);  // each rename, or swap, has failed once
  }
}

// Nor is anything lost where nothing can be undone either.
TEST(OutputFiles, WhatWasThereIsKeptWhenItCannotBePutBack) {
  for (const int unknown : {0, ENOSYS})
    for (int fails = 0; fails < 4; ++fails) {
      const Folder folder;
      for (const auto& [name, text] : kBefore) folder.put(name, text);
      faults = {.unknown = unknown, .first = fails, .last = 1 << 20};
      const std::string message = write_outputs(folder);
      faults = {};
      for (const auto& [name, text] : kBefore) {
        bool found = false;
        for (const auto& [where, there] : folder.contents())
          if (there == text) found = where == name || message.find(where) != std::string::npos;
        EXPECT_TRUE(found) << text << " after " << message;
      }
      for (const auto& [name, text] : folder.contents()) EXPECT_TRUE(text.starts_with("old") || kBefore.count(name)) << name;
    }
}

// Numbers in MiB.
TEST(Memory, TheTightestGroupWinsAndCacheIsFree) {
  constexpr int64_t kMiB = 1 << 20;
  const auto text = [&](int64_t mib) { return std::to_string(mib * kMiB) + "\n"; };
  const auto stat = [&](const char* name, int64_t mib) {
    return fmt::format("anon 1\ninactive_anon 7\n{} {}\nactive_file 5\n", name, mib * kMiB);
  };
  const auto available = [](const Folder& root) { return available_memory(root.path()) / kMiB; };
  Folder root;
  EXPECT_EQ(available_memory(root.path()), -1);
  root.put("proc/meminfo", "MemTotal: 9000000 kB\nMemAvailable:    8192000 kB\n");
  EXPECT_EQ(available(root), 8000);

  // Version 2, the container's own group on top.
  const std::string top = "sys/fs/cgroup/";
  root.put(top + "memory.max", text(2048)), root.put(top + "memory.current", text(2040));
  EXPECT_EQ(available(root), 8);
  root.put(top + "memory.stat", stat("inactive_file", 1900));
  EXPECT_EQ(available(root), 1908);
  root.put(top + "memory.stat", stat("inactive_file", 5000));  // more than is used: nonsense
  EXPECT_EQ(available(root), 2048);
  root.put(top + "memory.current", text(3000)), root.put(top + "memory.stat", stat("inactive_file", 100));
  EXPECT_EQ(available(root), 0);
  root.put(top + "memory.max", "max\n");
  EXPECT_EQ(available(root), 8000);

  // Groups within groups: none, the middle one, the own one.
  root.put("proc/self/cgroup", "0::/middle/own\n");
  EXPECT_EQ(available(root), 8000);
  root.put(top + "middle/memory.max", text(1000)), root.put(top + "middle/memory.current", text(400));
  EXPECT_EQ(available(root), 600);
  root.put(top + "middle/own/memory.max", text(3000)), root.put(top + "middle/own/memory.current", text(300));
  EXPECT_EQ(available(root), 600);
  root.put(top + "middle/own/memory.max", text(500)), root.put(top + "middle/own/memory.stat", stat("inactive_file", 50));
  EXPECT_EQ(available(root), 250);
  root.put("proc/self/cgroup", "0::/../elsewhere\n");
  EXPECT_EQ(available(root), 8000);

  // Version 1 beside it, unlimited on top.
  root.put("proc/self/cgroup", "9:name=systemd:/\n8:cpu,memory:/job\n1:cpuset:/middle\n0::/\n");
  const std::string first = "sys/fs/cgroup/memory/";
  root.put(first + "memory.limit_in_bytes", "9223372036854771712\n"), root.put(first + "memory.usage_in_bytes", text(900));
  EXPECT_EQ(available(root), 8000);
  root.put(first + "job/memory.limit_in_bytes", text(700)), root.put(first + "job/memory.usage_in_bytes", text(650));
  EXPECT_EQ(available(root), 50);
  root.put(first + "job/memory.stat", stat("inactive_file", 10) + stat("total_inactive_file", 200));
  EXPECT_EQ(available(root), 250);
}

TEST(Text, IsFitToPrint) {
  EXPECT_EQ(printable("données/模型 😀\\"), "données/模型 😀\\");
  EXPECT_EQ(printable("a\nb\x7f\x1b[31m"), "a\\x0ab\\x7f\\x1b[31m");
  EXPECT_EQ(printable("\xc2\x9b \xe2\x80\xae \xef\xbb\xbf"), "\\xc2\\x9b \\xe2\\x80\\xae \\xef\\xbb\\xbf");
  EXPECT_EQ(printable("\xff \xc0\xaf \xed\xa0\x80 \xf4\x90\x80\x80 \xe2\x82"),
            "\\xff \\xc0\\xaf \\xed\\xa0\\x80 \\xf4\\x90\\x80\\x80 \\xe2\\x82");
  EXPECT_EQ(escaped("a\\b", 8), "a\\x5cb");
  EXPECT_EQ(escaped("ééé", 3), "é...");
  const std::string name(255, 'n');
  EXPECT_EQ(shown_path("folder/" + name), "folder/" + name);
  for (int shift = 0; shift < 2; ++shift) {  // never cut inside a character
    std::string path(size_t(shift), '/');
    for (int i = 0; i < 400; ++i) path += "é";
    const std::string shown = shown_path(path.append("/").append(name));
    EXPECT_TRUE(shown.ends_with("/" + name)) << shown;
    EXPECT_NE(shown.find("é.../"), std::string::npos) << shown;
    EXPECT_EQ(shown.find("\\x"), std::string::npos) << shown;
  }
}

}  // namespace
}  // namespace kilter::cli
