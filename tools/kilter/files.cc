#include "kilter/files.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <random>
#include <utility>

#include "kilter/text.h"

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

// What a file system answers that has no such call; not what went wrong.
bool unknown_call(int error) { return error == EINVAL || error == ENOSYS || error == EOPNOTSUPP; }

std::string temporary_name() {
  std::random_device entropy;
  return fmt::format(".kilter-{:08x}{:08x}.tmp", entropy(), entropy());
}

// Swaps two names; atomic, so that there is a file at any moment.
bool exchange(int folder, const char* a, const char* b) {
#ifdef RENAME_EXCHANGE
  return ::renameat2(folder, a, folder, b, RENAME_EXCHANGE) == 0;
#else
  (void)folder, (void)a, (void)b;
  errno = ENOSYS;
  return false;
#endif
}

// Gives a file the mode, owner and group of another as far as this user may.  Where the group cannot be had, the one that the
// file has instead may no more than others.
void take_after(int fd, mode_t mode, uid_t owner, gid_t group) {
  struct stat st;
  if (::fstat(fd, &st) != 0) return;
  if (st.st_uid != owner || st.st_gid != group)
    if (::fchown(fd, owner, group) != 0 && ::fchown(fd, uid_t(-1), group) != 0) mode &= 0707 | (mode & 07) << 3;
  (void)!::fchmod(fd, mode);  // it was created with less: nothing is shown to more eyes where modes are unknown
}

}  // namespace

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
    drop_temporary(f);
    if (f.folder >= 0) ::close(f.folder);
  }
}

void OutputFiles::drop_temporary(File& f) {
  if (!f.temporary.empty()) ::unlinkat(f.folder, f.temporary.c_str(), 0);
  f.temporary.clear();
}

