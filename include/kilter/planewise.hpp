// The norms of planes: group_norm.  A part of kilter.hpp, which includes it where its types are known.
#if !defined(KILTER_KILTER_HPP_)
#include "kilter/kilter.hpp"
#elif !defined(KILTER_PLANEWISE_HPP_)
#define KILTER_PLANEWISE_HPP_

namespace kilter {

// from kilter schema --cpp group_norm
// end

}  // namespace kilter

#endif  // KILTER_PLANEWISE_HPP_
