// Output files that appear whole or not at all.
//
//   OutputFiles out;
//   out.declare("y", "y.npy", inputs);      // refuses early: a link, a directory, an input, a missing folder
//   out.write(0, header, data, bytes);      // beside the target, synced
//   out.commit();                           // renames all; without it nothing remains
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace kilter::cli {

// An input file's identity: device and inode.
struct FileId {
  uint64_t device = 0, inode = 0;
  std::string name;  // of its tensor
};

class OutputFiles {
 public:
  OutputFiles();
  ~OutputFiles();
  OutputFiles(const OutputFiles&) = delete;
  OutputFiles& operator=(const OutputFiles&) = delete;

  void declare(const std::string& tensor, const std::string& path, const std::vector<FileId>& inputs);
  void write(size_t index, const std::string& header, const void* data, size_t bytes);
  void commit();

 private:
  struct File {
    std::string tensor, path, base, temporary;  // temporary: "" when there is none
    int folder = -1;
    uint64_t folder_device = 0, folder_inode = 0;
    uint32_t folder_owner = 0;
    bool sticky = false;  // the folder: only owners replace files
  };
  class SignalsHeld;
  void check_target(const File& file, const std::vector<FileId>& inputs) const;
  std::vector<File> files_;
  std::unique_ptr<SignalsHeld> held_;  // from the first file written until all are in place, or gone
};

// "folder: expected ..., got ..." with the system's reason; thrown as an I/O error.
[[noreturn]] void throw_io(const std::string& tensor, const std::string& path, const std::string& expected, int error);

// Bytes of a file or of a command line, printable: quotes, control characters and non-ASCII as \xNN.
std::string escaped(const std::string& text, size_t limit = 200);

}  // namespace kilter::cli