// Opens the folder of the target, which a link may put elsewhere: what replaces a file must be of its file system.
void OutputFiles::find_folder(File* f) const {
  constexpr int kMaxLinks = 40;  // the kernel's
  std::string path = f->path;
  for (int links = 0;; ++links) {
    const size_t slash = path.rfind('/');
    const std::string folder = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
    f->base = slash == std::string::npos ? path : path.substr(slash + 1);
    if (f->base.empty() || f->base == "." || f->base == "..")
      throw Error(kExitIo, KILTER_IO, fmt::format("{}: expected a file name, got '{}'", f->tensor, shown_path(path)));
    const int opened = ::openat(f->folder < 0 ? AT_FDCWD : f->folder, folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (opened < 0) throw_io(f->tensor, shown_path(f->path), "an existing folder", errno);
    if (f->folder >= 0) ::close(f->folder);
    f->folder = opened;
    struct stat in, st;
    if (::fstat(f->folder, &in) != 0) throw_io(f->tensor, shown_path(f->path), "a readable folder", errno);
    f->folder_device = in.st_dev, f->folder_inode = in.st_ino;
    f->folder_owner = in.st_uid, f->sticky = in.st_mode & S_ISVTX;
    if (::fstatat(f->folder, f->base.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISLNK(st.st_mode)) return;
    if (links == kMaxLinks) throw_io(f->tensor, shown_path(f->path), "a path that can be written", ELOOP);
    // As the kernel has it: in a folder like /tmp, others' links would choose which of this user's files is written.
    if (f->sticky && in.st_mode & S_IWOTH && st.st_uid != geteuid() && st.st_uid != in.st_uid)
      throw Error(kExitIo, KILTER_IO,
                  fmt::format("{}: {}: expected a file, got another user's symbolic link in a folder that all may write", f->tensor,
                              shown_path(f->path)));
    char target[4096];
    const ssize_t length = ::readlinkat(f->folder, f->base.c_str(), target, sizeof target);
    if (length < 0 || size_t(length) == sizeof target)
      throw_io(f->tensor, shown_path(f->path), "a link that can be read", length < 0 ? errno : ENAMETOOLONG);
    path.assign(target, size_t(length));
  }
}

void OutputFiles::check_target(File* f, const std::vector<FileId>& inputs) const {
  struct stat st;
  f->exists = ::fstatat(f->folder, f->base.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0;
  if (!f->exists) {
    if (errno == ENOENT) return;
    throw_io(f->tensor, shown_path(f->path), "a path that can be written", errno);
  }
  const auto refuse = [&](const std::string& why) {
    throw Error(kExitIo, KILTER_IO, fmt::format("{}: {}: expected {}", f->tensor, shown_path(f->path), why));
  };
  for (const FileId& in : inputs)
    if (in.device == uint64_t(st.st_dev) && in.inode == uint64_t(st.st_ino))
      throw Error(kExitInvalidArgument, KILTER_OVERLAP,
                  fmt::format("{}: {}: expected a file of its own, got the input file of {}", f->tensor, shown_path(f->path), in.name));
  if (!S_ISREG(st.st_mode))
    refuse(fmt::format("a new or regular file, got {}", S_ISLNK(st.st_mode)   ? "a symbolic link that was not there before"
                                                        : S_ISDIR(st.st_mode) ? "a folder"
                                                                              : "a device, pipe or socket"));
  // Replacing a file asks no right to write it, and root has every right: its mode says what is meant.
  if ((st.st_mode & 0222) == 0) refuse(fmt::format("a file that can be written, got a read-only one (mode {:04o})", st.st_mode & 07777));
  if (::faccessat(f->folder, f->base.c_str(), W_OK, AT_EACCESS) != 0 && !unknown_call(errno))
    throw_io(f->tensor, shown_path(f->path), "a file that can be written", errno);
  if (f->sticky && geteuid() != 0 && st.st_uid != geteuid() && f->folder_owner != geteuid())
    throw_io(f->tensor, shown_path(f->path), "a file that can be replaced", EPERM);
  f->mode = st.st_mode & 0777, f->owner = st.st_uid, f->group = st.st_gid;
}

void OutputFiles::declare(const std::string& tensor, const std::string& path, const std::vector<FileId>& inputs) {
  files_.emplace_back();  // closed by the destructor from here on
  File& f = files_.back();
  f.tensor = tensor, f.path = path;
  if (path == "-") {
    std::signal(SIGPIPE, SIG_IGN);  // a reader that left shall fail the write, not leave temporary files
    return;
  }
  // What leads to no path, as a link under /proc to a pipe.
  struct stat st;
  const bool there = ::stat(path.c_str(), &st) == 0;
  if (there && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
    throw Error(kExitIo, KILTER_IO,
                fmt::format("{}: {}: expected a new or regular file (or -, standard output), got a device, pipe or socket", tensor,
                            shown_path(path)));
  find_folder(&f);
  for (const File& other : files_)
    if (&other != &f && other.base == f.base && other.folder_device == f.folder_device && other.folder_inode == f.folder_inode)
      throw Error(kExitInvalidArgument, KILTER_OVERLAP,
                  fmt::format("{}: {}: expected a file of its own, got the output file of {}", tensor, shown_path(path), other.tensor));
  check_target(&f, inputs);
  if (there && !f.exists) throw_io(tensor, shown_path(path), "a file that has a path", ENOENT);
}

void OutputFiles::create(File* f) const {
  int fd = -1;
  for (int attempt = 0; attempt < 16 && fd < 0; ++attempt) {
    const std::string name = temporary_name();
    fd = ::openat(f->folder, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, f->exists ? 0600 : 0666);
    if (fd >= 0)
      f->temporary = name;
    else if (errno != EEXIST)
      break;
  }
  if (fd < 0) throw_io(f->tensor, shown_path(f->path), "a folder that can be written", errno);
  if (f->exists) take_after(fd, f->mode, f->owner, f->group);
  const bool good =
      write_all(fd, f->header.data(), f->header.size()) && write_all(fd, f->data, f->bytes) && (::fsync(fd) == 0 || unknown_call(errno));
  const int error = errno;
  if (::close(fd) != 0 && good) throw_io(f->tensor, shown_path(f->path), "room for the file", errno);
  if (!good) throw_io(f->tensor, shown_path(f->path), fmt::format("room for {} bytes", f->header.size() + f->bytes), error);
}

void OutputFiles::write(size_t index, const std::string& header, const void* data, size_t bytes) {
  File& f = files_[index];
  f.header = header, f.data = data, f.bytes = bytes;
  if (f.folder < 0) return;
  if (!held_) held_ = std::make_unique<SignalsHeld>();
  create(&f);
}

// Puts the temporary file in place; keep: what was there becomes the temporary one.
void OutputFiles::place(File* f, bool keep) const {
  const char* const base = f->base.c_str();
  if (keep && f->exists) {
    f->placed = exchange(f->folder, f->temporary.c_str(), base);
    if (f->placed) return;
    if (!unknown_call(errno) && errno != EPERM) throw_io(f->tensor, shown_path(f->path), "a file that can be replaced", errno);
    // A file system, or a sandbox, without it: the file has no name of its own for a moment.
    const std::string old = temporary_name();
    if (::renameat(f->folder, base, f->folder, old.c_str()) != 0)
      throw_io(f->tensor, shown_path(f->path), "a file that can be replaced", errno);
    if (::renameat(f->folder, f->temporary.c_str(), f->folder, base) != 0) {
      const int error = errno;
      const bool back = ::renameat(f->folder, old.c_str(), f->folder, base) == 0;
      throw_io(f->tensor, shown_path(f->path),
               back ? "a file that can be replaced" : "a file that can be replaced (its contents are in " + old + " beside it)", error);
    }
    f->temporary = old;
  } else {
    if (::renameat(f->folder, f->temporary.c_str(), f->folder, base) != 0)
      throw_io(f->tensor, shown_path(f->path), "a file that can be replaced", errno);
    f->temporary.clear();
  }
  f->placed = true;
}

// Returns what could not be undone, to go behind the message.
std::string OutputFiles::roll_back() {
  std::string rest;
  for (File& f : files_) {
    if (!std::exchange(f.placed, false)) continue;
    if (!f.exists) {
      if (::unlinkat(f.folder, f.base.c_str(), 0) != 0) rest += fmt::format("; {} stays", shown_path(f.path));
    } else if (::renameat(f.folder, f.temporary.c_str(), f.folder, f.base.c_str()) != 0) {
      rest += fmt::format("; what {} held is in {} beside it", shown_path(f.path), f.temporary);
    }
    f.temporary.clear();
  }
  return rest;
}

void OutputFiles::commit() {
  File* standard = nullptr;  // last: what was written there cannot be taken back
  File* last = nullptr;      // after which nothing fails
  for (File& f : files_) (f.folder < 0 ? standard : last) = &f;
  try {
    for (File& f : files_)
      if (f.folder >= 0) check_target(&f, {});  // again: it may have become something else meanwhile
    for (File& f : files_)
      if (f.folder >= 0) place(&f, standard || &f != last);
    if (standard && !(write_all(STDOUT_FILENO, standard->header.data(), standard->header.size()) &&
                      write_all(STDOUT_FILENO, standard->data, standard->bytes)))
      throw_io(standard->tensor, "standard output", fmt::format("room for {} bytes", standard->header.size() + standard->bytes), errno);
  } catch (const Error& error) {
    const std::string rest = roll_back();
    throw Error(error.code, error.status, error.what() + rest);
  }
  for (File& f : files_) {
    if (f.folder < 0) continue;
    drop_temporary(f);
    (void)::fsync(f.folder);  // some file systems refuse; the rename stands
  }
  held_.reset();
}

}  // namespace kilter::cli
