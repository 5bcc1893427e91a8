// What a tensor is read from: a file, a pipe, or standard input.  Never sought in.
#pragma once

#include <cstdint>
#include <string>

#include "kilter/error.h"

namespace kilter::cli {

// An input file's identity: device and inode.
struct FileId {
  uint64_t device = 0, inode = 0;
  std::string name;  // of its tensor
};

class Source {
 public:
  // "-": standard input.  Waits for a named pipe's other end.
  Source(const std::string& tensor, const std::string& path);
  ~Source();
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;

  const FileId& id() const { return id_; }
  const std::string& tensor() const { return tensor_; }

  // Refuses as truncated what cannot hold `bytes` more as `what`.  What comes out of a pipe shows that only when read.
  void expect(int64_t bytes, const std::string& what) const;
  void read(char* out, int64_t bytes);
  // Refuses what follows.  `bytes`: of the data before.
  void expect_end(int64_t bytes);

  [[noreturn]] void refuse(kilter_status status, const std::string& why) const;
  [[noreturn]] void bad(const std::string& why) const { refuse(KILTER_BAD_FORMAT, why); }

 private:
  int64_t read_some(char* out, int64_t bytes);  // 0 at the end

  std::string tensor_, shown_;
  FileId id_;
  int fd_ = -1;
  int64_t left_ = -1;  // bytes not yet read; -1: unknown
};

}  // namespace kilter::cli
