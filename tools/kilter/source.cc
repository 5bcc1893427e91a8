#include "kilter/source.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "kilter/text.h"

namespace kilter::cli {

Source::Source(const std::string& tensor, const std::string& path)
    : tensor_(tensor), shown_(path == "-" ? "standard input" : shown_path(path)) {
  const bool standard = path == "-";
  struct stat st;
  if (standard) {
    fd_ = ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
  } else {
    // Nonblocking, as some devices wait to be opened; a pipe that has a name is to wait for who writes into it.
    const bool pipe = ::stat(path.c_str(), &st) == 0 && S_ISFIFO(st.st_mode);
    fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | (pipe ? 0 : O_NONBLOCK));
  }
  if (fd_ < 0 || ::fstat(fd_, &st) != 0) {
    const int error = errno;
    if (fd_ >= 0) ::close(fd_);
    throw_io(tensor, shown_, "a file that can be read", error);
  }
  if (S_ISREG(st.st_mode) && !standard) left_ = st.st_size;
  if (S_ISDIR(st.st_mode) || !(standard || S_ISREG(st.st_mode) || S_ISFIFO(st.st_mode))) {
    ::close(fd_);
    bad("expected a regular file or a pipe, got a folder, device or socket");
  }
  id_ = {uint64_t(st.st_dev), uint64_t(st.st_ino), tensor};
}

Source::~Source() { ::close(fd_); }

void Source::refuse(kilter_status status, const std::string& why) const {
  throw Error(kExitBadFile, status, fmt::format("{}: {}: {}", tensor_, shown_, why));
}

void Source::expect(int64_t bytes, const std::string& what) const {
  if (left_ >= 0 && left_ < bytes) refuse(KILTER_TRUNCATED, fmt::format("expected {} bytes {}, got {}", bytes, what, left_));
}

int64_t Source::read_some(char* out, int64_t bytes) {
  for (;;) {
    const ssize_t got = ::read(fd_, out, size_t(std::min<int64_t>(bytes, 1 << 30)));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_io(tensor_, shown_, "a file that can be read", errno);
    if (left_ >= 0) left_ = std::max<int64_t>(left_ - got, 0);
    return got;
  }
}

void Source::read(char* out, int64_t bytes) {
  while (bytes > 0) {
    const int64_t got = read_some(out, bytes);
    if (got == 0) refuse(KILTER_TRUNCATED, fmt::format("expected {} more bytes, got the end of the file", bytes));
    out += got;
    bytes -= got;
  }
}

void Source::expect_end(int64_t bytes) {
  if (left_ > 0) bad(fmt::format("expected {} bytes of data for its shape, got {}", bytes, bytes + left_));
  char more;
  if (read_some(&more, 1) != 0) bad(fmt::format("expected {} bytes of data for its shape, got more", bytes));
}

}  // namespace kilter::cli
