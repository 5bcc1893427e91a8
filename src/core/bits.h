// A bit for each element of planes, in rows of whole bytes: channels first a row is a sample, whose elements follow one another as in
// memory; channels last a row is a place, whose channels do.  Element i of a row has bit i % 8 of byte i / 8; what is left of the last
// byte is zero.  Where a sample lies both ways (core/view.h), it is channels first.
#pragma once

#include "core/view.h"

namespace kilter {

struct BitRows {
  int64_t length, bytes;  // elements of a row, and the bytes of their bits
  constexpr BitRows(int64_t channels, int64_t spatial, uint8_t layout)
      : length(layout & kChannelsFirst ? int64_t(uint64_t(channels) * uint64_t(spatial)) : channels),
        bytes(length / 8 + (length % 8 != 0)) {}
  // Where element `element` of a sample's memory has its bit.
  KILTER_INLINE constexpr int64_t byte(int64_t element) const {
    return length % 8 == 0 ? element / 8 : element / length * bytes + element % length / 8;
  }
  KILTER_INLINE constexpr int bit(int64_t element) const { return int(element % length % 8); }
};

// Of a sample.
constexpr int64_t bytes_of_bits(int64_t channels, int64_t spatial, uint8_t layout) {
  const BitRows rows(channels, spatial, layout);
  return layout & kChannelsFirst ? rows.bytes : int64_t(uint64_t(rows.bytes) * uint64_t(spatial));
}

}  // namespace kilter
