#include "kilter/files.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <random>
#include <utility>

#include "kilter/error.h"

namespace kilter::cli {
namespace {

bool write_all(int fd, const void* data, size_t bytes) {
  const char* p = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t done = ::write(fd, p, std::min<size_t>(bytes, size_t(1) << 30));
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return false;
    p += done;
    bytes -= size_t(done);
  }
  return true;
}

}  // namespace

void throw_io(const std::string& tensor, const std::string& path, const std::string& expected, int error) {
  throw Error(kExitIo, KILTER_IO, fmt::format("{}: {}: expected {}, got: {}", tensor, escaped(path), expected, std::strerror(error)));
}

std::string escaped(const std::string& text, size_t limit) {
  std::string s;
  for (size_t i = 0; i < text.size(); ++i) {
    if (i == limit) return s + "...";
    const unsigned char c = static_cast<unsigned char>(text[i]);
    if (c < 0x20 || c >= 0x7F || c == '\\')
      s += fmt::format("\\x{:02x}", c);
    else
      s += char(c);
  }
  return s;
}

// An interrupt waits until the files are either in place or gone.  By handlers, as a blocked signal would go to another thread
// of the process: OpenMP's outlive the call.
class OutputFiles::SignalsHeld {
 public:
  SignalsHeld() {
    struct sigaction hold = {};
    hold.sa_handler = [](int signal) { caught_ = signal; };
    hold.sa_flags = SA_RESTART;
    for (size_t i = 0; i < std::size(kSignals); ++i)
      if (sigaction(kSignals[i], nullptr, &before_[i]) == 0 && before_[i].sa_handler != SIG_IGN) sigaction(kSignals[i], &hold, nullptr);
  }
  ~SignalsHeld() {
    for (size_t i = 0; i < std::size(kSignals); ++i) sigaction(kSignals[i], &before_[i], nullptr);
    const int signal = caught_;
    caught_ = 0;
    if (signal) std::raise(signal);
  }
  SignalsHeld(const SignalsHeld&) = delete;
  SignalsHeld& operator=(const SignalsHeld&) = delete;

 private:
  static constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
  static inline volatile std::sig_atomic_t caught_ = 0;
  struct sigaction before_[std::size(kSignals)] = {};
};

// A file size limit shall fail the write, not kill the process beside its temporary file.
OutputFiles::OutputFiles() { std::signal(SIGXFSZ, SIG_IGN); }

OutputFiles::~OutputFiles() {
  for (File& f : files_) {
    if (!f.temporary.empty()) ::unlinkat(f.folder, f.temporary.c_str(), 0);
    if (f.folder >= 0) ::close(f.folder);
  }
}

void OutputFiles::check_target(const File& f, const std::vector<FileId>& inputs) const {
  struct stat st;
  if (::fstatat(f.folder, f.base.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return;
    throw_io(f.tensor, f.path, "a path that can be written", errno);
  }
  for (const FileId& in : inputs)
    if (in.device == uint64_t(st.st_dev) && in.inode == uint64_t(st.st_ino))
      throw Error(kExitInvalidArgument, KILTER_OVERLAP,
                  fmt::format("{}: {}: expected a file of its own, got the input file of {}", f.tensor, escaped(f.path), in.name));
  // In a folder with the sticky bit the rename would fail, after others may have succeeded.
  if (f.sticky && geteuid() != 0 && st.st_uid != geteuid() && f.folder_owner != geteuid())
    throw_io(f.tensor, f.path, "a file that can be replaced", EPERM);
  if (S_ISREG(st.st_mode)) return;
  const char* what = S_ISLNK(st.st_mode)   ? "a symbolic link, which is never followed"
                     : S_ISDIR(st.st_mode) ? "a folder"
                                           : "a device, pipe or socket";
  throw Error(kExitIo, KILTER_IO, fmt::format("{}: {}: expected a new or regular file, got {}", f.tensor, escaped(f.path), what));
}

void OutputFiles::declare(const std::string& tensor, const std::string& path, const std::vector<FileId>& inputs) {
  File f;
  f.tensor = tensor, f.path = path;
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
  f.base = slash == std::string::npos ? path : path.substr(slash + 1);
  if (f.base.empty() || f.base == "." || f.base == "..")
    throw Error(kExitIo, KILTER_IO, fmt::format("{}: expected a file name, got '{}'", tensor, escaped(path)));
  f.folder = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (f.folder < 0) throw_io(tensor, path, "an existing folder", errno);
  files_.push_back(f);  // closed by the destructor from here on
  struct stat st;
  if (::fstat(f.folder, &st) != 0) throw_io(tensor, path, "a readable folder", errno);
  files_.back().folder_device = st.st_dev, files_.back().folder_inode = st.st_ino;
  files_.back().folder_owner = st.st_uid, files_.back().sticky = st.st_mode & S_ISVTX;
  for (size_t i = 0; i + 1 < files_.size(); ++i)
    if (files_[i].base == f.base && files_[i].folder_device == st.st_dev && files_[i].folder_inode == st.st_ino)
      throw Error(kExitInvalidArgument, KILTER_OVERLAP,
                  fmt::format("{}: {}: expected a file of its own, got the output file of {}", tensor, escaped(path), files_[i].tensor));
  check_target(files_.back(), inputs);
}

void OutputFiles::write(size_t index, const std::string& header, const void* data, size_t bytes) {
  if (!held_) held_ = std::make_unique<SignalsHeld>();
  File& f = files_[index];
  std::random_device entropy;
  int fd = -1;
  for (int attempt = 0; attempt < 16 && fd < 0; ++attempt) {
    const std::string name = fmt::format(".kilter-{:08x}{:08x}.tmp", entropy(), entropy());
    fd = ::openat(f.folder, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd >= 0)
      f.temporary = name;
    else if (errno != EEXIST)
      break;
  }
  if (fd < 0) throw_io(f.tensor, f.path, "a folder that can be written", errno);
  bool good = write_all(fd, header.data(), header.size()) && write_all(fd, data, bytes) && ::fsync(fd) == 0;
  const int error = errno;
  if (::close(fd) != 0 && good) throw_io(f.tensor, f.path, "room for the file", errno);
  if (!good) throw_io(f.tensor, f.path, fmt::format("room for {} bytes", header.size() + bytes), error);
}

void OutputFiles::commit() {
  for (const File& f : files_) check_target(f, {});  // again: it may have become a link meanwhile
  for (File& f : files_) {
    if (::renameat(f.folder, f.temporary.c_str(), f.folder, f.base.c_str()) != 0)
      throw_io(f.tensor, f.path, "a file that can be replaced", errno);
    f.temporary.clear();
  }
  for (const File& f : files_) (void)::fsync(f.folder);  // some file systems refuse; the rename stands
  held_.reset();
}

}  // namespace kilter::cli
