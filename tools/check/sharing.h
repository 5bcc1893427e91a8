// Which elements of x share statistics, and so what fills, NaN and infinities are by.
#pragma once

#include <cstdint>

namespace kilter::check {

// x as [samples, channels, places], whichever way it lies; a row of the row norms is a sample with one channel.  A unit is what shares
// statistics: so many neighbouring channels of one sample, or of all of them.
struct Sharing {
  int64_t samples = 0, channels = 1, places = 0;
  int64_t width = 1;  // channels of a unit
  bool all_samples = false;

  int64_t per_sample() const { return width ? channels / width : 0; }
  int64_t count() const { return (all_samples ? 1 : samples) * per_sample(); }
  int64_t length() const { return (all_samples ? samples : 1) * width * places; }
  int64_t unit_of(int64_t sample, int64_t channel) const { return (all_samples ? 0 : sample * per_sample()) + channel / width; }

  // f(sample, channel) for the channels of a unit, in the order in which its elements are numbered.
  template <class F>
  void channels_of(int64_t unit, F&& f) const {
    const int64_t first = all_samples ? 0 : unit / per_sample(), last = all_samples ? samples : first + 1;
    const int64_t channel = unit % per_sample() * width;
    for (int64_t s = first; s < last; ++s)
      for (int64_t c = channel; c < channel + width; ++c) f(s, c);
  }
};

}  // namespace kilter::check
