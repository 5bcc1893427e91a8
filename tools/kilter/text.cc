#include "kilter/text.h"

#include <fmt/core.h>

#include <cstdint>

namespace kilter::cli {
namespace {

bool continues(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// Bytes of the character at `at` if it is well-formed UTF-8 (no longer than needed, no surrogate) and harmless, else 0.
size_t harmless(const std::string& text, size_t at) {
  const auto byte = [&](size_t i) { return uint32_t(static_cast<unsigned char>(text[i])); };
  const uint32_t first = byte(at);
  if (first < 0x80) return first >= 0x20 && first != 0x7F;
  const size_t bytes = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() - at < bytes) return 0;
  uint32_t code = first & (0x7Fu >> bytes);
  for (size_t i = 1; i < bytes; ++i) {
    if (!continues(text[at + i])) return 0;
    code = code << 6 | (byte(at + i) & 0x3F);
  }
  constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  if (code < kLeast[bytes] || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return 0;
  const bool controls = code < 0xA0 || (code >= 0x2028 && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069) || code == 0xFEFF;
  return controls ? 0 : bytes;
}

std::string shown(const std::string& text, bool backslashes) {
  std::string s;
  for (size_t i = 0; i < text.size();) {
    const size_t bytes = backslashes && text[i] == '\\' ? 0 : harmless(text, i);
    if (bytes == 0) s += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[i]));
    s.append(text, i, bytes);
    i += bytes ? bytes : 1;
  }
  return s;
}

// Never inside a character.
std::string head(const std::string& text, size_t bytes) {
  while (bytes > 0 && bytes < text.size() && continues(text[bytes])) --bytes;
  return text.substr(0, bytes);
}
std::string tail(const std::string& text, size_t bytes) {
  size_t from = text.size() - bytes;
  while (from < text.size() && continues(text[from])) ++from;
  return text.substr(from);
}

}  // namespace

std::string printable(const std::string& text) { return shown(text, false); }

std::string escaped(const std::string& text, size_t limit) {
  return text.size() > limit ? shown(head(text, limit), true) + "..." : shown(text, true);
}

std::string shown_path(const std::string& path) {
  constexpr size_t kFront = 40, kBack = 256;  // the longest name of a file has 255 bytes
  if (path.size() <= kFront + kBack) return shown(path, true);
  return shown(head(path, kFront), true) + "..." + shown(tail(path, kBack), true);
}

}  // namespace kilter::cli
