// Output files that appear whole or not at all, all of them or none.
//
//   OutputFiles out;
//   out.declare("y", "y.npy", inputs);      // refuses early: a directory, a read-only file, an input, a missing folder
//   out.write(0, header, data, bytes);      // beside the target, synced
//   out.commit();                           // replaces all; without it, or when it throws, everything is as before
//
// A link is followed and stays.  A file that is replaced keeps its mode, its owner and group where this user may set them (else
// no one gains a right), not its other names.  "-" is standard output, written last.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kilter/source.h"

namespace kilter::cli {

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
    std::string tensor, path, base;
    std::string temporary;  // beside the target: what is to replace it, then what it replaced; "" when there is none
    int folder = -1;        // -1: standard output
    uint64_t folder_device = 0, folder_inode = 0;
    uid_t folder_owner = 0;
    bool sticky = false;  // the folder: only owners replace files
    bool exists = false, placed = false;
    mode_t mode = 0;  // of what exists
    uid_t owner = 0;
    gid_t group = 0;
    // For standard output, until commit.
    std::string header;
    const void* data = nullptr;
    size_t bytes = 0;
  };
  class SignalsHeld;
  void find_folder(File* file) const;
  void check_target(File* file, const std::vector<FileId>& inputs) const;
  static void drop_temporary(File& file);
  void create(File* file) const;
  void place(File* file, bool keep) const;
  std::string roll_back();
  std::vector<File> files_;
  std::unique_ptr<SignalsHeld> held_;  // from the first file written until all are in place, or gone
};

}  // namespace kilter::cli
