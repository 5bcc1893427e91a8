#include "harness/guarded.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <vector>

namespace kilter::test {
namespace {
constexpr char kPattern = 0x5A;
}

Guarded::Guarded(const check::Buffer& from, const Layout& layout) {
  present_ = from.present();
  if (!present_) return;
  check::Buffer copy = from;
  ndim_ = copy.tensor().ndim;
  dtype_ = from.dtype();
  rows_ = from.row_count(), n_ = from.row_length();
  item_ = item_size(dtype_);
  stride_ = (n_ + layout.gap) * (layout.reversed ? -1 : 1);
  const size_t span = size_t((rows_ > 0 ? (rows_ - 1) * (n_ + layout.gap) + n_ : 0) + layout.shift) * size_t(item_);
  page_ = size_t(sysconf(_SC_PAGESIZE));
  const size_t inner = (span + page_ - 1) / page_ * page_ + page_;
  mapped_ = inner + 2 * page_;
  mapping_ = static_cast<char*>(mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (mapping_ == MAP_FAILED || mprotect(mapping_ + page_, inner, PROT_READ | PROT_WRITE) != 0) std::abort();
  std::memset(mapping_ + page_, kPattern, inner);
  const size_t size = span - size_t(layout.shift * item_);
  char* low = layout.at_end ? mapping_ + page_ + inner - size_t(layout.shift * item_) - size : mapping_ + page_ + layout.shift * item_;
  first_ = layout.reversed && rows_ > 0 ? low + (rows_ - 1) * -stride_ * item_ : low;
  for (int64_t r = 0; r < rows_; ++r) std::memcpy(row(r), from.row(r), from.row_bytes());
  shape_[0] = ndim_ == 1 ? rows_ * n_ : rows_, shape_[1] = n_;
  strides_[0] = ndim_ == 1 && n_ > 1 ? 1 : stride_, strides_[1] = 1;
}

Guarded::~Guarded() {
  if (mapping_) munmap(mapping_, mapped_);
}

kilter_tensor Guarded::tensor() {
  if (!present_) return {};
  return {first_, {KILTER_DEVICE_CPU, 0}, ndim_, dlpack_of(dtype_), shape_, strides_, 0};
}

void Guarded::copy_to(check::Buffer& buffer) const {
  for (int64_t r = 0; present_ && r < rows_; ++r) std::memcpy(buffer.data() + size_t(r) * buffer.row_bytes(), row(r), buffer.row_bytes());
}

bool Guarded::pattern_intact() const {
  if (!present_) return true;
  std::vector<bool> element(mapped_ - 2 * page_);
  for (int64_t r = 0; r < rows_; ++r)
    for (int64_t i = 0; i < n_ * item_; ++i) element[size_t(row(r) - (mapping_ + page_) + i)] = true;
  for (size_t i = 0; i < element.size(); ++i)
    if (!element[i] && mapping_[page_ + i] != kPattern) return false;
  return true;
}

}  // namespace kilter::test
